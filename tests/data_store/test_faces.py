"""Boxes, squares and crops: geometry by drawn frames, detection by the built-in data set's drawn faces."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_store.errors import InputError
from data_store.faces import (
    Box,
    Detector,
    cut_square,
    find_faces,
    make_detector,
    resize_crop,
    scaled_down,
    sharpness,
)
from data_store.frames import open_clip, read_frames
from data_store.settings import FaceSettings
from data_store.synthetic import SyntheticSettings, write

Frame = npt.NDArray[np.uint8]


def frame_of(width: int = 200, height: int = 100) -> Frame:
    """A frame whose blue is x and whose green is y."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[..., 0] = np.arange(width)[None, :]
    frame[..., 1] = np.arange(height)[:, None]
    return frame


def fixed(*boxes: Box) -> Detector:
    return lambda _: list(boxes)


@pytest.fixture(scope="module")
def drawn_frame(tmp_path_factory: pytest.TempPathFactory) -> Frame:
    """A frame of the built-in data set, 256 px, with one face."""
    root = tmp_path_factory.mktemp("drawn")
    write(root, SyntheticSettings(num_identities=6, num_frames=2))
    path = sorted(root.glob("original_sequences/youtube/c23/videos/*.mp4"))[0]
    frame = next(read_frames(open_clip(path), [0]))[1]
    assert frame is not None
    return frame


def test_the_square_is_centred_on_the_box() -> None:
    square = cut_square(frame_of(), Box(60, 30, 40, 40), 0.5)
    assert square.shape == (60, 60, 3)
    assert (int(square[0, 0, 0]), int(square[0, 0, 1])) == (50, 20)


def test_a_square_that_sticks_out_is_moved_inside() -> None:
    square = cut_square(frame_of(), Box(190, -10, 40, 40), 0.0)
    assert square.shape == (40, 40, 3)
    assert (int(square[0, 0, 0]), int(square[0, 0, 1])) == (160, 0)


def test_a_square_is_never_larger_than_the_frame() -> None:
    assert cut_square(frame_of(), Box(0, 0, 90, 90), 1.0).shape == (100, 100, 3)


@given(
    x=st.integers(-50, 250), y=st.integers(-50, 150), width=st.integers(1, 400), height=st.integers(1, 400),
    margin=st.floats(0, 2),
)  # fmt: skip
def test_any_box_gives_a_square_inside_the_frame(x: int, y: int, width: int, height: int, margin: float) -> None:
    square = cut_square(frame_of(), Box(x, y, width, height), margin)
    assert square.shape[0] == square.shape[1] >= 1
    assert square.shape[0] <= 100


def test_a_crop_is_rgb() -> None:
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[..., 2] = 255  # red, in BGR
    assert resize_crop(frame, 32)[0, 0].tolist() == [255, 0, 0]


def test_shrinking_takes_area_means() -> None:
    checkers = np.zeros((64, 64, 3), np.uint8)
    checkers[::2, ::2] = checkers[1::2, 1::2] = 200
    assert np.unique(resize_crop(checkers, 16)).tolist() == [100]


def test_growing_is_smooth() -> None:
    edge = np.zeros((8, 8, 3), np.uint8)
    edge[:, 4:] = 240
    assert len(np.unique(resize_crop(edge, 64))) > 4


def test_the_largest_face_is_taken() -> None:
    faces, miss = find_faces(frame_of(), fixed(Box(0, 0, 50, 50), Box(80, 10, 70, 70)), FaceSettings(), 32)
    assert [face.box for face in faces] == [Box(80, 10, 70, 70)]
    assert miss is None


def test_all_faces_come_largest_first() -> None:
    boxes = fixed(Box(0, 0, 50, 50), Box(80, 10, 70, 70), Box(0, 40, 50, 50))
    faces, _ = find_faces(frame_of(), boxes, FaceSettings(faces="all"), 32)
    assert [face.box.width for face in faces] == [70, 50, 50]
    assert [face.box.y for face in faces] == [10, 0, 40]


def test_small_faces_are_passed_over() -> None:
    faces, miss = find_faces(frame_of(), fixed(Box(0, 0, 47, 60)), FaceSettings(), 32)
    assert (faces, miss) == ([], "no face")


def test_blurred_faces_are_passed_over_with_the_reason() -> None:
    faces, miss = find_faces(frame_of(), fixed(Box(0, 0, 60, 60)), FaceSettings(min_sharpness=50.0), 32)
    assert (faces, miss) == ([], "blurred")


def test_sharpness_falls_with_blur(drawn_frame: Frame) -> None:
    import cv2

    values = [sharpness(cv2.GaussianBlur(drawn_frame, (0, 0), sigma).astype(np.uint8)) for sigma in (0.5, 2.0, 4.0)]
    assert values[0] > 2 * values[1] > 4 * values[2]


def test_haar_finds_the_face_at_full_and_at_reduced_size(drawn_frame: Frame) -> None:
    import cv2

    large = cv2.resize(drawn_frame, (1280, 1280), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    settings = FaceSettings(detect_px=320)
    faces, _ = find_faces(large, make_detector(settings), settings, 64)
    whole, _ = find_faces(large, make_detector(FaceSettings(detect_px=0)), FaceSettings(detect_px=0), 64)
    assert len(faces) == len(whole) == 1
    ours, theirs = np.array(faces[0].box), np.array(whole[0].box)
    assert np.abs(ours - theirs).max() < 0.25 * theirs[2]
    assert ours[2] > 320  # in pixels of the full frame


@pytest.mark.parametrize("name", ["haar", "dlib"])
def test_a_detector_finds_nothing_in_a_grey_frame(name: str) -> None:
    settings = FaceSettings(detector=name)
    grey = np.full((240, 320, 3), 128, np.uint8)
    assert find_faces(grey, make_detector(settings), settings, 32) == ([], "no face")


@pytest.mark.parametrize("name", ["haar", "dlib"])
def test_a_detector_is_repeatable(drawn_frame: Frame, name: str) -> None:
    detector = make_detector(FaceSettings(detector=name))
    boxes = detector(drawn_frame)
    assert len(boxes) == 1
    assert boxes == detector(drawn_frame) == make_detector(FaceSettings(detector=name))(drawn_frame)


def test_both_detectors_find_the_same_face(drawn_frame: Frame) -> None:
    haar, dlib = (make_detector(FaceSettings(detector=name))(drawn_frame)[0] for name in ("haar", "dlib"))
    assert abs(haar.x + haar.width / 2 - dlib.x - dlib.width / 2) < 0.2 * haar.width
    assert abs(haar.y + haar.height / 2 - dlib.y - dlib.height / 2) < 0.2 * haar.width
    assert 0.7 < dlib.width / haar.width < 1.3


def test_ready_crops_are_taken_whole() -> None:
    settings = FaceSettings(detector="none")
    faces, miss = find_faces(frame_of(30, 20), make_detector(settings), settings, 16)
    assert miss is None
    assert faces[0].box == Box(0, 0, 30, 20)
    assert faces[0].crop.shape == (16, 16, 3)


def test_an_unknown_detector_is_named() -> None:
    with pytest.raises(InputError, match="'mtcnn'"):
        make_detector(FaceSettings(detector="mtcnn"))


def test_scaling_down_keeps_the_shape_of_the_frame() -> None:
    small, scale = scaled_down(frame_of(200, 100), 50)
    assert small.shape == (25, 50, 3)
    assert scale == 0.25
    same, one = scaled_down(frame_of(200, 100), 0)
    assert same.shape == (100, 200, 3)
    assert one == 1.0


@pytest.mark.parametrize(
    ("values", "named"),
    [({"scale_factor": 1.0}, "1.0"), ({"detect_px": 10}, "10"), ({"margin": -0.1}, "-0.1"), ({"faces": "two"}, "'two'"),
     ({"smallest_face_px": 0}, "0"), ({"min_neighbours": -1}, "-1"), ({"min_sharpness": -2.0}, "-2.0")],
)  # fmt: skip
def test_a_wrong_setting_is_named(values: dict[str, float], named: str) -> None:
    with pytest.raises(InputError, match=f"but got {named}"):
        FaceSettings(**values)  # type: ignore[arg-type]


@pytest.mark.samples
@pytest.mark.parametrize("name", ["haar", "dlib"])
def test_a_detector_finds_faces_in_real_videos(samples: Path, name: str) -> None:
    from data_store.extraction import crops_of
    from data_store.layouts import find_videos
    from data_store.settings import BuildSettings

    settings = BuildSettings(faces=FaceSettings(detector=name), real="every:120", fake="random:3")
    records = [crops_of(ref, settings, "")[0] for ref in find_videos(samples / "ffpp").videos]
    assert len(records) == 7
    assert sum(len(record.crops) for record in records) >= 0.95 * sum(record.num_sampled for record in records) > 0

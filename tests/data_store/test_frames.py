"""Frames are exactly those asked for, whatever the codec; a damaged video is named, never patched."""

from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_store.frames import UnreadableError, open_clip, read_frames
from tests.data_store.clips import number_of, numbered, write_clip

CODECS = {
    "x264 with B frames": ("libx264", {"g": "12", "bf": "3", "preset": "medium"}, ".mp4"),
    "x264, open groups": ("libx264", {"g": "10", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}, ".mp4"),
    "x264, one group": ("libx264", {"g": "250", "bf": "3"}, ".mp4"),
    "mpeg4 in avi": ("mpeg4", {"g": "12", "qscale": "3"}, ".avi"),
    "mpeg4 with B frames": ("mpeg4", {"g": "12", "bf": "2", "qscale": "3"}, ".mkv"),
    "vp9 in webm": ("libvpx-vp9", {"g": "12", "deadline": "realtime", "cpu-used": "8"}, ".webm"),
}


@pytest.fixture(scope="module", params=list(CODECS))
def clip_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    codec, options, suffix = CODECS[request.param]
    return write_clip(tmp_path_factory.mktemp("clips") / f"clip{suffix}", 60, codec=codec, options=options)


def decoded(path: Path) -> list[npt.NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [np.asarray(frame.to_ndarray(format="bgr24"), np.uint8) for frame in container.decode(video=0)]


def test_every_frame_is_the_one_with_its_number(clip_path: Path) -> None:
    clip = open_clip(clip_path)
    assert clip.num_frames == 60
    frames = dict(read_frames(clip, range(60)))
    assert [number_of(frame) for frame in frames.values() if frame is not None] == list(range(60))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(chosen=st.sets(st.integers(0, 59), min_size=1, max_size=8))
def test_chosen_frames_equal_those_of_a_whole_decode(clip_path: Path, chosen: set[int]) -> None:
    whole = decoded(clip_path)
    got = list(read_frames(open_clip(clip_path), sorted(chosen)))
    assert [index for index, _ in got] == sorted(chosen)
    for index, frame in got:
        assert frame is not None
        np.testing.assert_array_equal(frame, whole[index])


def test_frames_are_bgr_and_equal_opencv(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 10)
    capture = cv2.VideoCapture(str(path))
    expected = [capture.read()[1] for _ in range(10)]
    for index, frame in read_frames(open_clip(path), range(10)):
        np.testing.assert_array_equal(frame, expected[index])


def test_reading_stops_after_the_last_chosen_frame(tmp_path: Path) -> None:
    """A video that breaks later on is read up to there: the rest is never looked at."""
    path = write_clip(tmp_path / "a.mp4", 120, options={"g": "10", "bf": "0"})
    clip = open_clip(path)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size * 2 // 5)
        file.write(b"\xff" * 400)
    assert [index for index, _ in read_frames(clip, [3, 20])] == [3, 20]
    with pytest.raises(UnreadableError, match="decoding stops before frame 119"):
        list(read_frames(clip, [119]))


@pytest.mark.samples
def test_chosen_frames_of_real_videos_equal_those_of_a_whole_decode(samples: Path) -> None:
    """These carry a note to the decoder in their first packet: a reader that starts later gets other pixels."""
    path = samples / "ffpp/manipulated_sequences/Deepfakes/c23/videos/519_515.mp4"
    chosen = [255, 377, 501, 620]
    whole = decoded(path)
    got = list(read_frames(open_clip(path), chosen))
    assert [index for index, _ in got] == chosen
    for index, frame in got:
        assert frame is not None
        np.testing.assert_array_equal(frame, whole[index])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_video_is_read_upright(tmp_path: Path, turns: int) -> None:
    """Phones store portrait video lying, with a rotation beside it; OpenCV is the judge of which way is up."""
    flat = write_clip(tmp_path / "flat.mp4", 5)
    path = tmp_path / "turned.mp4"
    data = bytearray(flat.read_bytes())
    place = data.find(b"tkhd") + 4 + 40  # the track's 3x3 matrix, 16.16 fixed point
    cosine, sine = {1: (0, 1), 2: (-1, 0), 3: (0, -1)}[turns]
    for offset, value in ((0, cosine), (4, sine), (12, -sine), (16, cosine)):
        data[place + offset : place + offset + 4] = (value * 0x10000).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    expected = cv2.VideoCapture(str(path)).read()[1]
    _, frame = next(read_frames(open_clip(path), [0]))
    assert frame is not None
    assert frame.shape == ((96, 64, 3) if turns % 2 else (64, 96, 3))
    np.testing.assert_array_equal(frame, expected)


def test_a_video_of_one_frame(tmp_path: Path) -> None:
    clip = open_clip(write_clip(tmp_path / "one.mp4", 1))
    assert clip.num_frames == 1
    assert len(list(read_frames(clip, [0]))) == 1


@pytest.mark.parametrize(
    "name", ["with space.mp4", 'quote\'s "double".mp4', "日本語 видео é.mp4", "%d.mp4", "a:b?.mp4"]
)
def test_any_name_is_read(tmp_path: Path, name: str) -> None:
    clip = open_clip(write_clip(tmp_path / "x.mp4", 3).rename(tmp_path / name))
    assert clip.num_frames == 3


def test_the_suffix_may_lie_about_the_container(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "x.mkv", 3).rename(tmp_path / "x.mp4")
    assert open_clip(path).num_frames == 3


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(UnreadableError, match="the file is empty"):
        open_clip(tmp_path / "a.mp4")


@pytest.mark.parametrize("content", [b"hello world\n", b"\0" * 5000, b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_video_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(UnreadableError, match="Invalid data|no video"):
        open_clip(tmp_path / "a.mp4")


def test_a_video_without_its_index_is_named(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableError, match="Invalid data"):
        open_clip(path)


def test_a_truncated_video_is_named_with_what_is_left(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 60, options={"g": "12"})
    with av.open(str(path)) as source, av.open(str(tmp_path / "b.mp4"), "w", options={"movflags": "faststart"}) as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    whole = (tmp_path / "b.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(UnreadableError, match=r"truncated: \d+ of 60 frames are there"):
        open_clip(tmp_path / "b.mp4")


def test_a_folder_of_images_is_a_clip_in_natural_order(tmp_path: Path) -> None:
    for index in (0, 2, 10):
        cv2.imwrite(str(tmp_path / f"{index}.png"), numbered(index))
    (tmp_path / "notes.txt").write_text("not a frame")
    clip = open_clip(tmp_path)
    assert clip.num_frames == 3
    assert [number_of(frame) for _, frame in read_frames(clip, [0, 1, 2]) if frame is not None] == [0, 2, 10]


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not an image")
    with pytest.raises(UnreadableError, match=r"a\.png is not an image"):
        list(read_frames(open_clip(tmp_path), [0]))


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="no image"):
        open_clip(tmp_path)

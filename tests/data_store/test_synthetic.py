"""The built-in data set: layout, seeds, what a fake changes, files that read back, what is rewritten."""

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import cv2.data
import numpy as np
import numpy.typing as npt
import pytest

from data_store.errors import InputError
from data_store.synthetic import (
    CATEGORIES,
    FINISHED,
    REAL,
    UNFINISHED,
    SyntheticSettings,
    frames,
    is_finished,
    main,
    pairs,
    takes,
    video_path,
    write,
    write_pair,
)

Image = npt.NDArray[np.uint8]
FAKES = CATEGORIES[1:]
SMALL = SyntheticSettings(num_identities=6, num_frames=4, size_px=128)
DEMO = SyntheticSettings()


def some_frames(settings: SyntheticSettings, category: str, target: str, source: str, count: int) -> list[Image]:
    return list(itertools.islice(frames(settings, category, target, source), count))


def largest_face(image: Image) -> tuple[int, int, int, int] | None:
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    boxes = cascade.detectMultiScale(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 1.3, 5)
    if len(boxes) == 0:
        return None
    x, y, w, h = (int(side) for side in max(boxes, key=lambda box: int(box[2] * box[3])))
    return x, y, w, h


def read_video(path: Path) -> Iterator[Image]:
    capture = cv2.VideoCapture(str(path))
    while True:
        ok, image = capture.read()
        if not ok:
            return
        yield np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic") / "set"
    write(root, SMALL)
    return root


def test_layout_is_that_of_faceforensics(written: Path) -> None:
    found = {path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file()}
    partners = [("000", "001"), ("002", "003"), ("004", "005")]
    expected = {f"original_sequences/youtube/c23/videos/{i:03d}.mp4" for i in range(6)}
    for category in ("Deepfakes", "Face2Face", "FaceShifter", "FaceSwap", "NeuralTextures"):
        for a, b in partners:
            expected |= {f"manipulated_sequences/{category}/c23/videos/{name}.mp4" for name in (f"{a}_{b}", f"{b}_{a}")}
    expected |= {f"splits/{split}.json" for split in ("train", "val", "test")} | {"synthetic.json"}
    assert found == expected
    assert json.loads((written / "splits/train.json").read_text()) == [["000", "001"]]


@pytest.mark.parametrize("num_identities", [6, 8, 20, 46, 300])
def test_every_identity_is_in_exactly_one_split(num_identities: int) -> None:
    splits = pairs(SyntheticSettings(num_identities=num_identities))
    people = [person for members in splits.values() for pair in members for person in pair]
    assert sorted(people) == [f"{i:03d}" for i in range(num_identities)]
    assert list(splits) == ["train", "val", "test"]
    assert all(splits.values())


def test_default_size_is_the_demos() -> None:
    assert {split: 2 * len(members) for split, members in pairs(DEMO).items()} == {"train": 28, "val": 8, "test": 10}


@pytest.mark.parametrize("category", CATEGORIES)
def test_same_seed_same_pixels_and_another_seed_others(category: str) -> None:
    first = some_frames(SMALL, category, "002", "003", 3)
    again = some_frames(SMALL, category, "002", "003", 3)
    other = some_frames(SyntheticSettings(num_identities=6, size_px=128, seed=1), category, "002", "003", 3)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(np.abs(a.astype(int) - b).mean() > 5 for a, b in zip(first, other, strict=True))


def test_identities_do_not_depend_on_how_many_there_are() -> None:
    few, many = (SyntheticSettings(num_identities=n, size_px=128) for n in (6, 300))
    assert np.array_equal(some_frames(few, REAL, "003", "002", 1)[0], some_frames(many, REAL, "003", "002", 1)[0])


def test_frames_move_and_people_differ() -> None:
    clip = list(itertools.islice(frames(DEMO, REAL, "000", "001"), 0, 30, 10))
    other = some_frames(DEMO, REAL, "001", "000", 1)[0]
    assert all(np.abs(a.astype(int) - b).mean() > 3 for a, b in itertools.pairwise(clip))
    assert np.abs(clip[0].astype(int) - other).mean() > 15


@pytest.mark.parametrize(("target", "source"), [("000", "001"), ("003", "002"), ("024", "025")])
def test_a_fake_differs_from_its_real_video_within_the_face_alone(target: str, source: str) -> None:
    for take in itertools.islice(takes(DEMO, CATEGORIES, target, source), 0, 20, 10):
        real = take[REAL].astype(int)
        face = largest_face(take[REAL])
        assert face is not None
        x, y, w, h = face
        strength = {}
        for category in FAKES:
            mouth_only = category == "NeuralTextures"
            change = np.abs(real - take[category])
            rows, columns = (np.flatnonzero((change > 0).any(axis=(axis, 2))) for axis in (1, 0))
            assert columns[0] > x - 0.05 * w
            assert columns[-1] < x + 1.05 * w
            assert rows[0] > y + (0.5 if mouth_only else 0.0) * h
            assert rows[-1] < y + 1.2 * h
            share = np.count_nonzero(change.max(axis=2)[y : y + h, x : x + w]) / (w * h)
            assert (0.03 < share < 0.25) if mouth_only else (0.3 < share < 0.85)
            assert change[change > 0].mean() > 3
            strength[category] = change.mean()
        assert min(strength, key=lambda category: float(strength[category])) == "NeuralTextures"


def test_fakes_share_the_shot_that_they_are_seen_in_alone() -> None:
    together = next(takes(SMALL, CATEGORIES, "004", "005"))
    assert all(np.array_equal(together[c], some_frames(SMALL, c, "004", "005", 1)[0]) for c in CATEGORIES)


def test_haar_finds_the_face_in_every_category() -> None:
    settings = SyntheticSettings(seed=5)
    found, total = dict.fromkeys(CATEGORIES, 0), 0
    for target, source in (("000", "001"), ("011", "010"), ("024", "025"), ("037", "036")):
        for take in itertools.islice(takes(settings, CATEGORIES, target, source), 0, 20, 4):
            total += 1
            for category, image in take.items():
                box = largest_face(image)
                if box is not None:
                    x, y, w, h = box
                    found[category] += abs(x + w / 2 - 128) < 32 and abs(y + h / 2 - 122) < 32 and 80 <= w <= 170
    assert total == 20
    assert min(found.values()) >= 0.95 * total, found


def test_videos_read_back_with_the_same_size_and_length(written: Path) -> None:
    paths = sorted(written.rglob("*.mp4"))
    assert len(paths) == 36
    for path in paths:
        images = list(read_video(path))
        assert [image.shape for image in images] == [(128, 128, 3)] * SMALL.num_frames
    drawn = some_frames(SMALL, "FaceSwap", "004", "005", 1)[0]
    decoded = next(read_video(video_path(written, "FaceSwap", "004", "005")))
    assert np.abs(drawn.astype(int) - decoded).mean() < 6


def test_encoding_is_repeatable(written: Path, tmp_path: Path) -> None:
    assert write_pair(tmp_path, SMALL, ("002", "003")) == 12
    again = sorted(tmp_path.rglob("*.mp4"))
    assert len(again) == 12
    assert all(path.read_bytes() == (written / path.relative_to(tmp_path)).read_bytes() for path in again)


def test_what_is_half_written_or_other_is_written_again_and_what_is_whole_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "set"
    settings = SyntheticSettings(num_identities=6, num_frames=1, size_px=128)
    stale, video = video_path(root, "FaceSwap", "098", "099"), video_path(root, REAL, "000", "000")
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"half")
    (root / UNFINISHED).write_text("{}")
    seen: list[tuple[int, int]] = []

    assert not is_finished(root, settings)
    write(root, settings, lambda done, total: seen.append((done, total)))
    assert is_finished(root, settings)
    assert seen == [(12, 36), (24, 36), (36, 36)]
    assert not stale.exists()
    assert not (root / UNFINISHED).exists()
    assert len(list(root.rglob("*.mp4"))) == 36

    first = video.read_bytes()
    os.utime(video, ns=(1, 1))
    write(root, settings, lambda done, total: seen.append((done, total)))
    assert len(seen) == 3
    assert video.stat().st_mtime_ns == 1

    other = SyntheticSettings(num_identities=6, num_frames=1, size_px=128, seed=3)
    assert not is_finished(root, other)
    write(root, other)
    assert is_finished(root, other)
    assert video.read_bytes() != first


def test_a_folder_with_other_things_is_refused_and_untouched(tmp_path: Path) -> None:
    mine = tmp_path / "original_sequences" / "mine.mp4"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(InputError, match=f"{tmp_path} holds original_sequences"):
        write(tmp_path, SMALL)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=str(tmp_path / "file" / "set")):
        write(tmp_path / "file" / "set", SMALL)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_identities", 4),
        ("num_identities", 7),
        ("num_identities", 1002),
        ("num_frames", 0),
        ("size_px", 100),
        ("size_px", 2048),
        ("fps", 0),
        ("crf", 52),
        ("seed", -1),
    ],
)
def test_a_bad_setting_is_named_with_its_value(name: str, value: int) -> None:
    with pytest.raises(InputError, match=f"{name} must .* but got {value}"):
        SyntheticSettings(**{name: value})


def test_an_unknown_category_is_named() -> None:
    with pytest.raises(InputError, match="but got 'DeepFakes'"):
        next(frames(SMALL, "DeepFakes", "000", "001"))


def test_command_leaves_a_finished_set_alone(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = SyntheticSettings(num_identities=6, seed=9)
    root = written.parent / "by_command"
    root.mkdir()
    record = json.loads((written / FINISHED).read_text()) | {"num_frames": 40, "size_px": 256, "seed": 9}
    (root / FINISHED).write_text(json.dumps(record))
    assert is_finished(root, settings)
    assert main(["--out", str(root), "--identities", "6", "--seed", "9"]) == 0
    assert "already holds" in capsys.readouterr().out
    assert [path.name for path in root.iterdir()] == [FINISHED]


def test_command_refuses_an_odd_number_of_people(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got 7"):
        main(["--out", str(tmp_path / "set"), "--identities", "7"])

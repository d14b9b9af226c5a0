"""One video's crops and what is written down of them; torn scratch files are noticed."""

from pathlib import Path

import numpy as np
import pytest

from data_store.extraction import crops_of, encode_scratch, extract, fingerprint, read_scratch, scratch_name
from data_store.folders import open_folder
from data_store.listing import VideoRef
from data_store.settings import BuildSettings, FaceSettings
from tests.data_store.clips import number_of, numbered, write_clip

SETTINGS = BuildSettings(real="every:3", crop_px=96, faces=FaceSettings(detector="none"))


def reference(path: Path) -> VideoRef:
    return VideoRef(path=path, relative=path.name, video_id=path.stem, category="youtube", label=0, target_id="a",
                    source_id="a")  # fmt: skip


@pytest.fixture
def video(tmp_path: Path) -> VideoRef:
    return reference(write_clip(tmp_path / "a.mp4", [numbered(index, width=96, height=96) for index in range(10)]))


def test_crops_and_their_record(video: VideoRef) -> None:
    record, crops = crops_of(video, SETTINGS, "mark")
    assert [number_of(crop) for crop in crops] == [0, 3, 6, 9]
    assert record.crops == tuple((frame, 0, 0, 96, 96) for frame in (0, 3, 6, 9))
    assert (record.num_frames, record.num_sampled, record.misses, record.fingerprint) == (10, 4, {}, "mark")


def test_misses_are_listed_by_reason(video: VideoRef) -> None:
    haar = BuildSettings(real="every:3", faces=FaceSettings(detector="haar"))
    record, crops = crops_of(video, haar, "")
    assert record.misses == {"no face": (0, 3, 6, 9)}
    assert crops.shape == (0, 224, 224, 3)
    blurred = BuildSettings(real="every:9", faces=FaceSettings(detector="none", min_sharpness=1e9))
    assert crops_of(video, blurred, "")[0].misses == {"blurred": (0, 9)}


def test_a_scratch_file_is_read_back(video: VideoRef, tmp_path: Path) -> None:
    outcome = extract(video, SETTINGS, str(tmp_path))
    assert outcome.record is not None
    mark = fingerprint(video.path)
    found = read_scratch(open_folder(str(tmp_path)), video, mark)
    assert found is not None
    assert found[0] == outcome.record
    np.testing.assert_array_equal(found[1], crops_of(video, SETTINGS, mark)[1])


def test_a_whole_scratch_file_is_taken_as_it_is(video: VideoRef, tmp_path: Path) -> None:
    first = extract(video, SETTINGS, str(tmp_path))
    video.path.write_bytes(video.path.read_bytes())
    path = tmp_path / scratch_name(video, fingerprint(video.path))
    before = path.stat().st_mtime_ns
    assert extract(video, SETTINGS, str(tmp_path)) == first
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["empty", "short", "flipped"])
def test_a_torn_scratch_file_is_written_again(video: VideoRef, tmp_path: Path, damage: str) -> None:
    extract(video, SETTINGS, str(tmp_path))
    path = tmp_path / scratch_name(video, fingerprint(video.path))
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    path.write_bytes({"empty": b"", "short": whole[:-1], "flipped": bytes(flipped)}[damage])
    assert read_scratch(open_folder(str(tmp_path)), video, fingerprint(video.path)) is None
    assert extract(video, SETTINGS, str(tmp_path)).record is not None
    assert path.read_bytes() == whole


def test_a_video_without_a_face_has_a_scratch_file_too(video: VideoRef, tmp_path: Path) -> None:
    record, crops = crops_of(video, BuildSettings(faces=FaceSettings(detector="haar")), "m")
    open_folder(str(tmp_path)).write(scratch_name(video, "m"), encode_scratch(record, crops))
    found = read_scratch(open_folder(str(tmp_path)), video, "m")
    assert found is not None
    assert found[0] == record
    assert len(found[1]) == 0


def test_fingerprints_tell_files_apart(tmp_path: Path) -> None:
    path = tmp_path / "a"
    marks = set()
    for content in (b"", b"x", b"y", b"x" * 200_000, b"x" * 200_001, b"y" + b"x" * 199_999, b"x" * 199_999 + b"y"):
        path.write_bytes(content)
        marks.add(fingerprint(path))
    assert len(marks) == 7
    (tmp_path / "images").mkdir()
    empty = fingerprint(tmp_path / "images")
    (tmp_path / "images/0.png").write_bytes(b"x")
    assert fingerprint(tmp_path / "images") != empty


def test_a_video_that_cannot_be_read_is_an_outcome(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    outcome = extract(reference(tmp_path / "a.mp4"), SETTINGS, str(tmp_path))
    assert (outcome.unreadable, outcome.record) == ("the file is empty", None)
    assert outcome.fingerprint == fingerprint(tmp_path / "a.mp4")
    missing = extract(reference(tmp_path / "b.mp4"), SETTINGS, str(tmp_path))
    assert (missing.unreadable, missing.fingerprint) == ("No such file or directory", None)

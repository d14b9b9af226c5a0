"""Bad videos: each is refused in one line that says what to do."""

from pathlib import Path

import numpy as np
import pytest

from data_store.errors import InputError
from demo import footage
from demo.footage import open_footage
from tests.demo import films


def refused(path: Path, match: str, *, max_minutes: float = 5) -> None:
    with pytest.raises(InputError, match=match) as caught:
        open_footage(path, max_minutes=max_minutes)
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value)  # a remedy follows


def test_no_such_file_or_a_folder(tmp_path: Path) -> None:
    refused(tmp_path / "no.mp4", "must be a file")
    refused(tmp_path, "must be a file")


@pytest.mark.parametrize(
    "content",
    [
        b"just words, no video\n" * 50,
        b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        bytes(999),
    ],
    ids=["text", "playlist", "concat", "zeros"],
)
def test_what_is_no_video_is_refused_and_opens_no_other_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    refused(path, "must be readable")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    refused(tmp_path / "a.mp4", "empty")


def test_an_image_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(films.jpeg(next(films.faces(1))))
    refused(path, "a video")


def test_sound_alone(tmp_path: Path) -> None:
    path = films.write(tmp_path / "v.mp4", films.faces(10), sound="aac")
    alone = films.sound_alone(path, tmp_path / "alone.mp4")
    refused(alone, "no video stream")


def test_no_frames(tmp_path: Path) -> None:
    refused(films.write_no_frames(tmp_path / "a.mkv"), "must have frames|must be readable|no video stream")


def test_a_broken_container(tmp_path: Path) -> None:
    whole = films.write(tmp_path / "whole.mp4", films.faces(10)).read_bytes()
    path = tmp_path / "broken.mp4"
    path.write_bytes(whole[: len(whole) // 2])  # the index at the end is gone
    refused(path, "must be readable")


def test_too_long_is_refused_before_decoding_with_the_remedy(tmp_path: Path) -> None:
    path = films.write(tmp_path / "long.mp4", films.empty(4), times=[0, 100, 200, 3 * 3600 * 1000])
    refused(path, r"lasts 180; raise --max-minutes, or cut a piece: ffmpeg", max_minutes=30)
    assert open_footage(path, max_minutes=200).duration_s == pytest.approx(3 * 3600, abs=1)


def test_8k_is_taken_and_more_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = films.write(tmp_path / "8k.mp4", [np.full((4320, 7680, 3), 90, np.uint8)])
    opened = open_footage(path, max_minutes=5)
    assert (opened.width, opened.height, opened.shown_width, opened.shown_height) == (7680, 4320, 1920, 1080)
    monkeypatch.setattr(footage, "MAX_SIDE_PX", 4096)
    refused(path, "at most 4096 px, but 8k.mp4 has 7680 x 4320")


def test_odd_sizes_lose_a_line(tmp_path: Path) -> None:
    path = films.write(tmp_path / "odd.mkv", [np.full((91, 121, 3), 90, np.uint8)] * 3, codec="ffv1", pix_fmt="yuv420p")
    opened = open_footage(path, max_minutes=5)
    assert (opened.width, opened.height, opened.shown_width, opened.shown_height) == (121, 91, 120, 90)
    (first, *_) = footage.pictures(opened)
    assert [plane.shape for plane in first.planes] == [(90, 120), (45, 60), (45, 60)]

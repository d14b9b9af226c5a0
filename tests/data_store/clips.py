"""Small videos for tests: each frame carries its own number, so that a test can tell which frame it got."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.stream import VideoStream

BITS = 12
CELL_PX = 8


def numbered(index: int, *, width: int = 96, height: int = 64) -> npt.NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB: a grey ramp, and across the top the bits of the frame's number."""
    frame = np.empty((height, width, 3), np.uint8)
    frame[:] = np.linspace(60, 180, width, dtype=np.uint8)[None, :, None]
    frame[CELL_PX : 2 * CELL_PX, (index * 3) % (width - CELL_PX) :][:, :CELL_PX] = (200, 40, 40)  # motion: B frames
    for bit in range(BITS):
        frame[:CELL_PX, bit * CELL_PX : (bit + 1) * CELL_PX] = 255 if index >> bit & 1 else 0
    return frame


def number_of(frame: npt.NDArray[np.uint8]) -> int:
    """The number that a numbered frame carries, in either colour order."""
    row = frame[CELL_PX // 2, CELL_PX // 2 : BITS * CELL_PX : CELL_PX].mean(axis=-1)
    return sum(1 << bit for bit, value in enumerate(row) if value > 127)


def write_clip(
    path: Path,
    frames: int | Sequence[npt.NDArray[np.uint8]],
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    fps: int = 25,
) -> Path:
    """Write a video of numbered frames, or of the frames given (RGB), and return its path."""
    pictures: Iterable[npt.NDArray[np.uint8]] = (
        [numbered(index) for index in range(frames)] if isinstance(frames, int) else frames
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        assert isinstance(stream, VideoStream)
        stream.pix_fmt = "yuv420p"
        stream.options = {**(options or {})}
        started = False
        for picture in pictures:
            if not started:
                stream.height, stream.width = picture.shape[:2]
                started = True
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def ffpp(
    root: Path,
    *,
    pairs: Sequence[tuple[str, str]] = (("000", "003"), ("001", "002"), ("004", "005")),
    categories: Sequence[str] = ("Deepfakes", "FaceSwap"),
    frames: int = 40,
    size: tuple[int, int] = (96, 64),
    split_files: bool = True,
) -> Path:
    """Write a small FaceForensics++ folder of numbered videos, one pair a split, and return its root."""
    pictures = [numbered(index, width=size[0], height=size[1]) for index in range(frames)]
    for pair in pairs:
        for target, source in (pair, pair[::-1]):
            write_clip(root / f"original_sequences/youtube/c23/videos/{target}.mp4", pictures)
            for category in categories:
                write_clip(root / f"manipulated_sequences/{category}/c23/videos/{target}_{source}.mp4", pictures)
    if split_files:
        (root / "splits").mkdir(exist_ok=True)
        for number, name in enumerate(("train", "val", "test")):
            (root / f"splits/{name}.json").write_text(json.dumps(pairs[number::3]))
    return root

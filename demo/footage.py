"""A video to be marked: what it is, whether it may be worked on, and its frames in order."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from data_store.errors import InputError
from data_store.frames import UnreadableError, check_container, reason_of, upright

MAX_SIDE_PX = 8192
"""Longest side that is read: 8K."""
SHOWN_PX = 1920
"""Longest side of the marked video, unless asked otherwise: what every browser plays."""
# A playlist that calls itself .mp4 would make FFmpeg open other files of this machine: only containers are read.
SAFE = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,h264,hevc,mxf,gif",
}
DECODERS = 2
"""Decoder threads."""

Planes = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]
"""Y ``(height, width)``, U and V ``(height / 2, width / 2)``, uint8: what the marked video is encoded from."""


@dataclass(frozen=True, kw_only=True)
class Footage:
    """A video that was opened, whose first frame was decoded."""

    path: Path
    """The file."""
    width: int
    """Of a frame as players show it, in pixels."""
    height: int
    """Of a frame as players show it, in pixels."""
    turns: int
    """Quarter turns, counterclockwise, that bring a stored frame upright."""
    shown_width: int
    """Of the marked video; even."""
    shown_height: int
    """Of the marked video; even."""
    fps: Fraction
    """Frames a second, on average."""
    time_base: Fraction
    """Seconds in one unit of the frames' timestamps."""
    start_pts: int
    """Timestamp of the first frame."""
    duration_s: float | None
    """As the container says; None where it does not."""
    aspect: Fraction
    """Width of a stored pixel by its height."""

    @property
    def scale(self) -> float:
        """Pixels of the marked video in one of the frame."""
        return max(self.shown_width, self.shown_height) / max(self.width, self.height)

    @property
    def num_frames(self) -> int | None:
        """Frames, about; None where the container does not say how long it is."""
        return None if self.duration_s is None else max(1, round(self.duration_s * self.fps))


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One frame. The arrays may be the decoder's own: they are read, never written."""

    index: int
    """Frames before this one."""
    pts: int
    """Timestamp, from 0, strictly ascending."""
    time_s: float
    """The same in seconds."""
    planes: Planes
    """Upright, at the marked video's size."""
    stored: VideoFrame
    """As decoded."""

    @property
    def pixels(self) -> NDArray[np.uint8] | None:
        """``(height, width, 3)`` uint8 BGR, upright, exactly what the store cuts faces from; None where damaged."""
        return upright(self.stored)


def open_footage(path: Path, *, max_minutes: float, shown_px: int = SHOWN_PX) -> Footage:
    """Open a video, decode its first frame and see that it may be worked on.

    Args:
        path: the file.
        max_minutes: longest video that is taken.
        shown_px: longest side of the marked video; 0 for the source's own.

    Raises:
        InputError: no such file, no video, no frames, too large, too long.
    """
    if not path.is_file():
        raise InputError(f"a video must be a file, but {str(path)!r} is not one; check the path")
    if path.stat().st_size == 0:
        raise InputError(f"a video must have frames, but {path.name} is empty (0 bytes); copy it again")
    try:
        with av.open(str(path), options=SAFE) as container:
            check_container(container)
            stream = container.streams.video[0]
            codec = stream.codec_context
            duration_s = _duration_s(container)
            if max(codec.width, codec.height) > MAX_SIDE_PX:
                raise InputError(
                    f"a frame's sides must be at most {MAX_SIDE_PX} px, but {path.name} has {codec.width} x "
                    f"{codec.height}; scale it down first: ffmpeg -i IN -vf scale=3840:-2 OUT.mp4"
                )
            refuse_long(path, duration_s, max_minutes)
            first = next(container.decode(stream), None)
            if first is None:
                raise InputError(f"a video must have frames, but {path.name} has none; export it again")
            return _described(path, stream, first, duration_s, shown_px)
    except UnreadableError as error:
        raise InputError(f"a video is needed, but {path.name} is none: {error}; choose another file") from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"a video must be readable, but {path.name} is not ({reason_of(error)}); play it to check, or export it "
            "again as MP4"
        ) from error


def refuse_long(path: Path, duration_s: float | None, max_minutes: float) -> None:
    """Refuse a video above the limit.

    Raises:
        InputError: it is longer.
    """
    if duration_s is not None and duration_s > 60.0 * max_minutes:
        raise InputError(
            f"a video may last at most {max_minutes:g} minutes, but {path.name} lasts {duration_s / 60:.0f}; raise "
            f"--max-minutes, or cut a piece: ffmpeg -ss 0 -t {60 * max_minutes:.0f} -i IN -c copy OUT.mp4"
        )


def pictures(footage: Footage) -> Iterator[Picture]:
    """Decode every frame, in order.

    Raises:
        UnreadableError: decoding stops before the end.
    """
    index, last = 0, -1
    one_frame = max(1, round(1 / (footage.fps * footage.time_base)))
    try:
        with av.open(str(footage.path), options=SAFE) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = DECODERS
            for frame in container.decode(stream):
                pts = last + one_frame if frame.pts is None else frame.pts - footage.start_pts
                pts = max(pts, last + 1)  # a broken file's timestamps may stand still, an encoder's may not
                planes = _planes(frame, footage)
                time_s = float(pts * footage.time_base)
                yield Picture(index=index, pts=pts, time_s=time_s, planes=planes, stored=frame)
                index, last = index + 1, pts
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise UnreadableError(f"decoding stops at frame {index}: {reason_of(error)}") from error


def _duration_s(container: InputContainer) -> float | None:
    stream = container.streams.video[0]
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _described(path: Path, stream: Any, first: VideoFrame, duration_s: float | None, shown_px: int) -> Footage:  # noqa: ANN401 - PyAV has no types
    turns = round(first.rotation / 90) % 4
    width, height = (first.height, first.width) if turns % 2 else (first.width, first.height)
    scale = min(1.0, shown_px / max(width, height)) if shown_px else 1.0
    aspect = stream.sample_aspect_ratio or Fraction(1)
    return Footage(
        path=path,
        width=width,
        height=height,
        turns=turns,
        shown_width=max(2, int(width * scale) // 2 * 2),
        shown_height=max(2, int(height * scale) // 2 * 2),
        fps=stream.average_rate or stream.guessed_rate or Fraction(25),
        time_base=stream.time_base or Fraction(1, 90_000),
        start_pts=first.pts or 0,
        duration_s=duration_s,
        aspect=1 / aspect if turns % 2 else aspect,
    )


def _planes(frame: VideoFrame, footage: Footage) -> Planes:
    """The frame upright, 8 bits, every second pixel coloured, at the marked video's size."""
    width, height = footage.shown_width, footage.shown_height
    if footage.turns % 2:
        width, height = height, width
    if frame.format.name != "yuv420p" or frame.width // 2 * 2 != width or frame.height // 2 * 2 != height:
        frame = frame.reformat(width=width, height=height, format="yuv420p")
    planes = pixels_of(frame, width, height)
    if not footage.turns:
        return planes
    turn = {1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_CLOCKWISE}[footage.turns]
    y, u, v = (cv2.rotate(plane, turn).astype(np.uint8, copy=False) for plane in planes)
    return y, u, v


def pixels_of(frame: VideoFrame, width: int, height: int) -> Planes:
    """The planes of a yuv420p frame, no copy; width and height even, at most the frame's own."""
    rows, columns = (height, height // 2, height // 2), (width, width // 2, width // 2)
    buffers: Any = frame.planes
    y, u, v = (
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:down, :across]
        for plane, down, across in zip(buffers, rows, columns, strict=True)
    )
    return y, u, v

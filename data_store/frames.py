"""Reading chosen frames of a video, or of a folder of images, exactly and without decoding more than needed."""

import bisect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from data_store.layouts import IMAGE_SUFFIXES, files_with


class UnreadableError(Exception):
    """A video cannot be read; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A video that was opened and counted, but not decoded."""

    path: Path
    """The video file, the image, or the folder of images."""
    num_frames: int
    """Frames that a player would show."""
    timestamps: tuple[int, ...]
    """Of each frame, ascending, in the stream's unit; empty where frames must be counted by decoding."""
    segments: tuple[tuple[int, int], ...]
    """(first, last) segment in stored order that each frame needs; a segment starts at a keyframe."""
    images: tuple[Path, ...]
    """The frames of a folder of images."""


def open_clip(path: Path) -> Clip:
    """Open a video and count its frames by reading its packets, without decoding one.

    Raises:
        UnreadableError: no video, an empty or truncated file, no frames.
    """
    if path.is_dir():
        return _image_clip(path, sorted(files_with(path, IMAGE_SUFFIXES), key=natural_order))
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return _image_clip(path, [path])
    try:
        if path.stat().st_size == 0:
            raise UnreadableError("the file is empty")
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UnreadableError("the file has no video stream")
            return _scan(path, container)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise UnreadableError(_reason(error)) from error


def read_frames(clip: Clip, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
    """Decode chosen frames, each exactly the frame that decoding the whole video would give.

    Stretches between keyframes that hold no chosen frame are passed over, frames that no other frame refers to
    are not decoded unless chosen, and reading stops after the last chosen frame.

    Args:
        clip: from :func:`open_clip`.
        indices: frame numbers below ``clip.num_frames``, ascending.

    Yields:
        Frame number and frame ``(height, width, 3)`` uint8 BGR, upright; ``None`` for a damaged frame.

    Raises:
        UnreadableError: the video ends or breaks before the last chosen frame.
    """
    if clip.images:
        for index in indices:
            yield index, read_image(clip.images[index])
        return
    wanted = sorted(set(indices))
    done = 0
    try:
        for index, frame in _decode(clip, wanted):
            yield index, frame
            done += 1
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise UnreadableError(f"decoding stops before frame {wanted[done]}: {_reason(error)}") from error
    if done < len(wanted):
        raise UnreadableError(f"decoding stops before frame {wanted[done]} of {clip.num_frames}")


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as ``(height, width, 3)`` uint8 BGR.

    Raises:
        UnreadableError: the file is no image.
    """
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise UnreadableError(_reason(error)) from error
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise UnreadableError(f"{path.name} is not an image")
    return image.astype(np.uint8, copy=False)


def natural_order(path: Path) -> tuple[tuple[int, str], ...]:
    """Sort key that puts ``2.png`` before ``10.png``."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name)
    return tuple((int(part), "") if part.isdigit() and part.isascii() else (-1, part) for part in parts)


def _image_clip(path: Path, images: list[Path]) -> Clip:
    if not images:
        raise UnreadableError("the folder holds no image")
    return Clip(path=path, num_frames=len(images), timestamps=(), segments=(), images=tuple(images))


def _scan(path: Path, container: InputContainer) -> Clip:
    """Count the packets and note which keyframe each frame hangs on."""
    stream = container.streams.video[0]
    entries: list[tuple[int, int]] = []  # (timestamp, segment in stored order)
    keys: list[int] = []
    ordered = True
    stored = 0
    for packet in container.demux(stream):
        if not packet.size:
            continue
        stored += 1
        if packet.is_discard:
            continue
        if packet.pts is None:
            ordered = False
            continue
        if packet.is_keyframe:
            keys.append(packet.pts)
        entries.append((packet.pts, max(len(keys) - 1, 0)))
    if stream.frames > stored:
        raise UnreadableError(f"truncated: {stored} of {stream.frames} frames are there")
    timestamps = sorted(pts for pts, _ in entries)
    exact = ordered and len(set(timestamps)) == len(timestamps) == stored and keys == sorted(keys)
    if not timestamps or not exact:
        return _count_by_decoding(path)
    by_time = dict(entries)
    segments = tuple((max(bisect.bisect_right(keys, pts) - 1, 0), by_time[pts]) for pts in timestamps)
    return Clip(path=path, num_frames=len(timestamps), timestamps=tuple(timestamps), segments=segments, images=())


def _count_by_decoding(path: Path) -> Clip:
    """For the rare file whose packets carry no usable timestamps, or whose edit list hides frames."""
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        num_frames = sum(1 for _ in container.decode(video=0))
    if num_frames == 0:
        raise UnreadableError("the video has no frames")
    return Clip(path=path, num_frames=num_frames, timestamps=(), segments=(), images=())


def _decode(clip: Clip, wanted: list[int]) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
    with av.open(str(clip.path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # a worker has one core; frames are worked on side by side
        if not clip.timestamps:
            chosen = set(wanted)
            for index, frame in enumerate(container.decode(stream)):
                if index in chosen:
                    yield index, _picture(frame)
                if index >= wanted[-1]:
                    return
            return
        index_of = {clip.timestamps[index]: index for index in wanted}
        needed = {segment for index in wanted for segment in range(*_span(clip.segments[index]))}
        for frame in _needed_frames(container, stream, needed, index_of):
            if frame.pts is not None and frame.pts in index_of:
                yield index_of.pop(frame.pts), _picture(frame)
            if not index_of:
                return


def _span(segments: tuple[int, int]) -> tuple[int, int]:
    return segments[0], segments[1] + 1


def _needed_frames(
    container: InputContainer, stream: VideoStream, needed: set[int], chosen: dict[int, int]
) -> Iterator[VideoFrame]:
    """Feed the decoder with the needed segments only; unchosen frames that nothing refers to are skipped."""
    decoder = stream.codec_context
    segment, keys, fed = 0, 0, False
    for packet in container.demux(stream):
        if packet.size and packet.is_keyframe:
            segment, keys = keys, keys + 1
        if packet.size and segment not in needed:
            if fed:  # the frames that the decoder still holds, before the gap
                yield from decoder.decode(None)
                decoder.flush_buffers()
                fed = False
            continue
        if packet.size:
            decoder.skip_frame = "DEFAULT" if packet.pts in chosen else "NONREF"
            fed = True
        yield from decoder.decode(packet)


def _picture(frame: VideoFrame) -> NDArray[np.uint8] | None:
    """The frame's pixels, turned upright as players show them; ``None`` where the decoder marks it damaged."""
    if frame.is_corrupt:
        return None
    pixels = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _reason(error: Exception) -> str:
    """The bare reason of an exception: no error number, no path."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__

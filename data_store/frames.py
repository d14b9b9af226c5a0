"""Reading chosen frames of a video, or of a folder of images, exactly and without decoding more than needed."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from data_store.listing import IMAGE_SUFFIXES, files_with


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
            check_container(container)
            return _scan(path, container)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise UnreadableError(reason_of(error)) from error


def check_container(container: InputContainer) -> None:
    """Refuse what FFmpeg opens and no one calls a video.

    Raises:
        UnreadableError: a picture, a text, or sound alone.
    """
    if container.format.name.endswith("_pipe") or container.format.name in ("image2", "tty"):
        raise UnreadableError("the file is no video, though its name says so")
    if not container.streams.video:
        raise UnreadableError("the file has no video stream")


def read_frames(clip: Clip, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
    """Decode chosen frames, each exactly the frame that decoding the whole video would give.

    Frames that no other frame refers to are not decoded unless chosen, and reading stops after the last chosen one.

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
        raise UnreadableError(f"decoding stops before frame {wanted[done]}: {reason_of(error)}") from error
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
        raise UnreadableError(reason_of(error)) from error
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
    return Clip(path=path, num_frames=len(images), timestamps=(), images=tuple(images))


def _scan(path: Path, container: InputContainer) -> Clip:
    """Count the packets: one is one frame, save for those that an edit list hides."""
    stream = container.streams.video[0]
    timestamps: list[int] = []
    stored = 0
    for packet in container.demux(stream):
        if packet.size:
            stored += 1
            if packet.pts is not None and not packet.is_discard:
                timestamps.append(packet.pts)
    if stream.frames > stored:
        raise UnreadableError(f"truncated: {stored} of {stream.frames} frames are there")
    if not timestamps or len(set(timestamps)) != stored:
        return _count_by_decoding(path)
    return Clip(path=path, num_frames=stored, timestamps=tuple(sorted(timestamps)), images=())


def _count_by_decoding(path: Path) -> Clip:
    """For the rare file whose packets carry no usable timestamps, or whose edit list hides frames."""
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        num_frames = sum(1 for _ in container.decode(video=0))
    if num_frames == 0:
        raise UnreadableError("the video has no frames")
    return Clip(path=path, num_frames=num_frames, timestamps=(), images=())


def _decode(clip: Clip, wanted: list[int]) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
    """Decode from the start to the last chosen frame, passing over unchosen frames that no other refers to.

    Starting at a later keyframe would be quicker still, and wrong: the first packet may tell the decoder which
    encoder's faults to allow for, and without it FaceForensics++'s videos come out with other pixels.
    """
    with av.open(str(clip.path)) as container:
        stream = container.streams.video[0]
        decoder = stream.codec_context
        decoder.thread_count = 1  # a worker has one core; videos are worked on side by side
        if not clip.timestamps:
            chosen = set(wanted)
            for index, frame in enumerate(container.decode(stream)):
                if index in chosen:
                    yield index, upright(frame)
                if index >= wanted[-1]:
                    return
            return
        index_of = {clip.timestamps[index]: index for index in wanted}
        times = set(index_of)
        for packet in container.demux(stream):
            decoder.skip_frame = "DEFAULT" if packet.pts in times else "NONREF"
            for frame in decoder.decode(packet):
                if frame.pts is not None and frame.pts in index_of:
                    yield index_of.pop(frame.pts), upright(frame)
            if not index_of:
                return


def upright(frame: VideoFrame) -> NDArray[np.uint8] | None:
    """The frame's pixels, turned upright as players show them; ``None`` where the decoder marks it damaged."""
    if frame.is_corrupt:
        return None
    pixels = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def reason_of(error: Exception) -> str:
    """The bare reason of an exception: no error number, no path."""
    text = getattr(error, "strerror", None)
    if text:
        return str(text)
    return str(error).splitlines()[0] if str(error) else type(error).__name__

"""One video in, its face crops out, kept in a scratch file until they are dealt to shards."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_store.faces import Detector, find_faces, make_detector
from data_store.folders import Folder, open_folder
from data_store.frames import UnreadableError, open_clip, read_frames
from data_store.listing import IMAGE_SUFFIXES, VideoRef, files_with
from data_store.settings import BuildSettings, FaceSettings

EDGE_BYTES = 65_536


@dataclass(frozen=True, kw_only=True)
class VideoRecord:
    """What was read from one video."""

    fingerprint: str
    """Of the file; see :func:`fingerprint`."""
    num_frames: int
    """Frames in the video."""
    num_sampled: int
    """Frames that were looked at."""
    crops: tuple[tuple[int, int, int, int, int], ...]
    """(frame, x, y, width, height) of each face, in order."""
    misses: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Sampled frames that gave no crop, by reason."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one video's extraction: a record, or one of two reasons."""

    record: VideoRecord | None = None
    """It was read."""
    unreadable: str | None = None
    """It could not be read, for this reason."""
    unwritable: str | None = None
    """Its crops could not be written, for this reason."""
    fingerprint: str | None = None
    """Of the file, where it could be told; see :func:`fingerprint`."""


def extract(ref: VideoRef, settings: BuildSettings, scratch: str) -> Outcome:
    """Read a video's crops into a scratch file; a whole one that is already there is taken as it is.

    Args:
        ref: the video.
        settings: the build's, with ``auto`` resolved.
        scratch: address of the scratch folder.
    """
    cv2.setNumThreads(1)  # videos are worked on side by side; it also makes the cascade's result reproducible
    folder = open_folder(scratch)
    mark = None
    try:
        mark = fingerprint(ref.path)
        done = read_scratch(folder, ref, mark)
        if done is not None:
            return Outcome(record=done[0])
        record, crops = crops_of(ref, settings, mark)
    except UnreadableError as error:
        return Outcome(unreadable=str(error), fingerprint=mark)
    except OSError as error:
        return Outcome(unreadable=error.strerror or str(error))
    try:
        folder.write(scratch_name(ref, mark), encode_scratch(record, crops), durable=False)
    except OSError as error:
        return Outcome(unwritable=error.strerror or str(error))
    return Outcome(record=record)


def crops_of(ref: VideoRef, settings: BuildSettings, mark: str) -> tuple[VideoRecord, NDArray[np.uint8]]:
    """Sample a video's frames, find the faces and cut them out.

    Returns:
        The record and the crops ``(faces, crop_px, crop_px, 3)`` uint8 RGB in its order.

    Raises:
        UnreadableError: the video cannot be read to its last sampled frame.
    """
    clip = open_clip(ref.path)
    sampling = settings.sampling(ref.category, ref.label)
    indices = sampling.frame_indices(clip.num_frames, seed=settings.seed, key=ref.relative)
    detector = _detector(settings.faces)
    found: list[tuple[int, int, int, int, int]] = []
    crops: list[NDArray[np.uint8]] = []
    misses: dict[str, list[int]] = {}
    for index, frame in read_frames(clip, indices):
        faces, miss = (
            ([], "damaged frame") if frame is None else find_faces(frame, detector, settings.faces, settings.crop_px)
        )
        if miss is not None:
            misses.setdefault(miss, []).append(index)
        found.extend((index, *face.box) for face in faces)
        crops.extend(face.crop for face in faces)
    record = VideoRecord(
        fingerprint=mark,
        num_frames=clip.num_frames,
        num_sampled=len(indices),
        crops=tuple(found),
        misses={reason: tuple(frames) for reason, frames in sorted(misses.items())},
    )
    side = settings.crop_px
    return record, np.stack(crops) if crops else np.empty((0, side, side, 3), np.uint8)


def fingerprint(path: Path) -> str:
    """Tell whether a video has changed, without reading all of it.

    The SHA-256 of a file's size and its first and last 64 KiB; of a folder of images, of their names and sizes.
    """
    digest = hashlib.sha256()
    if path.is_dir():
        for image in files_with(path, IMAGE_SUFFIXES):
            digest.update(f"{image.name}\n{image.stat().st_size}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as file:
        size = file.seek(0, 2)
        digest.update(f"{size}\n".encode())
        file.seek(0)
        digest.update(file.read(EDGE_BYTES))
        file.seek(max(EDGE_BYTES, size - EDGE_BYTES))
        digest.update(file.read(EDGE_BYTES))
    return digest.hexdigest()


def scratch_name(ref: VideoRef, mark: str) -> str:
    """Name of a video's scratch file."""
    return hashlib.sha256(f"{ref.relative}\n{mark}".encode()).hexdigest()[:32]


def encode_scratch(record: VideoRecord, crops: NDArray[np.uint8]) -> bytes:
    """SHA-256 of the rest, length of the record, the record as JSON, the crops' bytes."""
    text = json.dumps(dataclasses.asdict(record)).encode()
    body = len(text).to_bytes(8, "little") + text + crops.tobytes()
    return hashlib.sha256(body).digest() + body


def read_scratch(folder: Folder, ref: VideoRef, mark: str) -> tuple[VideoRecord, NDArray[np.uint8]] | None:
    """Read a video's scratch file: its record and crops; ``None`` where there is none or it is not whole.

    A scratch file is not synced to the disk when it is written, so a power cut may leave a torn one: the checksum
    tells, and the video is read again.
    """
    try:
        data = memoryview(folder.read(scratch_name(ref, mark)))
    except FileNotFoundError:
        return None
    if len(data) < 40 or hashlib.sha256(data[32:]).digest() != data[:32]:
        return None
    length = int.from_bytes(data[32:40], "little")
    values = json.loads(bytes(data[40 : 40 + length]))
    record = record_from(values)
    pixels = np.frombuffer(data, np.uint8, offset=40 + length)
    side = round((pixels.size / max(len(record.crops), 1) / 3) ** 0.5)
    return record, pixels.reshape(len(record.crops), side, side, 3)


def record_from(values: Mapping[str, Any]) -> VideoRecord:
    """Turn a record's JSON values back into a :class:`VideoRecord`."""
    return VideoRecord(
        fingerprint=values["fingerprint"],
        num_frames=values["num_frames"],
        num_sampled=values["num_sampled"],
        crops=tuple(tuple(crop) for crop in values["crops"]),
        misses={reason: tuple(frames) for reason, frames in values["misses"].items()},
    )


@functools.lru_cache(maxsize=2)
def _detector(settings: FaceSettings) -> Detector:
    """One detector a process: loading a cascade takes longer than using it."""
    return make_detector(settings)

"""A data set's videos as its layout lists them: who is in them, what they are, where they belong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

UNKNOWN = "unknown"
"""In place of an identity that the data set does not tell."""
VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"})
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})


@dataclass(frozen=True, kw_only=True)
class VideoRef:
    """One video of a data set."""

    path: Path
    """Absolute path: a video, an image, or a folder of images."""
    relative: str
    """The path below the data set's root, with ``/``: the video's identity in a store."""
    video_id: str
    """Unique within its category: ``000``, ``000_003``."""
    category: str
    """``youtube``, ``Deepfakes``, ..."""
    label: int
    """0 real, 1 fake."""
    target_id: str
    """Whose video it is."""
    source_id: str
    """Whose face or expression was put in; the target for a real video, ``unknown`` where the data set is silent."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a layout found."""

    layout: str
    """Name in :data:`LAYOUTS`."""
    videos: tuple[VideoRef, ...]
    """The videos, sorted by relative path."""
    official: Mapping[str, str] | None
    """The data set's own split by relative path; ``None`` where it has none."""
    guarantee: str
    """What the official split keeps apart: ``identity``, ``video`` or ``none``."""
    names_people: bool = True
    """Targets are people. Where they are only videos or files, nothing can be said of who is in two splits."""
    missing_split: str = "this layout has none"
    """Why ``official`` is ``None``."""
    compression: str | None = None
    """FaceForensics++ only: the compression that was taken."""
    ready_crops: bool = False
    """The "videos" are images of faces, already cut out."""
    ignored: Mapping[str, int] = field(default_factory=dict)
    """Files that are no part of the data set, counted by reason."""


def files_with(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """Files of a folder with one of the suffixes (in any case), hidden ones left out, sorted by name."""
    files = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in files if path.suffix.lower() in suffixes)


def files_without(folder: Path, suffixes: frozenset[str]) -> int:
    """Count the files of a folder that have none of the suffixes, hidden ones left out."""
    return sum(
        path.is_file() and path.suffix.lower() not in suffixes
        for path in folder.iterdir()
        if not path.name.startswith(".")
    )

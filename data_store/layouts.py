"""Where each data set keeps its videos, who is in them, and what its own split guarantees.

A layout is one function, registered by name in :data:`LAYOUTS`: it gets the data set's root and gives a
:class:`Listing`, or ``None`` where the root does not look like its data set.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_store.errors import InputError

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
    missing_split: str = "this layout has none"
    """Why ``official`` is ``None``."""
    compression: str | None = None
    """FaceForensics++ only: the compression that was taken."""
    ready_crops: bool = False
    """The "videos" are images of faces, already cut out."""


def find_videos(root: Path, layout: str = "auto", *, compression: str | None = None) -> Listing:
    """Find the videos of a data set.

    Args:
        root: the data set's folder.
        layout: name in :data:`LAYOUTS`, or ``auto`` to recognise it.
        compression: FaceForensics++ only; see ``BuildSettings``.

    Raises:
        InputError: no such folder or layout, no video, or split files that contradict themselves.
    """
    root = root.expanduser().absolute()
    if not root.is_dir():
        raise InputError(
            f"videos must be a folder, but {root} is {'a file' if root.exists() else 'not there'}; check the path"
        )
    if layout != "auto" and layout not in LAYOUTS:
        raise InputError(f"layout must be auto or one of {', '.join(LAYOUTS)}, but got {layout!r}")
    names = list(LAYOUTS) if layout == "auto" else [layout]
    for name in names:
        listing = LAYOUTS[name](root, compression)
        if listing is not None and listing.videos:
            _check_unique(listing)
            return listing
    if layout == "auto":
        raise InputError(
            f"videos must lie in a known layout ({', '.join(LAYOUTS)}), but {root} holds no video in any of them; "
            "check the path or see docs/data.md"
        )
    raise InputError(f"layout {layout} finds no video below {root}; check the path or leave --layout out")


def _check_unique(listing: Listing) -> None:
    seen: dict[tuple[str, str], str] = {}
    for ref in listing.videos:
        other = seen.setdefault((ref.category, ref.video_id), ref.relative)
        if other != ref.relative:
            raise InputError(
                f"a video's name must be unique in its category, but {other} and {ref.relative} are both "
                f"{ref.category} {ref.video_id}; keep one of them"
            )


# --- FaceForensics++ (Roessler et al. 2019), with FaceShifter and DeepFakeDetection


def faceforensics(root: Path, compression: str | None) -> Listing | None:
    """``{original,manipulated}_sequences/CATEGORY/COMPRESSION/videos/*.mp4``, split by ``splits/*.json``."""
    folders = [(0, root / "original_sequences"), (1, root / "manipulated_sequences")]
    if not any(folder.is_dir() for _, folder in folders):
        return None
    places = [
        (label, place)
        for label, folder in folders
        if folder.is_dir()
        for place in sorted(folder.glob("*/*/videos"))
        if place.is_dir()
    ]
    compression = _one_compression(root, {place.parent.name for _, place in places}, compression)
    videos = [
        _faceforensics_video(root, path, place.parent.parent.name, label)
        for label, place in places
        if place.parent.name == compression
        for path in files_with(place, VIDEO_SUFFIXES)
    ]
    videos.sort(key=lambda ref: ref.relative)
    pairs = _official_pairs(root / "splits")
    official = None
    if pairs is not None:
        official = {}
        for ref in videos:
            split = pairs.get(ref.target_id)
            if split is not None and split == pairs.get(ref.source_id):
                official[ref.relative] = split
    return Listing(
        layout="ffpp",
        videos=tuple(videos),
        official=official,
        guarantee="identity",
        compression=compression,
        missing_split=f"{root}/splits/train.json, val.json and test.json are not there",
    )


def _one_compression(root: Path, there: set[str], asked: str | None) -> str | None:
    if asked is not None:
        if asked not in there:
            raise InputError(
                f"compression must be one that {root} has ({', '.join(sorted(there)) or 'none'}), but got {asked!r}"
            )
        return asked
    if len(there) > 1:
        names = ", ".join(sorted(there))
        raise InputError(f"a store holds one compression, but {root} has {names}; choose one, e.g. --compression c23")
    return next(iter(there), None)


def _faceforensics_video(root: Path, path: Path, category: str, label: int) -> VideoRef:
    """Names: ``000``, ``000_003`` (target_source); with actors ``01__scene``, ``01_02__scene__ID``."""
    people = path.stem.partition("__")[0].split("_")
    prefix = "actor_" if category in ("actors", "DeepFakeDetection") else ""
    target = prefix + people[0]
    source = target if label == 0 else prefix + people[1] if len(people) > 1 else UNKNOWN
    return VideoRef(
        path=path,
        relative=path.relative_to(root).as_posix(),
        video_id=path.stem,
        category=category,
        label=label,
        target_id=target,
        source_id=source,
    )


def _official_pairs(folder: Path) -> dict[str, str] | None:
    """Split by identity from the three pair files; ``None`` where one is missing."""
    split_of: dict[str, str] = {}
    for split in ("train", "val", "test"):
        path = folder / f"{split}.json"
        if not path.is_file():
            return None
        for pair in _read_pairs(path):
            for identity in pair:
                other = split_of.setdefault(identity, split)
                if other != split:
                    raise InputError(
                        f"an identity must be in one split, but {folder} puts {identity} into {other} and {split}; "
                        "restore the official files"
                    )
    return split_of


def _read_pairs(path: Path) -> list[list[str]]:
    try:
        pairs = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} must be readable JSON, but: {str(error).splitlines()[0]}; restore it") from error
    whole = isinstance(pairs, list) and all(
        isinstance(pair, list) and pair and all(isinstance(name, str) for name in pair) for pair in pairs
    )
    if not whole:
        raise InputError(f"{path} must be a list of pairs of names, but it is not; restore the official file")
    checked: list[list[str]] = pairs
    return checked


def files_with(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """Files of a folder with one of the suffixes (in any case), hidden ones left out, sorted by name."""
    files = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in files if path.suffix.lower() in suffixes)


def names_of(videos: Sequence[VideoRef]) -> list[str]:
    """The categories of videos, sorted."""
    return sorted({ref.category for ref in videos})


LAYOUTS: dict[str, Callable[[Path, str | None], Listing | None]] = {"ffpp": faceforensics}

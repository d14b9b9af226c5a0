"""FaceForensics++ (Roessler et al. 2019), with FaceShifter (Li et al. 2019) and DeepFakeDetection (Google 2019)."""

import json
from collections import Counter
from pathlib import Path

from data_store.errors import InputError
from data_store.listing import UNKNOWN, VIDEO_SUFFIXES, Listing, VideoRef, files_with, files_without

COMPRESSIONS = ("raw", "c0", "c23", "c40")
OTHER_FILES = "no video by its suffix"


def faceforensics(root: Path, compression: str | None) -> Listing | None:
    """``{original,manipulated}_sequences/CATEGORY/COMPRESSION/videos/*.mp4``, split by ``splits/*.json``.

    The official files list pairs of source videos, and a fake is made of the two videos of a pair, so that no video
    of a person is used in two splits. Videos with actors are in no official split.
    """
    folders = [(0, root / "original_sequences"), (1, root / "manipulated_sequences")]
    if not any(folder.is_dir() for _, folder in folders):
        return None
    places = [
        (label, place)
        for label, folder in folders
        if folder.is_dir()
        for place in sorted(folder.glob("*/*/videos"))
        if place.is_dir() and place.parent.name in COMPRESSIONS
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
    ignored = Counter({OTHER_FILES: sum(files_without(place, VIDEO_SUFFIXES) for _, place in places)})
    return Listing(
        layout="ffpp",
        videos=tuple(videos),
        official=official,
        guarantee="identity",
        compression=compression,
        missing_split=f"{root}/splits/train.json, val.json and test.json are not there",
        ignored=+ignored,
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

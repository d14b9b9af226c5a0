"""The Deepfake Detection Challenge data set (Dolhansky et al. 2020)."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from data_store.errors import InputError
from data_store.listing import UNKNOWN, VIDEO_SUFFIXES, Listing, VideoRef, files_with

METADATA = "metadata.json"
SPLIT_NAMES = {"train": "train", "validation": "val", "val": "val", "test": "test"}


def dfdc(root: Path, compression: str | None) -> Listing | None:
    """Videos beside a ``metadata.json``, in the root or in its parts (``dfdc_train_part_0/``, ...).

    A fake's metadata names the original it was made from, never whose face was put in. The training parts mark all
    videos as ``train``, which is no split; metadata that knows several splits is taken as the official one.
    """
    del compression
    parts = [folder for folder in (root, *sorted(root.iterdir())) if (folder / METADATA).is_file()]
    if not parts:
        return None
    videos = []
    official = {}
    ignored: Counter[str] = Counter()
    for part in parts:
        known = _metadata(part / METADATA)
        for path in files_with(part, VIDEO_SUFFIXES):
            if path.name not in known:
                ignored[f"not in {METADATA}"] += 1
                continue
            ref, split = _video(root, path, known[path.name], part / METADATA)
            videos.append(ref)
            official[ref.relative] = split
    videos.sort(key=lambda ref: ref.relative)
    several = len(set(official.values())) > 1
    return Listing(
        layout="dfdc",
        videos=tuple(videos),
        official=official if several else None,
        guarantee="video",
        names_people=False,
        missing_split=f"the {METADATA} files know one split only",
        ignored=ignored,
    )


def _video(root: Path, path: Path, entry: dict[str, Any], metadata: Path) -> tuple[VideoRef, str]:
    label = {"REAL": 0, "FAKE": 1}.get(str(entry.get("label")))
    split = SPLIT_NAMES.get(str(entry.get("split", "train")))
    if label is None or split is None:
        raise InputError(
            f"{metadata} must give each video a label REAL or FAKE and a known split, but gives {path.name} "
            f"{entry.get('label')!r} and {entry.get('split')!r}; restore the official file"
        )
    original = str(entry.get("original") or path.name)
    ref = VideoRef(
        path=path,
        relative=path.relative_to(root).as_posix(),
        video_id=path.stem,
        category="fake" if label else "real",
        label=label,
        target_id=Path(original).stem,
        source_id=UNKNOWN if label else path.stem,
    )
    return ref, split


def _metadata(path: Path) -> dict[str, dict[str, Any]]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} must be readable JSON, but: {str(error).splitlines()[0]}; restore it") from error
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise InputError(f"{path} must hold an object for each video, but does not; restore the official file")
    return entries

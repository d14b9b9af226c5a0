"""Folders of ready face crops or of videos: WildDeepfake (Zi et al. 2020), and any ``real/`` beside ``fake/``."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from data_store.errors import InputError
from data_store.listing import IMAGE_SUFFIXES, UNKNOWN, VIDEO_SUFFIXES, Listing, VideoRef, files_with, files_without

WILD_FOLDERS = {
    "real_train": (0, "train"),
    "real_test": (0, "test"),
    "fake_train": (1, "train"),
    "fake_test": (1, "test"),
}
SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test"}
REAL_NAMES = ("real", "original", "pristine", "authentic", "genuine", "youtube", "actors", "live", "0_real")


def wild_deepfake(root: Path, compression: str | None) -> Listing | None:
    """``{real,fake}_{train,test}/GROUP/{real,fake}/SEQUENCE/*.png``: each folder of images is one clip.

    Nobody says that the two splits share no video or person, so nothing is guaranteed.
    """
    del compression
    there = [name for name in WILD_FOLDERS if (root / name).is_dir()]
    if not there:
        return None
    videos = []
    official = {}
    for name in there:
        label, split = WILD_FOLDERS[name]
        for clip in _image_folders(root / name):
            inside = clip.relative_to(root / name).parts
            group = f"{name}/{inside[0]}" if inside else name
            ref = _ref(root, clip, "fake" if label else "real", label, group)
            videos.append(ref)
            official[ref.relative] = split
    videos.sort(key=lambda ref: ref.relative)
    several = len(set(official.values())) > 1
    return Listing(
        layout="wilddeepfake",
        videos=tuple(videos),
        official=official if several else None,
        guarantee="none",
        names_people=False,
        missing_split=f"{root} holds one split only",
        ready_crops=True,
    )


def folders(root: Path, compression: str | None) -> Listing | None:
    """``real/`` and ``fake/``, or one folder a category, themselves in ``train/``, ``val/`` and ``test/`` or not.

    A category holds videos, or face crops: images, each a clip of its own, or folders of images, each a clip. A
    category is real when its name begins like one of :data:`REAL_NAMES`; there must be one.
    """
    del compression
    inside = _subfolders(root)
    if any(path.name in ("original_sequences", "manipulated_sequences") for path in inside):
        return None  # FaceForensics++ without a video: not a category called "original..."
    splits = {path: SPLIT_FOLDERS[path.name.lower()] for path in inside if path.name.lower() in SPLIT_FOLDERS}
    categories = [(category, split) for place, split in splits.items() for category in _subfolders(place)]
    if not splits:
        categories = [(category, "") for category in inside]
    if not any(_is_real(category.name) for category, _ in categories):
        return None
    videos = []
    official = {}
    ignored: Counter[str] = Counter()
    kinds = set()
    for category, split in categories:
        label = 0 if _is_real(category.name) else 1
        for path in _clips(category):
            kinds.add("images" if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES else "videos")
            ref = _ref(root, path, category.name, label, path.relative_to(root).as_posix())
            videos.append(ref)
            official[ref.relative] = split
        ignored["neither image nor video by its suffix"] += files_without(category, IMAGE_SUFFIXES | VIDEO_SUFFIXES)
    if len(kinds) > 1:
        raise InputError(f"a data set holds videos or ready face crops, but {root} holds both; build two stores")
    videos.sort(key=lambda ref: ref.relative)
    several = len(set(official.values())) > 1
    return Listing(
        layout="folders",
        videos=tuple(videos),
        official=official if several else None,
        guarantee="none",
        names_people=False,
        missing_split=f"{root} has no folders train, val and test",
        ready_crops=kinds == {"images"},
        ignored=+ignored,
    )


def _ref(root: Path, path: Path, category: str, label: int, target: str) -> VideoRef:
    relative = path.relative_to(root).as_posix()
    return VideoRef(
        path=path,
        relative=relative,
        video_id=relative,
        category=category,
        label=label,
        target_id=target,
        source_id=UNKNOWN if label else target,
    )


def _clips(category: Path) -> Iterator[Path]:
    yield from files_with(category, VIDEO_SUFFIXES | IMAGE_SUFFIXES)
    for folder in _subfolders(category):
        yield from _image_folders(folder)
        yield from (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in VIDEO_SUFFIXES)


def _image_folders(folder: Path) -> Iterator[Path]:
    """Folders at any depth that directly hold images, sorted."""
    if files_with(folder, IMAGE_SUFFIXES):
        yield folder
    for inner in _subfolders(folder):
        yield from _image_folders(inner)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _is_real(name: str) -> bool:
    return name.lower().startswith(REAL_NAMES)

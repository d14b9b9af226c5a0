"""Celeb-DF v1 and v2 (Li et al. 2020)."""

from collections import Counter
from pathlib import Path

from data_store.errors import InputError
from data_store.listing import UNKNOWN, VIDEO_SUFFIXES, Listing, VideoRef, files_with, files_without

FOLDERS = {"Celeb-real": 0, "YouTube-real": 0, "Celeb-synthesis": 1}
TEST_LIST = "List_of_testing_videos.txt"


def celeb_df(root: Path, compression: str | None) -> Listing | None:
    """``Celeb-real/id0_0000.mp4``, ``Celeb-synthesis/id0_id16_0000.mp4``, ``YouTube-real/00170.mp4``.

    The official split is a list of test videos; the rest is for training, and the build takes a validation split
    from it. It keeps videos apart, but not people: most of those in the test videos are in training videos too.
    """
    del compression
    there = [name for name in FOLDERS if (root / name).is_dir()]
    if not {"Celeb-real", "Celeb-synthesis"} & set(there):
        return None
    videos = [
        _video(root, path, name, FOLDERS[name]) for name in there for path in files_with(root / name, VIDEO_SUFFIXES)
    ]
    videos.sort(key=lambda ref: ref.relative)
    tested = _test_list(root / TEST_LIST)
    official = None
    if tested is not None:
        official = {ref.relative: "test" if ref.relative in tested else "train" for ref in videos}
    ignored = Counter({"no video by its suffix": sum(files_without(root / name, VIDEO_SUFFIXES) for name in there)})
    return Listing(
        layout="celebdf",
        videos=tuple(videos),
        official=official,
        guarantee="video",
        missing_split=f"{root / TEST_LIST} is not there",
        ignored=+ignored,
    )


def _video(root: Path, path: Path, category: str, label: int) -> VideoRef:
    people = path.stem.split("_")[:-1] if category != "YouTube-real" else [f"youtube_{path.stem}"]
    target = people[0] if people else path.stem
    source = target if label == 0 else people[1] if len(people) > 1 else UNKNOWN
    return VideoRef(
        path=path,
        relative=path.relative_to(root).as_posix(),
        video_id=path.stem,
        category=category,
        label=label,
        target_id=target,
        source_id=source,
    )


def _test_list(path: Path) -> set[str] | None:
    """Relative paths of the test videos: lines such as ``1 YouTube-real/00170.mp4``."""
    if not path.is_file():
        return None
    try:
        lines = [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} must be readable text, but: {error}; restore the official file") from error
    for parts in lines:
        if len(parts) != 2 or parts[0] not in ("0", "1"):
            raise InputError(
                f"{path} must hold lines such as '1 YouTube-real/00170.mp4', but has {' '.join(parts)!r}; "
                "restore the official file"
            )
    return {parts[1].strip() for parts in lines}

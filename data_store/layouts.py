"""Every data set that a store can be built from: one function a layout, registered by name.

A layout gets the data set's root and gives a :class:`Listing` of its videos, with the people in them, its own split
and what that split keeps apart; or ``None`` where the root does not look like its data set. To add one, write such a
function and put it into :data:`LAYOUTS`.
"""

from collections.abc import Callable
from pathlib import Path

from data_store.errors import InputError
from data_store.layout_celebdf import celeb_df
from data_store.layout_dfdc import dfdc
from data_store.layout_ffpp import faceforensics
from data_store.layout_folders import folders, wild_deepfake
from data_store.listing import Listing, VideoRef

__all__ = ["LAYOUTS", "Listing", "VideoRef", "find_videos"]

LAYOUTS: dict[str, Callable[[Path, str | None], Listing | None]] = {
    "ffpp": faceforensics,
    "celebdf": celeb_df,
    "dfdc": dfdc,
    "wilddeepfake": wild_deepfake,
    "folders": folders,
}
"""By name; ``auto`` takes the first that finds a video."""


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

"""Videos to try: those of a folder, else two that are drawn by code from people that no training set has."""

import threading
from dataclasses import dataclass
from pathlib import Path

import cv2

from data_store.errors import InputError
from data_store.frames import UnreadableError, open_clip, read_frames
from data_store.listing import VIDEO_SUFFIXES
from data_store.synthetic import SyntheticSettings, VideoFile, frames, pairs
from data_store.synthetic_manipulations import MANIPULATIONS

DRAWN_PX = 384
DRAWN_FRAMES = 125
POSTER_PX = 320
MOST_EXAMPLES = 12


@dataclass(frozen=True, kw_only=True)
class Example:
    """One video to try."""

    key: str
    """Names it in an address: ``0``, ``1``, ..."""
    name: str
    """What the page calls it."""
    path: Path
    """The file; a drawn one is made when it is asked for."""
    category: str | None = None
    """Of a drawn one, ``youtube`` or a manipulation."""


class Examples:
    """The examples of one server."""

    def __init__(self, root: Path, folder: Path | None) -> None:
        """List them; nothing is drawn yet.

        Args:
            root: folder for drawn ones and for posters.
            folder: of videos, searched with its subfolders; None for the drawn ones.

        Raises:
            InputError: the folder holds no video.
        """
        self._root = root
        self._lock = threading.Lock()
        if folder is None:
            drawn = [("a drawn person, filmed", "youtube"), ("the same with another's face", next(iter(MANIPULATIONS)))]
            self.all = [
                Example(key=str(i), name=name, path=root / f"drawn-{i}.mp4", category=category)
                for i, (name, category) in enumerate(drawn)
            ]
            return
        videos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
        if not videos:
            raise InputError(
                f"--examples must be a folder of videos, but {folder} holds none; leave it out for drawn ones"
            )
        self.all = [
            Example(key=str(i), name=str(path.relative_to(folder)), path=path)
            for i, path in enumerate(videos[:MOST_EXAMPLES])
        ]

    def get(self, key: str) -> Example | None:
        """The example of that key."""
        return next((example for example in self.all if example.key == key), None)

    def file(self, example: Example) -> Path:
        """The example's file, drawn on first use: a second or two."""
        if example.category is not None:
            with self._lock:
                if not example.path.exists():
                    draw_example(example.path, example.category)
        return example.path

    def poster(self, example: Example) -> Path | None:
        """A JPEG of its first frame; None where it cannot be read."""
        poster = self._root / f"poster-{example.key}.jpg"
        path = self.file(example)
        with self._lock:
            if not poster.exists():
                try:
                    _, frame = next(read_frames(open_clip(path), [0]))
                except UnreadableError:
                    return None
                if frame is None:
                    return None
                scale = POSTER_PX / frame.shape[1]
                size = (POSTER_PX, max(1, round(frame.shape[0] * scale)))
                cv2.imwrite(str(poster), cv2.resize(frame, size, interpolation=cv2.INTER_AREA))
        return poster


def draw_example(path: Path, category: str) -> None:
    """Draw one video of the built-in data set's test people, larger and longer than those it trains on."""
    settings = SyntheticSettings(num_frames=DRAWN_FRAMES, size_px=DRAWN_PX)
    target, source = pairs(settings)["test"][0]
    part = path.with_suffix(".part.mp4")
    with VideoFile(part, settings) as file:
        for frame in frames(settings, category, target, source):
            file.add(frame)
    part.replace(path)

"""The built-in data set as a store: drawn, encoded and cropped on first use, then found again."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from data_store.settings import BuildSettings, FaceSettings
from data_store.synthetic import DRAWING_VERSION, SyntheticSettings, write
from data_store.verified import MARK_NAME
from sweeps.engine.terminal import Terminal
from trainables.recipes import digest

VIDEOS = SyntheticSettings()
CROPS = BuildSettings(
    real="every:2",  # the drawn videos are short, and five fakes come of each real one
    fake="random:5",
    crop_px=64,
    faces=FaceSettings(margin=0.15),
)


def builtin_store(results: Path, terminal: Terminal) -> Path:
    """Return the built-in store below ``results``, made when it is not there yet: by one launch, others wait for it."""
    settings = {"version": DRAWING_VERSION, "videos": asdict(VIDEOS), "crops": CROPS.as_dict()}
    name = digest(settings)[:8]
    videos, store = results / "data" / f"built-in-videos-{name}", results / "data" / f"built-in-faces-{name}"
    if (store / MARK_NAME).exists():  # the last file that a build writes
        return store
    with _alone(results / "data" / f"built-in-{name}.lock", terminal):
        if not (store / MARK_NAME).exists():  # another launch may have made it meanwhile
            terminal.line("data", "drawing the built-in face videos (once)")
            with terminal.progress("drawing", "videos") as advance:
                write(videos, VIDEOS, advance)
            from data_store.build import build

            with terminal.progress("cropping", "videos") as advance:
                build(videos, str(store), CROPS, advance)
    return store


@contextmanager
def _alone(file: Path, terminal: Terminal) -> Iterator[None]:
    """Hold a file's lock, waiting for who holds it; the system frees it when that process ends, however it ends."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            terminal.line("data", "waiting for the built-in face videos: another sweep draws them")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield

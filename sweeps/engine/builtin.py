"""The built-in data set as a store: drawn, encoded and cropped on first use, then found again."""

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
    """Return the built-in store below ``results``, made when it is not there yet."""
    settings = {"version": DRAWING_VERSION, "videos": asdict(VIDEOS), "crops": CROPS.as_dict()}
    name = digest(settings)[:8]
    videos, store = results / "data" / f"built-in-videos-{name}", results / "data" / f"built-in-faces-{name}"
    if not (store / MARK_NAME).exists():  # the last file that a build writes
        terminal.line("data", "drawing the built-in face videos (once)")
        with terminal.progress("drawing", "videos") as advance:
            write(videos, VIDEOS, advance)
        from data_store.build import build

        with terminal.progress("cropping", "videos") as advance:
            build(videos, str(store), CROPS, advance)
    return store

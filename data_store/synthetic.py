"""The built-in data set: face videos drawn by code, in the folder layout of FaceForensics++.

Command::

    python data_store/synthetic.py --out DIR [--identities N] [--seed N]

Each identity is filmed once (``youtube``) and its video is faked five ways with its partner's face, and the
other way round, so that the pairs ``(a, b)`` and ``(b, a)`` share a split and no identity is in two splits. How
heads are drawn: `data_store.synthetic_faces`; filmed: `data_store.synthetic_scenes`; faked:
`data_store.synthetic_manipulations`. Real and fake videos have the same length, size and encoder settings:
only the face tells. The default set writes 276 videos in about half a minute of one core.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import cv2

from data_store.errors import InputError, run_command
from data_store.synthetic_faces import draw_head
from data_store.synthetic_looks import cast_person
from data_store.synthetic_manipulations import MANIPULATIONS, draw_cast
from data_store.synthetic_scenes import Image, film

REAL = "youtube"
CATEGORIES = (REAL, *MANIPULATIONS)
DRAWING_VERSION = 1
"""Raise it when the same settings give other pixels, so that finished sets are written again."""
FINISHED, UNFINISHED = "synthetic.json", "synthetic.unfinished.json"
FOLDERS = ("original_sequences", "manipulated_sequences", "splits")


@dataclass(frozen=True, kw_only=True)
class SyntheticSettings:
    """What is drawn; the defaults are the demo's size (about 2,000 crops)."""

    num_identities: int = 46
    """People, one real video each; even, since they come in pairs."""
    num_frames: int = 40
    """Frames in each video."""
    size_px: int = 256
    """Width and height of the videos."""
    fps: int = 25
    """Frames a second."""
    crf: int = 18
    """x264's constant rate factor, the same for real and fake."""
    seed: int = 0
    """The same seed gives the same pixels before encoding."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            InputError: A value is out of its range.
        """
        if self.num_identities < 6 or self.num_identities > 1000 or self.num_identities % 2:
            raise InputError(
                f"num_identities must be an even number from 6 to 1000, but got {self.num_identities}; use 46"
            )
        if self.size_px < 128 or self.size_px > 1024 or self.size_px % 16:
            raise InputError(f"size_px must divide by 16 and lie from 128 to 1024, but got {self.size_px}; use 256")
        for name, low, high in (
            ("num_frames", 1, 10_000),
            ("fps", 1, 120),
            ("crf", 0, 40),
            ("seed", 0, 2**63 - 1),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{name} must lie from {low} to {high}, but got {value}")


def pairs(settings: SyntheticSettings) -> dict[str, list[tuple[str, str]]]:
    """The pairs of identities in each split; about 60, 17 and 22 % of them, at least one each."""
    names = [f"{i:03d}" for i in range(settings.num_identities)]
    both = list(zip(names[::2], names[1::2], strict=True))
    num_val, num_test = max(1, round(0.17 * len(both))), max(1, round(0.22 * len(both)))
    num_train = len(both) - num_val - num_test
    return {
        "train": both[:num_train],
        "val": both[num_train : num_train + num_val],
        "test": both[num_train + num_val :],
    }


def takes(
    settings: SyntheticSettings, categories: Sequence[str], target: str, source: str
) -> Iterator[dict[str, Image]]:
    """Film a target once and yield every frame in all the categories asked for, before encoding.

    Args:
        settings: The set.
        categories: Out of `CATEGORIES`: ``"youtube"`` and the manipulations.
        target: Whose video it is, as ``"000"``.
        source: Whose face or expression is put in; a real video ignores it.

    Yields:
        For each category its frame, (size_px, size_px, 3) uint8 RGB; the same shot in all.

    Raises:
        InputError: A category is unknown.
    """
    for category in categories:
        if category not in CATEGORIES:
            raise InputError(f"category must be one of {', '.join(CATEGORIES)}, but got {category!r}")
    people = cast_person(settings.seed, int(target)), cast_person(settings.seed, int(source))
    head = draw_head(people[0].look, people[0].light)
    cast = draw_cast(settings.seed, *people, head) if set(categories) != {REAL} else None
    for shot in film(settings.seed, *people, head, settings.num_frames, settings.size_px):
        yield {c: shot.real if cast is None or c == REAL else MANIPULATIONS[c](cast, shot) for c in categories}


def frames(settings: SyntheticSettings, category: str, target: str, source: str) -> Iterator[Image]:
    """Yield the frames of one video before encoding, (size_px, size_px, 3) uint8 RGB; see `takes`."""
    return (take[category] for take in takes(settings, (category,), target, source))


class VideoFile:
    """An H.264 file that frames are added to; the same frames give the same bytes."""

    def __init__(self, path: Path, settings: SyntheticSettings) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(path), "w", options={"fflags": "+bitexact"})
        self._stream = self._container.add_stream("libx264", rate=settings.fps)
        self._stream.width = self._stream.height = settings.size_px
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"preset": "superfast", "crf": str(settings.crf), "threads": "1"}

    def __enter__(self) -> Self:
        return self

    def add(self, frame: Image) -> None:
        """Encode one RGB frame."""
        for packet in self._stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
            self._container.mux(packet)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            for packet in self._stream.encode():
                self._container.mux(packet)
        self._container.close()


def video_path(root: Path, category: str, target: str, source: str) -> Path:
    """Where FaceForensics++ keeps a video."""
    if category == REAL:
        return root / "original_sequences" / REAL / "c23" / "videos" / f"{target}.mp4"
    return root / "manipulated_sequences" / category / "c23" / "videos" / f"{target}_{source}.mp4"


def write_pair(root: Path, settings: SyntheticSettings, pair: tuple[str, str]) -> int:
    """Write all videos of two partners (both directions, every category); returns how many."""
    written = 0
    for target, source in (pair, pair[::-1]):
        with ExitStack() as stack:
            files = {
                c: stack.enter_context(VideoFile(video_path(root, c, target, source), settings)) for c in CATEGORIES
            }
            for shot in takes(settings, CATEGORIES, target, source):
                for category, frame in shot.items():
                    files[category].add(frame)
        written += len(files)
    return written


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and the other cores to the other workers; end with the parent, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End at once when the parent is gone: who draws the set next must be the only one to write into its folder."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _write_json(path: Path, content: object) -> None:
    """Write a JSON file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    part.replace(path)


def _record(settings: SyntheticSettings) -> dict[str, object]:
    return {"drawing_version": DRAWING_VERSION, **asdict(settings)}


def is_finished(root: Path, settings: SyntheticSettings) -> bool:
    """Whether a whole set with these settings stands below `root`."""
    try:
        return bool(json.loads((root / FINISHED).read_text(encoding="utf-8")) == _record(settings))
    except (OSError, ValueError):
        return False


def write(root: Path, settings: SyntheticSettings, progress: Callable[[int, int], None] | None = None) -> None:
    """Write the set below `root`, one worker process a core; a finished equal set is left alone.

    Args:
        root: A new or empty folder, or one that holds a built-in set (replaced when its settings differ).
        settings: What to draw.
        progress: Called with (videos written, videos in all).

    Raises:
        InputError: The folder holds something else, or cannot be written.
    """
    if is_finished(root, settings):
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        found = {entry.name for entry in root.iterdir()}
        if found and not found & {FINISHED, UNFINISHED}:
            raise InputError(
                f"the folder must be empty or hold a built-in set, but {root} holds {min(found)}; name another"
            )
        _write_json(root / UNFINISHED, _record(settings))
        (root / FINISHED).unlink(missing_ok=True)
        for folder in FOLDERS:
            shutil.rmtree(root / folder, ignore_errors=True)
        splits = pairs(settings)
        _write_videos(root, settings, [pair for split in splits.values() for pair in split], progress)
        for name, members in splits.items():
            _write_json(root / "splits" / f"{name}.json", members)
        _write_json(root / FINISHED, _record(settings))
        (root / UNFINISHED).unlink()
    except OSError as error:
        raise InputError(f"the folder must be writable, but {root} gave: {error}; name another") from error


def _write_videos(
    root: Path,
    settings: SyntheticSettings,
    todo: list[tuple[str, str]],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Write every pair, in parallel where there is more than one core."""
    total, done = len(CATEGORIES) * settings.num_identities, 0
    num_workers = min(len(todo), os.cpu_count() or 1)
    context = multiprocessing.get_context("spawn")  # fork would copy the threads of a driver that runs Ray
    pool = ProcessPoolExecutor(num_workers, mp_context=context, initializer=_start_worker)
    try:
        for future in as_completed([pool.submit(write_pair, root, settings, pair) for pair in todo]):
            done += future.result()
            if progress is not None:
                progress(done, total)
    finally:
        pool.shutdown(cancel_futures=True)


def main(arguments: list[str] | None = None) -> int:
    """Write the set that the command line asks for."""
    defaults = SyntheticSettings()
    parser = argparse.ArgumentParser(description="Draw the built-in set of face videos in the FaceForensics++ layout.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for the videos")
    parser.add_argument("--identities", type=int, default=defaults.num_identities, metavar="N", help="people (even)")
    parser.add_argument("--seed", type=int, default=defaults.seed, metavar="N", help="which people")
    chosen = parser.parse_args(arguments)
    settings = SyntheticSettings(num_identities=chosen.identities, seed=chosen.seed)
    if is_finished(chosen.out, settings):
        sys.stdout.write(f"{chosen.out} already holds this set.\n")
        return 0

    def show(done: int, total: int) -> None:
        sys.stdout.write(f"\r{done} of {total} videos")
        sys.stdout.flush()

    write(chosen.out, settings, show)
    sys.stdout.write(f"\nThe set is in {chosen.out}\n")
    return 0


if __name__ == "__main__":
    run_command(main)

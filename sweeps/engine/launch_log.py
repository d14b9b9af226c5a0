"""One launch's log: our lines and what other libraries, and Ray's own processes, would put on the user's screen."""

import logging
import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import psutil

from sweeps.engine.terminal import Terminal

STDOUT, STDERR = 1, 2
FOLDER = "logs"
HOST = re.sub(r"\W", "_", platform.node())
"""Several hosts may share a results folder, and none sees another's processes."""


class LaunchLog:
    """A file that takes in everything a process writes and does not mean for the user.

    It is opened before the sweep has a name, because Ray starts while the sweep is planned, and moved to the sweep's
    folder when it has one; who holds it open goes on writing to it.
    """

    def __init__(self, results: Path) -> None:
        """Open the file.

        Args:
            results: The results folder; the file lies there until it is kept.
        """
        for old in results.glob(f".launch-{HOST}-*.log"):
            if not psutil.pid_exists(int(old.stem.rpartition("-")[2])):  # killed before its sweep had a name
                old.unlink(missing_ok=True)
        self.path = results / f".launch-{HOST}-{os.getpid()}.log"
        self.stream = self.path.open("w", buffering=1)
        self.kept = False

    def keep(self, sweep: Path) -> None:
        """Move the file to a sweep's folder, named by the time."""
        folder = sweep / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        name = time.strftime("%Y-%m-%dT%H-%M-%S") + f"-{os.getpid()}.log"
        self.path = self.path.replace(folder / name)
        self.kept = True

    def close(self) -> None:
        """Close the file, and remove it unless it was kept."""
        self.stream.close()
        if not self.kept:
            with suppress(OSError):
                self.path.unlink()


@contextmanager
def launch_log(results: Path, terminal: Terminal) -> Iterator[LaunchLog]:
    """Send everything but the terminal's lines to a log while the body runs: prints, warnings, C++ and child processes.

    Args:
        results: The results folder.
        terminal: Goes on writing where it wrote, and to the log.
    """
    log = LaunchLog(results)
    handler = logging.StreamHandler(log.stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root, before = logging.getLogger(), terminal.stream
    sys.stdout.flush()
    sys.stderr.flush()
    saved = {number: os.dup(number) for number in (STDOUT, STDERR)}
    mine = before
    if _number(before) == STDOUT:
        mine = os.fdopen(os.dup(STDOUT), "w", buffering=1, encoding=before.encoding, errors=before.errors)
    terminal.stream, terminal.log = mine, log
    root.addHandler(handler)
    logging.captureWarnings(True)
    for number in saved:
        os.dup2(log.stream.fileno(), number)
    try:
        yield log
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, duplicate in saved.items():
            os.dup2(duplicate, number)
            os.close(duplicate)
        logging.captureWarnings(False)
        root.removeHandler(handler)
        terminal.stream, terminal.log = before, None
        if mine is not before:
            with suppress(BrokenPipeError):  # it writes what it holds; who read it may be gone
                mine.close()
        log.close()


def _number(stream: TextIO) -> int | None:
    """Return a stream's file descriptor, or None where it has none."""
    try:
        return stream.fileno()
    except OSError:
        return None

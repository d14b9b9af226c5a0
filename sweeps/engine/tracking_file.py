"""A new file for MLflow's records: a process of its own makes its tables while trials train, and it appears whole."""

import os
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from data_store.errors import InputError
from trainables.apart import run_apart

SCHEME = "sqlite:///"
NICENESS = 19
"""Ray's workers, who train meanwhile, run at 15."""
MAGIC = b"SQLite format 3\0"
"""What a database begins with, unless it is empty."""


def is_new(uri: str) -> bool:
    """Tell whether a store is a file that is not there."""
    return uri.startswith(SCHEME) and not Path(uri.removeprefix(SCHEME)).exists()


def check_file(uri: str) -> None:
    """Check that the file of a local store is a database or can be made, before anything is started.

    Raises:
        InputError: It is something else, or cannot be made.
    """
    if not uri.startswith(SCHEME):
        return
    file = Path(uri.removeprefix(SCHEME))
    try:
        wrong = _why_unusable(file)
    except OSError as error:
        wrong = error.strerror or str(error)
    if wrong:
        raise InputError(
            f"the tracking store must be a database of sqlite, or lie where one can be made, but {file} is not usable "
            f"({wrong}); name another with --tracking-uri"
        )


def _why_unusable(file: Path) -> str:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=file.parent).close()
        return ""
    if not file.is_file():
        return "it is no file"
    with file.open("r+b") as stream:
        return "" if stream.read(len(MAGIC)) in (b"", MAGIC) else "it is no database"


def make(uri: str) -> None:
    """Make the file of a local store unless it is there; the stores of servers have their tables.

    Args:
        uri: Of the tracking store.

    Raises:
        RuntimeError: It cannot be written.
    """
    if is_new(uri):
        run_apart("sweeps.engine.tracking_file", uri.removeprefix(SCHEME), failure="MLflow's tables cannot be made")


def _main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # they are the sweep's, which waits for this
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICENESS)
    from mlflow import MlflowClient

    file = Path(sys.argv[1])
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{file.name}-", dir=file.parent) as folder:
        made = Path(folder) / file.name
        MlflowClient(f"{SCHEME}{made}").search_experiments(max_results=1)
        with suppress(FileExistsError):  # another sweep was faster
            os.link(made, file)


if __name__ == "__main__":
    _main()

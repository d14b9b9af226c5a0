"""A new file for MLflow's records: a process of its own makes its tables while trials train, and it appears whole."""

import os
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from trainables.apart import run_apart

SCHEME = "sqlite:///"
NICENESS = 19
"""Ray's workers, who train meanwhile, run at 15."""


def is_new(uri: str) -> bool:
    """Tell whether a store is a file that is not there."""
    return uri.startswith(SCHEME) and not Path(uri.removeprefix(SCHEME)).exists()


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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the sweep's, which waits for this
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

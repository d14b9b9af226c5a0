"""One driver a sweep."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_store.errors import InputError


def is_held(folder: Path) -> bool:
    """Tell whether a driver on this machine holds a sweep, or may: another user's lock may not be ours to look at."""
    try:
        with (folder / "lock").open() as stream:  # a lock needs no right to write
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:
        return False
    return False


@contextmanager
def sweep_lock(folder: Path) -> Iterator[None]:
    """Hold the sweep; the operating system frees it when the process ends, however it ends.

    Raises:
        InputError: Another driver holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "lock"
    with file.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.seek(0)
            raise InputError(
                f"a sweep has one driver at a time, but process {stream.read().strip() or 'unknown'} holds {file}; "
                "wait for it, or stop it"
            ) from error
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield

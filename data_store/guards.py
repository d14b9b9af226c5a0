"""Guards around writing a store: one build at a time, and a clear word when the folder cannot be written."""

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from data_store.errors import InputError
from data_store.folders import Folder

LOCK = ".lock"


@contextlib.contextmanager
def writing(folder: Folder) -> Iterator[None]:
    """Turn a failed write below a store's folder into an ``InputError``."""
    try:
        yield
    except OSError as error:
        raise unwritable(folder.address, error.strerror or str(error)) from error


def unwritable(store: str, reason: str) -> InputError:
    """The error of a write that failed for a reason."""
    return InputError(
        f"a store's folder must be writable, but writing {store} fails ({reason}); "
        "mend that or choose another --store; the same command then goes on where it was"
    )


@contextlib.contextmanager
def only_build(folder: Folder) -> Iterator[None]:
    """Hold the lock of a store's folder; the system releases it when the process ends, however it ends."""
    if folder.local is not None:
        path = folder.local / LOCK
    else:  # another file system has no locks: builds of one machine still exclude each other
        path = Path(tempfile.gettempdir()) / f"store-{hashlib.sha256(folder.address.encode()).hexdigest()[:16]}{LOCK}"
    with writing(folder):
        file = path.open("a+")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise InputError(
                f"one build at a time may write a store, but process {file.read() or 'unknown'} is writing "
                f"{folder.address}; wait for it or choose another --store"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)

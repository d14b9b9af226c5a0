"""One works, the others wait for what it makes: for results that several processes need at the same moment."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.1
STALE_SECONDS = 60.0


@contextmanager
def turn(lock: Path, done: Callable[[], bool]) -> Iterator[Callable[[], None]]:
    """Wait until the result is there or it is this process's turn to make it.

    The lock is the kernel's, on an open file: it falls with its holder, however that one dies. A holder that gives
    no sign of life for a minute (stopped, or on a host that cannot be reached) is not waited for, and where the file
    system has no locks nobody is: then two may work, so what they make must be equal and be put in place whole.

    Args:
        lock: A file, made when it is missing; its folder exists.
        done: Whether the result is there. Asked again inside: by then another may have made it.

    Yields:
        What the holder calls now and then as a sign of life.
    """
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    seen, since = os.fstat(handle).st_mtime, time.monotonic()
    try:
        while not done():
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                sign = os.fstat(handle).st_mtime  # of the file's host, whose clock may differ from ours
                if sign != seen:
                    seen, since = sign, time.monotonic()
                elif time.monotonic() - since > STALE_SECONDS:
                    break
                time.sleep(POLL_SECONDS)
            except OSError:  # no locks here
                break
        os.utime(handle)
        yield lambda: os.utime(handle)
    finally:
        os.close(handle)  # and with it the lock

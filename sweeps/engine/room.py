"""A full disk: told from other errors, and told to the user in one line."""

import errno
import re
import shutil
from pathlib import Path

from data_store.errors import InputError

SAID = re.compile(r"No space left on device|Disk quota exceeded|database or disk is full")
"""What the system, safetensors and SQLite say."""
LEAST_BYTES = 2**20
"""With less free, not even an error's traceback can be counted on to be written."""


def is_full(error: BaseException | None) -> bool:
    """Tell whether an error, or one that it came of, is that of a full disk."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or SAID.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_short(folder: Path) -> bool:
    """Tell whether a folder's disk has next to nothing left."""
    try:
        return shutil.disk_usage(folder).free < LEAST_BYTES
    except OSError:
        return False


def refusal(where: str) -> InputError:
    """Return the error of a sweep that cannot write: ``the disk of /results``."""
    return InputError(
        f"a sweep needs room for its checkpoints and models, but {where} is full; make room, then give the same "
        "command again: it goes on from the last whole epoch"
    )

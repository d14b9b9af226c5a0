"""A folder of this machine whose durable copy is in a bucket: what driver and workers of a sweep there work in.

They share nothing else, so each brings what it lacks and sends what it makes. An object appears whole; what consists of
several has one that is sent last, by which the others are known to be there: ``state.json`` of a checkpoint,
``result.json`` of an attempt. Nothing that was sent is changed later, but for ``attempt``, which is read anew each
time, and ``output.txt``. Without a bucket all of it does nothing.
"""

import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from data_store.errors import InputError
from data_store.folders import Folder, open_folder
from trainables.attempts import RESULT_FILE, STATE_FILE

PATIENCE_S = 120.0
"""So long a bucket is asked again before a trial, or the sweep, gives up."""
LONGEST_PAUSE_S = 15.0
CODE = re.compile(r"AWS Error (\w+)")
"""In what pyarrow says; the words after it may name a key, and are shown to nobody."""
FOR_GOOD = re.compile(r"NO_SUCH_BUCKET|SIGNATURE|ACCESS_KEY|ACCESS_DENIED|AUTHORIZATION|TOKEN|CREDENTIALS")

Made = TypeVar("Made")


def code_of(error: OSError) -> str:
    """Return what a bucket calls an error."""
    found = CODE.search(str(error))
    return found.group(1) if found else type(error).__name__


def tried(address: str, action: Callable[[], Made], *, patience_s: float = PATIENCE_S) -> Made:
    """Ask a bucket for something, again and again while it does not answer.

    Raises:
        FileNotFoundError: It has no such object.
        InputError: It refused for good, or did not answer in time.
    """
    deadline, pause = time.monotonic() + patience_s, 1.0
    while True:
        try:
            return action()
        except FileNotFoundError:
            raise
        except OSError as error:
            code = code_of(error)
            if FOR_GOOD.search(code) or time.monotonic() > deadline:
                raise InputError(
                    f"a sweep's bucket must be read and written by each node, but {address} refuses that, or has not "
                    f"answered for {patience_s:g} s ({code}); mend that, and the same command goes on"
                ) from None
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """A local folder and its durable copy.

    Attributes:
        local: The folder; every path that is given to a method lies below it.
        address: Of the copy, on any file system of ``pyarrow.fs``; None where the folder itself is durable.
    """

    local: Path
    address: str | None = None

    def push(self, path: Path) -> None:
        """Send a file, or a folder with all that is in it and ``state.json`` last."""
        if self.address is None:
            return
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        for file in sorted(files, key=lambda file: (file.name == STATE_FILE, file)):
            self._write(self._name(file), file.read_bytes())

    def tell(self, file: Path, text: str) -> None:
        """Write what went wrong, here and in the bucket, as far as that can be: one of them may be what went wrong."""
        content = text.encode(errors="replace")
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        if self.address is not None:
            with suppress(OSError, ValueError):  # pyarrow's and our own errors are among the latter
                self._write(self._name(file), content)

    def pull(self, folder: Path) -> None:
        """Bring a folder that is not here; it appears whole, and is not changed any more.

        Raises:
            FileNotFoundError: It is not in the bucket either.
        """
        if self.address is None or folder.exists():
            return
        where = self._below(folder)
        names = tried(self.address, where.names_below)
        if not names:
            raise FileNotFoundError(f"{where.address} must be there, but is not")
        folder.parent.mkdir(parents=True, exist_ok=True)
        torn = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            for name in names:
                (torn / name).parent.mkdir(parents=True, exist_ok=True)
                (torn / name).write_bytes(tried(self.address, partial(where.read, name)))
            torn.rename(folder)
        except OSError:
            if not folder.exists():  # else another process of this node was faster
                raise
        finally:
            shutil.rmtree(torn, ignore_errors=True)

    def pull_file(self, file: Path) -> bool:
        """Bring a file, in place of the one that is here; tell whether there is one."""
        if self.address is None:
            return file.exists()
        root, name = _opened(self.address), self._name(file)
        try:
            content = tried(self.address, partial(root.read, name))
        except FileNotFoundError:
            return False
        _put(file, content)
        return True

    def refresh(self, trial_folder: Path) -> None:
        """Bring what workers have sent of a trial and is not here, but for the tensors of checkpoints."""
        if self.address is None:
            return
        where = self._below(trial_folder)
        lacking = [
            name
            for name, size in tried(self.address, where.names_below).items()
            if ("/epoch-" not in name or name.endswith(STATE_FILE)) and _size(trial_folder / name) != size
        ]
        for name in sorted(lacking, key=lambda name: (name.endswith(RESULT_FILE), name)):
            try:
                _put(trial_folder / name, tried(self.address, partial(where.read, name)))
            except FileNotFoundError:  # a checkpoint that has had its time
                continue

    def prune(self, attempt_folder: Path) -> None:
        """Delete the checkpoints of an attempt that were deleted here."""
        if self.address is None:
            return
        sent = {name.partition("/")[0] for name in tried(self.address, self._below(attempt_folder).names_below)}
        for name in sent:
            if name.startswith("epoch-") and not (attempt_folder / name).exists():
                old = self._below(attempt_folder / name)
                tried(self.address, partial(old.delete, STATE_FILE))
                tried(self.address, old.delete_all)

    def drop(self, folder: Path) -> None:
        """Make room on a node's disk, which many trials use; who looks for the folder finds all of it or nothing."""
        if self.address is None:
            return
        gone = Path(tempfile.mkdtemp(prefix=".dropped-", dir=self.local))
        folder.rename(gone / folder.name)
        shutil.rmtree(gone, ignore_errors=True)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.local).as_posix()

    def _below(self, path: Path) -> Folder:
        return open_folder(f"{self.address}/{self._name(path)}")

    def _write(self, name: str, content: bytes) -> None:
        assert self.address is not None
        root = _opened(self.address)
        tried(self.address, partial(root.write, name, content))


_opened = cache(open_folder)


def scratch(name: str) -> Path:
    """Return the folder of this node in which the workers of a sweep in a bucket work; to be deleted when none does.

    Raises:
        InputError: Its name is taken by another user.
    """
    folder = Path(tempfile.gettempdir()) / f"sweeps-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise InputError(f"{folder} must be this user's own folder, but is not; remove it, or set TMPDIR to another")
    (folder / name).mkdir(exist_ok=True)
    return folder / name


def _put(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    torn = file.with_name(f".{file.name}.{os.getpid()}-{threading.get_ident()}")
    torn.write_bytes(content)
    torn.replace(file)


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None

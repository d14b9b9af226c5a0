"""A folder that a store lives in: local, or on any file system that ``pyarrow.fs`` knows (``s3://bucket/faces``)."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_store.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class Folder:
    """One folder and the few things a store needs of it; every write appears whole or not at all."""

    address: str
    """As the user wrote it."""
    local: Path | None
    """The absolute path of a local folder; ``None`` on another file system."""
    remote: tuple[Any, str] | None
    """(``pyarrow.fs.FileSystem``, path in it) of any other folder."""

    def below(self, name: str) -> "Folder":
        """A folder inside this one; nothing is made."""
        return open_folder(f"{self.address.rstrip('/')}/{name}")

    def make(self) -> None:
        """Make the folder and its parents; an existing one is fine."""
        if self.local is not None:
            self.local.mkdir(parents=True, exist_ok=True)
        elif self.remote is not None:
            self.remote[0].create_dir(self.remote[1], recursive=True)

    def entries(self) -> list[str]:
        """Names of all that is directly inside, files and folders, sorted; empty where the folder does not exist."""
        if self.local is not None:
            return sorted(path.name for path in self.local.iterdir()) if self.local.is_dir() else []
        from pyarrow import fs

        system, path = self._remote()
        return sorted(info.base_name for info in system.get_file_info(fs.FileSelector(path, allow_not_found=True)))

    def names(self) -> dict[str, int]:
        """Bytes of each file directly inside by name, sorted; empty where the folder does not exist."""
        if self.local is not None:
            if not self.local.is_dir():
                return {}
            with os.scandir(self.local) as entries:
                return dict(sorted((entry.name, entry.stat().st_size) for entry in entries if entry.is_file()))
        from pyarrow import fs

        system, path = self._remote()
        files = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
        return dict(sorted((info.base_name, info.size) for info in files if info.type == fs.FileType.File))

    def names_below(self) -> dict[str, int]:
        """Bytes of each file inside, at any depth, by its path from here, sorted; empty where there is no folder."""
        if self.local is not None:
            files = [path for path in self.local.rglob("*") if path.is_file()]
            return {path.relative_to(self.local).as_posix(): path.stat().st_size for path in sorted(files)}
        from pyarrow import fs

        system, path = self._remote()
        found = system.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=True))
        inside = [info for info in found if info.type == fs.FileType.File]
        return dict(sorted((info.path.removeprefix(f"{path.strip('/')}/"), info.size) for info in inside))

    def read(self, name: str) -> bytes:
        """Bytes of a file.

        Raises:
            FileNotFoundError: there is none of that name.
        """
        if self.local is not None:
            return (self.local / name).read_bytes()
        system, path = self._remote()
        with system.open_input_stream(f"{path}/{name}") as stream:
            data: bytes = stream.read()
        return data

    def map(self, name: str) -> "pa.Buffer":
        """A file as an Arrow buffer: memory-mapped where the folder is local, else read."""
        import pyarrow as pa

        if self.local is None:
            return pa.py_buffer(self.read(name))
        with pa.memory_map(str(self.local / name)) as mapped:
            return mapped.read_buffer()

    def write(self, name: str, data: "bytes | memoryview | pa.Buffer", *, durable: bool = True) -> None:
        """Write a file whole: locally to a temporary name that is then renamed (``durable``: after an fsync)."""
        if self.local is None:
            system, path = self._remote()
            with system.open_output_stream(f"{path}/{name}") as stream:
                stream.write(data)
            return
        partial = self.local / f".{name}.{os.getpid()}.partial"
        try:
            with partial.open("wb") as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            partial.replace(self.local / name)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        if durable:
            secure(self.local)

    def delete(self, name: str) -> None:
        """Delete a file; one that is not there is fine."""
        if self.local is not None:
            (self.local / name).unlink(missing_ok=True)
            return
        system, path = self._remote()
        if name in self.names():
            system.delete_file(f"{path}/{name}")

    def delete_all(self) -> None:
        """Delete the folder and what is in it; one that is not there is fine."""
        import shutil

        if self.local is not None:
            shutil.rmtree(self.local, ignore_errors=True)
            return
        from pyarrow import fs

        system, path = self._remote()
        if system.get_file_info(path).type == fs.FileType.Directory:
            system.delete_dir(path)

    def _remote(self) -> tuple[Any, str]:
        assert self.remote is not None
        return self.remote


def open_folder(address: str) -> Folder:
    """Open the folder of an address: a local path, ``file://...`` or anything ``pyarrow.fs`` reads, as ``s3://``.

    Raises:
        InputError: no such kind of address, or it holds a key.
    """
    if address.startswith("file://"):
        address = address.removeprefix("file://")
    if "://" not in address:
        return Folder(address=address, local=Path(address).expanduser().absolute(), remote=None)
    if holds_password(address):
        raise InputError(
            f"an address must hold no key, for it is written down and shown, but that of {address.partition('://')[0]}"
            ":// does; take it out and set the environment, e.g. AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    from pyarrow import fs
    from pyarrow.lib import ArrowInvalid

    try:
        return Folder(address=address, local=None, remote=fs.FileSystem.from_uri(address))
    except (ArrowInvalid, OSError, ValueError) as error:
        raise InputError(
            f"a store is a local folder or an address that pyarrow.fs reads, but got {address}: "
            f"{str(error).splitlines()[0]}; use e.g. ~/faces or s3://bucket/faces"
        ) from error


def secure(*paths: Path) -> None:
    """Wait until files are on disk, and folders know of what is in them: a power cut takes what is only in memory."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def holds_password(address: str) -> bool:
    """Tell whether there is one before the host, as the address stands: it may hold what ends a host, / or ? or #."""
    return re.match("[^@]*:.*@", address.partition("://")[2]) is not None

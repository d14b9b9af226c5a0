"""A sweep that is kept in a bucket: its lease, its journal's copy, and the folder in which this machine works on it.

Every machine that drives it has a folder of its own, in which all is as in any results folder. The bucket has what the
next driver needs when this machine is gone: the journal, and what workers send of their trials (``trainables.mirror``).

``pyarrow`` has no conditional writes, so the lease is no lock but a rule that drivers keep: an object that names its
holder, written anew every few seconds. Who finds another's looks whether it changes, and takes over what stands still.
Who writes one reads it again a moment later. A driver that was stopped for so long that another took over ends as soon
as it sees that; until then each trial's ``attempt`` keeps its workers from doing harm, and its journal is not sent.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from data_store.errors import InputError
from data_store.folders import open_folder
from sweeps.engine.interruption import TEMPORARY_FAILURE
from sweeps.engine.journal import Journal, read_state
from sweeps.engine.lock import is_held
from sweeps.engine.places import Places
from sweeps.engine.terminal import Terminal
from trainables.attempts import MODEL_FOLDER
from trainables.mirror import PATIENCE_S, code_of, tried

BEAT_S = 5.0
"""Between two writings of a lease."""
STALE_S = 30.0
"""A lease that stands still for so long belongs to nobody."""
SETTLE_S = 1.0
"""Between writing a lease and reading it again: another driver may have done the same meanwhile."""
LEASE_BYTES = 512
"""Always so many: Arrow asks for an object's size first, and another driver may write it anew before it reads."""

_PROBE, _LEASE, _JOURNAL, _TOKEN = ".write-check", "lease.json", "journal.jsonl", "lease"
_DRIVEN_ELSEWHERE = "driven-elsewhere"
"""A file in a sweep's folder: what the journal calls recorded may be in another machine's tracking file."""


def named(results: str) -> bool:
    """Tell whether ``--results`` is an address in place of a folder."""
    return re.match(r"\w+://", results) is not None


def working_folder(address: str, results: Path) -> Path:
    """Return the folder of this machine that goes with a bucket."""
    return results / f"bucket-{hashlib.sha256(address.encode()).hexdigest()[:8]}"


def check_address(address: str) -> str:
    """Return the address of a bucket's folder without a slash at its end.

    Raises:
        InputError: It is none of S3, or holds what does not belong into an address.
    """
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise InputError(
            f"--results must be a folder or s3://bucket/path, but got {address.partition('://')[0]}://... ({error}); "
            "correct what comes after it"
        ) from error
    if parts.scheme != "s3" or not parts.netloc:
        raise InputError(
            f"--results must be a folder or s3://bucket/path, but got {parts.scheme}://...; the journal and the "
            "checkpoints are kept there: use a folder that all nodes mount, or a bucket"
        )
    if parts.username is not None or parts.password is not None or parts.query:
        raise InputError(
            "an address must hold no key, for it is written down and shown, but that of --results has more than bucket "
            "and path; set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL on every node"
        )
    if "#" in address or "//" in parts.path:
        raise InputError(
            f"--results must be s3://bucket/path without # and without an empty name between slashes, but got {address}"
            "; leave out what is too much"
        )
    return address.rstrip("/")


def refusal(address: str) -> str | None:
    """Write a small object to a bucket from this node; return why that failed, or None. No key is in it."""
    folder, name = open_folder(address), f"{_PROBE}-{uuid.uuid4().hex}"
    try:
        folder.write(name, b"")
        folder.delete(name)
    except OSError as error:
        return code_of(error)
    return None


def check(address: str) -> None:
    """Check that a bucket takes what is written, before anything is started.

    Raises:
        InputError: It does not.
    """
    try:
        code = refusal(address)
    except InputError as error:  # of a folder of any kind; S3 is asked where a bucket lies unless that is set
        why = str(error.__cause__ or error).splitlines()[0]
        raise InputError(
            f"the bucket of --results must be one that can be found, but {address} is not ({why}); "
            "make it, correct its name, or set AWS_DEFAULT_REGION and AWS_ENDPOINT_URL"
        ) from error
    if code is not None:
        raise InputError(
            f"the results' bucket must take what is written, but {address} does not ({code}); make the bucket, or "
            "correct AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION or AWS_ENDPOINT_URL"
        )


def pull_journals(address: str, results: Path) -> None:
    """Bring the journals of all sweeps of a bucket here: what is planned depends on which sweeps there are."""
    for label in tried(address, open_folder(f"{address}/sweeps").entries):
        folder = results / "sweeps" / label
        if not is_held(folder):
            pull_journal(f"{address}/sweeps/{label}", folder)


def pull_journal(address: str, folder: Path) -> None:
    """Bring a sweep's journal here, unless the one that is here goes on where the bucket's ends.

    Raises:
        InputError: The bucket has lost it.
    """
    path, remote = folder / _JOURNAL, open_folder(address)
    here = path.read_bytes() if path.exists() else b""
    try:
        there = tried(address, lambda: remote.read(_JOURNAL))
    except FileNotFoundError:
        if here and read_state(path).attempts:
            raise InputError(
                f"a sweep that has begun must have its journal in the bucket, but {address} has none and {folder} has; "
                "put the bucket's files back, or move that folder away to start over"
            ) from None
        return
    if not here.startswith(there):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _DRIVEN_ELSEWHERE).touch()
        open_folder(str(folder)).write(_JOURNAL, there)


def record_again(journal: Journal, uri: str) -> None:
    """Let everything be recorded once more where another machine may have done it in a file of its own."""
    if uri.startswith("sqlite:") and (journal.path.parent / _DRIVEN_ELSEWHERE).exists():
        journal.state.recorded = set(journal.state.found)
        journal.state.closed = None


def recorded_here(folder: Path) -> None:
    """Note that all of a sweep is recorded by this machine."""
    (folder / _DRIVEN_ELSEWHERE).unlink(missing_ok=True)


def give(models: dict[str, str], places: Places) -> None:
    """Put given models, by digest, where workers find them."""
    for digest, folder in models.items():
        place = places.models[digest]
        shutil.copytree(folder, place, dirs_exist_ok=True)
        there = open_folder(f"{places.bucket}/{place.relative_to(places.sweep).as_posix()}")
        if there.names() != open_folder(str(place)).names():
            places.mirror.push(place)


def given_place(sweep: Path, digest: str) -> Path:
    """Return where a given model lies in a sweep that is kept in a bucket."""
    return sweep / "given" / digest[:16] / MODEL_FOLDER


class Keeper:
    """Holds a sweep's lease, and sends its journal to the bucket behind the sweep's back.

    The journal is sent whole each time, for an object cannot be appended to: a few MB of a thousand trials. What is
    written while it is on its way is sent together.
    """

    def __init__(
        self, address: str, folder: Path, terminal: Terminal, *, leave: Callable[[int], object] = os._exit
    ) -> None:
        """Take the lease.

        Args:
            address: Of the sweep in the bucket.
            folder: Of the sweep on this machine, which this process holds the lock of.
            terminal: Told when the bucket goes away, and when it is back.
            leave: Ends the process when another driver has taken over.

        Raises:
            InputError: Another driver has it, and lives.
        """
        self.address, self.folder, self.terminal, self.leave = address, folder, terminal, leave
        self.remote = open_folder(address)
        self.token = uuid.uuid4().hex
        self.journal: Journal | None = None
        self.sent = 0
        self.away = False
        self._sending = threading.Condition()
        self._wake, self._stopping = threading.Event(), False
        self._beaten = 0.0
        self._take()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def follow(self, journal: Journal) -> None:
        """Send what this journal says from now on."""
        self.journal = journal
        journal.on_append, journal.secure = self._wake.set, self.secure
        self.secure()

    def secure(self) -> None:
        """Wait until the bucket has all that the journal says.

        Raises:
            InputError: It has not taken it in two minutes.
        """
        assert self.journal is not None
        size = self.journal.path.stat().st_size if self.journal.path.exists() else 0
        self._wake.set()
        with self._sending:
            if not self._sending.wait_for(lambda: self.sent >= size, timeout=PATIENCE_S):
                raise InputError(
                    f"a sweep's journal must reach its bucket, but {self.address} has not answered for "
                    f"{PATIENCE_S:g} s; the same command goes on when it does"
                )

    def stop(self) -> None:
        """Send what is left, and give the lease back."""
        self._stopping = True
        self._wake.set()
        self._thread.join(PATIENCE_S)
        with suppress(OSError):
            if (self._lease() or {}).get("token") == self.token:
                self.remote.delete(_LEASE)

    def _take(self) -> None:
        mine = self.folder / _TOKEN
        before = mine.read_text() if mine.exists() else ""
        lease = tried(self.address, self._lease)
        if lease is not None and lease["token"] != before:  # else it is of a process that held this folder, and ended
            self.terminal.line("lease", f"{_holder(lease)} had this sweep; looking for {STALE_S:g} s whether it lives")
            deadline = time.monotonic() + STALE_S
            while time.monotonic() < deadline:
                time.sleep(min(1.0, STALE_S / 10))
                now = tried(self.address, self._lease)
                if now is None:
                    break
                if now != lease:
                    raise self._taken(now)
        mine.write_text(self.token)
        tried(self.address, self._beat)
        time.sleep(SETTLE_S)
        now = tried(self.address, self._lease)
        if now is not None and now["token"] != self.token:
            raise self._taken(now)

    def _taken(self, lease: dict[str, Any]) -> InputError:
        return InputError(
            f"a sweep has one driver at a time, but {_holder(lease)} has {self.address}; wait for it, or stop it"
        )

    def _lease(self) -> dict[str, Any] | None:
        try:
            lease: dict[str, Any] = json.loads(self.remote.read(_LEASE))
        except FileNotFoundError:
            return None
        return lease

    def _beat(self) -> None:
        lease = {"node": platform.node(), "process": os.getpid(), "token": self.token, "time": time.time()}
        self.remote.write(_LEASE, json.dumps(lease).ljust(LEASE_BYTES).encode())
        self._beaten = time.monotonic()

    def _run(self) -> None:
        while True:
            self._wake.wait(BEAT_S)
            self._wake.clear()
            stopping = self._stopping
            try:
                self._tend()
            except OSError as error:
                if not self.away:
                    self.away = True
                    self.terminal.event(f"the bucket does not answer ({code_of(error)}): its journal waits here")
                if not stopping:
                    time.sleep(1.0)
                    self._wake.set()
            else:
                if self.away:
                    self.away = False
                    self.terminal.event("the bucket answers again")
            if stopping:
                return

    def _tend(self) -> None:
        lease = self._lease()
        if lease is not None and lease["token"] != self.token:
            self.terminal.wipe()
            self.terminal.line("stopped", f"{_holder(lease)} has taken this sweep over; it goes on there")
            self.leave(TEMPORARY_FAILURE)
            return
        content = b""
        if self.journal is not None and self.journal.path.exists():
            content = self.journal.path.read_bytes().rpartition(b"\n")[0] + b"\n"
        if len(content) > max(self.sent, 1):
            self.remote.write(_JOURNAL, content)
            with self._sending:
                self.sent = len(content)
                self._sending.notify_all()
        if time.monotonic() - self._beaten >= BEAT_S:
            self._beat()


@contextmanager
def kept(address: str | None, folder: Path, terminal: Terminal) -> Iterator[Keeper | None]:
    """Hold a sweep in a bucket, and bring its journal here; does nothing without a bucket.

    Raises:
        InputError: Another driver has it, or the bucket has lost its journal.
    """
    if address is None:
        yield None
        return
    keeper = Keeper(address, folder, terminal)
    try:
        pull_journal(address, folder)
        yield keeper
    finally:
        keeper.stop()


def _holder(lease: dict[str, Any]) -> str:
    return f"process {lease['process']} on {lease['node']}"

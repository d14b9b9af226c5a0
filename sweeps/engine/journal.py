"""The sweep's memory: an append-only file of one JSON line an event, flushed to disk before it counts.

Everything that a later launch needs to know is rebuilt from it: what is planned; what is done, with which result;
what failed, and why; how often each trial was started; which graphs were measured.
"""

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_store.errors import InputError

OPENED = ("sweep", "question", "label", "uri", "tags", "fresh")
"""What the event that opens a sweep says of it at least."""


@dataclass(kw_only=True)
class State:
    """What the events so far amount to.

    Attributes:
        opened: What the sweep is: its name, question, label, tracking store, tags and owner.
        planned: Name, role and config of each trial, in the order in which they were planned.
        attempts: Starts of each trial.
        finished: The result of each finished trial.
        failed: The reason of each trial that raised and was not finished since.
        found: Run ids of the finished trials that another sweep had trained, by trial.
        recorded: Finished trials that tracking has received in full.
        latencies: Values measured of a graph by its digest, each a dict by metric key.
        latency_cpus: The CPU that each of them was measured on.
        elsewhere: Scores of each trial's model on other stores, by the store's name, each a dict by metric key.
        suggested: What a search has chosen, in order: ``point``, ``notes`` and the identity of its ``trial``.
        stopped: The ``epoch`` at which each trial was ended early, and the ``reason``, which is no failure.
        arrivals: The trials that came to a rung of early stopping, in order; see ``asha.Arrival``.
        micro_batches: Crops of one forward pass of each trial that ran out of memory, since then.
        latency_fit: Rates from which a search predicts latency; None before they were fitted.
        closed: Whether the sweep's plots and table were made after the last of these events.
    """

    opened: dict[str, Any] | None = None
    planned: dict[str, dict[str, Any]] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    finished: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)
    recorded: set[str] = field(default_factory=set)
    latencies: dict[str, dict[str, float]] = field(default_factory=dict)
    latency_cpus: dict[str, str] = field(default_factory=dict)
    elsewhere: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    suggested: list[dict[str, Any]] = field(default_factory=list)
    stopped: dict[str, dict[str, Any]] = field(default_factory=dict)
    arrivals: list[dict[str, Any]] = field(default_factory=list)
    micro_batches: dict[str, int] = field(default_factory=dict)
    latency_fit: dict[str, Any] | None = None
    closed: dict[str, Any] | None = None

    @property
    def owner(self) -> str:
        """What tells this journal from all others; nothing before the sweep was opened."""
        return str(self.opened.get("owner", "")) if self.opened else ""

    def apply(self, event: dict[str, Any]) -> None:
        """Take one event in."""
        trial, kind = event.get("trial", ""), event["event"]
        if kind == "opened":
            for key in OPENED:
                if key not in event:
                    raise KeyError(key)
            self.opened = {**event, "tags": dict(event["tags"])}
        elif kind == "planned":
            self.planned[trial] = {key: event[key] for key in ("name", "role", "config")}
        elif kind == "started":
            self.attempts[trial] = event["attempt"]
            self.failed.pop(trial, None)
        elif kind == "finished":
            self.finished[trial] = event["result"]
        elif kind == "found":
            self.finished[trial], self.found[trial] = event["result"], event["run"]
            self.recorded.add(trial)
            self.failed.pop(trial, None)
        elif kind == "failed":
            self.failed[trial] = event["reason"]
        elif kind == "recorded":
            self.recorded.add(trial)
        elif kind == "suggested":
            self.suggested.append({key: event[key] for key in ("point", "notes", "trial")})
        elif kind == "rung":
            self.arrivals.append(event["arrival"])
        elif kind == "stopped":  # one line with the arrival that led to it, so that no crash comes between the two
            self.stopped[trial] = {"epoch": event["epoch"], "reason": event["reason"]}
            self.arrivals += [event["arrival"]] if event["arrival"] else []
            self.failed.pop(trial, None)
        elif kind == "elsewhere":
            self.elsewhere.setdefault(trial, {})[event["name"]] = event["metrics"]
        elif kind == "narrowed":
            self.micro_batches[trial] = event["micro_batch"]
        elif kind == "latency_fit":
            self.latency_fit = event["fit"]
        elif kind == "latency":
            self.latencies[event["graph"]] = event["latency"]
            self.latency_cpus[event["graph"]] = event.get("cpu", "")
        elif kind != "closed":
            raise KeyError(f"unknown event {kind!r}")
        self.closed = event if kind == "closed" else None


class Journal:
    """An open journal and the state that it amounts to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = State()
        self.dropped_tail = False
        self._lock = threading.Lock()  # the courier writes down what it has delivered
        self.on_append: Callable[[], object] = lambda: None
        self.secure: Callable[[], object] = lambda: None
        """Waits until what was written is where the sweep's next driver finds it, on whatever machine."""

    def append(self, event: str, **values: object) -> None:
        """Write an event; when this returns it is on disk."""
        self.extend([{"event": event, **values}])

    def extend(self, events: Iterable[Mapping[str, object]]) -> None:
        """Write several events at once; when this returns they are on disk."""
        now = round(time.time(), 3)
        entries = [{"event": event["event"], "time": now, **event} for event in events]
        lines = b"".join(json.dumps(entry, separators=(",", ":")).encode() + b"\n" for entry in entries)
        with self._lock:
            with self.path.open("ab", buffering=0) as stream:
                whole = stream.tell()
                try:
                    if stream.write(lines) != len(lines):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                    os.fsync(stream.fileno())
                except OSError:
                    with suppress(OSError):
                        stream.truncate(whole)  # half a line would spoil the next one
                    raise
            for entry in entries:
                self.state.apply(entry)
        self.on_append()


def read_state(path: Path) -> State:
    """Return what a journal amounts to, without touching it: another process may be writing its last line.

    Raises:
        InputError: A line before the last is not an event.
    """
    state = State()
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            state.apply(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"every line of a journal must be one event, but line {number} of {path} is not ({error}); restore "
                "the file from a copy, or move the sweep's folder away to start over"
            ) from error
    return state


def open_journal(path: Path) -> Journal:
    """Read a journal, or start one.

    A last line without its end is what a power cut leaves: it is dropped, and ``dropped_tail`` says so.

    Raises:
        InputError: A line before the last is not an event.
    """
    journal = Journal(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = path.read_bytes() if path.exists() else b""
    torn = content.rpartition(b"\n")[2]
    if torn:
        with path.open("r+b") as stream:
            stream.truncate(len(content) - len(torn))
        journal.dropped_tail = True
    if content:
        journal.state = read_state(path)
    return journal

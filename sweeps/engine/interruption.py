"""Ctrl-C: once stops the sweep after what is running has saved its epoch, twice stops it at once.

While Ray or MLflow starts, once stops it when it has: Python may lose a ``KeyboardInterrupt`` that comes in the
middle of an import, or leave a lock behind on which the imports of other threads wait for ever.

SIGTERM, which ``docker stop``, Slurm and systemd send, is taken for one Ctrl-C.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

from sweeps.engine.replaced import replaced
from sweeps.engine.terminal import Terminal

TEMPORARY_FAILURE = 75
"""Exit code of a sweep that something outside has ended, or keeps from its records; EX_TEMPFAIL of sysexits.h: try
again."""


class Closable(Protocol):
    """What is told to begin nothing new."""

    closing: bool


class Stoppable(Protocol):
    """What shows that the sweep is to stop."""

    stopping: bool


@dataclass
class Interruption:
    """Whether somebody has asked the sweep to stop."""

    asked: bool = False


@contextmanager
def terminable(terminal: Terminal) -> Iterator[Interruption]:
    """Let the first SIGTERM do what Ctrl-C does at that moment; who sends a second one gets the first one's answer."""
    state = Interruption()

    def handle(number: int, frame: FrameType | None) -> None:
        if state.asked:
            return
        state.asked = True
        terminal.event("SIGTERM: the sweep stops as it does at Ctrl-C; the same command goes on")
        pressed = signal.getsignal(signal.SIGINT)
        if not callable(pressed):  # a shell lets its background jobs ignore Ctrl-C
            raise KeyboardInterrupt
        pressed(number, frame)

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield state
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def own_signals() -> Iterator[None]:
    """Leave SIGTERM to who has a use for it here, while Ray starts, which would end the process without a word.

    Ray's Python half takes the signal at the start of ``ray.init``. Its C++ half takes it later, before Python sees it,
    prints a stack trace and aborts three seconds after: so Python's handler is set once more.
    """
    before = signal.getsignal(signal.SIGTERM)
    if before == signal.SIG_DFL:
        yield
        return
    from ray._private import utils  # which a sweep that is done does not load

    with replaced(utils, {"set_sigterm_handler": lambda _: None}):
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def held_back(terminal: Terminal) -> Iterator[None]:
    """Let the first Ctrl-C wait for the end of the body; raise KeyboardInterrupt then, or at the second."""
    asked = False

    def handle(_: int, __: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        terminal.event("stopping as soon as all has started; Ctrl-C again stops at once")

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt


@contextmanager
def interruptible(plan: Closable, terminal: Terminal, progress: Stoppable) -> Iterator[Interruption]:
    """Close the plan at the first Ctrl-C; raise KeyboardInterrupt at the second."""
    state = Interruption()

    def handle(_: int, __: FrameType | None) -> None:
        if state.asked:
            raise KeyboardInterrupt
        state.asked = True
        plan.closing = progress.stopping = True
        terminal.event("stopping after the epochs that are running; Ctrl-C again stops at once")

    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Tune's own handler would stop in mid-epoch
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield state
    finally:
        signal.signal(signal.SIGINT, before)

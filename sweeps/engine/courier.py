"""Brings records to MLflow behind the sweep's back: in order, one at a time, and again until they have arrived.

Nothing waits for the tracking server while trials run. What the courier still holds when the process ends is not
lost: the journal and the checkpoints say all of it, and ``sweeps.engine.deliver`` or the next launch sends what the
server lacks. Every delivery can be repeated without doubling anything.

A delivery that is refused for good, as when its run was deleted meanwhile, is said and dropped: what comes after it
arrives, and ``ending.catch_up`` makes up for it.
"""

import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sweeps.engine.terminal import Terminal

if TYPE_CHECKING:
    from sweeps.engine.tracking import Tracking

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 15.0
_PASSING = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")
"""MLflow's codes of errors that may pass: a server that is away has one of them."""

Delivery = Callable[["Tracking"], None]


class Courier:
    """A thread that delivers records in the order in which they are given.

    Attributes:
        tracking: The store, once something was delivered.
    """

    tracking: "Tracking"

    def __init__(self, opened: Callable[[], "Tracking"], terminal: Terminal, *, held: bool = False) -> None:
        """Start the thread.

        Args:
            opened: Returns the store, which this thread alone uses from now on.
            terminal: Told when the server goes away and when it is back.
            held: Open the store at ``begin``, or when somebody waits for the records; otherwise at once.
        """
        self._opened = opened
        self.terminal = terminal
        self.away = False
        self.failed: Exception | None = None  # the opening, or the last delivery
        self._said: set[str] = set()
        self._waiting: queue.Queue[Delivery] = queue.Queue()
        self._stopping = threading.Event()
        self._begun = threading.Event()
        self._opened_or_failed = threading.Event()
        self._never_opened = False
        if not held:
            self.begin()
        threading.Thread(target=self._run, name="courier", daemon=True).start()

    @property
    def begun(self) -> bool:
        """Whether the store is open, or opens."""
        return self._begun.is_set()

    def begin(self) -> None:
        """Open the store, unless it is."""
        self._begun.set()

    def wait_open(self) -> None:
        """Open the store, unless it is, and wait until it is open or has failed to."""
        self.begin()
        self._opened_or_failed.wait()

    def put(self, delivery: Delivery) -> None:
        """Hand over a record; returns at once."""
        self._waiting.put(delivery)

    def flush(self, seconds: float) -> bool:
        """Wait until everything has arrived; return False when the store has been away for so many seconds.

        Raises:
            Exception: The store could not be opened, or the last delivery was refused for good.
        """
        self.begin()
        deadline = time.monotonic() + seconds
        while self._waiting.unfinished_tasks and not self._never_opened and time.monotonic() < deadline:
            time.sleep(0.02)
            if self._stopping.is_set():
                break
            if not self.away:
                deadline = time.monotonic() + seconds
        if self.failed is not None and (self._never_opened or not self._waiting.unfinished_tasks):
            raise self.failed
        return not self._waiting.unfinished_tasks

    def stop(self) -> None:
        """Begin no further delivery."""
        self._stopping.set()
        self._begun.set()

    def _run(self) -> None:
        self._begun.wait()
        if self._stopping.is_set():
            return
        try:
            self.tracking = self._opened()
        except Exception as error:  # noqa: BLE001 # told by ``flush``
            self.failed, self._never_opened = error, True
            return
        finally:
            self._opened_or_failed.set()
        while not self._stopping.is_set():
            try:
                delivery = self._waiting.get(timeout=0.2)
            except queue.Empty:
                continue
            if not self._deliver(delivery):
                return
            self._waiting.task_done()

    def _deliver(self, delivery: Delivery) -> bool:
        """Try until it has arrived or was refused; return False when the courier was stopped."""
        pause = FIRST_PAUSE_S
        while not self._stopping.is_set():
            try:
                delivery(self.tracking)
            except Exception as error:  # noqa: BLE001 # MLflow lets errors of many libraries through
                if not may_pass(error):
                    self._refused(error)
                    return True
                if not self.away:
                    self.away = True
                    self.terminal.event("the tracking store does not answer: training goes on, its records wait here")
                self.tracking.forget()
                self._stopping.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
                continue
            if self.away:
                self.away = False
                self.terminal.event("the tracking store answers again: the records are on their way")
            self.failed = None
            return True
        return False

    def _refused(self, error: Exception) -> None:
        """Say once why a record was refused, and ask the store again what it has."""
        self.failed = error
        self.tracking.forget()
        reason = " ".join(str(error).split()) or type(error).__name__
        if reason not in self._said:
            self._said.add(reason)
            self.terminal.event(f"the tracking store refuses a record, which is sent again at the end: {reason}")


def may_pass(error: Exception) -> bool:
    """Tell whether the same delivery may succeed later: the server is away, or its database is locked or full."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.error_code in _PASSING
    return isinstance(error, OSError)  # the errors of urllib3 and requests are among them

"""Notices that Ray is gone: Tune itself would wait for it for more than ten minutes."""

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from typing import Any

import ray

from sweeps.engine.interruption import TEMPORARY_FAILURE

GONE_S = 20.0
PERIOD_S = 1.0


def has_ended() -> bool:
    """Tell whether Ray was started here and one of its processes has died: it does not come back.

    Ray ends this process too, some seconds later and with an exit code of its own.
    """
    node: Any = ray._private.worker._global_node
    return node is not None and node.is_head() and bool(node.dead_processes())


def has_resources() -> bool:
    """Tell whether a node of the cluster is alive."""
    return any(row["Alive"] and row["Resources"].get("CPU") for row in ray.nodes())


class Watch:
    """A thread that ends the process when Ray has been gone for 20 seconds, or has ended for good."""

    def __init__(
        self,
        before_exit: Callable[[], None],
        *,
        alive: Callable[[], bool] = has_resources,
        ended: Callable[[], bool] = has_ended,
        gone_s: float = GONE_S,
        period_s: float = PERIOD_S,
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        """Start watching.

        Args:
            before_exit: Called once before the process ends; says what is to be said.
            alive: Asked again and again; an answer that does not come, or raises, is a no.
            ended: Asked as often, and must answer at once; a yes is final.
            gone_s: How long it must have said no.
            period_s: Between two questions.
            leave: Ends the process, whatever its other threads wait for.
        """
        self.before_exit = before_exit
        self.alive = alive
        self.ended = ended
        self.gone_s = gone_s
        self.period_s = period_s
        self.leave = leave
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer."""
        self._ended.set()

    def _run(self) -> None:
        seen = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            asked = None
            while not self._ended.wait(self.period_s):
                asked = asked or pool.submit(self.alive)
                try:
                    if asked.result(timeout=self.period_s):
                        seen = time.monotonic()
                    asked = None
                except TooLate:  # a question that hangs is asked once
                    pass
                except Exception:  # noqa: BLE001 # whatever Ray raises when it is gone
                    asked = None
                gone = self.ended() or time.monotonic() - seen >= self.gone_s
                if gone and not self._ended.is_set():
                    self.before_exit()
                    sys.stdout.flush()
                    self.leave(TEMPORARY_FAILURE)
                    return

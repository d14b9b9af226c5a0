"""A cluster's nodes while a sweep runs: they leave, and they join. Those that join are looked at meanwhile."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import ray
from ray.exceptions import RayError

from data_store.errors import InputError

Node = Mapping[str, Any]
"""As ``ray.nodes()`` returns it."""

WATCH_S = 5.0
"""Seconds between two looks at which nodes there are."""
AGAIN_S = 60.0
"""Seconds after which a node that was refused is looked at again: what it lacks may be there by then."""
AT_ONCE = 8
"""Nodes that are looked at at a time."""


def alive() -> list[Node]:
    """Return the nodes that Ray has now."""
    return [node for node in ray.nodes() if node["Alive"]]


def num_at_once(nodes: Sequence[Node], device: str, *, num_threads: int, per_card: int) -> int:
    """Return how many trials run on nodes at a time, at least 1: with none, Tune waits for one.

    Args:
        nodes: That trials may run on.
        device: ``cuda`` or ``cpu``.
        num_threads: CPU threads of a trial.
        per_card: Trials that share a GPU.
    """
    have = [node["Resources"] for node in nodes]
    if device == "cuda":
        return max(1, sum(int(node.get("GPU", 0)) * per_card for node in have))
    return max(1, sum(int(node.get("CPU", 0)) // num_threads for node in have))


class Nodes:
    """The nodes that trials may count on: those that were looked at before the sweep, and those that have joined.

    One that joined counts at once. It is looked at meanwhile, and counts no longer when it breaks a rule. Ray may put a
    trial there nevertheless, in place of another node: Tune fixes what trials ask for when it starts.

    Attributes:
        closing: Set when no answer is waited for any more.
    """

    def __init__(
        self,
        looked_at: Sequence[Node],
        look: Callable[[Node], None],
        say: Callable[[str], None],
        found: Callable[[], list[Node]] = alive,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the nodes that break no rule.

        Args:
            looked_at: They.
            look: Looks at another node, in a thread; may take minutes. Raises InputError where it breaks a rule.
            say: Told of such nodes.
            found: Returns the nodes that there are.
            clock: In seconds.
        """
        self.closing = threading.Event()
        self._look, self._say, self._found, self._clock = look, say, found, clock
        self._fit = {node["NodeID"] for node in looked_at}
        self._looking: dict[str, Future[None]] = {}
        self._refused: dict[str, tuple[float, str]] = {}
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="nodes")
        self._asked_at, self._usable = -WATCH_S, list(looked_at)

    def usable(self) -> list[Node]:
        """Return the nodes that there are and that were not refused; Ray is asked at most every 5 s."""
        now = self._clock()
        if now - self._asked_at >= WATCH_S:
            self._asked_at = now
            nodes = self._found()
            for node in nodes:
                self._judge(node, now)
            self._usable = [node for node in nodes if node["NodeID"] not in self._refused]
        return self._usable

    def close(self) -> None:
        """Look at no further node, and wait for those looks that are under way."""
        self.closing.set()
        self._pool.shutdown(cancel_futures=True)

    def _judge(self, node: Node, now: float) -> None:
        name = node["NodeID"]
        refused_at, rule = self._refused.get(name, (-AGAIN_S, ""))
        if name in self._fit or (name not in self._looking and now - refused_at < AGAIN_S):
            return
        if name not in self._looking:
            self._looking[name] = self._pool.submit(self._look, node)
        if not self._looking[name].done():
            return
        try:
            self._looking.pop(name).result()
            self._fit.add(name)
            self._refused.pop(name, None)
        except (InputError, OSError, RayError) as error:  # a bucket may be away for a while
            broken = str(error).partition(", but ")[0]
            self._refused[name] = now, broken
            if broken != rule:
                self._say(f"a node that joined is not used: {error}")

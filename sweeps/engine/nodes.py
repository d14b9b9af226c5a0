"""A cluster's nodes while a sweep runs: they leave, and they join. Those that join are looked at before they count."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import ray

from data_store.errors import InputError

Node = Mapping[str, Any]
"""As ``ray.nodes()`` returns it."""

WATCH_S = 5.0
"""Seconds between two looks at which nodes there are."""
AGAIN_S = 60.0
"""Seconds after which a node that was refused is looked at again: what it lacks may be there by then."""


def room(nodes: Sequence[Node], device: str, *, num_threads: int, per_card: int) -> int:
    """Return how many trials run on nodes at once, at least 1: with none, Tune waits for one.

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


def alive() -> list[Node]:
    """Return the nodes that Ray has now."""
    return [node for node in ray.nodes() if node["Alive"]]


class Nodes:
    """Counts the trials that there is room for, now.

    A node that has joined counts once it was looked at and breaks no rule. Ray may put a trial on another one
    nevertheless: it has no way to be told which nodes of a running cluster to leave out.
    """

    def __init__(
        self,
        count: Callable[[Sequence[Node]], int],
        look: Callable[[Node], None],
        say: Callable[[str], None],
        found: Callable[[], list[Node]] = alive,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the nodes that there are: they were looked at.

        Args:
            count: Counts the trials of nodes.
            look: Looks at a node that has joined; may take minutes. Raises InputError where it breaks a rule.
            say: Told of such nodes.
            found: Returns the nodes that there are.
            clock: In seconds.
        """
        self._count, self._look, self._say, self._found, self._clock = count, look, say, found, clock
        self._fit = {node["NodeID"] for node in found()}
        self._looking: dict[str, Future[None]] = {}
        self._refused: dict[str, tuple[float, str]] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="nodes")
        self._asked_at, self._places = -WATCH_S, 1

    def __call__(self) -> int:
        """Return the trials that there is room for; Ray is asked at most every 5 s."""
        now = self._clock()
        if now - self._asked_at >= WATCH_S:
            self._asked_at = now
            nodes = self._found()
            for node in nodes:
                self._judge(node, now)
            self._places = self._count([node for node in nodes if node["NodeID"] in self._fit])
        return self._places

    def _judge(self, node: Node, now: float) -> None:
        name = node["NodeID"]
        refused_at, reason = self._refused.get(name, (-AGAIN_S, ""))
        if name in self._fit or (name not in self._looking and now - refused_at < AGAIN_S):
            return
        if name not in self._looking:
            self._looking[name] = self._pool.submit(self._look, node)
        looking = self._looking[name]
        if not looking.done():
            return
        del self._looking[name]
        try:
            looking.result()
            self._fit.add(name)
        except InputError as error:
            self._refused[name] = now, str(error)
            if str(error) != reason:
                self._say(f"a node that joined is not used: {error}")

"""Nodes that join a cluster in mid-sweep: counted when they were looked at, named when they break a rule; no Ray."""

import threading
from typing import Any

import pytest

from data_store.errors import InputError
from sweeps.engine.nodes import AGAIN_S, WATCH_S, Node, Nodes, room


def node(name: str, **resources: float) -> dict[str, Any]:
    return {"NodeID": name, "Resources": resources}


@pytest.mark.parametrize(
    ("device", "threads", "places"), [("cpu", 2, 3), ("cpu", 4, 1), ("cuda", 1, 4)], ids=["cpu", "threads", "cuda"]
)
def test_room_is_that_of_all_nodes_and_no_trial_is_split(device: str, threads: int, places: int) -> None:
    nodes = [node("a", CPU=3.0, GPU=1.0), node("b", CPU=5.0, GPU=1.0), node("head")]
    assert room(nodes, device, num_threads=threads, per_card=2) == places
    assert room([], device, num_threads=threads, per_card=2) == 1


class Cluster:
    """Nodes that a test lets join, a clock that it moves, and what was said."""

    def __init__(self) -> None:
        self.nodes = [node("first", CPU=1.0)]
        self.now = 0.0
        self.faults: dict[str, str] = {}
        self.said: list[str] = []
        self.asked: list[str] = []
        self.answer = threading.Semaphore(0)
        self.count = Nodes(len, self.look, self.said.append, lambda: list(self.nodes), lambda: self.now)

    def look(self, joined: Node) -> None:
        assert self.answer.acquire(timeout=60)
        self.asked.append(joined["NodeID"])
        if joined["NodeID"] in self.faults:
            raise InputError(self.faults[joined["NodeID"]])

    def later(self, seconds: float = WATCH_S) -> int:
        self.now += seconds
        return self.count()

    def answered(self) -> int:
        """Let the node that is asked answer, and return the room at the look after."""
        looking = [*self.count._looking.values()]
        self.answer.release()
        for future in looking:
            future.exception(timeout=60)
        return self.later()


def test_a_node_that_joins_counts_once_it_was_looked_at_and_one_that_leaves_no_longer() -> None:
    cluster = Cluster()
    assert cluster.count() == 1
    cluster.nodes.append(node("second", CPU=1.0))
    assert cluster.later(WATCH_S / 2) == 1
    assert cluster.later() == 1
    assert cluster.asked == []
    assert cluster.answered() == 2
    assert cluster.later() == 2
    assert (cluster.asked, cluster.said) == (["second"], [])
    del cluster.nodes[0]
    assert cluster.later() == 1


def test_a_node_that_breaks_a_rule_is_named_once_and_counts_when_it_keeps_it() -> None:
    cluster = Cluster()
    cluster.faults["second"] = "every node must run the driver's versions"
    cluster.nodes.append(node("second", CPU=1.0))
    assert cluster.later() == 1
    assert cluster.answered() == 1
    assert cluster.said == ["a node that joined is not used: every node must run the driver's versions"]
    assert cluster.later() == 1
    assert cluster.asked == ["second"]
    assert cluster.later(AGAIN_S) == 1
    assert cluster.answered() == 1
    assert len(cluster.said) == 1
    cluster.faults.clear()
    assert cluster.later(AGAIN_S) == 1
    assert cluster.answered() == 2
    assert cluster.asked == ["second"] * 3

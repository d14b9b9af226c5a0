"""Nodes that join a cluster in mid-sweep: used at once, looked at meanwhile, named when they break a rule; no Ray."""

import threading
from typing import Any

import pytest

from data_store.errors import InputError
from sweeps.engine.nodes import AGAIN_S, WATCH_S, Node, Nodes, num_at_once

RULE = "clocks must agree within 60 s, but that of second is 3,600 s ahead"


def node(name: str, **resources: float) -> dict[str, Any]:
    return {"NodeID": name, "Resources": resources}


@pytest.mark.parametrize(
    ("device", "threads", "trials"), [("cpu", 2, 3), ("cpu", 4, 1), ("cuda", 1, 4)], ids=["cpu", "threads", "cuda"]
)
def test_all_nodes_count_and_no_trial_is_split(device: str, threads: int, trials: int) -> None:
    nodes = [node("a", CPU=3.0, GPU=1.0), node("b", CPU=5.0, GPU=1.0), node("head")]
    assert num_at_once(nodes, device, num_threads=threads, per_card=2) == trials
    assert num_at_once([], device, num_threads=threads, per_card=2) == 1


class Cluster:
    """Nodes that a test lets join, a clock that it moves, and what was said."""

    def __init__(self) -> None:
        self.there = [node("first")]
        self.now = 0.0
        self.faults: dict[str, Exception] = {}
        self.said: list[str] = []
        self.asked: list[str] = []
        self.answer = threading.Semaphore(0)
        self.nodes = Nodes(self.there, self.look, self.said.append, lambda: list(self.there), lambda: self.now)

    def look(self, joined: Node) -> None:
        assert self.answer.acquire(timeout=60)
        self.asked.append(joined["NodeID"])
        if joined["NodeID"] in self.faults:
            raise self.faults[joined["NodeID"]]

    def later(self, seconds: float = WATCH_S) -> list[str]:
        self.now += seconds
        return [each["NodeID"] for each in self.nodes.usable()]

    def answered(self) -> list[str]:
        """Let all nodes that are asked answer, and return those that count at the next look."""
        looking = [*self.nodes._looking.values()]
        assert looking
        self.answer.release(len(looking))
        for future in looking:
            future.exception(timeout=60)
        return self.later()


def test_a_node_that_joins_counts_at_once_and_one_that_leaves_no_longer() -> None:
    cluster = Cluster()
    assert cluster.later(0) == ["first"]
    cluster.there += [node("second"), node("third")]
    assert cluster.later(WATCH_S / 2) == ["first"]
    assert cluster.later() == ["first", "second", "third"]
    assert cluster.answered() == ["first", "second", "third"]
    assert cluster.later() == ["first", "second", "third"]
    assert (sorted(cluster.asked), cluster.said) == (["second", "third"], [])
    del cluster.there[0]
    assert cluster.later() == ["second", "third"]
    cluster.nodes.close()


@pytest.mark.parametrize("fault", [InputError(RULE), OSError("the bucket is away")], ids=["rule", "bucket"])
def test_a_node_that_breaks_a_rule_is_named_once_and_counts_again_when_it_keeps_it(fault: Exception) -> None:
    cluster = Cluster()
    cluster.faults["second"] = fault
    cluster.there.append(node("second"))
    assert cluster.later() == ["first", "second"]
    assert cluster.answered() == ["first"]
    assert cluster.said == [f"a node that joined is not used: {fault}"]
    assert cluster.later() == ["first"]
    assert cluster.asked == ["second"]
    cluster.faults["second"] = type(fault)(str(fault).replace("3,600", "3,601"))
    assert cluster.later(AGAIN_S) == ["first"]
    assert cluster.answered() == ["first"]
    assert len(cluster.said) == 1
    cluster.faults.clear()
    assert cluster.later(AGAIN_S) == ["first"]
    assert cluster.answered() == ["first", "second"]
    assert cluster.asked == ["second"] * 3
    cluster.nodes.close()


def test_a_sweep_that_ends_asks_no_node_any_more() -> None:
    cluster = Cluster()
    cluster.there.append(node("second"))
    cluster.later()
    closing = threading.Thread(target=cluster.nodes.close)
    closing.start()
    assert cluster.nodes.closing.wait(60)
    cluster.answer.release()
    closing.join(60)
    assert not closing.is_alive()
    with pytest.raises(RuntimeError):
        cluster.nodes._pool.submit(print)

"""A whole sweep on several raylets of this machine: one dies in mid-sweep, another joins, and nothing shows it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sweeps.alone import trained_alone
from tests.sweeps.launching import (
    TINY,
    command,
    epochs_trained_twice,
    events,
    finished_results,
    has_come_to,
    runs,
    steps,
    wait_until,
)

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
STORE_BYTES = 80_000_000
"""Of a node's object store."""


@pytest.fixture
def nodes() -> Iterator[Any]:
    """Return a Ray cluster whose head has no CPU; nodes of one CPU are added to it."""
    from ray.cluster_utils import Cluster

    quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 4, "health_check_initial_delay_ms": 500}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "object_store_memory": STORE_BYTES,
            "include_dashboard": False,
            "_system_config": quick,
        },
    )
    yield cluster
    cluster.shutdown()


def running_at_once(results: Path) -> int:
    """Return how many trials were ever begun and not finished."""
    now, most = set(), 0
    for event in events(results):
        if event["event"] == "started":
            now.add(event["trial"])
        elif event["event"] in ("finished", "failed"):
            now.discard(event["trial"])
        most = max(most, len(now))
    return most


def test_trials_of_a_node_that_dies_continue_on_one_that_joined(
    nodes: Any,  # noqa: ANN401 - Ray's cluster
    store: Path,
    tmp_path: Path,
) -> None:
    """One node, then two, then the first one's power is cut: the second can only have joined, and ends them all."""
    results = tmp_path / "results"
    first = nodes.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    driver = subprocess.Popen(
        command(TINY, store, results, "--address", nodes.address),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with driver:
        try:
            wait_until(lambda: has_come_to(results, 1, 0) or driver.poll() is not None)
            nodes.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
            wait_until(lambda: running_at_once(results) == 2 or driver.poll() is not None)
            nodes.remove_node(first, allow_graceful=False)
            out, err = driver.communicate(timeout=600)
        finally:
            driver.kill()
    assert driver.returncode == 0, out + err
    assert err == ""
    assert "2 nodes answer, with the same versions, clocks and results folder" in out  # the head, and the first
    assert "its process died" in out
    assert "a worker was lost: starting its successor" in out
    assert finished_results(results) == trained_alone(store, tmp_path)
    assert epochs_trained_twice(results) == []
    assert max(event["attempt"] for event in events(results) if event["event"] == "started") >= 2
    for run in runs(results, "trial"):
        assert run.info.status == "FINISHED"
        assert steps(results, run.info.run_id) == [1, 2, 3, 4]

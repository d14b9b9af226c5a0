"""What a second worker node brings: six trials on one node of one CPU, and on two."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import Bar, Row, row
from tests.stores import write_store

ROOT = Path(__file__).parents[1]
SIX = ROOT / "benchmarks" / "six_trials.py"
CROPS = int(os.environ.get("CLUSTER_CROPS", "2000"))
"""Of the store; trials must come to 60 s each for the bar, fewer crops to try it out."""


def rows() -> list[Row]:
    """Run six equal trials on one worker node, then on two."""
    with tempfile.TemporaryDirectory(prefix="bench_cluster_") as temporary:
        folder = Path(temporary)
        store = write_store(folder / "store", rows={"train": CROPS, "val": 128, "test": 128})
        one, shortest = _six_trials(folder, store, 1)
        two, _ = _six_trials(folder, store, 2)
    detail = f"{two:.0f} s and {one:.0f} s from command to prompt; the shortest trial took {shortest:.0f} s alone"
    if shortest < 60:
        detail += ", less than the 60 s that the claim is about"
    return [row("six trials on two worker nodes of one CPU", "one such node", two / one, Bar("<=", 0.65), detail)]


def _six_trials(folder: Path, store: Path, num_nodes: int) -> tuple[float, float]:
    """Return the sweep's seconds, from its command to its end, and those of the shortest trial."""
    results = folder / f"results-{num_nodes}"
    with _cluster(num_nodes) as address:
        began = time.monotonic()
        command = [sys.executable, str(SIX), "--address", address, "--store", str(store), "--results", str(results)]
        done = subprocess.run([*command, "--profile", "demo"], capture_output=True, text=True, check=False)
        seconds = time.monotonic() - began
    assert done.returncode == 0, done.stdout + done.stderr
    (journal,) = results.glob("sweeps/*/journal.jsonl")
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    took = [event["result"]["metrics"]["seconds"] for event in events if event["event"] == "finished"]
    assert len(took) == 6
    return seconds, min(took)


@contextmanager
def _cluster(num_nodes: int) -> Iterator[str]:
    """A head without CPUs, and worker nodes of one CPU, as separate raylets on this machine."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(num_nodes):
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        yield cluster.address
    finally:
        cluster.shutdown()

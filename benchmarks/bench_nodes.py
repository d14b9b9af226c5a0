"""What the death of a node costs, and what the crops cost the network: a sweep on hosts made of Linux name spaces.

Needs root and iproute2, as ``tests/hosts.py`` does, whose hosts these are.
"""

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Bar, Row, row
from tests.hosts import Switch, open_switch, wait_until
from tests.stores import write_store
from tests.sweeps.launching import events, finished_results

PEERS = ("ray",)

SMALL = ["--disable-usage-stats", "--object-store-memory=80000000", "--block"]
WORKERS = ("worker-1", "worker-2")
NUM_TRIALS = 3
EPOCHS = "16"
"""Of a trial, a second each: enough for a node to die in its midst."""


def rows() -> list[Row]:
    """Run the tests' tiny sweep undisturbed, then with one of its two worker nodes killed in mid-sweep."""
    with tempfile.TemporaryDirectory(prefix="bench_nodes_") as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        store = write_store(folder / "store", rows={"train": 4000, "val": 16, "test": 16})
        store_bytes = sum(path.stat().st_size for path in store.glob("*.arrow"))
        calm, taken = _sweep(folder, "calm", lambda *_: None)
        killed, _ = _sweep(folder, "killed", _kill_first)
        results = finished_results(killed)
        assert len(results) == NUM_TRIALS
        assert results == finished_results(calm), "the killed sweep ended in other bits"
        costs = _epochs_begun_again(killed)
    share = max(taken) / store_bytes
    assert costs, "the node that was killed ran no trial"
    shown = " and ".join(f"{value / 1e6:.1f}" for value in taken)
    return [
        row(
            "bytes that a node takes in, three trials on two nodes", "the store's bytes", share, Bar("<=", 1.3),
            f"{shown} MB; the store has {store_bytes / 1e6:.1f} MB; our code and Ray's own talk count too",
        ),
        row(
            "epochs of a trial begun again after its node died", "one epoch", max(costs), Bar("<=", 1.0),
            f"{len(costs)} trials were taken up by another node; results equal the undisturbed sweep's bit for bit",
        ),
    ]  # fmt: skip


def _sweep(folder: Path, name: str, disturb: Callable[[Switch, Path], None]) -> tuple[Path, list[int]]:
    """Run the tiny sweep on a head and two workers; return its results and the bytes that each worker took in."""
    results = folder / name
    results.mkdir()
    results.chmod(0o777)
    mounts = {"/results": results, "/store": folder / "store"}
    switch = open_switch()
    try:
        head = switch.add("ray-head", mounts)
        with (folder / f"{name}.log").open("w") as log:
            head.run(["ray", "start", "--head", "--num-cpus=0", "--port=6379", *SMALL], out=log)
            wait_until(lambda: _healthy(switch), what="the head")
            for worker in WORKERS:
                host = switch.add(worker, mounts)
                host.run(["ray", "start", "--address=ray-head:6379", "--num-cpus=1", *SMALL], out=log)
            wait_until(lambda: _num_nodes(switch) == 1 + len(WORKERS), what="the workers")
            before = [switch.hosts[worker].received() for worker in WORKERS]
            command = ["python", "/app/tests/sweeps/tiny.py", "--address=ray-head:6379", "--profile=demo"]
            driver = head.run([*command, "--results=/results", "--store=/store"], env={"TINY_EPOCHS": EPOCHS}, out=log)
            wait_until(lambda: _num_training(results) == 2 or driver.poll() is not None, 600, "a trial on each worker")
            disturb(switch, results)
            assert driver.wait(900) == 0, (folder / f"{name}.log").read_text()
        after = [host.received() for worker, host in switch.hosts.items() if worker in WORKERS]
    finally:
        switch.close()
    return results, [end - start for start, end in zip(before, after, strict=True)]


def _num_training(results: Path) -> int:
    """Return how many trials have saved an epoch."""
    return len({path.parents[1] for path in results.glob("sweeps/*/trials/*/attempt-*/epoch-*")})


def _kill_first(switch: Switch, _: Path) -> None:
    switch.hosts[WORKERS[0]].kill()


def _healthy(switch: Switch) -> bool:
    with switch.hosts["ray-head"].run(
        ["ray", "health-check", "--address=ray-head:6379"], out=subprocess.DEVNULL
    ) as ask:
        return ask.wait() == 0


def _num_nodes(switch: Switch) -> int:
    """Return how many nodes of the cluster are alive."""
    ask = "import ray; ray.init('ray-head:6379', log_to_driver=False); print('N', sum(n['Alive'] for n in ray.nodes()))"
    with switch.hosts["ray-head"].run(["python", "-c", ask]) as process:
        said, _ = process.communicate()
    return next((int(line.split()[1]) for line in said.splitlines() if line.startswith("N ")), 0)


def _epochs_begun_again(results: Path) -> list[int]:
    """Return for each trial that was started twice the epochs that it began more than once.

    One whose node dies has begun the epoch after its last checkpoint; more only if a later attempt saved it again.
    """
    attempts: dict[str, int] = {}
    for event in events(results):
        if event["event"] == "started":
            attempts[event["trial"][:16]] = event["attempt"]
    costs = []
    for trial, count in attempts.items():
        if count > 1:
            saved = [path.name for path in results.glob(f"sweeps/*/trials/{trial}/attempt-*/epoch-*")]
            costs.append(1 + len(saved) - len(set(saved)))
    return costs

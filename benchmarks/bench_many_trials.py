"""A thousand trials that train nothing, through the real engine and a real MLflow file: does it slow down or grow?"""

import json
import os
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Bar, Row, row
from benchmarks.sweep_runs import ROOT, environment, finish


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured.

    Attributes:
        trials: Of the sweep.
        begin: The trial from which on it counts.
        span: Trials at either end that are compared.
    """

    trials: int
    begin: int
    span: int


FULL = Size(trials=1000, begin=10, span=100)  # 5 minutes on two quiet cores
SMALL = Size(trials=60, begin=10, span=20)
FLAT = 1.1
SAMPLED_S = 0.25


def rows(size: Size = FULL) -> list[Row]:
    """Run the sweep in a process of its own, which samples its own memory."""
    from tests.stores import write_store

    with tempfile.TemporaryDirectory(prefix="bench_many_") as temporary:
        folder = Path(temporary)
        store = write_store(folder / "store")
        env = {**environment(size.trials, 1), "PYTHONPATH": str(ROOT)}
        arguments = [sys.executable, "-m", "benchmarks.bench_many_trials", str(store), str(folder)]
        finish(arguments, env, folder / "driver.log")
        (journal,) = folder.glob("results/sweeps/*/journal.jsonl")
        read = [json.loads(line) for line in journal.read_text().splitlines()]
        ended = [entry["time"] for entry in read if entry["event"] == "finished"]
        samples = json.loads((folder / "memory.json").read_text())
    assert len(ended) == size.trials
    early, late = (ended[size.begin], ended[size.begin + size.span]), (ended[-1 - size.span], ended[-1])
    first, last = ((until - since) / size.span for since, until in (early, late))

    def megabytes(since: float, until: float) -> float:
        return float(statistics.median(rss for at, rss in samples if since <= at <= until)) / 1e6

    before, after = megabytes(*early), megabytes(*late)
    which = f"from the {size.begin}th to the {size.trials:,}th trial: times"
    grown = f"{before:.0f} to {after:.0f} MB"
    return [
        row(f"driver's memory {which}", "its start", after / before, Bar("<=", FLAT), grown),
        row(
            f"engine's time a trial {which}",
            "its start",
            last / first,
            Bar("<=", FLAT),
            f"{1000 * first:.0f} to {1000 * last:.0f} ms, training nothing, two at a time",
        ),
    ]  # fmt: skip


def main(store: str, folder: Path) -> int:
    """Run the sweep in this process with fake trials, and write down its memory over time."""
    import psutil

    from benchmarks.fake_trial import FakeTrial
    from benchmarks.seeds import SWEEP
    from sweeps.engine import ending, launch, tune

    vars(tune)["DetectorTrial"] = FakeTrial
    ending.measured = lambda *_, **__: iter(())  # there is no network whose latency could be measured
    samples: list[tuple[float, int]] = []
    process, over = psutil.Process(os.getpid()), threading.Event()

    def sample() -> None:
        while not over.wait(SAMPLED_S):
            samples.append((time.time(), process.memory_info().rss))

    threading.Thread(target=sample, daemon=True).start()
    code = launch.run(SWEEP, ["--store", store, "--profile", "demo", "--results", str(folder / "results")])
    over.set()
    (folder / "memory.json").write_text(json.dumps(samples))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))

"""What many trials cost the driver, beside stock Ray Tune: CPU a trial, whether it grows, and memory."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import Bar, Row, row

PEERS = ("ray",)

ROOT = Path(__file__).parents[1]
TRIALS = int(os.environ.get("DRIVER_TRIALS", "1000"))
"""The bar's are 1,000; fewer to try it out."""
ACTORS = 32
ROUNDS = 3


def rows() -> list[Row]:
    """Run ours and stock Tune in turn, each in a process of its own."""
    ours, stock = [], []
    for _ in range(ROUNDS):
        ours.append(_driver("ours"))
        stock.append(_driver("stock"))
    bare, _ = _driver("bare")
    tenth = TRIALS // 10
    per_trial = [(_slope(a[0], tenth, TRIALS), _slope(b[0], tenth, TRIALS)) for a, b in zip(ours, stock, strict=True)]
    ratio = statistics.median(a / b for a, b in per_trial)
    growth = statistics.median(
        _slope(cpu_s, TRIALS - tenth, TRIALS) / _slope(cpu_s, tenth, 2 * tenth) for cpu_s, _ in ours
    )
    theirs = statistics.median(
        _slope(cpu_s, TRIALS - tenth, TRIALS) / _slope(cpu_s, tenth, 2 * tenth) for cpu_s, _ in stock
    )
    peak_mb, stock_mb = (max(peak for _, peak in side) for side in (ours, stock))
    ours_ms, stock_ms = (1e3 * statistics.median(side) for side in zip(*per_trial, strict=True))
    bare_ms = 1e3 * _slope(bare, tenth, TRIALS)
    where = f"{TRIALS:,} trials that do nothing, {ACTORS} actors, 64 pretended CPUs"
    return [
        row(
            "driver's CPU a trial", "stock Ray Tune", ratio, Bar("<=", 1.3),
            f"{ours_ms:.1f} and {stock_ms:.1f} ms, {bare_ms:.1f} ms without Tune's loggers; {where}; no MLflow",
        ),
        row(
            "driver's CPU of its last tenth of trials", "its second tenth", growth, Bar("<=", 1.2),
            f"stock Ray Tune's {theirs:.2f}; {where}",
        ),
        row(
            "driver's peak memory", "1 GB", peak_mb / 1000, Bar("<=", 1.0),
            f"{peak_mb:.0f} MB, stock Ray Tune {stock_mb:.0f} MB; {where}",
        ),
    ]  # fmt: skip


def _driver(which: str) -> tuple[list[float], float]:
    """Return the driver's CPU seconds at each trial's end, and its peak memory in MB."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.driver_load", which, str(TRIALS), str(ACTORS)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    figures = json.loads(done.stdout.splitlines()[-1])
    assert len(figures["cpu_s"]) == TRIALS
    return figures["cpu_s"], figures["peak_mb"]


def _slope(cpu_s: list[float], first: int, last: int) -> float:
    """CPU seconds a trial between two trials' ends."""
    return (cpu_s[last - 1] - cpu_s[first - 1]) / (last - first)

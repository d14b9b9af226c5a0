"""What the engine costs around training: hand-over, start, checkpoints, memory; beside a stock Tune function trainable.

Fifty short trials run by their command line, and a probe in the workers notes when each step begins and ends.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.measure import Bar, Row, row
from benchmarks.sweep_runs import ROOT, Step, command, environment, finish, steps
from tests.stores import make_crops, write_store
from tests.sweeps.launching import events


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured.

    Attributes:
        trials: Of one epoch each.
        stock_trials: Of the stock function.
        crops: Of the training split: a trial has to train longer than the one before is tested behind it.
        settled: Trials of a worker after which its memory counts.
        rounds: Imports of a fresh worker that are timed, and checkpoints.
    """

    trials: int
    stock_trials: int
    crops: int
    settled: int
    rounds: int


FULL = Size(trials=50, stock_trials=8, crops=640, settled=5, rounds=3)  # 6 minutes on two quiet cores
SMALL = Size(trials=4, stock_trials=3, crops=320, settled=0, rounds=1)
EPOCH_S = 10.0
"""The shortest epoch whose share a checkpoint and its journal lines are judged by."""
MARGIN = 1.1
IMPORTS = (
    "import ray.tune, trainables.trainable; from data_store import resident;"
    "from trainables import training, artifacts, checkpoints, data_rules, architectures; architectures.build('Lite0')"
)


def rows(size: Size = FULL) -> list[Row]:
    """Run the engine's sweep twice, the second time with predicted memory at hand, then its peers."""
    with tempfile.TemporaryDirectory(prefix="bench_handover_") as temporary:
        folder = Path(temporary)
        store = write_store(folder / "store", rows={"train": size.crops, "val": 16, "test": 16})
        imports_s = [_imports_s() for _ in range(size.rounds)]
        results, notes = folder / "results", folder / "notes"
        first = time.time()
        finish(command(store, results), environment(size.trials, 1, notes), folder / "ours.log")
        ours, journal = steps(notes), events(results, "seeds-*")
        again = time.time()
        env = environment(2, 1, folder / "again")
        finish(command(store, results, "--fresh"), env, folder / "again.log")
        imports_s += [_imports_s() for _ in range(size.rounds)]
        stock = [sys.executable, "-m", "benchmarks.stock_tune", str(store), str(size.stock_trials), "1"]
        stock_env = environment(size.stock_trials, 1, folder / "stock")
        stock_env["PYTHONPATH"] += f":{ROOT}"
        finish(stock, stock_env, folder / "stock.log")
        return [
            _handed_over(ours, steps(folder / "stock"), journal),
            _memory(ours, size),
            _started("first launch", min(step.began for step in ours) - first, imports_s),
            _started("later launch", min(step.began for step in steps(folder / "again")) - again, imports_s),
            _checkpoint(folder, size),
        ]


def _handed_over(ours: Sequence[Step], stock: Sequence[Step], journal: Sequence[dict[str, object]]) -> Row:
    mine, theirs = _gaps(_spans(ours, per_process=True)), _slot_gaps(_spans(stock, per_process=False))
    assert mine, "no worker trained two trials"
    assert theirs, "the stock function trained no more trials than there are CPUs"
    trained = {step.seed: step.ended for step in ours}
    names = {row["trial"]: str(row["name"]) for row in journal if row["event"] == "started"}
    ends = [
        float(str(row["time"])) - trained[int(names[row["trial"]].removeprefix("seed="))]
        for row in journal
        if row["event"] == "finished"
    ]
    return row(
        "from a trial's last step to the next one's first on that worker, s",
        "a stock Tune function trainable",
        statistics.median(mine),
        Bar("<=", 0.3),
        f"median of {len(mine)}, 9 of 10 within {sorted(mine)[int(0.9 * (len(mine) - 1))]:.2f} s; stock "
        f"{statistics.median(theirs):.1f} s; validation, test pass, export and checksums are done "
        f"{statistics.median(ends):.1f} s after the last step, behind the next trial",
    )


def _spans(noted: Sequence[Step], *, per_process: bool) -> list[list[tuple[float, float]]]:
    """Return the first step's begin and the last one's end of each trial: of each process, or of all at once."""
    spans: dict[int, dict[tuple[int, int], tuple[float, float]]] = {}
    for step in noted:
        group = spans.setdefault(step.pid if per_process else 0, {})
        began, _ = group.get((step.pid, step.seed), (step.began, 0.0))
        group[step.pid, step.seed] = (began, step.ended)
    return [sorted(group.values()) for group in spans.values()]


def _gaps(groups: Sequence[Sequence[tuple[float, float]]]) -> list[float]:
    return [after[0] - before[1] for group in groups for before, after in pairwise(group)]


def _slot_gaps(groups: Sequence[Sequence[tuple[float, float]]]) -> list[float]:
    """Return the gaps of trials that each had a process of their own: from the end that freed its CPU."""
    (spans,) = groups
    ends, gaps = sorted(end for _, end in spans), []
    at_once = sum(began < ends[0] for began, _ in spans)
    for place, (began, _) in enumerate(spans[at_once:]):
        gaps.append(began - ends[place])
    return gaps


def _memory(noted: Sequence[Step], size: Size) -> Row:
    """Compare a worker's memory in its last trials with that in its first ones, once it has settled."""
    ratios, shown = [], []
    for pid in {step.pid for step in noted}:
        rss = {step.seed: step.rss for step in noted if step.pid == pid}  # in order; the last step of each trial
        values = list(rss.values())[size.settled :]
        part = max(1, len(values) // 4)
        early, late = statistics.median(values[:part]), statistics.median(values[-part:])
        ratios.append(late / early)
        shown.append(f"{early / 1e6:.0f} to {late / 1e6:.0f} MB over {len(rss)} trials")
    return row(
        f"a worker's memory over {size.trials} trials: times",
        "its first trials",
        max(ratios),
        Bar("<=", MARGIN),
        "; ".join(shown),
    )


def _imports_s() -> float:
    """Time a process that does nothing but import what a worker imports, and build a network."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, cwd=ROOT)
    return time.perf_counter() - began


def _started(which: str, seconds: float, imports_s: Sequence[float]) -> Row:
    base = statistics.median(imports_s)
    return row(
        f"{which}: from the command to the first step, times",
        "a fresh worker's imports",
        seconds / base,
        Bar("<=", 1.5),
        f"{seconds:.1f} s; imports {base:.1f} s, median of {len(imports_s)}",
    )


def _checkpoint(folder: Path, size: Size) -> Row:
    """Time a checkpoint of B0 with its optimizer's state, and the journal lines that one epoch's trial may cost."""
    from dataclasses import replace

    from sweeps.engine.journal import open_journal
    from sweeps.engine.space import PROFILES, Setting
    from trainables import checkpoints, training
    from trainables.artifacts import recipe_for
    from trainables.fit import start

    crops = make_crops(rows={"train": 32, "val": 16, "test": 16})
    setting = Setting(profile=PROFILES["demo"], seed=0, store_digest="", device="cpu", num_threads=1)
    config = setting.config("B0")
    config = replace(config, recipe=replace(config.recipe, max_steps_per_epoch=1))
    fit = start(config)
    training.advance(fit, config, recipe_for("B0", config.resolution_px), crops.split("train"), crops.split("val"))
    journal = open_journal(folder / "journal.jsonl")

    def timed(work: Callable[[], object]) -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    save = statistics.median(timed(lambda: checkpoints.save(folder / "saved", fit)) for _ in range(1 + 2 * size.rounds))
    line = statistics.median(timed(lambda: journal.append("started", trial="t", attempt=1)) for _ in range(20))
    share = (save + 2 * line) / EPOCH_S
    return row(
        f"checkpoint and journal: share of an epoch of {EPOCH_S:g} s",
        "the epoch",
        share,
        Bar("<=", 0.02),
        f"B0 with AdamW: {1000 * save:.0f} ms; a journal line: {1000 * line:.1f} ms",
    )

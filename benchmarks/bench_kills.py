"""A sweep of real trials that is killed twenty times, beside the same one undisturbed.

Kill -9 hits the driver, a trial's worker or Ray's raylet at random moments; the same command follows each time. The
undisturbed sweep also shows how good the estimate of the time left is.
"""

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from typing import Any

import psutil

from benchmarks.measure import Bar, Row, row
from benchmarks.sweep_runs import (
    RAYLET,
    WORKER,
    Reported,
    below,
    checkpoints,
    command,
    environment,
    epochs_done,
    finish,
    kill_all,
    reported,
    running,
    wait_for,
)
from tests.stores import write_store
from tests.sweeps.launching import finished_results, runs, steps


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured.

    Attributes:
        trials: Of the sweep.
        epochs: Of each.
        crops: Of the training split.
        driver_kills: How often the driver is killed.
        worker_kills: How often a worker is.
        raylet_kills: How often the raylet is.
        left_s: Seconds of training that must be left when it is.
        train_s: Longest time from a launch, or a saved epoch, to a kill.
    """

    trials: int
    epochs: int
    crops: int
    driver_kills: int
    worker_kills: int
    raylet_kills: int
    left_s: float
    train_s: float


FULL = Size(
    trials=6, epochs=20, crops=400, driver_kills=10, worker_kills=5, raylet_kills=5, left_s=60.0, train_s=8.0
)  # 15 minutes on two quiet cores of 2.1 GHz
SMALL = Size(trials=3, epochs=6, crops=256, driver_kills=1, worker_kills=1, raylet_kills=1, left_s=0.0, train_s=3.0)
TEMPORARY_FAILURE = 75
START_S = 600.0
SEED = 0


@dataclass(kw_only=True)
class Disturbed:
    """What happened to the sweep.

    Attributes:
        kills: That hit, by kind.
        codes: Exit codes of drivers that were not killed themselves.
        left_s: Seconds of training left at each kill of the raylet.
    """

    kills: dict[str, int] = field(default_factory=lambda: {"driver": 0, "worker": 0, "raylet": 0})
    codes: list[int] = field(default_factory=list)
    left_s: list[float] = field(default_factory=list)


def rows(size: Size = FULL) -> list[Row]:
    """Run both sweeps and compare them."""
    with tempfile.TemporaryDirectory(prefix="bench_kills_") as temporary:
        folder = Path(temporary)
        store = write_store(folder / "store", rows={"train": size.crops, "val": 16, "test": 16})
        calm, rough = folder / "calm", folder / "rough"
        env = environment(size.trials, size.epochs)
        finish(command(store, calm), env, folder / "calm.log")
        (undisturbed,) = reported(calm)
        disturbed = _disturb(size, store, rough, env, folder / "rough.log", _epoch_s(undisturbed, size))
        return [_estimated(undisturbed, size), *_compared(size, calm, rough, disturbed)]


def _epoch_s(undisturbed: list[Reported], size: Size) -> float:
    """Return the seconds that the whole sweep takes for an epoch of one of its trials."""
    between = undisturbed[-1].at_s - undisturbed[0].at_s
    return between / max(1, size.trials * size.epochs - 1)


def _estimated(undisturbed: list[Reported], size: Size) -> Row:
    """Hold the time left that was shown after a tenth of the epochs against the time it took."""
    at = next(rep for place, rep in enumerate(undisturbed, 1) if place >= 0.1 * size.trials * size.epochs)
    truth = undisturbed[-1].at_s - at.at_s
    assert at.left_s is not None
    detail = f"{at.left_s:.0f} s shown after {at.at_s} s, {truth} s taken; no early stopping"
    error = abs(at.left_s - truth) / truth
    return row("time left after a tenth of a sweep: error of the middle", "what it took", error, Bar("<=", 0.2), detail)


def _schedule(size: Size) -> list[str]:
    """Return the kinds of the kills in order: the raylet's lie in the first half, where training is left."""
    draw = random.Random(SEED)
    others = ["driver"] * size.driver_kills + ["worker"] * size.worker_kills
    draw.shuffle(others)
    half = (len(others) + size.raylet_kills) // 2
    first = others[: half - size.raylet_kills] + ["raylet"] * size.raylet_kills
    draw.shuffle(first)
    return first + others[half - size.raylet_kills :]


def _disturb(size: Size, store: Path, results: Path, env: dict[str, str], log: Path, epoch_s: float) -> Disturbed:
    """Launch, kill and launch again; at last let the sweep come to its end."""
    draw, did, orphans = random.Random(SEED), Disturbed(), list[psutil.Process]()
    kinds = _schedule(size)
    try:
        while True:
            with running(command(store, results), env, log) as driver:
                saved = checkpoints(results)

                def trains(saved: set[str] = saved) -> bool:
                    return bool(checkpoints(results) - saved)

                while kinds and _came_to(kinds[0], driver, trains, draw.uniform(0.0, size.train_s), did):
                    kind, tree = kinds[0], below(driver.pid)
                    targets = _targets(kind, driver.pid)
                    if not targets:  # no worker at this moment
                        continue
                    if kind == "raylet":
                        did.left_s.append((size.trials * size.epochs - epochs_done(results)) * epoch_s)
                    if kind == "driver":
                        driver.kill()
                        driver.wait()  # here: whoever else waits for our child takes its exit code away
                    else:
                        kill_all(targets)
                    kinds.pop(0)
                    orphans += tree
                    did.kills[kind] += 1
                    saved.clear()
                    saved.update(checkpoints(results))
                    if kind != "worker":
                        break
                code = driver.wait(START_S + 4 * size.trials * size.epochs * epoch_s)
            if code >= 0:  # below 0 it was killed
                did.codes.append(code)
            if code == 0:
                return did
            assert code in (-9, TEMPORARY_FAILURE), f"exit code {code}: {log.read_text()[-2000:]}"
    finally:
        kill_all(orphans)


def _targets(kind: str, driver: int) -> list[psutil.Process]:
    """Return the one process to kill."""
    if kind == "driver":
        return [psutil.Process(driver)]
    return below(driver, WORKER if kind == "worker" else RAYLET)[:1]


def _came_to(kind: str, driver: "Popen[str]", trains: Callable[[], bool], wait_s: float, did: Disturbed) -> bool:
    """Wait for a kill's moment; return False when the driver ended before it.

    Every second kill of a driver falls anywhere after its start, the others once an epoch is saved since the last kill.
    """
    if kind != "driver" or did.kills["driver"] % 2:
        wait_for(lambda: trains() or driver.poll() is not None, seconds=START_S)
    else:
        wait_s *= 4  # into planning, Ray's start or training
    try:
        driver.wait(wait_s)
    except TimeoutExpired:
        return True
    return False


def _compared(size: Size, calm: Path, rough: Path, did: Disturbed) -> list[Row]:
    """Compare what both sweeps left in journal, MLflow and on disk."""
    wanted, got = finished_results(calm), finished_results(rough)
    trials = runs(rough, "trial")
    names = {f"seed={seed}" for seed in range(size.trials)}
    count = sum(did.kills.values())
    planned = size.driver_kills + size.worker_kills + size.raylet_kills
    after = f"after {planned} kills"
    extra = len(trials) - size.trials + len(names ^ {run.info.run_name for run in trials})
    unfinished = sum(run.info.status != "FINISHED" for run in [*trials, *runs(rough, "sweep")])
    want_steps = list(range(1, size.epochs + 1))
    wrong_steps = sum(steps(rough, run.info.run_id) != want_steps for run in trials)
    differ = sum(got.get(trial) != result for trial, result in wanted.items()) + _unlike_journal(trials, got)
    kinds = ", ".join(f"{value} {kind}" for kind, value in did.kills.items())
    again, where = _begun_again(reported(rough))
    return [
        row(f"kills of {planned} that hit", "planned", count / planned, Bar(">=", 1), kinds),
        row(f"{after}: runs too many or too few", "configs", abs(extra), Bar("<=", 0), f"{len(trials)} runs"),
        row(f"{after}: runs not FINISHED", "runs", unfinished, Bar("<=", 0), f"exit codes {did.codes}"),
        row(
            f"{after}: runs with a step lost or doubled", "runs", wrong_steps, Bar("<=", 0), f"{size.epochs} steps each"
        ),
        row(
            f"{after}: trials whose metrics or weights differ",
            "the undisturbed sweep",
            differ,
            Bar("<=", 0),
            f"{len(wanted)} trials, by content digest of the weights and every metric but the clock's",
        ),
        row(f"{after}: epochs begun again, of one trial and kill at most", "none", again, Bar("<=", 1), where),
        row(
            "training left at the raylet's kills, least, s",
            "none",
            min(did.left_s, default=0.0),
            Bar(">=", size.left_s),
            ", ".join(f"{value:.0f}" for value in did.left_s),
        ),
    ]  # fmt: skip


def _unlike_journal(trials: list[Any], results: dict[str, dict[str, Any]]) -> int:
    """Count the runs whose final metrics in MLflow are not the journal's, or whose model is another."""
    wrong = 0
    for run in trials:
        result = results.get(run.data.tags["trial"], {"metrics": {}, "model": None})
        same = all(run.data.metrics.get(key) == value for key, value in result["metrics"].items())
        wrong += not same or run.data.tags.get("model") != result["model"]
    return wrong


def _begun_again(launches: list[list[Reported]]) -> tuple[int, str]:
    """Return the most epochs that a trial began again after it was cut off, the one it was in among them."""
    last: dict[int, int] = {}
    counts = []
    for launch in launches:
        seen = set()
        for rep in launch:
            before = last.get(rep.seed)
            cut_off = before is not None and (rep.seed not in seen or rep.epoch != before + 1)
            if cut_off and before is not None:
                counts.append(max(0, before + 2 - rep.epoch))  # 1 is the epoch that the kill fell into
            seen.add(rep.seed)
            last[rep.seed] = rep.epoch
    total = sum(map(len, launches))
    return max(counts, default=0), f"{total} epochs reported by {len(launches)} launches"

"""Sweeps as processes, for measuring the engine: start them, find their parts, kill them, read what they left."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
SEEDS = ROOT / "benchmarks" / "seeds.py"
WORKER, RAYLET = "ray::ResourceTrainable", "raylet/raylet"
POLL_S = 0.1


@dataclass(frozen=True)
class Step:
    """A training step of a worker.

    Attributes:
        pid: Its process.
        seed: Its trial.
        began: When, in seconds since 1970.
        ended: When.
        rss: Bytes of the process then.
    """

    pid: int
    seed: int
    began: float
    ended: float
    rss: int


def environment(seeds: int, epochs: int, notes: Path | None = None) -> dict[str, str]:
    """Return the environment of a sweep of ``benchmarks/seeds.py``; with ``notes``, its steps are noted there."""
    values = {**os.environ, "SEEDS": str(seeds), "SEED_EPOCHS": str(epochs)}
    if notes is not None:
        notes.mkdir(parents=True, exist_ok=True)
        values |= {"STEP_NOTES": str(notes), "PYTHONPATH": str(ROOT / "benchmarks" / "probe")}
    return values


def command(store: Path, results: Path, *flags: str) -> list[str]:
    """Return the command line of the sweep."""
    where = ["--store", str(store), "--profile", "demo", "--results", str(results)]
    return [sys.executable, str(SEEDS), *where, *flags]


def steps(notes: Path) -> list[Step]:
    """Return the steps that were noted, by process and time."""
    found = []
    for path in notes.glob("*.txt"):
        for line in path.read_text().splitlines():
            seed, began, ended, rss = line.split()
            found.append(Step(int(path.stem), int(seed), float(began), float(ended), int(rss)))
    return sorted(found, key=lambda step: (step.pid, step.began))


@contextmanager
def running(arguments: list[str], env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process with its output in a file; what is left of its tree is killed at the end."""
    with log.open("a") as stream:
        process = subprocess.Popen(arguments, env=dict(env), stdout=stream, stderr=subprocess.STDOUT, text=True)
        try:
            yield process
        finally:
            tree = below(process.pid)
            process.kill()
            process.wait()
            kill_all(tree)


def finish(arguments: list[str], env: Mapping[str, str], log: Path, *, seconds: float = 1800) -> None:
    """Run a process to its end.

    Raises:
        AssertionError: It failed; the end of what it said is shown.
    """
    with running(arguments, env, log) as process:
        code = process.wait(seconds)
        assert code == 0, f"exit code {code}: {log.read_text()[-2000:]}"


def below(pid: int, word: str = "") -> list[psutil.Process]:
    """Return the descendants of a process whose command line has a word."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if word in " ".join(process.cmdline()):
                    found.append(process)
    return found


def kill_all(processes: list[psutil.Process]) -> None:
    """Kill processes that may be gone already."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()  # psutil looks whether the number was given to another process since
    psutil.wait_procs(processes, timeout=30)


def wait_for(condition: Callable[[], object], *, seconds: float) -> bool:
    """Wait until something holds, and tell whether it did in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def checkpoints(results: Path) -> set[str]:
    """Return the names of all whole checkpoints that are there now."""
    return {str(path.parent) for path in results.glob("sweeps/*/trials/*/attempt-*/epoch-*/state.json")}


def epochs_done(results: Path) -> int:
    """Return how many epochs the trials have behind them, by their last checkpoints."""
    last: dict[str, int] = {}
    for name in checkpoints(results):
        path = Path(name)
        trial, epoch = path.parents[1].name, int(path.name.removeprefix("epoch-"))
        last[trial] = max(last.get(trial, 0), epoch)
    return sum(last.values())


EPOCH = re.compile(
    r"^(\d+):(\d\d) +seed=(\d+) +epoch +(\d+)/(\d+) .*?(?:(?:([\d.]+) to|about) ([\d.]+) (s|min|h) left)?$"
)
_UNIT_S = {"s": 1, "min": 60, "h": 3600}


@dataclass(frozen=True)
class Reported:
    """An epoch as the launch's log has it.

    Attributes:
        at_s: Since the launch began.
        seed: The trial.
        epoch: From 1.
        left_s: The middle of the time left that was shown with it, or None where there was none.
    """

    at_s: int
    seed: int
    epoch: int
    left_s: float | None


def reported(results: Path) -> list[list[Reported]]:
    """Return the epochs that each launch reported, oldest launch first."""
    launches = []
    for path in sorted(results.glob("sweeps/*/logs/*.log")):
        rows = []
        for line in path.read_text().splitlines():
            match = EPOCH.match(line)
            if match:
                minutes, seconds, seed, epoch, _, low, high, unit = match.groups()
                ends = [float(end) * _UNIT_S[unit] for end in (low or high, high)] if high else []
                left_s = sum(ends) / 2 if ends else None
                rows.append(Reported(60 * int(minutes) + int(seconds), int(seed), int(epoch), left_s))
        launches.append(rows)
    return launches

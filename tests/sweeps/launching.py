"""Whole sweeps by their command lines, and what they left behind."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TINY, KD_ALPHA = ROOT / "tests" / "sweeps" / "tiny.py", ROOT / "sweeps" / "kd_alpha.py"
CHAINED = ROOT / "tests" / "sweeps" / "chained.py"


def command(script: Path, store: Path, results: Path, *flags: str) -> list[str]:
    where = ["--store", str(store), "--profile", "demo", "--results", str(results)]
    return [sys.executable, str(script), *where, *flags]


def knowing(forecasts: Path, results: Path) -> Path:
    """Make a results folder that shares its predictions of memory with others, and return it."""
    results.mkdir(parents=True, exist_ok=True)
    (results / "cache").symlink_to(forecasts)
    return results


def launch(script: Path, store: Path, results: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(script, store, results, *flags), capture_output=True, text=True, check=False)


def events(results: Path, sweep: str = "*") -> list[dict[str, Any]]:
    lines = [path.read_text().splitlines() for path in results.glob(f"sweeps/{sweep}/journal.jsonl")]
    return [json.loads(line) for line in lines[0]] if lines else []


def finished_results(results: Path) -> dict[str, dict[str, Any]]:
    """Return what each trial ended with, without what a clock decides."""
    found = {}
    for event in events(results):
        if event["event"] == "finished":
            assert event["trial"] not in found, "a trial was finished twice"
            found[event["trial"]] = timeless(event["result"])
    return found


def timeless(result: dict[str, Any]) -> dict[str, Any]:
    clocked = ("seconds", "energy_wh", "predicted_memory_mb")
    metrics = {key: value for key, value in result["metrics"].items() if key not in clocked}
    return {"metrics": metrics, "model": result["model"]}


def runs(results: Path, kind: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{results / 'mlflow.db'}")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(ids, f"tags.kind = '{kind}'"))


def steps(results: Path, run_id: str) -> list[int]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{results / 'mlflow.db'}")
    return [metric.step for metric in client.get_metric_history(run_id, "epoch/train_loss")]


def wait_until(condition: Callable[[], object], seconds: float = 900) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come so far"
        time.sleep(0.1)


def has_come_to(results: Path, checkpoints: int, finished: int) -> bool:
    saved = list(results.glob("sweeps/*/trials/*/attempt-*/epoch-*"))
    return len(saved) >= checkpoints and len(finished_results(results)) >= finished


def epochs_trained_twice(results: Path) -> list[str]:
    """Return the epochs that two attempts at a trial have saved: each was trained once more than there was need to.

    An attempt keeps its last two checkpoints, and starts after the last one of the attempt before.
    """
    seen, twice = set(), []
    for path in sorted(results.glob("sweeps/*/trials/*/attempt-*/epoch-*")):
        epoch = f"{path.parents[1].name}/{path.name}"
        twice += [epoch] if epoch in seen else []
        seen.add(epoch)
    assert seen
    return twice

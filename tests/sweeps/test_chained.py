"""Trials that start from other trials, with a real Ray: planned further, found again, used by another sweep."""

import subprocess
from pathlib import Path

import pytest

from analysis.runs import read_runs
from tests.sweeps.launching import CHAINED, command, events, knowing, launch, runs, timeless

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_chain_is_trained_once_whoever_asks_for_it(store: Path, forecasts: Path, tmp_path: Path) -> None:
    knowing(forecasts, tmp_path)
    done = launch(CHAINED, store, tmp_path, "--smoke", "--fine-tune")
    assert done.returncode == 0, done.stderr + done.stdout
    trained = {run.info.run_name: run for run in runs(tmp_path, "trial")}
    assert set(trained) == {"first", "second", "second, fine-tuned"}
    assert trained["second"].data.params["weights"] == trained["first"].data.tags["trial"]
    assert trained["second, fine-tuned"].data.params["weights"] == trained["second"].data.tags["trial"]
    assert {run.info.status for run in trained.values()} == {"FINISHED"}

    again = command(CHAINED, store, tmp_path, "--smoke", "--fine-tune")
    second = subprocess.run([again[0], "-X", "importtime", *again[1:]], capture_output=True, text=True, check=True)
    assert "nothing left to do" in second.stdout
    assert "second, fine-tuned" in second.stdout
    imported = {line.rsplit("|", 1)[1].strip() for line in second.stderr.splitlines() if line.count("|") == 2}
    assert not imported & {"torch", "ray", "mlflow", "timm"}

    other = launch(CHAINED, store, tmp_path, "--smoke", "--fine-tune", "--name", "other")
    assert other.returncode == 0, other.stderr + other.stdout
    assert other.stdout.count("trained by chained-demo-") == 3
    assert len(runs(tmp_path, "trial")) == 3
    (label,) = [run.data.tags["sweep"] for run in runs(tmp_path, "sweep") if run.data.tags["sweep"].startswith("other")]
    assert {trial.run_id for trial in read_runs(f"sqlite:///{tmp_path / 'mlflow.db'}", [label]).trials} == {
        run.info.run_id for run in trained.values()
    }
    mine = {event["trial"]: event for event in events(tmp_path, label) if event["event"] == "found"}
    theirs = {event["trial"]: event for event in events(tmp_path, "chained*") if event["event"] == "finished"}
    assert len(mine) == 3
    for trial, event in mine.items():
        assert timeless(event["result"]) == timeless(theirs[trial]["result"])
        assert event["result"]["graph"] == theirs[trial]["result"]["graph"]
        folder = tmp_path / "sweeps" / label / "trials" / trial[:16] / "found" / "model"
        assert (folder / "weights.safetensors").exists()

"""The same command again, with a flag: what failed is run, values are added, and nothing is repeated."""

from functools import partial
from pathlib import Path

import pytest

from tests.sweeps.launching import (
    KD_ALPHA,
    TINY,
    command,
    events,
    finished_results,
    has_come_to,
    launch,
    runs,
    wait_until,
)
from tests.sweeps.test_losses import running
from trainables.attempts import ATTEMPT_FILE

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]


def started(results: Path) -> list[str]:
    return [row["name"] for row in events(results) if row["event"] == "started"]


def test_what_failed_is_retried_what_is_added_is_trained_and_the_rest_is_found(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    monkeypatch.setenv("TINY_SEEDS", "2")
    with running(*command(TINY, store, results, "--max-failures", "0")) as driver:
        wait_until(partial(has_come_to, results, 1, 0))
        (saved, *_) = results.glob("sweeps/*/trials/*/attempt-0001/epoch-*")
        (saved.parents[1] / ATTEMPT_FILE).write_text("9")  # a later attempt has it, and this one raises
        said, _ = driver.communicate(timeout=600)
    assert driver.returncode == 1, said
    assert "was superseded by attempt 9" in said
    (failed,) = [row["trial"] for row in events(results) if row["event"] == "failed"]
    assert len(finished_results(results)) == 1
    assert sorted(run.info.status for run in runs(results, "trial")) == ["FAILED", "FINISHED"]

    again = launch(TINY, store, results)
    assert (again.returncode, again.stderr) == (1, "")
    assert "nothing left to do" in again.stdout
    assert "--retry-failed" in again.stdout
    assert len(started(results)) == 2

    retried = launch(TINY, store, results, "--retry-failed")
    assert retried.returncode == 0, retried.stdout + retried.stderr
    assert [row["trial"] for row in events(results) if row["event"] == "started"][2:] == [failed]
    assert [run.info.status for run in runs(results, "trial")] == ["FINISHED", "FINISHED"]

    monkeypatch.setenv("TINY_SEEDS", "3")
    extended = launch(TINY, store, results, "--extend")
    assert extended.returncode == 0, extended.stdout + extended.stderr
    assert started(results)[3:] == ["seed=2"]
    assert len(finished_results(results)) == len(runs(results, "trial")) == 3
    assert len(runs(results, "sweep")) == 1

    monkeypatch.setenv("TINY_SEEDS", "1")
    smaller = launch(TINY, store, results)
    assert smaller.returncode == 0, smaller.stdout + smaller.stderr
    (label,) = {run.info.run_name for run in runs(results, "sweep")} - {name_in(smaller.stdout)}
    assert f"another space, store, seed or recipe than {label}: these stay as they are" in smaller.stdout
    assert f"seed=0: trained by {label}" in smaller.stdout
    assert len(runs(results, "trial")) == 3


def name_in(said: str) -> str:
    (line,) = [line for line in said.splitlines() if line.startswith("sweep ")]
    return line.split()[1].rstrip(",")


def test_a_plan_shows_what_each_trial_needs_and_trains_nothing(store: Path, tmp_path: Path) -> None:
    done = launch(KD_ALPHA, store, tmp_path, "--plan", "--gpu-memory-gb", "0.5")
    assert (done.returncode, done.stderr) == (0, "")
    header = next(line for line in done.stdout.splitlines() if line.startswith("trial "))
    assert all(word in header for word in ("fp32 GiB", "AMP GiB", "runs as", "at once", "parameters", "MMACs"))
    rows = {line.split("  ")[0]: line for line in done.stdout.splitlines() if line.startswith(("teacher", "alpha="))}
    assert len(rows) == 6
    assert "4,008,829" in rows["teacher B0"]
    assert "3,372,289" in rows["alpha=0.25"]
    assert "nothing was trained" in done.stdout
    assert not (tmp_path / "sweeps").exists()

"""A search of real, short trials whose driver and worker are killed: nothing is lost, changed or repeated."""

import os
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from data_store.resident import open_mmap
from sweeps.engine.agenda import planned_in
from sweeps.engine.asha import Arrival, falls_behind
from sweeps.engine.journal import State, read_state
from sweeps.engine.space import needs
from tests.sweeps.launching import ROOT, command, events, runs, steps, timeless, wait_until
from tests.sweeps.test_losses import below, running
from trainables.artifacts import recipe_for
from trainables.attempts import MODEL_FOLDER
from trainables.finish import finish
from trainables.training import train

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(2400)]
SEARCHED = ROOT / "tests" / "sweeps" / "searched.py"
POINTS = 7


def count(results: Path, *kinds: str) -> int:
    return sum(event["event"] in kinds for event in events(results))


def trained_alone(state: State, store: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Train each finished trial of a journal in this process, from models that were made here as well."""
    crops, made = open_mmap(str(store)), {}
    for trial, row in planned_in(state).items():
        if trial not in state.finished:
            continue
        config, place = row.config, folder / trial[:16]
        place.mkdir(parents=True)
        start = next((folder / name[:16] / MODEL_FOLDER for name in needs(config)), None)
        fit = train(config, crops, start_folder=start)
        made[trial] = timeless(finish(fit, config, recipe_for(config.architecture, config.resolution_px), crops, place))
    return made


def test_a_killed_search_loses_changes_and_repeats_nothing(store: Path, tmp_path: Path) -> None:
    results, flags = tmp_path / "results", ["--trials", str(POINTS)]
    killed = subprocess.Popen(
        command(SEARCHED, store, results, *flags), stdout=subprocess.DEVNULL, start_new_session=True
    )
    wait_until(lambda: count(results, "rung", "stopped") >= 2 and count(results, "finished") >= 1)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    (journal,) = results.glob("sweeps/*/journal.jsonl")
    before = journal.read_bytes().rpartition(b"\n")[0]
    begun = count(results, "started")
    with running(*command(SEARCHED, store, results, *flags)) as driver:
        wait_until(lambda: count(results, "started") > begun and bool(below(driver, "ray::ResourceTrainable")))
        worker, *_ = below(driver, "ray::ResourceTrainable")
        os.kill(worker.pid, signal.SIGKILL)
        said, _ = driver.communicate(timeout=1200)
    assert driver.returncode == 0, said
    assert journal.read_bytes().startswith(before)
    state = read_state(journal)
    suggested = [row["trial"] for row in state.suggested]
    assert len(suggested) == len(set(suggested)) == POINTS
    ends = Counter(event["trial"] for event in events(results) if event["event"] in ("finished", "stopped", "failed"))
    assert set(ends.values()) == {1}
    assert not state.failed
    assert_decisions(results)
    assert {trial: timeless(row) for trial, row in state.finished.items()} == trained_alone(state, store, tmp_path)
    recorded = {run.data.tags["trial"]: run for run in runs(results, "trial")}
    assert recorded.keys() == state.finished.keys() | state.stopped.keys()
    for trial, run in recorded.items():
        epochs = steps(results, run.info.run_id)
        assert epochs == list(range(1, len(epochs) + 1))
        assert run.info.status == ("FINISHED" if trial in state.finished else "KILLED")
        assert run.data.tags.get("stopped_at_epoch") == (
            None if trial in state.finished else str(state.stopped[trial]["epoch"])
        )
    again = subprocess.run(command(SEARCHED, store, results, *flags), capture_output=True, text=True, check=True)
    assert "nothing left to do" in again.stdout


def assert_decisions(results: Path) -> None:
    """Check that each trial came to a rung once, and that what came before it decided whether it went on."""
    before: list[Arrival] = []
    for event in events(results):
        if event["event"] in ("rung", "stopped"):
            new = Arrival(**event["arrival"])
            assert (new.trial, new.epoch) not in {(row.trial, row.epoch) for row in before}
            assert falls_behind(new, before) == (event["event"] == "stopped")
            before.append(new)
    assert len(before) >= 3

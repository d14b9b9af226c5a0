"""The predictions that come with the code: they are all there, and they are what would be predicted now."""

import subprocess
from functools import partial
from pathlib import Path

import pytest

from sweeps.engine import fitting
from sweeps.engine.forecast import Forecasts, shape_key
from sweeps.engine.known_memory import BUDGET_BYTES, RUNGS, SWEEPS, wanted
from sweeps.engine.ladder import Ladder
from sweeps.engine.resources import budget_bytes
from sweeps.engine.space import PROFILES, Setting
from tests.sweeps.test_spaces import FILES, sweep

REMEDY = "run: python -m sweeps.engine.known_memory"


def test_every_sweep_that_there_is_counts() -> None:
    assert sorted(SWEEPS) == FILES


def test_all_that_the_sweeps_begin_with_is_known(tmp_path: Path) -> None:
    known = Forecasts(tmp_path).known_bytes
    shapes = wanted().keys()
    assert shapes
    assert shapes <= known.keys(), REMEDY


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", SWEEPS)
def test_a_first_launch_is_planned_without_a_prediction(
    name: str, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", None)  # a process that predicts would raise
    for profile in PROFILES.values():
        budget = budget_bytes(device, 8.0, workers=1)
        ladder = Ladder(budget, Forecasts(tmp_path), "", {})
        setting = Setting(profile=profile, seed=3, store_digest="", device=device, num_threads=2, fit=ladder)
        planned = fitting.planned(partial(sweep(name).trials, setting), ladder, lambda: pytest.fail("Ray"))
        assert planned
        assert all(ladder.need(trial.config) <= budget for trial in planned)
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_what_is_known_is_what_is_predicted_now(tmp_path: Path) -> None:
    """One of each kind: a network alone, beside its teacher, at the thesis's size, and one that must go down a rung."""
    kinds = [("B0", 64, None), ("Lite0", 64, ("B0", 64)), ("Lite0", 224, ("B0", 224)), ("B3", 300, None)]
    chosen = {(config.architecture, config.resolution_px, teacher): config for config, teacher in wanted().values()}
    asked = [(chosen[kind], kind[2]) for kind in kinds]
    fresh = Forecasts(tmp_path, shipped=None)
    fresh.predict(asked, BUDGET_BYTES, least_rungs=RUNGS)
    known = Forecasts(tmp_path / "none").known_bytes
    assert {shape_key(config, teacher) for config, teacher in asked} <= fresh.known_bytes.keys()
    assert {key: known.get(key) for key in fresh.known_bytes} == fresh.known_bytes, REMEDY

"""What --plan says of the time: trials run at once as far as the budget goes, and after the models they need."""

from pathlib import Path

import pytest

from sweeps.engine.forecast import Footprint, Forecasts, shape_key
from sweeps.engine.ladder import Ladder
from sweeps.engine.preview import Amount, seconds_of, total_seconds
from sweeps.engine.resources import capacity
from sweeps.engine.space import PROFILES, PlannedTrial, Setting
from sweeps.kd_alpha import trials

GIB = 2**30
SETTING = Setting(profile=PROFILES["demo"], seed=0, store_digest="s", device="cpu", num_threads=1)
AMOUNT = Amount(train=1000, val=100)
FOOTPRINT = Footprint(
    parameters=1, macs=1, traffic_bytes=1, num_operations=1, size_mb=1.0, train_ms=10.0, evaluate_ms=1.0
)
NETWORKS = {"B0@64": FOOTPRINT, "Lite0@64": FOOTPRINT}


def climb(folder: Path, planned: dict[str, PlannedTrial], need: int) -> Ladder:
    """Return a ladder that knows each trial to need so many bytes."""
    shapes = {name: (trial.config.architecture, trial.config.resolution_px) for name, trial in planned.items()}
    ladder = Ladder(8 * GIB, Forecasts(folder, shipped=None), "s", shapes)
    for trial in planned.values():
        ladder.forecasts.known_bytes[shape_key(trial.config, ladder.teacher_of(trial.config))] = need
    return ladder


@pytest.mark.parametrize(("num_cpus", "need", "rounds"), [(1, 1, 6), (16, 3 * GIB, 3), (16, 1, 2)])
def test_the_time_is_that_of_what_runs_at_once(tmp_path: Path, num_cpus: int, need: int, rounds: int) -> None:
    """A teacher beside the student that does without, then four students: two at once in 8 GiB when each needs 3."""
    planned = {SETTING.identity(trial.config): trial for trial in trials(SETTING)}
    ladder = climb(tmp_path, planned, need)
    have = capacity("cpu", num_cpus=num_cpus, num_threads=1, gpu_memory_gb=8, num_trials=6, needs=[need] * 6)
    one = seconds_of(next(iter(planned.values())).config, FOOTPRINT, AMOUNT)
    assert len(planned) == 6
    assert {seconds_of(trial.config, FOOTPRINT, AMOUNT) for trial in planned.values()} == {one}
    assert total_seconds(planned, ladder, NETWORKS, have, AMOUNT) == pytest.approx(rounds * one)

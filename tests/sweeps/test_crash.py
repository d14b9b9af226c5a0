"""However a sweep ends, none of its runs is left running; Ray is not started, and trials end as the test says."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_store.errors import InputError
from sweeps.engine import launch as launching
from sweeps.engine import tune
from sweeps.engine.courier import Courier
from sweeps.engine.forecast import Forecasts
from sweeps.engine.space import PlannedTrial
from sweeps.engine.terminal import Terminal
from sweeps.engine.tracking import Tracking
from sweeps.kd_alpha import SWEEP
from tests.sweeps.launching import runs


@pytest.fixture
def command(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A sweep's command line, up to where Ray would start."""
    monkeypatch.setattr("sweeps.engine.ray_start.start_ray", lambda _: None)
    monkeypatch.setattr(Forecasts, "bytes_of", lambda *_: 1)
    return ["--store", str(store), "--profile", "demo", "--results", str(tmp_path), "--smoke"]


def ending_in(error: BaseException) -> Callable[..., bool]:
    """Return what stands in for training: it opens the trials' runs, and then raises."""

    def train(*given: Any) -> bool:  # noqa: ANN401 # of launch._train
        pending: dict[str, PlannedTrial] = given[2]
        courier: Courier = given[4]
        courier.begin()
        for trial, planned in pending.items():
            courier.put(lambda tracking, trial=trial, planned=planned: tracking.start(trial, planned))  # type: ignore[misc]
        courier.flush(30.0)
        raise error

    return train


@pytest.mark.parametrize("error", [ValueError("a fault"), InputError("a rule")], ids=repr)
def test_an_error_leaves_no_run_running(
    error: BaseException, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "_train", ending_in(error))
    with pytest.raises(type(error)):
        launching.run(SWEEP, command)
    ended = [*runs(tmp_path, "trial"), *runs(tmp_path, "sweep")]
    assert [run.info.status for run in ended] == ["KILLED"] * 3


def test_an_error_before_the_first_trial_leaves_the_sweeps_run_not_running(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(*_: object) -> None:
        raise ValueError("a fault")

    monkeypatch.setattr(launching, "is_new", lambda _: False)  # what others have trained is looked for
    monkeypatch.setattr(launching, "_without_found", found)
    with pytest.raises(ValueError, match="a fault"):
        launching.run(SWEEP, command)
    assert [run.info.status for run in runs(tmp_path, "sweep")] == ["KILLED"]


def test_when_ray_is_gone_even_runs_that_wait_for_their_onnx_files_are_stopped() -> None:
    stopped: list[str] = []

    class Store:
        runs = {"first": "1", "second": "2"}
        stop_all = Tracking.stop_all

        def stop(self, trials: Any) -> None:  # noqa: ANN401
            stopped.extend(trials)

    courier = Courier(Store, Terminal(io.StringIO()))  # type: ignore[arg-type]
    tune._say_gone(Terminal(io.StringIO()), courier)
    assert stopped == ["second", "first"]
    courier.stop()

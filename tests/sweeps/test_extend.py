"""A sweep that gets more trials, up to where Ray would start: what a launch predicts, and refuses first."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from data_store.errors import InputError
from sweeps import kd_alpha, search
from sweeps.engine import launch as launching
from sweeps.engine.forecast import Forecasts
from sweeps.engine.space import PlannedTrial, Sweep
from tests.sweeps.launching import events


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the trials that each launch came to run, after it has predicted what they need."""
    launches: list[list[str]] = []

    def work(launch: Any, _: object, pending: Mapping[str, PlannedTrial], *__: object) -> int:  # noqa: ANN401
        assert launching._predict(launch, dict(pending)).keys() == {row.config for row in pending.values()}
        launches.append([row.name for row in pending.values()])
        return 0

    monkeypatch.setattr(launching, "_work", work)
    monkeypatch.setattr(Forecasts, "bytes_of", lambda *_: 1)
    return launches


def flags(store: Path, results: Path) -> list[str]:
    return ["--store", str(store), "--profile", "demo", "--results", str(results)]


def test_an_interrupted_sweep_is_extended_by_a_command_that_plans_fewer_of_its_trials(
    store: Path, tmp_path: Path, worked: list[list[str]]
) -> None:
    command = [*flags(store, tmp_path), "--smoke"]
    assert launching.run(kd_alpha.SWEEP, [*command, "--seeds", "2"]) == 0
    assert launching.run(kd_alpha.SWEEP, [*command, "--extend"]) == 0
    assert sorted(worked[0]) == sorted(worked[1])
    assert len(worked[1]) == 4
    assert len(list(tmp_path.glob("sweeps/*"))) == 1


def test_extending_with_other_threads_is_refused(
    store: Path, tmp_path: Path, worked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert launching.run(kd_alpha.SWEEP, [*flags(store, tmp_path), "--smoke"]) == 0
    with pytest.raises(InputError, match="same --threads, but kd_alpha-demo-.* has 1 and this command 2"):
        launching.run(kd_alpha.SWEEP, [*flags(store, tmp_path), "--smoke", "--extend", "--threads", "2"])
    assert len(worked) == 1


@pytest.mark.parametrize("sweep", [kd_alpha.SWEEP, search.SWEEP], ids=["listed", "search"])
def test_more_threads_than_cpus_are_refused_before_a_sweep_is_opened(
    sweep: Sweep, store: Path, tmp_path: Path, worked: list[list[str]]
) -> None:
    with pytest.raises(InputError, match="--threads must not exceed the CPUs of a machine, .*, but got 9999"):
        launching.run(sweep, [*flags(store, tmp_path), "--smoke", "--threads", "9999"])
    assert worked == []
    assert events(tmp_path) == []
    assert not list(tmp_path.glob("sweeps/*"))

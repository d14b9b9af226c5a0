"""Which rung of the ladder a config takes, with predictions that the test gives and with real ones."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from data_store.errors import InputError
from sweeps import kd_alpha, model_scaling
from sweeps.engine import fitting
from sweeps.engine.forecast import Forecasts, shape_key
from sweeps.engine.ladder import Ladder, rung_name, rungs
from sweeps.engine.space import PROFILES, GivenModel, PlannedTrial, Setting
from trainables.recipes import TrialConfig

GIB = 2**30
PLAIN = Setting(profile=PROFILES["thesis"], seed=0, store_digest="s", device="cpu", num_threads=1)
B3 = PLAIN.config("B3", resolution_px=300)


def ladder(tmp_path: Path, budget_bytes: int, needs: dict[TrialConfig, int] | None = None) -> Ladder:
    forecasts = Forecasts(tmp_path, shipped=None)
    forecasts.known_bytes |= {shape_key(config, None): need for config, need in (needs or {}).items()}
    return Ladder(budget_bytes, forecasts, "s", {})


def halving(first: int) -> dict[TrialConfig, int]:
    """Return needs of every rung of B3: each half of the one above."""
    return {rung: first >> place for place, rung in enumerate(rungs(B3))}


def test_the_rungs_go_from_fp32_over_amp_to_single_crops() -> None:
    assert [rung_name(rung) for rung in rungs(B3)] == [
        "fp32",
        "amp",
        *(f"amp, micro-batch {size}" for size in (16, 8, 4, 2, 1)),
    ]


@pytest.mark.parametrize(
    ("budget", "rung"),
    [
        (16 * GIB, "fp32"),
        (16 * GIB - 1, "amp"),
        (8 * GIB, "amp"),
        (7 * GIB, "amp, micro-batch 16"),
        (GIB, "amp, micro-batch 4"),
    ],
)
def test_the_first_rung_that_fits_is_taken_and_is_part_of_the_identity(tmp_path: Path, budget: int, rung: str) -> None:
    climb = ladder(tmp_path, budget, halving(16 * GIB))
    setting = replace(PLAIN, fit=climb)
    config = setting.config("B3", resolution_px=300)
    assert rung_name(config) == rung
    assert climb.complete
    assert (setting.identity(config) == PLAIN.identity(B3)) == (rung == "fp32")


def test_what_fits_on_no_rung_is_refused_with_the_numbers(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"0\.20 GiB, but B3 at 300 px, batch 32, needs 16\.00 GiB in fp32 and still"
    ) as told:
        ladder(tmp_path, GIB // 5, halving(16 * GIB))(B3)
    assert "0.25 GiB with amp, micro-batch 1; raise --gpu-memory-gb by 0.06" in str(told.value)


def test_students_name_the_teacher_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything needs 3 GiB in fp32, half of it in mixed precision: what refers to the teacher must say so too."""
    climb = ladder(tmp_path, 2 * GIB)

    def predict(wanted: list[tuple[TrialConfig, object]], budget: int, **_: object) -> None:
        for config, teacher in wanted:
            assert teacher in (None, ("B0", 224))
            for rung in rungs(config):
                climb.forecasts.known_bytes[shape_key(rung, teacher)] = 3 * GIB if rung.precision == "fp32" else GIB

    monkeypatch.setattr(climb.forecasts, "predict", predict)
    setting = replace(PLAIN, fit=climb)
    started: list[str] = []
    planned = fitting.planned(lambda: kd_alpha.trials(setting), climb, lambda: started.append("ray"))
    assert started == ["ray"]
    assert {trial.config.precision for trial in planned} == {"amp"}
    known = {setting.identity(trial.config) for trial in planned}
    assert {trial.config.teacher for trial in planned} - {None} <= known
    again = replace(PLAIN, fit=Ladder(2 * GIB, climb.forecasts, "s", {}))
    assert fitting.planned(lambda: kd_alpha.trials(again), again.fit, lambda: pytest.fail("all is known")) == planned  # type: ignore[arg-type]


def test_a_given_teacher_is_counted_beside_the_student(tmp_path: Path) -> None:
    given = GivenModel(folder="/m", digest="d" * 64, architecture="B3", resolution_px=300)
    climb = Ladder(GIB, Forecasts(tmp_path), "s", {given.digest: ("B3", 300)})
    student = PLAIN.config("Lite0", alpha=0.5, teacher=given.digest)
    assert climb(student) == student
    assert not climb.complete
    assert climb.teacher_of(student) == ("B3", 300)


def largest(setting: Setting) -> list[PlannedTrial]:
    return [trial for trial in model_scaling.trials(setting) if trial.config.architecture == "B3"]


@pytest.mark.slow
def test_b3_at_300_px_fits_8_gib_by_mixed_precision_and_is_predicted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real predictions: B3 at 300 px needs 9.4 GiB in fp32; what is known is planned without a process."""
    climb = ladder(tmp_path, 8 * GIB)
    setting = replace(PLAIN, fit=climb)
    planned = fitting.planned(lambda: largest(setting), climb, lambda: None)
    assert [rung_name(trial.config) for trial in planned] == ["amp"]
    assert all(climb.need(trial.config) <= 8 * GIB for trial in planned)
    monkeypatch.setattr(subprocess, "run", None)  # a second process would raise
    again = Ladder(8 * GIB, Forecasts(tmp_path, shipped=None), "s", {})
    setting = replace(PLAIN, fit=again)
    assert fitting.planned(lambda: largest(setting), again, lambda: None) == planned


def test_planning_what_is_known_imports_no_torch() -> None:
    code = (
        "import sys, sweeps.engine.fitting, sweeps.engine.preview; print('torch' in sys.modules, 'ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]

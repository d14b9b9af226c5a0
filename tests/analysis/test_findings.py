from dataclasses import replace
from pathlib import Path

import pytest

from analysis.findings import Evidence, judge, upper_ratio
from analysis.runs import Trial, read_runs
from analysis.thesis import Claim, alpha_row

CLAIM = Claim(words="one beats two", better="one", worse="two")


@pytest.fixture(scope="module")
def trials(kd_alpha_store: str) -> tuple[Trial, ...]:
    return read_runs(kd_alpha_store).trials


@pytest.fixture(scope="module")
def evidence(trials: tuple[Trial, ...], kd_alpha_store: str) -> Evidence:
    return Evidence(trials=trials, tracking_uri=kd_alpha_store)


def test_a_claim_is_held_reversed_or_left_open_by_its_interval(trials: tuple[Trial, ...], evidence: Evidence) -> None:
    teacher, worst = trials[0], trials[1]
    assert judge(CLAIM, teacher, worst, evidence).state == "held"
    assert judge(CLAIM, worst, teacher, evidence).state == "reversed"
    same = judge(CLAIM, teacher, teacher, evidence)
    assert (same.state, same.words) == (
        "undecided",
        "Undecided: one beats two, by +0.0 points [+0.0, +0.0]; the interval includes 0.",
    )


def test_a_missing_trial_is_not_run_and_named(trials: tuple[Trial, ...], evidence: Evidence) -> None:
    assert judge(CLAIM, trials[0], None, evidence).words == "Not run: one beats two (no trial for two)."
    assert judge(CLAIM, None, trials[0], evidence).state == "not run"


def test_without_predictions_nothing_is_decided(trials: tuple[Trial, ...], tmp_path: Path) -> None:
    blind = replace(trials[1], artifact_uri=str(tmp_path))
    evidence = Evidence(trials=(trials[0], blind), tracking_uri="")
    assert judge(CLAIM, trials[0], blind, evidence).state == "undecided"


def test_of_several_that_fit_the_best_on_validation_is_found(trials: tuple[Trial, ...]) -> None:
    one = replace(trials[3], run_id="one", metrics={**trials[3].metrics, "val_accuracy": 0.7, "test_accuracy": 0.99})
    evidence = Evidence(trials=(one, *trials), tracking_uri="")
    assert evidence.find(alpha_row("0.5")) is trials[3]
    assert evidence.find(alpha_row("0.5"), among=[]) is None


def test_the_upper_ratio_is_the_last_before_the_drop(trials: tuple[Trial, ...], evidence: Evidence) -> None:
    def at(accuracy: float) -> Trial:
        return replace(trials[0], run_id="none", artifact_uri="", metrics={"test_accuracy": accuracy})

    rows = [(0.2, at(0.9)), (0.3, at(0.88)), (0.35, at(0.7))]
    assert upper_ratio(evidence, rows, at(0.91), 0.05).startswith("Up to 30 % can be pruned (88.0 %")
    assert upper_ratio(evidence, rows[:2], at(0.91), 0.05).endswith("; no larger ratio was tried.")
    assert upper_ratio(evidence, rows, at(0.99), 0.05).startswith("Every ratio costs more than 5 points")
    gap = [*rows, (0.4, at(0.9))]
    assert upper_ratio(evidence, gap, at(0.91), 0.05).startswith("Up to 30 % can be pruned (88.0 %")
    assert upper_ratio(evidence, gap, at(0.91), 0.05).endswith("; 40 % again keeps within it.")
    assert upper_ratio(evidence, gap[2:], at(0.91), 0.05).startswith("The smallest ratio, 35 %, costs more than 5")

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


def seeded(trial: Trial, seed: int, accuracy: float) -> Trial:
    """The same trial of another seed, with another validation accuracy."""
    params = {**trial.params, "data_seed": str(seed), "init_seed": str(seed)}
    metrics = {**trial.metrics, "val_accuracy": accuracy}
    return replace(trial, run_id=f"{trial.name} {seed}", params=params, metrics=metrics)


def test_the_rows_of_a_table_are_of_one_seed_where_one_has_them_all(trials: tuple[Trial, ...]) -> None:
    """Seed 1 has the best trial of two rows and none of the third; of seeds 0 and 2, which have all, 2 is better."""
    none, quarter, half = trials[1:4]
    given = [
        *(seeded(trial, 0, 0.7) for trial in (none, quarter, half)),
        *(seeded(trial, 1, 0.9) for trial in (none, quarter)),
        *(seeded(trial, 2, 0.8) for trial in (none, quarter, half)),
    ]
    wanted = {alpha: alpha_row(alpha) for alpha in ("0", "0.25", "0.5", "1")}
    found = Evidence(trials=tuple(given), tracking_uri="").find_together(wanted)
    assert {name: trial and trial.run_id for name, trial in found.items()} == {
        "0": "alpha=0 2",
        "0.25": "alpha=0.25 2",
        "0.5": "alpha=0.5 2",
        "1": None,
    }
    found = Evidence(trials=tuple(given[2:5]), tracking_uri="").find_together(wanted)
    assert [trial.run_id for trial in found.values() if trial] == ["alpha=0 1", "alpha=0.25 1", "alpha=0.5 0"]


def test_a_pair_of_one_seed_goes_before_a_better_one_of_two(trials: tuple[Trial, ...], kd_alpha_store: str) -> None:
    none, quarter = trials[1:3]
    given = (seeded(none, 0, 0.7), seeded(quarter, 0, 0.7), seeded(none, 1, 0.9), seeded(quarter, 2, 0.9))
    evidence = Evidence(trials=given, tracking_uri=kd_alpha_store)
    assert evidence.find_alike(alpha_row("0.25"), alpha_row("0")) == (given[1], given[0])
    assert evidence.find_alike(alpha_row("0.25"), alpha_row("0.5")) is None
    unknown = replace(quarter, run_id="unknown", params={"alpha": "0.25", "architecture": "Lite0"})
    asked = Evidence(trials=(given[2], unknown), tracking_uri=kd_alpha_store)
    assert asked.find_alike(alpha_row("0.25"), alpha_row("0")) is None  # nothing says that their seed is one
    words = " Not of one seed and recipe: data_seed 2 and 1, init_seed 2 and 1."
    assert judge(CLAIM, given[3], given[2], evidence).words.endswith(words)
    assert "Not of one seed" not in judge(CLAIM, given[1], given[0], evidence).words


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

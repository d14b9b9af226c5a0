from dataclasses import replace
from pathlib import Path

import pytest

from analysis.choice import Choice, Limit, choose
from analysis.objectives import COSTS, describe_score
from analysis.runs import Trial, read_runs
from data_store.errors import InputError

ACCURACY = describe_score("accuracy")
SMALL = Limit(flag="--max-size-mb", objective=COSTS["size_mb"], bound=14.0)


@pytest.fixture(scope="module")
def trials(kd_alpha_store: str) -> tuple[Trial, ...]:
    return read_runs(kd_alpha_store).trials


def changed(trial: Trial, **metrics: float) -> Trial:
    return replace(trial, metrics={**trial.metrics, **metrics})


def pick(trials: tuple[Trial, ...] | list[Trial], *limits: Limit) -> Choice:
    return choose(trials, ACCURACY, limits, tracking_uri="")


def test_the_best_within_the_limits_is_picked_with_its_runner_up(trials: tuple[Trial, ...]) -> None:
    free, small = pick(trials), pick(trials, SMALL)
    assert (free.best.name, free.candidates) == ("teacher B0", 6)
    assert (small.best.name, small.candidates) == ("alpha=0.75", 5)
    assert small.runner_up is not None
    assert small.runner_up.name == "alpha=0.5"


def test_the_best_on_test_and_worst_on_validation_is_not_picked(trials: tuple[Trial, ...]) -> None:
    planted = changed(trials[1], val_accuracy=0.51, test_accuracy=0.999)
    assert pick([planted, *trials[2:]]).best.name == "alpha=0.75"


def test_of_equal_scores_the_smaller_then_the_quicker_is_picked(trials: tuple[Trial, ...]) -> None:
    big, small, quick = (
        replace(changed(trials[1], val_accuracy=0.9, size_mb=size, latency_ratio=ratio), name=name)
        for name, size, ratio in (("big", 9.0, 0.1), ("small", 8.0, 0.5), ("quick", 8.0, 0.4))
    )
    assert pick([big, small, quick]).best.name == "quick"


def test_the_weakest_category_is_held_to_its_own_limit(trials: tuple[Trial, ...]) -> None:
    limit = Limit(flag="--min-category-accuracy", objective=ACCURACY, bound=0.7, every_category=True)
    weak = changed(trials[4], val_accuracy_NeuralTextures=0.4)
    assert limit.value(weak) == 0.4
    assert limit.text(weak) == "lowest category val accuracy 40.0 %"
    assert pick([weak, *trials[:4]], SMALL).best.name == weak.name
    assert pick([weak, *trials[:4]], SMALL, limit).best.name == "alpha=0.5"


def test_confidence_is_the_share_of_paired_draws(trials: tuple[Trial, ...]) -> None:
    """A model against itself is a coin toss; one that is right nearly everywhere wins nearly every draw."""
    twin = replace(trials[0], run_id="twin")
    tossed = pick([trials[0], twin])
    assert (tossed.beats_runner_up, tossed.best_in, tossed.difference) == (0.5, 0.5, (0.0, 0.0))
    chosen = pick([trials[0], trials[1]])
    assert chosen.beats_runner_up is not None
    assert chosen.beats_runner_up > 0.99
    assert chosen.difference is not None
    assert chosen.difference[0] > 0


def test_without_predictions_the_confidence_is_unknown(trials: tuple[Trial, ...], tmp_path: Path) -> None:
    blind = [replace(trial, artifact_uri=str(tmp_path)) for trial in trials]
    chosen = pick(blind)
    assert (chosen.best.name, chosen.beats_runner_up, chosen.best_in) == ("teacher B0", None, None)


def test_one_candidate_has_no_runner_up(trials: tuple[Trial, ...]) -> None:
    chosen = pick([trials[0]])
    assert (chosen.runner_up, chosen.beats_runner_up) == (None, None)


def test_nothing_within_the_limits_names_the_nearest_and_what_it_misses(trials: tuple[Trial, ...]) -> None:
    tight = Limit(flag="--max-size-mb", objective=COSTS["size_mb"], bound=13.5)
    with pytest.raises(InputError, match=r"--max-size-mb 13\.5, but none of 6 .* nearest is alpha=.* size 13\.74 MB"):
        pick(trials, tight)


def test_a_limit_that_no_run_has_measured_is_said_so(trials: tuple[Trial, ...]) -> None:
    without = [changed(trial, latency_ratio=float("nan")) for trial in trials]
    limit = Limit(flag="--max-latency-ratio", objective=COSTS["latency_ratio"], bound=0.5)
    with pytest.raises(InputError, match="no trial has recorded latency_ratio; leave that limit out"):
        pick(without, limit)


def test_runs_without_the_score_cannot_be_chosen_among(trials: tuple[Trial, ...]) -> None:
    with pytest.raises(InputError, match="finite val_accuracy, but none of 1"):
        pick([changed(trials[0], val_accuracy=float("nan"))])

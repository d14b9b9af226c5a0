"""The best model within limits, its runner-up, and how sure that order is; judged on validation alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis import intervals
from analysis.comparison import Samples, sample
from analysis.objectives import Objective, noise_mark
from analysis.runs import Trial
from data_store.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One bound that a model must keep."""

    flag: str
    """`--max-size-mb`, as the user wrote it."""
    objective: Objective
    """What is bounded; the lowest accuracy of any category when `every_category` is set."""
    bound: float
    """As recorded: MB, a fraction, a ratio."""
    every_category: bool = False
    """Bound each category's accuracy instead of the objective."""

    def value(self, trial: Trial) -> float:
        """Return what is held against the bound, `nan` when the trial has not recorded it."""
        if not self.every_category:
            return self.objective.value(trial)
        prefix = f"{self.objective.key}_"
        found = [value for key, value in trial.metrics.items() if key.startswith(prefix)]
        return min(found, default=math.nan)

    def kept(self, trial: Trial) -> bool:
        """Tell whether a trial keeps the bound; one without the value does not."""
        value = self.value(trial)
        return value >= self.bound if self.objective.maximise else value <= self.bound

    def excess(self, trial: Trial) -> float:
        """Return by which share of the bound a trial misses it, 0 when it keeps it."""
        value = self.value(trial)
        if not math.isfinite(value):
            return math.inf
        missed = self.bound - value if self.objective.maximise else value - self.bound
        return max(missed, 0.0) / max(abs(self.bound), 1e-12)

    def text(self, trial: Trial) -> str:
        """Return what a trial has where the bound is: `size 8.81 MB`."""
        category = "lowest category " if self.every_category else ""
        mark = noise_mark(trial, self.objective.key)
        return f"{category}{self.objective.short} {mark}{self.objective.show(self.value(trial))}"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was picked, and why it may be believed."""

    best: Trial
    """Best validation score within the limits; of equal ones the smaller, then the quicker."""
    runner_up: Trial | None
    """Second best, None when one trial alone keeps the limits."""
    candidates: int
    """How many trials keep the limits."""
    drawn: int
    """How many of them were drawn again: those with predictions, of very many the best."""
    score: Objective
    """What was maximised (or minimised)."""
    best_in: float | None
    """Share of bootstrap draws in which the best beats every other one that was drawn, ties shared."""
    beats_runner_up: float | None
    """Share of draws in which it beats the runner-up, ties counted half."""
    difference: tuple[float, float] | None
    """95 % interval of its score minus the runner-up's, over the same draws."""


def choose(trials: Sequence[Trial], score: Objective, limits: Sequence[Limit], *, tracking_uri: str) -> Choice:
    """Pick the best of the trials that keep every limit.

    Args:
        trials: finished trials of one store and split.
        score: validation score to decide by.
        limits: bounds, none to pick among all.
        tracking_uri: MLflow's address, for predictions on a server.

    Raises:
        InputError: no trial has the score, or none keeps the limits; the nearest is named with what it misses.
    """
    scored = [trial for trial in trials if math.isfinite(score.value(trial))]
    if not scored:
        raise InputError(
            f"a choice needs a finite {score.key}, but none of {len(trials)} trials has one; choose another --y"
        )
    within = [trial for trial in scored if all(limit.kept(trial) for limit in limits)]
    if not within:
        raise InputError(_nothing(scored, limits))
    sign = -1.0 if score.maximise else 1.0
    within.sort(key=lambda trial: (sign * score.value(trial), *_cost(trial)))
    best, runner_up = within[0], within[1] if len(within) > 1 else None
    samples = sample(within, score, tracking_uri=tracking_uri, xs=())
    beats, difference = _against(best, runner_up, samples, score)
    return Choice(
        best=best,
        runner_up=runner_up,
        candidates=len(within),
        drawn=len(samples),
        score=score,
        best_in=_share_of_wins(best, samples, score),
        beats_runner_up=beats,
        difference=difference,
    )


def _cost(trial: Trial) -> tuple[float, float]:
    """Return what breaks a tie: size, then latency."""
    return trial.metrics.get("size_mb", math.inf), trial.metrics.get("latency_ratio", math.inf)


def _against(
    best: Trial, runner_up: Trial | None, samples: Samples, score: Objective
) -> tuple[float | None, tuple[float, float] | None]:
    """Return the share of draws won against the runner-up, and the interval of the difference."""
    if runner_up is None or best.run_id not in samples or runner_up.run_id not in samples:
        return None, None
    ours, theirs = intervals.shared_draws(np.stack([samples[best.run_id], samples[runner_up.run_id]]))
    if not ours.size:
        return None, None
    ahead = ours - theirs
    won = ahead if score.maximise else -ahead
    return float((won > 0).mean() + 0.5 * (won == 0).mean()), intervals.interval(ahead)


def _share_of_wins(best: Trial, samples: Samples, score: Objective) -> float | None:
    """Return the share of draws in which the best is first among the sampled candidates."""
    if best.run_id not in samples or len(samples) < 2:
        return None
    scores = intervals.shared_draws(np.stack(list(samples.values()))) * (1.0 if score.maximise else -1.0)
    if not scores.size:
        return None
    first = scores == scores.max(axis=0)
    return float((first[list(samples).index(best.run_id)] / first.sum(axis=0)).mean())


def _nothing(trials: Sequence[Trial], limits: Sequence[Limit]) -> str:
    """Return the error that names the trial nearest to the limits, and what it misses."""
    asked = " ".join(f"{limit.flag} {limit.bound:g}" for limit in limits)
    measured = [trial for trial in trials if all(math.isfinite(limit.value(trial)) for limit in limits)]
    if not measured:
        missing = sorted({limit.objective.key for limit in limits for t in trials if not math.isfinite(limit.value(t))})
        return f"a model must keep {asked}, but no trial has recorded {' and '.join(missing)}; leave that limit out"
    nearest = min(measured, key=lambda trial: sum(limit.excess(trial) for limit in limits))
    misses = ", ".join(limit.text(nearest) for limit in limits if not limit.kept(nearest))
    return (
        f"a model must keep {asked}, but none of {len(trials)} trials does: the nearest is {nearest.name} "
        f"of {nearest.sweep} with {misses}; loosen that limit, or sweep smaller models"
    )

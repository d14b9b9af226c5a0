"""Trials compared on two axes: who is on the front, how surely, and what could not be compared."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis import fronts, intervals
from analysis.objectives import COSTS, Objective
from analysis.runs import DataIdentity, Trial

MOST_SAMPLED = 200
"""At most this many trials take part in the joint bootstrap."""
SURE = 1 - intervals.LEVEL
"""A trial on the front in fewer than this share of draws is dominated with 95 % confidence."""
CHANCE = 0.5
"""Worst score the hypervolume counts from, for accuracy and AUC."""

Samples = Mapping[str, fronts.FloatArray]
"""Run id -> (replicates,) scores under draws that all trials share."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One trial on the two axes."""

    trial: Trial
    x: float
    """Cost as recorded."""
    y: float
    """Validation score as recorded."""
    on_front: bool
    """No other trial is at least as good on both axes and better on one."""
    x_high: float | None = None
    """Upper end of the cost's interval (latency's p90)."""
    y_interval: tuple[float, float] | None = None
    """95 % bootstrap interval over source videos, None without predictions."""
    front_probability: float | None = None
    """Share of bootstrap draws that put this trial on the front."""

    @property
    def surely_dominated(self) -> bool:
        """Dominated with 95 % confidence."""
        return not self.on_front and self.front_probability is not None and self.front_probability < SURE


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The comparable trials of one store and split, on one pair of axes."""

    data: DataIdentity
    x: Objective
    y: Objective
    points: tuple[Point, ...]
    """In the order of the trials."""
    knee: int | None
    """Index into `points`."""
    hypervolume: float
    """Dominated share of the box between `reference` and the ideal corner, in [0, 1]."""
    reference: tuple[float, float]
    """Worst corner that the hypervolume counts from: 1.1 times the largest cost, and the score at chance."""
    notes: tuple[str, ...]
    """What was left out, and why."""

    @property
    def front(self) -> tuple[Point, ...]:
        """Points on the front, cheapest first; equal points once each."""
        return tuple(sorted((point for point in self.points if point.on_front), key=lambda point: point.x))


def by_data(trials: Sequence[Trial]) -> tuple[tuple[Trial, ...], ...]:
    """Return the trials apart for each store and split, most trials first: they are never mixed."""
    groups: dict[DataIdentity, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.data, []).append(trial)
    return tuple(tuple(group) for group in sorted(groups.values(), key=len, reverse=True))


def sample(
    trials: Sequence[Trial],
    y: Objective,
    *,
    tracking_uri: str,
    xs: Sequence[Objective] = tuple(COSTS.values()),
    replicates: int = intervals.REPLICATES,
) -> Samples:
    """Return the bootstrapped scores of at most `MOST_SAMPLED` trials, by run id.

    Trials on the front of any of the costs come first, then those with the best scores.

    Args:
        trials: trials of one store and split.
        y: the score; only those in `intervals.SCORES` and accuracies by category can be drawn again.
        tracking_uri: MLflow's address, for predictions that are not on this machine.
        xs: the costs whose fronts matter.
        replicates: number of draws.
    """
    if y.name not in intervals.SCORES and not y.name.startswith("accuracy_"):
        return {}
    scored = [trial for trial in trials if math.isfinite(y.value(trial))]
    on_front: set[str] = set()
    for x in xs:
        costed = [trial for trial in scored if math.isfinite(x.value(trial))]
        if costed:
            marks = fronts.non_dominated(_costs(costed, x, y))
            on_front |= {trial.run_id for trial, mark in zip(costed, marks, strict=True) if mark}
    sign = -1.0 if y.maximise else 1.0
    scored.sort(key=lambda trial: (trial.run_id not in on_front, sign * y.value(trial)))
    found = {t.run_id: intervals.read_predictions(t, tracking_uri) for t in scored[:MOST_SAMPLED]}
    have = {run_id: entry for run_id, entry in found.items() if entry is not None}
    if not have:
        return {}
    scores = intervals.replicate_scores(list(have.values()), y.name, replicates=replicates)
    return dict(zip(have, scores, strict=True))


def front_probabilities(trials: Sequence[Trial], x: Objective, y: Objective, samples: Samples) -> dict[str, float]:
    """Return the probability to be on the front of (x, y), by run id, of sampled trials that have a cost."""
    have = [trial for trial in trials if trial.run_id in samples and math.isfinite(x.value(trial))]
    if not have:
        return {}
    cost = np.array([x.value(trial) for trial in have]) * (-1.0 if x.maximise else 1.0)
    scores = np.stack([samples[trial.run_id] for trial in have])
    share = intervals.front_probability(cost, scores, maximise=y.maximise)
    return {trial.run_id: float(value) for trial, value in zip(have, share, strict=True)}


def compare(trials: Sequence[Trial], x: Objective, y: Objective, samples: Samples | None = None) -> Comparison:
    """Compare the trials of one store and split on two axes.

    Args:
        trials: one or more, all with the same `data`.
        x: cost.
        y: validation score.
        samples: `sample(...)` of the same trials and score; without it there are no intervals.
    """
    samples = samples or {}
    notes: list[str] = []
    for axis in (x, y):
        without = [trial.name for trial in trials if not math.isfinite(axis.value(trial))]
        if without:
            notes.append(f"left out without a finite {axis.key}: {_listed(without)}")
    kept = [trial for trial in trials if math.isfinite(x.value(trial)) and math.isfinite(y.value(trial))]
    if not kept:
        return Comparison(
            data=trials[0].data,
            x=x,
            y=y,
            points=(),
            knee=None,
            hypervolume=0.0,
            reference=(math.nan, math.nan),
            notes=tuple(notes),
        )
    without = [trial.name for trial in kept if trial.run_id not in samples]
    if without and len(kept) <= MOST_SAMPLED:
        notes.append(f"without an interval: {_listed(without)}")
    points = _costs(kept, x, y)
    marks = fronts.non_dominated(points)
    probability = front_probabilities(kept, x, y, samples)
    reference, volume = _hypervolume(points, y)
    return Comparison(
        data=kept[0].data,
        x=x,
        y=y,
        points=tuple(
            Point(
                trial=trial,
                x=x.value(trial),
                y=y.value(trial),
                on_front=bool(mark),
                x_high=trial.metrics.get(x.upper_key) if x.upper_key else None,
                y_interval=intervals.interval(samples[trial.run_id]) if trial.run_id in samples else None,
                front_probability=probability.get(trial.run_id),
            )
            for trial, mark in zip(kept, marks, strict=True)
        ),
        knee=fronts.knee(points),
        hypervolume=volume,
        reference=reference,
        notes=tuple(notes),
    )


def _costs(trials: Sequence[Trial], x: Objective, y: Objective) -> fronts.FloatArray:
    """Return (num_trials, 2) costs to be minimised."""
    columns = [(np.array([axis.value(trial) for trial in trials]), axis.maximise) for axis in (x, y)]
    return fronts.costs(*columns)


def _hypervolume(points: fronts.FloatArray, y: Objective) -> tuple[tuple[float, float], float]:
    """Return the reference point and the dominated share of the box from it to (cost 0, perfect score)."""
    worst_x = float(points[:, 0].max()) * 1.1
    worst_y = CHANCE if y.maximise else float(points[:, 1].max())
    box = worst_x * ((1.0 - worst_y) if y.maximise else worst_y)
    corner = np.array([worst_x, -worst_y if y.maximise else worst_y])
    volume = fronts.hypervolume(points, corner) / box if box > 0 else 0.0
    return (worst_x, worst_y), volume


def _listed(names: Sequence[str], most: int = 5) -> str:
    """Return the first few names and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

"""Trials compared on two axes: who is on the front, how surely, and what could not be compared."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis import fronts, intervals
from analysis.objectives import COSTS, Objective
from analysis.runs import DataIdentity, Trial
from trainables import metric_keys as keys

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
    """No other trial is at least as good in every objective and better in one."""
    on_line: bool
    """The same on the two axes alone; equal to `on_front` without a third objective."""
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
    z: Objective | None
    """Third objective, a second cost; None for a front of two."""
    points: tuple[Point, ...]
    """In the order of the trials."""
    knee: int | None
    """Index into `points`."""
    hypervolume: float
    """Dominated share of the box between `reference` and the ideal corner, in [0, 1]."""
    reference: tuple[float, ...]
    """Worst corner that the hypervolume counts from, in the order of `objectives`: 1.1 times the largest cost,
    and the score at chance (the worst score where there is no chance level)."""
    notes: tuple[str, ...]
    """What was left out, and why."""

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The axes, and the third objective if there is one."""
        return (self.x, self.y) if self.z is None else (self.x, self.y, self.z)

    @property
    def front(self) -> tuple[Point, ...]:
        """Points on the front, cheapest first."""
        return tuple(sorted((point for point in self.points if point.on_front), key=lambda point: point.x))

    @property
    def line(self) -> tuple[Point, ...]:
        """Points on the front of the two axes, cheapest first."""
        return tuple(sorted((point for point in self.points if point.on_line), key=lambda point: point.x))


def by_data(trials: Sequence[Trial]) -> tuple[tuple[Trial, ...], ...]:
    """Return the trials apart for each store and split, most trials first: they are never mixed.

    Nor are milliseconds of different CPUs, or ratios to B0 at different resolutions: those of most trials (of equally
    many, of the latest) are kept, and the others' taken out of their records; `apart` says whose.
    """
    groups: dict[DataIdentity, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.data, []).append(trial)
    return tuple(_one_yardstick(group) for group in sorted(groups.values(), key=len, reverse=True))


def apart(trials: Sequence[Trial], axis: Objective) -> list[str]:
    """Return in sentences which of `by_data`'s trials had a value on an axis that does not compare, and why."""
    reasons: dict[str, list[str]] = {}
    for trial in trials:
        if reason := _apart(trial, axis):
            reasons.setdefault(reason, []).append(trial.name)
    return [f"left out, {axis.key} {reason}: {_listed(names)}" for reason, names in reasons.items()]


def _one_yardstick(group: Sequence[Trial]) -> tuple[Trial, ...]:
    """Take out of the records what was measured otherwise than most."""
    for ratio in (False, True):
        mine = {
            trial.run_id: [key for key in trial.metrics if _is_latency(key) and key.endswith("_ratio") == ratio]
            for trial in group
        }
        latest_first = sorted(group, key=lambda trial: trial.ended, reverse=True)
        counts = Counter(_yardstick(trial, ratio=ratio) for trial in latest_first if mine[trial.run_id])
        if len(counts) > 1:
            most = counts.most_common(1)[0][0]
            group = [
                trial
                if (own := _yardstick(trial, ratio=ratio)) == most
                else _without(trial, mine[trial.run_id], own, most)
                for trial in group
            ]
    return tuple(group)


def _yardstick(trial: Trial, *, ratio: bool) -> str:
    """Return what a trial's latencies depend on, beside its graph, in words."""
    if ratio:
        side_px = trial.metrics.get(keys.LATENCY_REFERENCE_PX)
        return "to a B0 not recorded" if side_px is None else f"to B0 at {side_px:g} px"
    return f"of {trial.tags.get(keys.LATENCY_CPU, 'a CPU not recorded')}"


def _without(trial: Trial, taken: Sequence[str], own: str, most: str) -> Trial:
    """Return a trial without some of its latencies, and with the reason."""
    if not taken:
        return trial
    metrics = {key: value for key, value in trial.metrics.items() if key not in taken}
    return replace(trial, metrics=metrics, tags={**trial.tags, _apart_tag(taken[0]): f"{own} where most are {most}"})


def _is_latency(key: str) -> bool:
    """Tell a latency from what is said of it."""
    return key.startswith("latency_") and key.endswith(("_ms_p50", "_ms_p90", "_ratio"))


def _apart(trial: Trial, axis: Objective) -> str:
    """Return why a trial's value on an axis was taken out, or nothing."""
    return trial.tags.get(_apart_tag(axis.key), "") if _is_latency(axis.key) else ""


def _apart_tag(key: str) -> str:
    return f"apart.{'ratio' if key.endswith('_ratio') else 'ms'}"


def sample(
    trials: Sequence[Trial],
    y: Objective,
    *,
    tracking_uri: str,
    xs: Sequence[Objective] = tuple(COSTS.values()),
    replicates: int = intervals.REPLICATES,
) -> Samples:
    """Return the bootstrapped scores of at most `MOST_SAMPLED` trials, by run id.

    Those on the front of any of the costs come first, then those on the front of what is left, and so on.

    Args:
        trials: trials of one store and split.
        y: the score; only those in `intervals.SCORES` and accuracies by category can be drawn again.
        tracking_uri: MLflow's address, for predictions that are not on this machine.
        xs: the costs whose fronts matter.
        replicates: number of draws.
    """
    if not intervals.has_interval(y.name):
        return {}
    scored = [trial for trial in trials if math.isfinite(y.value(trial))]
    layer = dict.fromkeys((trial.run_id for trial in scored), math.inf)
    for x in xs:
        costed = [trial for trial in scored if math.isfinite(x.value(trial))]
        for trial, rank in zip(costed, fronts.ranks(_costs(costed, x, y)) if costed else [], strict=True):
            layer[trial.run_id] = min(layer[trial.run_id], int(rank))
    sign = -1.0 if y.maximise else 1.0
    scored.sort(key=lambda trial: (layer[trial.run_id], sign * y.value(trial)))
    found = {t.run_id: intervals.read_predictions(t, tracking_uri) for t in scored[:MOST_SAMPLED]}
    have = {run_id: entry for run_id, entry in found.items() if entry is not None}
    if not have:
        return {}
    scores = intervals.replicate_scores(list(have.values()), y.name, replicates=replicates)
    return dict(zip(have, scores, strict=True))


def front_probabilities(
    trials: Sequence[Trial], costs: Sequence[Objective], y: Objective, samples: Samples
) -> dict[str, float]:
    """Return the probability to be on the front of costs and score, by run id, of sampled trials that have them."""
    have = [t for t in trials if t.run_id in samples and all(math.isfinite(cost.value(t)) for cost in costs)]
    if not have:
        return {}
    scores = np.stack([samples[trial.run_id] for trial in have])
    share = intervals.front_probability(_costs(have, *costs), scores, maximise=y.maximise)
    return {trial.run_id: float(value) for trial, value in zip(have, share, strict=True) if math.isfinite(value)}


def compare(
    trials: Sequence[Trial],
    x: Objective,
    y: Objective,
    samples: Samples | None = None,
    *,
    z: Objective | None = None,
) -> Comparison:
    """Compare the trials of one store and split on two axes, and a third objective if there is one.

    Args:
        trials: one or more, all with the same `data`.
        x: cost.
        y: validation score.
        samples: `sample(...)` of the same trials and score; without it there are no intervals.
        z: a second cost.
    """
    samples = samples or {}
    costs = (x,) if z is None else (x, z)
    kept = [trial for trial in trials if all(math.isfinite(axis.value(trial)) for axis in (*costs, y))]
    shared: dict[str, Any] = {"data": trials[0].data, "x": x, "y": y, "z": z}
    notes = _notes(trials, kept, (*costs, y), samples)
    if not kept:
        return Comparison(**shared, points=(), knee=None, hypervolume=0.0, reference=(), notes=notes)
    flat, full = _costs(kept, x, y), _costs(kept, x, y, *costs[1:])
    line, marks = fronts.non_dominated(flat), fronts.non_dominated(full)
    probability = front_probabilities(kept, costs, y, samples)
    reference, volume = _hypervolume(full, y)
    points = tuple(
        Point(
            trial=trial,
            x=x.value(trial),
            y=y.value(trial),
            on_front=bool(on_front),
            on_line=bool(on_line),
            x_high=trial.metrics.get(x.upper_key) if x.upper_key else None,
            y_interval=intervals.interval(samples[trial.run_id]) if trial.run_id in samples else None,
            front_probability=probability.get(trial.run_id),
        )
        for trial, on_front, on_line in zip(kept, marks, line, strict=True)
    )
    knee = fronts.knee(flat) if z is None else None
    return Comparison(**shared, points=points, knee=knee, hypervolume=volume, reference=reference, notes=notes)


def _notes(
    trials: Sequence[Trial], kept: Sequence[Trial], axes: Sequence[Objective], samples: Samples
) -> tuple[str, ...]:
    """Return what was left out, and why."""
    notes = []
    for axis in axes:
        without = [t.name for t in trials if not math.isfinite(axis.value(t)) and not _apart(t, axis)]
        if without:
            notes.append(f"left out without a finite {axis.key}: {_listed(without)}")
        notes += apart(trials, axis)
    without = [trial.name for trial in kept if trial.run_id not in samples]
    if without and len(kept) <= MOST_SAMPLED:
        notes.append(f"without an interval: {_listed(without)}")
    return tuple(notes)


def _costs(trials: Sequence[Trial], *axes: Objective) -> fronts.FloatArray:
    """Return (num_trials, num_axes) costs to be minimised."""
    return fronts.costs(*((np.array([axis.value(trial) for trial in trials]), axis.maximise) for axis in axes))


def _hypervolume(points: fronts.FloatArray, y: Objective) -> tuple[tuple[float, ...], float]:
    """Return the reference point and the dominated share of the box from it to (cost 0, perfect score, cost 0)."""
    worst = points.max(axis=0) * 1.1
    worst[1] = -CHANCE if y.maximise else points[:, 1].max()
    ideal = np.zeros(points.shape[1])
    ideal[1] = -1.0 if y.maximise else 0.0
    box = float(np.prod(worst - ideal))
    volume = fronts.hypervolume(points, worst) / box if box > 0 else 0.0
    shown = [float(value) for value in worst]
    shown[1] = abs(shown[1])
    return tuple(shown), volume


def _listed(names: Sequence[str], most: int = 5) -> str:
    """Return the first few names and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

"""Exact non-dominated sorting, hypervolume and the knee of a front, for 2 and 3 objectives.

Everything here is minimised: the caller turns a score that is maximised round (`costs`).
"""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def costs(*columns: tuple[FloatArray, bool]) -> FloatArray:
    """Stack (values, maximise) columns into (num_points, num_objectives) costs, all to be minimised."""
    return np.column_stack([-values if maximise else values for values, maximise in columns]).astype(np.float64)


def non_dominated(points: FloatArray) -> NDArray[np.bool_]:
    """Mark the points that no other point dominates; equal points are marked alike.

    A point dominates another when it is nowhere worse and somewhere better.

    Args:
        points: (num_points, num_objectives) float64, minimised, finite.

    Returns:
        (num_points,) bool.
    """
    _check(points)
    if points.shape[1] == 2:
        return _non_dominated_pairs(points)
    order = np.lexsort(points.T[::-1])  # by the first objective, then the second, ...
    front = np.empty((0, points.shape[1]))
    marks = np.zeros(len(points), dtype=np.bool_)
    for index in order:
        point = points[index]
        worse = (front <= point).all(axis=1) & (front < point).any(axis=1)
        if not worse.any():
            marks[index] = True
            front = np.vstack([front, point])
    return marks


def _non_dominated_pairs(points: FloatArray) -> NDArray[np.bool_]:
    """Return the same for two objectives by one sort.

    Among the points of one first objective the best second survives, if it beats all cheaper points.
    """
    order = np.lexsort(points.T[::-1])
    first, second = points[order].T
    starts = np.flatnonzero(np.diff(first, prepend=-np.inf))
    group = np.cumsum(np.isin(np.arange(len(order)), starts)) - 1
    best = second[starts]  # of each distinct first objective, since the second is sorted within it
    before = np.concatenate([[np.inf], np.minimum.accumulate(best)[:-1]])
    marks = np.zeros(len(points), dtype=np.bool_)
    marks[order] = (second == best[group]) & (best < before)[group]
    return marks


def hypervolume(points: FloatArray, reference: FloatArray) -> float:
    """Return the area (2 objectives) or volume (3) that the points dominate within a reference point.

    Args:
        points: (num_points, 2 or 3) float64, minimised.
        reference: (2 or 3,) float64; points that are not better in every objective add nothing.
    """
    _check(points)
    inside = points[(points < reference).all(axis=1)]
    if points.shape[1] == 3:  # slices between neighbouring levels of the third objective
        levels = np.unique(inside[:, 2])
        depths = np.diff(levels, append=reference[2])
        areas = (hypervolume(inside[inside[:, 2] <= level, :2], reference[:2]) for level in levels)
        return float(sum(area * depth for area, depth in zip(areas, depths, strict=True)))
    inside = inside[np.lexsort(inside.T[::-1])]
    area, lowest = 0.0, float(reference[1])
    for first, second in inside:
        if second < lowest:
            area += (reference[0] - first) * (lowest - second)
            lowest = second
    return float(area)


def knee(points: FloatArray) -> int | None:
    """Return the index of the front's knee, None when the front has fewer than three distinct points.

    The knee is the point farthest from the line through the front's two ends, each objective scaled to
    [0, 1] over the front (Das, 1999, "On characterizing the knee of the Pareto curve").

    Args:
        points: (num_points, 2) float64, minimised; dominated points are allowed and never chosen.
    """
    front = np.flatnonzero(non_dominated(points))
    span = np.ptp(points[front], axis=0) if len(front) else np.zeros(points.shape[1])
    if len(np.unique(points[front], axis=0)) < 3 or (span == 0).any():
        return None
    scaled = (points[front] - points[front].min(axis=0)) / span
    # The ends of the front are (0, 1) and (1, 0): the line through them is first + second = 1.
    bulge = 1.0 - scaled.sum(axis=1)
    best = int(np.argmax(bulge))
    return int(front[best]) if bulge[best] > 1e-9 else None


def _check(points: FloatArray) -> None:
    """Refuse what cannot be sorted."""
    if points.ndim != 2 or points.shape[1] < 2:
        raise ValueError(f"points must be (num_points, 2 or more), but got {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("points must be finite; leave out trials without a value before sorting")

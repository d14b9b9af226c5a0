"""Exact non-dominated sorting, hypervolume and the knee of a front, for 2 and 3 objectives.

Sorting and hypervolume are moocore's (C, exact). Everything here is minimised: the caller turns a score that is
maximised round (`costs`).
"""

import moocore  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def costs(*columns: tuple[FloatArray, bool]) -> FloatArray:
    """Stack (values, maximise) columns into (num_points, num_objectives) costs, all to be minimised."""
    turned = [-values if maximise else values for values, maximise in columns]
    return np.column_stack(turned).astype(np.float64)


def non_dominated(points: FloatArray) -> NDArray[np.bool_]:
    """Mark the points that no other point dominates; equal points are marked alike.

    A point dominates another when it is nowhere worse and somewhere better.

    Args:
        points: (num_points, num_objectives) float64, minimised, finite.

    Returns:
        (num_points,) bool.
    """
    _check(points)
    return np.asarray(moocore.is_nondominated(points, keep_weakly=True), dtype=np.bool_)


def ranks(points: FloatArray) -> NDArray[np.int64]:
    """Return each point's layer: 0 on the front, 1 on the front of what is left without it, and so on.

    Args:
        points: (num_points, num_objectives) float64, minimised, finite.

    Returns:
        (num_points,) int64.
    """
    _check(points)
    return np.asarray(moocore.pareto_rank(points), dtype=np.int64)


def hypervolume(points: FloatArray, reference: FloatArray) -> float:
    """Return the area (2 objectives) or volume (3) that the points dominate within a reference point.

    Args:
        points: (num_points, 2 or 3) float64, minimised.
        reference: (2 or 3,) float64; points that are not better in every objective add nothing.
    """
    _check(points)
    return float(moocore.hypervolume(points, ref=reference))


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
    if points.ndim != 2 or points.shape[1] < 2 or not len(points):
        raise ValueError(f"points must be (1 or more, 2 or more), but got {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("points must be finite; leave out trials without a value before sorting")

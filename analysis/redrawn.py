"""Scores of one detector under many draws of its source videos: each crop, or each video, counts with a weight.

A draw gives each source video a weight, how often it was drawn. A score of the draw is what it would be if the video's
crops stood there so often: what scikit-learn calls ``sample_weight``, for all draws at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

VIDEO = "video_"
MEANS = ("accuracy", "log_loss", "brier")
"""Scores that are a mean over crops."""
RANKS = ("auc", "eer", "average_precision")
"""Scores that compare fakes with reals."""
SCORES = tuple(prefix + name for prefix in ("", VIDEO) for name in (*MEANS, *RANKS))
_CHUNK = 2**22  # numbers of a table at a time


@dataclass(frozen=True, kw_only=True)
class Level:
    """What is scored: crops, or videos.

    Attributes:
        source: (n,) the column of the weights that each belongs to.
        label: (n,) 0 real, 1 fake.
        probability: (n,) of fake.
        rank: (n,) what orders them: finer than the probability where that saturates.
    """

    source: NDArray[np.intp]
    label: NDArray[np.int64]
    probability: FloatArray
    rank: FloatArray


def crops(source: NDArray[np.intp], label: NDArray[np.int64], logit: FloatArray) -> Level:
    """Return the level of crops (n,)."""
    probability = 1 / (1 + np.exp(-np.clip(logit, -700, 700)))
    return Level(source=source, label=label, probability=probability, rank=logit)


def videos(level: Level, category: NDArray[np.str_], video_id: NDArray[np.str_]) -> Level:
    """Return the level of the videos of crops: the mean probability of each (category, video_id)."""
    names = np.array([f"{one}\0{other}" for one, other in zip(category, video_id, strict=True)])
    _, first, video = np.unique(names, return_index=True, return_inverse=True)
    mean = np.bincount(video, weights=level.probability) / np.bincount(video)
    return Level(source=level.source[first], label=level.label[first], probability=mean, rank=mean)


def scores(level: Level, name: str, weights: FloatArray) -> FloatArray:
    """Return (draws,) scores; ``nan`` in a draw that has no crops, or one class where both are needed.

    Args:
        level: Of crops or of videos.
        name: One of ``SCORES``, without ``video_``.
        weights: (draws, sources).
    """
    if name in MEANS:
        return _mean(level, _of_each(level, name), weights)
    if name == "auc":
        return _auc(level, weights)
    assert name in RANKS
    curve = _average_precision if name == "average_precision" else _equal_error_rate
    return np.concatenate([curve(hits, alarms) for hits, alarms in _curves(level, weights)])


def _of_each(level: Level, name: str) -> FloatArray:
    """Return what each crop or video adds to a mean."""
    fake = (level.label == 1).astype(np.float64)
    each: FloatArray
    if name == "accuracy":
        each = ((level.probability > 0.5) == (fake > 0)).astype(np.float64)
    elif name == "brier":
        each = (level.probability - fake) ** 2
    else:
        tiny = float(np.finfo(np.float64).eps)  # as scikit-learn clips
        right = np.where(fake > 0, level.probability, 1 - level.probability)
        each = -np.log(np.clip(right, tiny, 1 - tiny))
    return each


def _mean(level: Level, values: FloatArray, weights: FloatArray) -> FloatArray:
    """Sums over crops are sums over sources first."""
    total = np.bincount(level.source, weights=values, minlength=weights.shape[1])
    count = np.bincount(level.source, minlength=weights.shape[1]).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        quotient: FloatArray = (weights @ total) / (weights @ count)
    return quotient


def _auc(level: Level, weights: FloatArray) -> FloatArray:
    """Weighted area under the ROC curve, ties counted half (Mann-Whitney).

    It is a quadratic form in the draw's weights: sources are compared with each other once, not in every draw.
    """
    num_sources, column = weights.shape[1], level.source
    fake = level.label == 1
    wins = np.zeros((num_sources, num_sources))  # wins[s, t]: fakes of source s above reals of source t
    for source in np.unique(column[~fake]):
        real = np.sort(level.rank[~fake & (column == source)])
        below = np.searchsorted(real, level.rank[fake], "left") + np.searchsorted(real, level.rank[fake], "right")
        wins[:, source] = np.bincount(column[fake], weights=below / 2, minlength=num_sources)
    num_fake = weights @ np.bincount(column[fake], minlength=num_sources)
    num_real = weights @ np.bincount(column[~fake], minlength=num_sources)
    with np.errstate(invalid="ignore", divide="ignore"):
        quotient: FloatArray = ((weights @ wins) * weights).sum(axis=1) / (num_fake * num_real)
    return quotient


def _curves(level: Level, weights: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Yield, some draws at a time, weights of fakes and of reals at or above each threshold, (draws, thresholds)."""
    order = np.argsort(-level.rank, kind="stable")
    ranks, columns, fake = level.rank[order], level.source[order], level.label[order] == 1
    last = np.flatnonzero(np.append(ranks[1:] != ranks[:-1], True))  # of each group of ties
    for begin in range(0, len(weights), step := max(1, _CHUNK // len(order))):
        each = weights[begin : begin + step, columns]  # (draws, n), the surest fake first
        yield np.cumsum(each * fake, axis=1)[:, last], np.cumsum(each * ~fake, axis=1)[:, last]


def _average_precision(hits: FloatArray, alarms: FloatArray) -> FloatArray:
    """Precision at each threshold, weighted by the recall that it adds."""
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(hits > 0, hits / (hits + alarms), 0.0)
        gained = np.diff(hits, axis=1, prepend=0.0) / hits[:, -1:]
        total: FloatArray = (precision * gained).sum(axis=1)
    return np.where(alarms[:, -1] > 0, total, np.nan)


def _equal_error_rate(hits: FloatArray, alarms: FloatArray) -> FloatArray:
    """False alarms where they equal misses, between two thresholds by linear interpolation."""
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.insert(alarms / alarms[:, -1:], 0, 0.0, axis=1)
        gap = rate + np.insert(hits / hits[:, -1:], 0, 0.0, axis=1) - 1  # rises from -1 to 1
        after = np.argmax(gap >= 0, axis=1)[:, None]
        low, high = (np.take_along_axis(gap, after - shift, axis=1)[:, 0] for shift in (1, 0))
        start, end = (np.take_along_axis(rate, after - shift, axis=1)[:, 0] for shift in (1, 0))
        found: FloatArray = start + (end - start) * (-low / (high - low))
    return np.where((hits[:, -1] > 0) & (alarms[:, -1] > 0), found, np.nan)

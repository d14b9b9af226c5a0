"""Scores of a detector on one split, by frame and by video.

A video's score is the mean probability over its frames, and a video is keyed by (category, video_id): four
manipulations of FaceForensics++ share the name ``000_003``, and pooling them would make one video of four.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trainables import metric_keys as keys

THRESHOLD = 0.5
NUM_BINS = 15
"""Bins of the calibration error, as in Guo et al. 2017, arXiv:1706.04599."""

RANK_SCORES = (keys.AUC, keys.EER, keys.AVERAGE_PRECISION)
"""They compare fakes with reals, so they need both."""
POINT_SCORES = (keys.ACCURACY, keys.LOG_LOSS, keys.BRIER, keys.CALIBRATION_ERROR)
VIDEO = "video_"


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a split says of a model.

    Attributes:
        values: Score by name, each a fraction in [0, 1] but for the log loss.
        undefined: Why a score is missing, by name.
    """

    values: dict[str, float] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """How often crops of about the same predicted probability are fake; empty bins are left out.

    Attributes:
        counts: (num_bins,) crops.
        mean_probabilities: (num_bins,) mean predicted probability of fake.
        fake_shares: (num_bins,) share that is fake.
    """

    counts: NDArray[np.int64]
    mean_probabilities: NDArray[np.float64]
    fake_shares: NDArray[np.float64]


def score(split: str, logits: np.ndarray, labels: np.ndarray, categories: np.ndarray, video_ids: np.ndarray) -> Scores:
    """Score one split.

    Args:
        split: Prefix of the keys: ``val`` or ``test``.
        logits: (n,) float; above 0 is fake.
        labels: (n,) 0 real, 1 fake.
        categories: (n,) str.
        video_ids: (n,) str, unique within a category.

    Returns:
        Accuracy, AUC, EER, average precision, log loss, Brier score and calibration error, over frames and over
        videos, and accuracy by category over frames. Accuracy counts a probability above 0.5 as fake.
    """
    names = [prefix + name for prefix in ("", VIDEO) for name in POINT_SCORES + RANK_SCORES]
    wrong = int((~np.isfinite(logits)).sum())
    if len(logits) == 0 or wrong:
        reason = f"{wrong} of {len(logits)} logits are not finite" if wrong else "the split is empty"
        return Scores(undefined={keys.scored(split, name): reason for name in names})
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    correct = (probabilities > THRESHOLD) == (labels == 1)
    values = {
        keys.category_accuracy(split, category): float(correct[categories == category].mean())
        for category in sorted(set(categories.tolist()))
    }
    undefined: dict[str, str] = {}
    levels = {"": (labels, probabilities), VIDEO: by_video(probabilities, labels, categories, video_ids)}
    for prefix, (level_labels, level_probabilities) in levels.items():
        found = point_scores(level_labels, level_probabilities)
        if len(np.unique(labels)) == 2:
            found |= rank_scores(level_labels, level_probabilities)
        else:
            reason = "it needs real and fake crops, and the split has one class only"
            undefined |= {keys.scored(split, prefix + name): reason for name in RANK_SCORES}
        values |= {keys.scored(split, prefix + name): value for name, value in found.items()}
    return Scores(values=values, undefined=undefined)


def point_scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return, by name, the scores that take each probability (n,) by itself; one class is enough."""
    from sklearn.metrics import accuracy_score, brier_score_loss, log_loss

    return {
        keys.ACCURACY: float(accuracy_score(labels == 1, probabilities > THRESHOLD)),
        keys.LOG_LOSS: float(log_loss(labels, probabilities, labels=[0, 1])),
        keys.BRIER: float(brier_score_loss(labels, probabilities, labels=[0, 1], pos_label=1)),
        keys.CALIBRATION_ERROR: calibration_error(labels, probabilities),
    }


def rank_scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return, by name, the scores that depend on the order of the probabilities (n,) alone; both classes occur."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    return {
        keys.AUC: float(roc_auc_score(labels, probabilities)),
        keys.EER: equal_error_rate(labels, probabilities),
        keys.AVERAGE_PRECISION: float(average_precision_score(labels, probabilities)),
    }


def by_video(
    probabilities: np.ndarray, labels: np.ndarray, categories: np.ndarray, video_ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return label and mean probability (num_videos,) of each (category, video_id)."""
    names = np.array([f"{category}\0{video}" for category, video in zip(categories, video_ids, strict=True)])
    _, first, video = np.unique(names, return_index=True, return_inverse=True)
    means = np.bincount(video, weights=probabilities) / np.bincount(video)
    return labels[first], means


def equal_error_rate(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the rate at which false alarms equal misses, read off the ROC curve by linear interpolation."""
    from sklearn.metrics import roc_curve

    false_alarms, hits, _ = roc_curve(labels, probabilities)
    gap = false_alarms - (1 - hits)  # rises from -1 to 1 along the curve
    return float(np.interp(0.0, gap, false_alarms))


def reliability(labels: np.ndarray, probabilities: np.ndarray, num_bins: int = NUM_BINS) -> Reliability:
    """Sort probabilities (n,) into equal bins of [0, 1]; a probability on an edge falls into the bin above it."""
    bins = np.minimum((probabilities * num_bins).astype(np.int64), num_bins - 1)
    counts = np.bincount(bins, minlength=num_bins)
    some = counts > 0

    def mean(values: np.ndarray) -> NDArray[np.float64]:
        sums = np.bincount(bins, weights=values.astype(np.float64), minlength=num_bins)[some]
        return np.asarray(sums / counts[some], np.float64)

    return Reliability(counts=counts[some], mean_probabilities=mean(probabilities), fake_shares=mean(labels == 1))


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, num_bins: int = NUM_BINS) -> float:
    """Return the expected calibration error of the probability of fake (Naeini et al. 2015, AAAI).

    It is the mean over crops of how far their bin's share of fakes is from its mean probability. By finite bins it
    is biased upwards: a calibrated model on few crops does not score 0.
    """
    bins = reliability(labels, probabilities, num_bins)
    gaps = np.abs(bins.fake_shares - bins.mean_probabilities)
    return float((gaps * bins.counts).sum() / bins.counts.sum())

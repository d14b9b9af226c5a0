"""Scores of a detector on one split, by frame and by video.

A video's score is the mean probability over its frames, and a video is keyed by (category, video_id): four
manipulations of FaceForensics++ share the name ``000_003``, and pooling them would make one video of four.
"""

from dataclasses import dataclass, field

import numpy as np

from trainables import metric_keys as keys

THRESHOLD = 0.5


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a split says of a model.

    Attributes:
        values: Score by name, each a fraction in [0, 1] but for the log loss.
        undefined: Why a score is missing, by name.
    """

    values: dict[str, float] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)


def score(split: str, logits: np.ndarray, labels: np.ndarray, categories: np.ndarray, video_ids: np.ndarray) -> Scores:
    """Score one split.

    Args:
        split: Prefix of the keys: ``val`` or ``test``.
        logits: (n,) float; above 0 is fake.
        labels: (n,) 0 real, 1 fake.
        categories: (n,) str.
        video_ids: (n,) str, unique within a category.

    Returns:
        Accuracy, AUC, EER, log loss and accuracy by category over frames; accuracy and AUC over videos.
        Accuracy counts a probability above 0.5 as fake.
    """
    if len(logits) == 0:
        return Scores(undefined={keys.scored(split, keys.ACCURACY): "the split is empty"})
    from sklearn.metrics import log_loss, roc_auc_score

    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    correct = (probabilities > THRESHOLD) == (labels == 1)
    values = {
        keys.scored(split, keys.ACCURACY): float(correct.mean()),
        keys.scored(split, keys.LOG_LOSS): float(log_loss(labels, probabilities, labels=[0, 1])),
    }
    for category in sorted(set(categories.tolist())):
        values[keys.category_accuracy(split, category)] = float(correct[categories == category].mean())
    video_labels, video_probabilities = by_video(probabilities, labels, categories, video_ids)
    video_correct = (video_probabilities > THRESHOLD) == (video_labels == 1)
    values[keys.scored(split, keys.VIDEO_ACCURACY)] = float(video_correct.mean())
    if len(np.unique(labels)) < 2:
        reason = "it needs real and fake crops, and the split has one class only"
        return Scores(
            values=values,
            undefined={keys.scored(split, name): reason for name in (keys.AUC, keys.EER, keys.VIDEO_AUC)},
        )
    values[keys.scored(split, keys.AUC)] = float(roc_auc_score(labels, probabilities))
    values[keys.scored(split, keys.EER)] = equal_error_rate(labels, probabilities)
    values[keys.scored(split, keys.VIDEO_AUC)] = float(roc_auc_score(video_labels, video_probabilities))
    return Scores(values=values)


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

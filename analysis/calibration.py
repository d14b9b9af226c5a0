"""Logits to probabilities that mean what they say, fitted on a run's validation predictions."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEPS = 100
LEAST_CROPS = 20
"""Of each label; with fewer no line is fitted."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Platt's line: probability of a fake = sigmoid(slope * logit + intercept) (Platt 1999).

    Fakes are taken to be as likely as not, whatever their share in the validation split.
    """

    slope: float = 1.0
    """Of the logit; below 1 where the model is too sure of itself."""
    intercept: float = 0.0
    """Added to it."""
    num_crops: int = 0
    """Validation crops that it was fitted on; 0: not fitted, the model's own sigmoid."""

    @property
    def fitted(self) -> bool:
        """Whether it rests on validation predictions."""
        return self.num_crops > 0

    @property
    def text(self) -> str:
        """What to say about it."""
        if self.fitted:
            return f"calibrated on {self.num_crops:,} validation crops"
        return "not calibrated: too few validation predictions, or no better than chance"

    def probability(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of being fake, one a logit."""
        return sigmoid(self.slope * logits + self.intercept)

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def calibration_from(values: Mapping[str, Any]) -> Calibration:
    """Turn JSON values back into a calibration."""
    return Calibration(
        slope=float(values["slope"]), intercept=float(values["intercept"]), num_crops=int(values["num_crops"])
    )


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)) without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(values, np.float64))))


def fit(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> Calibration:
    """Fit Platt's line by Newton's method on the log loss, both labels weighing the same.

    Targets are Platt's smoothed ones, so that a split without errors gives a finite slope.

    Args:
        logits: ``(n,)``.
        labels: ``(n,)`` 0 real, 1 fake.

    Returns:
        The line; not fitted where a label has fewer than ``LEAST_CROPS`` crops or the logits tell nothing.
    """
    fakes = int(labels.sum())
    reals = len(labels) - fakes
    if min(fakes, reals) < LEAST_CROPS:
        return Calibration()
    targets = np.where(labels == 1, (fakes + 1) / (fakes + 2), 1 / (reals + 2))
    weights = np.where(labels == 1, 0.5 / fakes, 0.5 / reals)
    design = np.column_stack([logits, np.ones_like(logits)])
    line = np.array([1.0 / max(float(logits.std()), 1e-9), 0.0])  # where the curvature tells: not at +-30
    loss = _loss(design @ line, targets, weights)
    for _ in range(STEPS):
        chances = sigmoid(design @ line)
        gradient = design.T @ (weights * (chances - targets))
        curvature = (design * (weights * chances * (1 - chances))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while (after := _loss(design @ (line - size * step), targets, weights)) > loss and size > 1e-6:
            size /= 2
        line, improved, loss = line - size * step, loss - after, after
        if improved < 1e-12:
            break
    if not np.isfinite(line).all() or line[0] <= 0:  # worse than chance: turning its verdicts round is no remedy
        return Calibration()
    return Calibration(slope=float(line[0]), intercept=float(line[1]), num_crops=len(labels))


def _loss(scores: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    return float((weights * (np.logaddexp(0.0, scores) - targets * scores)).sum())

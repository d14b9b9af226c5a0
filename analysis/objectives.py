"""What the axes of a plot can be: metric keys, units, and which way is better."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from analysis.addresses import near
from analysis.runs import Trial
from data_store.errors import InputError
from trainables import metric_keys as keys

LARGEST = 1e300
NOISE_KEYS = {
    keys.latency(figure, runtime, size): keys.latency("noise", runtime, size)
    for figure in ("ms_p50", "ms_p90", "ratio")
    for runtime in ("eager", "onnx", "int8")
    for size in (1, 32)
}
"""Metric key of a latency -> key of its noise."""
NOISE_NOTE = f"~: measured with noise above {100 * keys.NOISY:.0f} % (interquartile range over median, its own or B0's)"
"""What `~` means, for where the reader meets it."""


def noise_mark(trial: Trial, key: str) -> str:
    """Return what stands before a trial's figure of that metric key: `~` for a noisy latency, else nothing."""
    noise = trial.metrics.get(NOISE_KEYS.get(key, ""), 0.0)
    return "~" if key in trial.metrics and noise > keys.NOISY else ""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One measured quantity that trials are compared by."""

    name: str
    """Name on the command line: `size_mb`, `accuracy`."""
    key: str
    """Metric key in MLflow: `size_mb`, `val_accuracy`."""
    label: str
    """Axis label without its unit."""
    short: str
    """Column head: `size`, `val accuracy`."""
    unit: str
    """Unit after `scale`, or empty."""
    maximise: bool
    """True when larger is better."""
    scale: float = 1.0
    """Recorded value times this is what is shown."""
    decimals: int = 2
    """Digits after the point when shown."""
    upper_key: str | None = None
    """Metric key of the interval's upper end where the run records one (latency's p90)."""

    def value(self, trial: Trial) -> float:
        """Return the recorded value, `nan` when the trial has none or an infinite one.

        MLflow's database keeps infinity as the largest double.
        """
        value = trial.metrics.get(self.key, math.nan)
        return value if abs(value) < LARGEST else math.nan

    def show(self, value: float, *, unit: bool = True) -> str:
        """Return a recorded value as text in the shown unit: `13.74 MB`."""
        if not math.isfinite(value):
            return "-"
        text = f"{value * self.scale:.{self.decimals}f}"
        return f"{text} {self.unit}" if unit and self.unit else text

    def text(self, trial: Trial, *, unit: bool = True) -> str:
        """Return a trial's value as text, a noisy latency marked: `~9.10 ms`."""
        value = self.value(trial)
        return (noise_mark(trial, self.key) if math.isfinite(value) else "") + self.show(value, unit=unit)

    @property
    def axis_label(self) -> str:
        """Label with its unit: `Model size (MB)`."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def column(self) -> str:
        """Short label with its unit: `size (MB)`."""
        return f"{self.short} ({self.unit})" if self.unit else self.short

    def test(self) -> "Objective | None":
        """Return the same quantity on the test split, for showing only; None where there is none."""
        if not self.key.startswith("val_"):
            return None
        return Objective(
            name=f"test_{self.name}",
            key=f"test_{self.key.removeprefix('val_')}",
            label=self.label.replace("Validation", "Test"),
            short=self.short.replace("val", "test"),
            unit=self.unit,
            maximise=self.maximise,
            scale=self.scale,
            decimals=self.decimals,
        )


COSTS = {
    cost.name: cost
    for cost in (
        Objective(name="size_mb", key="size_mb", label="Model size", short="size", unit="MB", maximise=False),
        Objective(
            name="latency",
            key="latency_ms_p50",
            upper_key="latency_ms_p90",
            label="CPU latency",
            short="latency",
            unit="ms",
            maximise=False,
        ),
        Objective(
            name="latency_ratio",
            key="latency_ratio",
            label="CPU latency relative to unpruned B0 (int8: both in ONNX Runtime)",
            short="latency / B0",
            unit="",
            maximise=False,
            decimals=3,
        ),
        Objective(
            name="latency_batch32_ratio",
            key=keys.latency("ratio", batch_size=32),
            label="CPU latency of 32 images relative to unpruned B0 (int8: both in ONNX Runtime)",
            short="batch latency / B0",
            unit="",
            maximise=False,
            decimals=3,
        ),
        Objective(
            name="latency_onnx",
            key=keys.latency("ms_p50", "onnx"),
            upper_key=keys.latency("ms_p90", "onnx"),
            label="CPU latency in ONNX Runtime",
            short="ONNX latency",
            unit="ms",
            maximise=False,
        ),
        Objective(
            name="latency_onnx_ratio",
            key=keys.latency("ratio", "onnx"),
            label="CPU latency in ONNX Runtime relative to unpruned B0",
            short="ONNX latency / B0",
            unit="",
            maximise=False,
            decimals=3,
        ),
        Objective(
            name="macs",
            key="macs",
            label="Multiply-accumulates",
            short="MACs",
            unit="million",
            maximise=False,
            scale=1e-6,
            decimals=1,
        ),
        Objective(
            name="parameters",
            key="parameters",
            label="Parameters",
            short="parameters",
            unit="million",
            maximise=False,
            scale=1e-6,
            decimals=3,
        ),
    )
}

_SCORES: dict[str, tuple[str, str, bool, float, int]] = {  # label, unit, larger is better, scale, digits
    "accuracy": ("accuracy", "%", True, 100.0, 1),
    "auc": ("AUC", "", True, 1.0, 3),
    "eer": ("equal error rate", "%", False, 100.0, 1),
    "log_loss": ("log loss", "nats", False, 1.0, 3),
    "average_precision": ("average precision", "", True, 1.0, 3),
    "brier": ("Brier score", "", False, 1.0, 3),
    "calibration_error": ("calibration error", "", False, 1.0, 3),
    "video_eer": ("equal error rate by video", "%", False, 100.0, 1),
    "video_average_precision": ("average precision by video", "", True, 1.0, 3),
    "video_log_loss": ("log loss by video", "nats", False, 1.0, 3),
    "video_brier": ("Brier score by video", "", False, 1.0, 3),
    "video_calibration_error": ("calibration error by video", "", False, 1.0, 3),
    "video_accuracy": ("accuracy by video", "%", True, 100.0, 1),
    "video_auc": ("AUC by video", "", True, 1.0, 3),
}


def cost(name: str, flag: str = "--x") -> Objective:
    """Return the cost of that name; `InputError` names the near ones otherwise."""
    if name not in COSTS:
        raise InputError(f"{flag} must be one of {', '.join(COSTS)}, but got {name!r}; {near(name, list(COSTS))}")
    return COSTS[name]


def score(name: str, trials: Iterable[Trial]) -> Objective:
    """Return the validation score of that name that at least one trial has recorded.

    Args:
        name: `accuracy`, `auc`, `accuracy_Deepfakes`, ...; `val_` in front is allowed, `test_` is not.
        trials: the trials to be compared.

    Raises:
        InputError: a test score (fronts are chosen on validation), or a score that no trial has.
    """
    bare = name.removeprefix("val_")
    if bare.startswith("test_"):
        raise InputError(
            f"fronts and choices use validation scores, but got --y {name}; "
            f"use --y {bare.removeprefix('test_')} (test scores are shown on hover and in the tables)"
        )
    recorded = {key.removeprefix("val_") for trial in trials for key in trial.metrics if key.startswith("val_")}
    if bare not in recorded:
        raise InputError(
            f"--y must be a score that a run has recorded, but got {name!r}; {near(bare, sorted(recorded))}"
        )
    return describe_score(bare)


def describe_score(bare: str) -> Objective:
    """Return the objective of a validation score, by its name without `val_`."""
    category = bare.removeprefix("accuracy_") if bare.startswith("accuracy_") else None
    label, unit, maximise, scale, decimals = _SCORES.get(
        "accuracy" if category else bare, (bare.replace("_", " "), "", True, 1.0, 3)
    )
    return Objective(
        name=bare,
        key=f"val_{bare}",
        label=f"Validation {label}{f' on {category}' if category else ''}",
        short=f"val {label}{f' {category}' if category else ''}",
        unit=unit,
        maximise=maximise,
        scale=scale,
        decimals=decimals,
    )

"""What a trial is: frozen settings whose digest is the trial's identity.

This module imports nothing heavy, so that a command can tell what is left to do before it loads torch or ray.
The figures of the ``THESIS_`` recipes are those of report SCSE23-0504, sections 5.4 and 5.8.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from data_store.errors import InputError
from trainables.architectures import check_resolution

RECIPE_VERSION = 2
"""Moves whenever the same config would train to other numbers; the golden losses move with it."""

Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["constant", "warmup_cosine", "one_cycle"]
Scope = Literal["local", "global"]
Cost = Literal["channels", "macs", "size", "latency"]
Quantisation = Literal["none", "static", "aware"]
Precision = Literal["fp32", "amp"]


def _require(holds: bool, rule: str, value: object, remedy: str) -> None:
    if not holds:
        raise InputError(f"{rule}, but got {value!r}; {remedy}")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far training crops are varied; the defaults are ours where the thesis names only the kind.

    Attributes:
        horizontal_flip: Mirror every second crop on average.
        rotation_degrees: Largest rotation to either side, in degrees.
        brightness: Factor drawn from [1 - brightness, 1 + brightness], not below 0.
        contrast: Likewise, towards the mean grey of the crop.
        saturation: Likewise, towards the grey of each pixel.
        hue: Largest shift to either side, in turns of the colour circle (HSV).
    """

    horizontal_flip: bool = True
    rotation_degrees: float = 10.0
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.05

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: A strength is negative, not finite, or beyond what its operation can express.
        """
        limits = {"rotation_degrees": 180.0, "hue": 0.5}
        for name in ("rotation_degrees", "brightness", "contrast", "saturation", "hue"):
            value, limit = getattr(self, name), limits.get(name, float("inf"))
            if not (math.isfinite(value) and 0 <= value <= limit):
                raise InputError(f"{name} must lie in [0, {limit:g}], but got {value}; 0 switches it off")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How weights are trained.

    Attributes:
        name: Shown to people; no part of what is computed.
        optimizer: ``sgd`` (with momentum), ``adam`` or ``adamw``.
        learning_rate: Peak learning rate.
        momentum: Of SGD; Adam and AdamW keep their betas of 0.9 and 0.999.
        weight_decay: The optimizer's own: added to the gradient by SGD and Adam, decoupled by AdamW.
        epochs: Most passes over the training split; 0 only evaluates the start weights.
        patience: Stop when the validation loss has not improved for so many epochs.
        batch_size: Crops a step.
        schedule: ``constant``; ``warmup_cosine`` (linear warm-up by the epoch, then cosine to zero by the
            epoch); ``one_cycle`` (linear rise over ``warmup_epochs``, then cosine to zero, by the step).
        warmup_epochs: Epochs until the peak is reached.
        warmup_start_factor: Share of the peak that the first step gets.
        augmentation: Random changes made to training crops.
        max_steps_per_epoch: Cut each epoch after so many steps, and evaluation after so many batches; None
            for whole epochs. For smoke runs.
    """

    name: str
    optimizer: Optimizer
    learning_rate: float
    momentum: float = 0.9
    weight_decay: float
    epochs: int
    patience: int
    batch_size: int = 32
    schedule: Schedule
    warmup_epochs: int = 0
    warmup_start_factor: float = 0.1
    augmentation: Augmentation = Augmentation()
    max_steps_per_epoch: int | None = None

    def __post_init__(self) -> None:
        _require(
            self.optimizer in ("sgd", "adam", "adamw"),
            "optimizer must be sgd, adam or adamw",
            self.optimizer,
            "use sgd",
        )
        _require(
            self.schedule in ("constant", "warmup_cosine", "one_cycle"),
            "schedule must be constant, warmup_cosine or one_cycle",
            self.schedule,
            "use constant",
        )
        _require(self.learning_rate > 0, "learning_rate must be above 0", self.learning_rate, "use 5e-4")
        _require(self.weight_decay >= 0, "weight_decay must not be negative", self.weight_decay, "use 1e-5")
        _require(0 <= self.momentum < 1, "momentum must lie in [0, 1)", self.momentum, "use 0.9")
        _require(self.epochs >= 0, "epochs must not be negative", self.epochs, "use 30")
        for name in ("patience", "batch_size"):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name), "use 1 or more")
        _require(
            0 <= self.warmup_epochs <= self.epochs,
            f"warmup_epochs must lie in [0, {self.epochs}] (epochs)",
            self.warmup_epochs,
            "shorten the warm-up",
        )
        _require(
            0 < self.warmup_start_factor <= 1,
            "warmup_start_factor must lie in (0, 1]",
            self.warmup_start_factor,
            "use 0.1",
        )


THESIS_TRAINING = Recipe(
    name="thesis training",
    optimizer="sgd",
    learning_rate=5e-4,
    momentum=0.9,  # our assumption: the thesis names SGD without its momentum
    weight_decay=1e-5,
    epochs=30,
    patience=5,
    schedule="warmup_cosine",
    warmup_epochs=10,
)

THESIS_FINE_TUNING = Recipe(
    name="thesis fine-tuning",
    optimizer="adam",
    learning_rate=2e-4,
    weight_decay=1e-5,
    epochs=20,
    patience=3,
    schedule="constant",
)

DEMO_FINE_TUNING = Recipe(
    name="demo fine-tuning",
    optimizer="adamw",
    learning_rate=5e-4,
    weight_decay=1e-2,
    epochs=4,
    patience=2,
    schedule="one_cycle",
    warmup_epochs=1,
    warmup_start_factor=0.04,
    augmentation=Augmentation(rotation_degrees=5.0, brightness=0.1, contrast=0.1, saturation=0.1, hue=0.01),
)

DEMO_TRAINING = Recipe(
    name="demo training",  # learns from scratch in minutes at 64 px, which the thesis's SGD does not
    optimizer="adamw",
    learning_rate=2e-3,
    weight_decay=1e-2,
    epochs=12,
    patience=5,
    schedule="one_cycle",
    warmup_epochs=3,
    warmup_start_factor=0.04,
    augmentation=Augmentation(rotation_degrees=5.0, brightness=0.1, contrast=0.1, saturation=0.1, hue=0.01),
)


@dataclass(frozen=True, kw_only=True)
class LatencyRates:
    """What one machine's CPU takes for a graph's work; see ``trainables.predicted_latency``.

    Attributes:
        ms_per_mac: Milliseconds of a multiply-accumulate.
        ms_per_byte: Milliseconds of a byte read or written.
        ms_per_operation: Milliseconds of calling an operation.
    """

    ms_per_mac: float
    ms_per_byte: float
    ms_per_operation: float


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """How a trained network loses channels before it is trained on.

    The recipe of the trial trains after each iteration: the first one removes its share of ``ratio``, the recipe
    recovers, and so on. With one iteration it is one-shot pruning.

    Attributes:
        ratio: Share to remove in the end, in [0, 1).
        by: Share of what: ``channels`` (the thesis's prune ratio), or of a cost: ``macs``, ``size`` or
            ``latency`` (predicted), so that modes can be compared at equal cost.
        scope: ``local`` removes the same share of every layer, ``global`` ranks all channels together.
        iterations: Steps in which the ratio is reached.
        calibration_batches: Training batches whose gradients the Taylor importance is taken from.
        round_to: Widths are kept multiples of this.
        rates: What latency is predicted by, when it is by latency. A sweep fits them once, on the machine that it
            starts on, and writes them here, so that the trial is the same wherever and whenever it is run again.
    """

    ratio: float
    by: Cost = "channels"
    scope: Scope = "global"
    iterations: int = 1
    calibration_batches: int = 10
    round_to: int = 8
    rates: LatencyRates | None = None

    def __post_init__(self) -> None:
        _require(0 <= self.ratio < 1, "prune ratio must lie in [0, 1)", self.ratio, "use 0.3")
        costs = ("channels", "macs", "size", "latency")
        _require(self.by in costs, f"pruning is by one of {', '.join(costs)}", self.by, "use channels")
        _require(self.scope in ("local", "global"), "scope must be local or global", self.scope, "use global")
        for name in ("iterations", "calibration_batches", "round_to"):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name), "use 1 or more")
        _require(
            self.rates is None or self.by == "latency", "latency rates go with pruning by latency", self.by, "drop them"
        )


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """Everything that decides what a trial computes, apart from the store.

    A trial is one stage: fine-tuning, pruning and quantisation are trials of their own, whose ``weights`` name the
    trial that they start from.

    Attributes:
        architecture: A name of ``trainables.architectures``, such as ``B0`` or ``Lite0``.
        resolution_px: Side of the square input.
        weights: Where it starts: ``none``, ``imagenet`` (the backbone only), or a digest: of the trial that trains
            the start model, or of the content of a model folder.
        recipe: How it is trained.
        alpha: Weight of the teacher's soft labels in the loss, in [0, 1]. At 0 it is plain training, to the
            bit, and no teacher is read.
        temperature: Softens teacher and student alike; 1 in the thesis.
        teacher: Digest of the teacher: of the trial that trains it, or of the content of a model folder.
        pruning: Channels to remove from the start model before and between training, or None.
        quantisation: ``none``; ``static``: int8 of the trained model, calibrated on validation crops; or ``aware``:
            int8 of a model that was trained on with the arithmetic of int8.
        precision: ``fp32``, or ``amp`` (mixed precision on a GPU).
        micro_batch: Crops of one forward pass, at 32 px two at least, whose gradients are accumulated to a batch; None
            for whole batches.
        data_seed: Decides the order of samples and their augmentation.
        init_seed: Decides the initial weights and dropout.
        num_threads: CPU threads of the trial; the bits of a result depend on it.
        device: ``cpu`` or ``cuda``.
    """

    architecture: str
    resolution_px: int
    weights: str = "none"
    recipe: Recipe
    alpha: float = 0.0
    temperature: float = 1.0
    teacher: str | None = None
    pruning: Pruning | None = None
    quantisation: Quantisation = "none"
    precision: Precision = "fp32"
    micro_batch: int | None = None
    data_seed: int = 0
    init_seed: int = 0
    num_threads: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_resolution(self.architecture, self.resolution_px)
        _require(0 <= self.alpha <= 1, "alpha must lie in [0, 1]", self.alpha, "use 0.25")
        _require(self.temperature > 0, "temperature must be above 0", self.temperature, "use 1")
        _require(self.num_threads >= 1, "num_threads must be at least 1", self.num_threads, "use 1")
        kinds = ("none", "static", "aware")
        _require(
            self.quantisation in kinds,
            f"quantisation must be one of {', '.join(kinds)}",
            self.quantisation,
            "use static",
        )
        if self.quantisation == "aware":
            _require(
                self.weights not in ("none", "imagenet"),
                "quantisation-aware fine-tuning starts from a trained model",
                self.weights,
                "name the trial or model to start from",
            )
            _require(
                self.recipe.epochs >= 1,
                "quantisation-aware fine-tuning trains",
                f"{self.recipe.epochs} epochs",
                "use 1 or more",
            )
            _require(
                self.pruning is None,
                "a trial prunes or trains for int8, not both",
                self.pruning,
                "prune first, and start from the pruned model",
            )
        _require(self.precision in ("fp32", "amp"), "precision must be fp32 or amp", self.precision, "use fp32")
        _require(
            self.micro_batch is None or 1 <= self.micro_batch <= self.recipe.batch_size,
            f"micro_batch must lie in [1, {self.recipe.batch_size}] (the batch size)",
            self.micro_batch,
            "leave it out",
        )
        _require(
            self.pruning is None or self.weights not in ("none",),
            "pruning starts from trained weights",
            self.weights,
            "name the trial or model to prune",
        )
        _require(self.device in ("cpu", "cuda"), "device must be cpu or cuda", self.device, "use cpu")
        _require(
            (self.teacher is not None) == (self.alpha > 0),
            "a teacher is named exactly when alpha is above 0",
            f"alpha={self.alpha}, teacher={self.teacher}",
            "name a teacher, or set alpha to 0",
        )


def to_dict(config: TrialConfig) -> dict[str, Any]:
    """Return the config as plain JSON values; ``from_dict`` is its inverse."""
    return dataclasses.asdict(config)


def from_dict(values: Mapping[str, Any]) -> TrialConfig:
    """Build a config from plain JSON values.

    Raises:
        InputError: A key is unknown or missing, or a value breaks its rule.
    """
    try:
        recipe = dict(values["recipe"])
        recipe["augmentation"] = Augmentation(**recipe["augmentation"])
        pruning = _pruning_from(values["pruning"]) if values.get("pruning") else None
        return TrialConfig(**{**values, "recipe": Recipe(**recipe), "pruning": pruning})
    except (KeyError, TypeError) as error:
        raise InputError(
            f"a trial's config must hold exactly the settings of TrialConfig, but {error}; correct that key"
        ) from error


def _pruning_from(values: Mapping[str, Any]) -> Pruning:
    rates = values.get("rates")
    return Pruning(**{**values, "rates": LatencyRates(**rates) if rates else None})


def identity(config: TrialConfig, store_digest: str) -> str:
    """Return the trial's identity: a hex digest of config, store and recipe version.

    The recipe's ``name`` is left out: it is for people and computes nothing. So are rates that are not there, which
    no trial had when the first ones were recorded.
    """
    values = to_dict(config)
    del values["recipe"]["name"]
    if config.pruning and config.pruning.rates is None:
        del values["pruning"]["rates"]
    return digest({"config": values, "store": store_digest, "recipe_version": RECIPE_VERSION})


def digest(values: object) -> str:
    """Return the SHA-256 of the values' canonical JSON, as 64 hex digits."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()

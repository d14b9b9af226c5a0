"""Train a detector: one epoch, its evaluation, early stopping, pruning in between, and what a resumed trial needs.

Sample order, augmentation, dropout and initial weights are pure functions of the config and the epoch, and
the learning rate is a pure function of the step. So a checkpoint holds no generator and no scheduler.
"""

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from data_store.resident import Crops, SplitCrops, batches
from trainables import metric_keys as keys
from trainables.architectures import build, forward, normalise_in_place
from trainables.artifact_files import ModelRecipe, PruningHistory
from trainables.artifacts import load_model, recipe_for
from trainables.augmentation import augment, epoch_parameters
from trainables.data_rules import check_crops
from trainables.distillation import distillation_loss, epoch_positions, signal_for_epoch
from trainables.evaluation import EVALUATION_BATCH, evaluate, evaluated_at_once, evaluated_positions
from trainables.fake_quantisation import FakeQuantised, Ranges
from trainables.precision import autocast, new_scaler
from trainables.pruning import prune
from trainables.ranking import gradients_for_ranking
from trainables.recipes import Recipe, TrialConfig
from trainables.start_weights import load_start, origin_of

SoftLabels = Callable[[int], np.ndarray | None]
"""The teacher's logits for an epoch, counted from 1: (crops of the training split,); None without a teacher."""


@dataclass(kw_only=True)
class Fit:
    """A training in progress.

    Attributes:
        model: Trained in place; it rounds as int8 does where the trial is quantisation-aware.
        optimizer: Its optimizer.
        scaler: Scales the loss; for float16 only.
        origin: Where its weights came from, in words.
        start_pruning: The channels that the start model had lost.
        pruning: The channels that the model has lost.
        iteration: Pruning iterations begun.
        began: Epochs that were done when the last of them began.
        epoch: Epochs done, over all iterations.
        best_epoch: The epoch with the lowest validation loss of this iteration; ``began`` before the first.
        best_val_loss: Its hard-label validation loss.
        best_weights: The model's state at that epoch, on the CPU.
        history: One dict of curve values an epoch.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None = None
    origin: str = ""
    start_pruning: PruningHistory = ()
    pruning: PruningHistory = ()
    iteration: int = 0
    began: int = 0
    epoch: int = 0
    best_epoch: int = 0
    best_val_loss: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def network(self) -> nn.Module:
        """The float network that is trained."""
        return self.model.network if isinstance(self.model, FakeQuantised) else self.model

    @property
    def ranges(self) -> Ranges | None:
        """What a quantisation-aware trial has learned of its activations; None in every other trial."""
        return self.model.learned_ranges() if isinstance(self.model, FakeQuantised) else None


def fix_threads(num_threads: int) -> None:
    """Give this process a trial's share of the CPU, and flush denormal numbers to 0, which are slow to compute with.

    The bits of a trial's results depend on both. Threads take the flushing over from the one that makes them, so this
    comes before the first computation of a process.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(num_threads)


def start(config: TrialConfig, weights_folder: Path | None = None) -> Fit:
    """Build model and optimizer as they are before the first epoch.

    Args:
        config: Seeds, architecture and start weights.
        weights_folder: The model whose content digest ``config.weights`` names, if it names one.

    Raises:
        InputError: The start weights cannot be had, or are another network's.
    """
    torch.manual_seed(config.init_seed)
    pruning: PruningHistory = ()
    if weights_folder is None:
        model, origin = build(config.architecture, imagenet=config.weights == "imagenet"), origin_of(config)
    else:
        model, pruning, origin = load_start(weights_folder, config.architecture)
    model = laid_out(FakeQuantised(model) if config.quantisation == "aware" else model, config.device)
    return Fit(
        model=model,
        optimizer=build_optimizer(config.recipe, model),
        scaler=new_scaler(config),
        origin=origin,
        start_pruning=pruning,
        pruning=pruning,
    )


def laid_out(model: nn.Module, device: str) -> nn.Module:
    """Bring a model to a device, channels last, in the one memory layout that the bits of its results depend on."""
    for parameter in model.parameters():
        parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def build_optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """Return the recipe's optimizer over all parameters of the model."""
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=rate, momentum=recipe.momentum, weight_decay=decay, fused=True)
    family = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return family(model.parameters(), lr=rate, weight_decay=decay, fused=True)


def learning_rate(recipe: Recipe, *, epoch: int, step: int, num_steps: int) -> float:
    """Return the learning rate of a step.

    Args:
        recipe: Its schedule.
        epoch: From 1, counted anew after each pruning.
        step: Within the epoch, from 0.
        num_steps: Steps of an epoch.
    """
    if recipe.schedule == "constant":
        return recipe.learning_rate
    # Progress in epochs: whole ones for warmup_cosine, which moves by the epoch; fractions for one_cycle.
    done = epoch - 1 + (step / num_steps if recipe.schedule == "one_cycle" else 0.0)
    if done < recipe.warmup_epochs:
        rise = done / recipe.warmup_epochs
        return recipe.learning_rate * (recipe.warmup_start_factor + (1 - recipe.warmup_start_factor) * rise)
    fall = (done - recipe.warmup_epochs) / max(1, recipe.epochs - recipe.warmup_epochs)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * fall))


def train_epoch(
    fit: Fit, config: TrialConfig, recipe: ModelRecipe, crops: SplitCrops, soft_labels: np.ndarray | None
) -> dict[str, float]:
    """Train one epoch in place and return the mean of the loss and its parts.

    Args:
        fit: Model and optimizer; ``fit.epoch`` is not advanced.
        config: Seeds, recipe, alpha and temperature.
        recipe: Resolution and normalisation of the input.
        crops: The training split.
        soft_labels: (len(crops),) the teacher's logits by position in the split, when alpha is above 0.

    Raises:
        FloatingPointError: The loss or a gradient is not finite; the weights are as before that step.
    """
    epoch = fit.epoch + 1
    device, size = torch.device(config.device), config.recipe.batch_size
    torch.manual_seed(_dropout_seed(config.init_seed, epoch))
    parameters = epoch_parameters(config.recipe.augmentation, len(crops), seed=config.data_seed, epoch=epoch)
    positions = epoch_positions(config, crops, epoch)
    num_steps = math.ceil(len(positions) / size)
    fit.model.train()
    sums: dict[str, float] = {}
    shape = (min(size, len(positions)), 3, recipe.resolution_px, recipe.resolution_px)
    buffer = torch.empty(shape, device=device, memory_format=torch.channels_last)
    for step, (at, crops_u8) in enumerate(batches(crops, positions, size)):
        # crops_u8: (batch, crop_px, crop_px, 3) uint8 -> images: (batch, 3, resolution_px, resolution_px) float32
        crops_u8, rows = crops_u8.to(device, non_blocking=True), torch.from_numpy(parameters[at]).to(device)
        images = augment(crops_u8, rows, config.recipe.augmentation, recipe.resolution_px, out=buffer[: len(at)])
        normalise_in_place(images, recipe.mean, recipe.std)
        labels = torch.from_numpy(crops.labels[at]).to(device, torch.float32)
        soft = None if soft_labels is None else torch.from_numpy(soft_labels[at]).to(device)
        for group in fit.optimizer.param_groups:
            group["lr"] = learning_rate(config.recipe, epoch=epoch - fit.began, step=step, num_steps=num_steps)
        fit.optimizer.zero_grad(set_to_none=True)
        parts = accumulate_gradients(fit, config, images, labels, soft)
        refuse_non_finite(parts["loss"], fit, epoch=epoch, step=step)
        if fit.scaler is None:
            fit.optimizer.step()
        else:
            fit.scaler.step(fit.optimizer)  # skipped where a gradient overflowed; the scale is then lowered
            fit.scaler.update()
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + value * len(at)
    return {name: total / len(positions) for name, total in sums.items()}


def accumulate_gradients(
    fit: Fit, config: TrialConfig, images: Tensor, labels: Tensor, soft: Tensor | None
) -> dict[str, float]:
    """Add the gradients of a batch's mean loss to the parameters, and return the loss and its parts.

    In micro-batches they are those of the whole batch up to rounding, but for batch normalisation, which takes its
    statistics from each micro-batch, and for dropout, which draws anew in each.

    Args:
        fit: In training mode.
        config: Micro-batch, precision, alpha and temperature.
        images: (batch, 3, resolution_px, resolution_px) float32, normalised.
        labels: (batch,) float32, 0 real and 1 fake.
        soft: (batch,) the teacher's logits, or None.
    """
    num_parts = math.ceil(len(labels) / (config.micro_batch or len(labels)))
    softs = [None] * num_parts if soft is None else soft.tensor_split(num_parts)
    means: dict[str, Tensor] = {}
    for part, part_labels, part_soft in zip(
        images.tensor_split(num_parts), labels.tensor_split(num_parts), softs, strict=True
    ):
        with autocast(config):
            logits = forward(fit.model, part)
        losses = distillation_loss(
            logits.float(), part_labels, teacher_logits=part_soft, alpha=config.alpha, temperature=config.temperature
        )
        share = len(part) / len(images)
        loss = losses["loss"] * share if num_parts > 1 else losses["loss"]
        (loss if fit.scaler is None else fit.scaler.scale(loss)).backward()
        for name, value in losses.items():
            means[name] = means.get(name, 0) + value.detach() * share
    values: list[float] = torch.stack([*means.values()]).tolist()  # one wait for the device, not one a value
    return dict(zip(means, values, strict=True))


def run_epoch(
    fit: Fit,
    config: TrialConfig,
    recipe: ModelRecipe,
    train: SplitCrops,
    val: SplitCrops,
    soft_labels: np.ndarray | None = None,
) -> dict[str, float]:
    """Train and validate one epoch, keep the best weights, and return the epoch's curve values."""
    began = time.perf_counter()
    parts = train_epoch(fit, config, recipe, train, soft_labels)
    fit.epoch += 1
    limit = config.recipe.max_steps_per_epoch
    at_once = evaluated_at_once(config)
    logits = torch.from_numpy(
        evaluate(fit.model, recipe, val, device=config.device, max_batches=limit, at_once=at_once)
    )
    at = evaluated_positions(len(val), batch_size=EVALUATION_BATCH, max_batches=limit)
    labels = torch.from_numpy(val.labels[at]).float()
    val_loss = binary_cross_entropy_with_logits(logits, labels).item()
    if val_loss < fit.best_val_loss:
        fit.best_epoch, fit.best_val_loss = fit.epoch, val_loss
        fit.best_weights = {key: value.detach().cpu().clone() for key, value in fit.model.state_dict().items()}
    record = {
        keys.EPOCH_TRAIN_LOSS: parts["loss"],
        keys.EPOCH_HARD_LOSS: parts["hard_loss"],
        keys.EPOCH_VAL_LOSS: val_loss,
        keys.EPOCH_VAL_ACCURACY: ((logits > 0) == (labels > 0.5)).float().mean().item(),
        keys.EPOCH_LEARNING_RATE: fit.optimizer.param_groups[0]["lr"],
        keys.EPOCH_SECONDS: time.perf_counter() - began,
    }
    if "soft_loss" in parts:
        record[keys.EPOCH_SOFT_LOSS] = parts["soft_loss"]
    fit.history.append(record)
    return record


def advance(
    fit: Fit,
    config: TrialConfig,
    recipe: ModelRecipe,
    train: SplitCrops,
    val: SplitCrops,
    soft_labels: SoftLabels = lambda _: None,
    check_pruned: Callable[[nn.Module], None] = lambda _: None,
) -> None:
    """Take a trial one epoch further; prune first where an iteration of pruning begins.

    A recipe without epochs prunes all iterations at once.

    Args:
        fit: Not finished.
        config: The trial.
        recipe: Resolution and normalisation of the input.
        train: The training split.
        val: The validation split.
        soft_labels: Asked once, for the coming epoch.
        check_pruned: Called with the model when its last pruning is done, before it is trained on; may raise.
    """
    labels = soft_labels(fit.epoch + 1)
    while not finished(fit, config):
        if _pruning_is_due(fit, config):
            _begin_iteration(fit, config, recipe, train, labels)
            if fit.iteration == _num_iterations(config):
                check_pruned(fit.model)
        if not _recovered(fit, config.recipe):
            run_epoch(fit, config, recipe, train, val, labels)
            return


def finished(fit: Fit, config: TrialConfig) -> bool:
    """Tell whether the last pruning is done, and all its epochs or the validation loss has stopped improving."""
    return fit.iteration == _num_iterations(config) and _recovered(fit, config.recipe)


def train(
    config: TrialConfig,
    crops: Crops,
    *,
    start_folder: Path | None = None,
    teacher_folder: Path | None = None,
    signals: Path | None = None,
    after_epoch: Callable[[Fit], None] = lambda _: None,
) -> Fit:
    """Train a config from its start to its end in this process, as a sweep's worker does step by step.

    ``finish`` then evaluates it and writes its model.

    Args:
        config: The trial.
        crops: The store.
        start_folder: The model that ``config.weights`` names, if it names one.
        teacher_folder: The teacher's model, when alpha is above 0.
        signals: Folder of teachers' logits, read and extended; by default one that is thrown away.
        after_epoch: Called after each epoch.
    """
    fix_threads(config.num_threads)
    check_crops(crops, config)
    recipe = recipe_for(config.architecture, config.resolution_px)
    fit = start(config, start_folder)
    teacher = load_model(teacher_folder) if teacher_folder else None
    with tempfile.TemporaryDirectory(prefix="signals_") as scratch:

        def soft_labels(epoch: int) -> np.ndarray | None:
            folder = signals or Path(scratch)
            return signal_for_epoch(*teacher, config, crops, folder=folder, epoch=epoch) if teacher else None

        while not finished(fit, config):
            advance(fit, config, recipe, crops.split("train"), crops.split("val"), soft_labels)
            after_epoch(fit)
    return fit


def _num_iterations(config: TrialConfig) -> int:
    return config.pruning.iterations if config.pruning else 0


def _recovered(fit: Fit, recipe: Recipe) -> bool:
    """Tell whether the epochs since the last pruning, or since the start, are all done."""
    done = fit.epoch - fit.began
    return done >= recipe.epochs or (done > 0 and fit.epoch - fit.best_epoch >= recipe.patience)


def _pruning_is_due(fit: Fit, config: TrialConfig) -> bool:
    return fit.iteration < _num_iterations(config) and (fit.iteration == 0 or _recovered(fit, config.recipe))


def _begin_iteration(
    fit: Fit,
    config: TrialConfig,
    recipe: ModelRecipe,
    train: SplitCrops,
    soft_labels: np.ndarray | None,
) -> None:
    """Prune the best weights so far to the next iteration's share, and start anew from there."""
    restore_best(fit)
    gradients_for_ranking(fit.model, config, recipe, train, soft_labels, epoch=fit.epoch + 1)
    fit.iteration += 1
    fit.pruning = prune(
        fit.model,
        config,
        share=fit.iteration / _num_iterations(config),
        start=fit.start_pruning,
        history=fit.pruning,
    )
    fit.model = laid_out(fit.model, config.device)
    fit.optimizer = build_optimizer(config.recipe, fit.model)
    fit.began = fit.best_epoch = fit.epoch
    fit.best_val_loss, fit.best_weights = math.inf, {}


def restore_best(fit: Fit) -> None:
    """Put the weights of the lowest validation loss back into the model."""
    if fit.best_weights:  # none when the recipe only evaluates its start weights
        fit.model.load_state_dict(fit.best_weights)


def _dropout_seed(init_seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([init_seed, epoch]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def refuse_non_finite(loss: float, fit: Fit, *, epoch: int, step: int) -> None:
    """Raise before an update that would make the weights useless.

    Gradients that overflow under a scaled loss are no reason yet: that step is skipped and the scale lowered.

    Raises:
        FloatingPointError: The loss is not finite, or the gradients are not and no scale is to blame.
    """
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss became {loss} in epoch {epoch}, step {step}; lower the learning rate")
    if fit.scaler is not None:
        fit.scaler.unscale_(fit.optimizer)
    gradients = [parameter.grad for parameter in fit.model.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients).item()
    if not math.isfinite(norm) and (fit.scaler is None or fit.scaler.get_scale() <= 1):
        raise FloatingPointError(
            f"the gradient norm became {norm} in epoch {epoch}, step {step}; lower the learning rate"
        )

"""Train a detector: one epoch, its evaluation, early stopping, and pruning in between.

Sample order, augmentation and dropout are pure functions of the config and the epoch, and the learning rate is one of
the step: neither a generator nor a scheduler has to be saved.
"""

import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from data_store.resident import Crops, SplitCrops, batches
from trainables import metric_keys as keys
from trainables.allocator import give_back, keep_freed
from trainables.architectures import normalise_in_place
from trainables.artifact_files import ModelRecipe
from trainables.artifacts import load_model, recipe_for
from trainables.augmentation import augment, epoch_parameters
from trainables.data_rules import check_crops
from trainables.distillation import epoch_positions, signal_for_epoch
from trainables.evaluation import EVALUATION_BATCH, evaluate, evaluated_at_once, evaluated_positions
from trainables.fit import Fit, build_optimizer, fix_threads, laid_out, restore_best, start
from trainables.pruning import prune
from trainables.ranking import gradients_for_ranking
from trainables.recipes import Recipe, TrialConfig
from trainables.steps import accumulate_gradients, learning_rate, refuse_non_finite

SoftLabels = Callable[[int], np.ndarray | None]
"""The teacher's logits for an epoch, counted from 1: (crops of the training split,); None without a teacher."""


def train_epoch(
    fit: Fit, config: TrialConfig, recipe: ModelRecipe, crops: SplitCrops, soft_labels: np.ndarray | None
) -> dict[str, float]:
    """Train one epoch in place and return the means of the loss, its parts and the accuracy on augmented crops.

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
        keys.EPOCH_TRAIN_ACCURACY: parts["accuracy"],
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

    ``finish`` then evaluates it and writes its model. From here on this process keeps the memory that it frees.

    Args:
        config: The trial.
        crops: The store.
        start_folder: The model that ``config.weights`` names, if it names one.
        teacher_folder: The teacher's model, when alpha is above 0.
        signals: Folder of teachers' logits, read and extended; by default one that is thrown away.
        after_epoch: Called after each epoch.
    """
    fix_threads(config.num_threads)
    keep_freed()
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
    give_back()
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


def _dropout_seed(init_seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([init_seed, epoch]).generate_state(1, np.uint64)[0] >> np.uint64(1))

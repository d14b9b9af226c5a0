"""An epoch's steps: batches are augmented, gradients accumulated, and no update is made that is not finite.

Sample order, augmentation and dropout are pure functions of the config and the epoch, the learning rate is one of the
step: neither a generator nor a scheduler has to be saved.
"""

import math

import numpy as np
import torch
from torch import Tensor

from data_store.resident import SplitCrops, batches
from trainables.architectures import forward, normalise_in_place
from trainables.artifact_files import ModelRecipe
from trainables.augmentation import augment, epoch_parameters
from trainables.distillation import distillation_loss, epoch_positions
from trainables.fit import Fit
from trainables.precision import autocast
from trainables.recipes import Recipe, TrialConfig


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


def _dropout_seed(init_seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([init_seed, epoch]).generate_state(1, np.uint64)[0] >> np.uint64(1))

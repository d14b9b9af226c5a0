"""What a training step is made of: gradients of a batch, the learning rate, and no update that is not finite."""

import math

import torch
from torch import Tensor

from trainables.architectures import fewest_crops, forward
from trainables.distillation import distillation_loss
from trainables.fit import Fit
from trainables.precision import autocast
from trainables.recipes import Recipe, TrialConfig


def num_micro_batches(config: TrialConfig, num_crops: int) -> int:
    """Return into how many parts a batch is cut, none of them with fewer crops than batch normalisation can do with."""
    wanted = math.ceil(num_crops / (config.micro_batch or num_crops))
    return min(wanted, max(1, num_crops // fewest_crops(config.resolution_px)))


def accumulate_gradients(
    fit: Fit, config: TrialConfig, images: Tensor, labels: Tensor, soft: Tensor | None
) -> dict[str, float]:
    """Add the gradients of a batch's mean loss to the parameters; return the loss, its parts and the accuracy.

    In micro-batches they are those of the whole batch up to rounding, but for batch normalisation, which takes its
    statistics from each micro-batch, and for dropout, which draws anew in each.

    Args:
        fit: In training mode.
        config: Micro-batch, precision, alpha and temperature.
        images: (batch, 3, resolution_px, resolution_px) float32, normalised.
        labels: (batch,) float32, 0 real and 1 fake.
        soft: (batch,) the teacher's logits, or None.
    """
    num_parts = num_micro_batches(config, len(labels))
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
        right = ((logits.detach() > 0) == (part_labels > 0.5)).float().mean()
        for name, value in {**losses, "accuracy": right}.items():
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

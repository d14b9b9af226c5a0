"""The gradients that pruning ranks channels by."""

import numpy as np
import torch
from torch import nn

from data_store.resident import SplitCrops, batches
from trainables.architectures import forward, normalise_in_place
from trainables.artifact_files import ModelRecipe
from trainables.augmentation import augment, epoch_parameters
from trainables.distillation import distillation_loss, epoch_positions
from trainables.precision import autocast, autocast_dtype
from trainables.recipes import TrialConfig

FIRST_SCALE = 2.0**16
"""What a loss in float16 is multiplied by at first, as training does; a power of two changes no other bits."""


def gradients_for_ranking(
    model: nn.Module,
    config: TrialConfig,
    recipe: ModelRecipe,
    crops: SplitCrops,
    soft_labels: np.ndarray | None,
    *,
    epoch: int,
) -> None:
    """Leave in ``model`` the gradients of the trial's loss over the first batches of an epoch.

    The model is in evaluation mode, so that neither dropout nor batch statistics blur what a channel is worth, and
    its statistics stay as they are. In float16 the loss is scaled, by less and less until no gradient overflows:
    unscaled, those of early layers would vanish, and their channels be taken for worthless.
    """
    scale = FIRST_SCALE if autocast_dtype(config) is torch.float16 else 1.0
    while True:
        _accumulate(model, config, recipe, crops, soft_labels, epoch=epoch, scale=scale)
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        if scale == 1.0:
            return
        for gradient in gradients:
            gradient.div_(scale)
        if all(bool(gradient.isfinite().all()) for gradient in gradients):
            return
        scale = max(1.0, scale / 2)


def _accumulate(
    model: nn.Module,
    config: TrialConfig,
    recipe: ModelRecipe,
    crops: SplitCrops,
    soft_labels: np.ndarray | None,
    *,
    epoch: int,
    scale: float,
) -> None:
    """Leave in ``model`` the gradients of the mean loss, times ``scale``."""
    assert config.pruning is not None
    device, size = torch.device(config.device), config.micro_batch or config.recipe.batch_size
    positions = epoch_positions(config, crops, epoch)[: config.pruning.calibration_batches * config.recipe.batch_size]
    parameters = epoch_parameters(config.recipe.augmentation, len(crops), seed=config.data_seed, epoch=epoch)
    model.eval().zero_grad(set_to_none=True)
    for at, crops_u8 in batches(crops, positions, size):
        rows = torch.from_numpy(parameters[at]).to(device)
        images = augment(crops_u8.to(device, non_blocking=True), rows, config.recipe.augmentation, recipe.resolution_px)
        labels = torch.from_numpy(crops.labels[at]).to(device, torch.float32)
        soft = None if soft_labels is None else torch.from_numpy(soft_labels[at]).to(device)
        with autocast(config):  # as in training: in float32 it would need more than the trial was admitted for
            logits = forward(model, normalise_in_place(images, recipe.mean, recipe.std))
        parts = distillation_loss(
            logits.float(), labels, teacher_logits=soft, alpha=config.alpha, temperature=config.temperature
        )
        (parts["loss"] * (scale * len(at) / len(positions))).backward()

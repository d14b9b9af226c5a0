"""The gradients that pruning ranks channels by."""

import numpy as np
import torch
from torch import nn

from data_store.resident import SplitCrops, batches
from trainables.architectures import forward, normalise_in_place
from trainables.artifact_files import ModelRecipe
from trainables.augmentation import augment, epoch_parameters
from trainables.distillation import distillation_loss, epoch_positions
from trainables.precision import autocast
from trainables.recipes import TrialConfig


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
    its statistics stay as they are.
    """
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
        (parts["loss"] * (len(at) / len(positions))).backward()

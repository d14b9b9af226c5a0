"""What a model says of a split, without augmentation, in the split's own order."""

import numpy as np
import torch
from torch import nn

from data_store.resident import SplitCrops, batches
from trainables.architectures import forward, normalise_in_place
from trainables.artifact_files import ModelRecipe
from trainables.augmentation import to_float
from trainables.recipes import TrialConfig

EVALUATION_BATCH = 64


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    recipe: ModelRecipe,
    crops: SplitCrops,
    *,
    device: str,
    batch_size: int = EVALUATION_BATCH,
    max_batches: int | None = None,
    at_once: int | None = None,
) -> np.ndarray:
    """Return the logits (n,) float32 of a split in its own order, without augmentation.

    Args:
        model: Set to evaluation mode.
        recipe: Resolution and normalisation of the input.
        crops: A split.
        device: Where the model is.
        batch_size: Crops at a time.
        max_batches: Stop after so many, spread evenly over the split (smoke runs); n is then smaller than the
            split and goes with ``evaluated_positions``.
        at_once: Crops of one forward pass where memory is short; a batch by default.
    """
    model.eval()
    positions = evaluated_positions(len(crops), batch_size=batch_size, max_batches=max_batches)
    logits = np.empty(len(positions), dtype=np.float32)
    done = 0
    for _, crops_u8 in batches(crops, positions, at_once or batch_size):
        images = to_float(crops_u8.to(device, non_blocking=True), recipe.resolution_px)
        values = forward(model, normalise_in_place(images, recipe.mean, recipe.std))
        logits[done : done + len(values)] = values.float().cpu().numpy()
        done += len(values)
    return logits


def evaluated_at_once(config: TrialConfig) -> int:
    """Return the crops of one forward pass of a trial's evaluation: fewer where its micro-batch is small, too."""
    return EVALUATION_BATCH if config.micro_batch is None else min(EVALUATION_BATCH, 2 * config.micro_batch)


def evaluated_positions(num_crops: int, *, batch_size: int, max_batches: int | None) -> np.ndarray:
    """Return the positions that ``evaluate`` visits: all of them, or a capped number spread evenly."""
    if max_batches is None or num_crops <= max_batches * batch_size:
        return np.arange(num_crops)
    return np.linspace(0, num_crops - 1, max_batches * batch_size).astype(np.int64)

"""Knowledge distillation: the loss, and the teacher's logits shared by every trial that needs them.

The loss is the thesis's (section 5.8): ``alpha * BCE(student, teacher) + (1 - alpha) * BCE(student, label)``.
"""

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from data_store.folders import secure
from data_store.resident import Crops, SplitCrops, batches, epoch_order
from trainables.architectures import forward, normalise_in_place
from trainables.artifact_files import ModelRecipe
from trainables.augmentation import augment, epoch_parameters
from trainables.mirror import Mirror
from trainables.recipes import Augmentation, TrialConfig, digest
from trainables.turns import turn

TEACHER_BATCH = 32
"""The same for all students, whatever their batch, so that they share the same bits."""


def distillation_loss(
    student_logits: Tensor,
    labels: Tensor,
    *,
    teacher_logits: Tensor | None = None,
    alpha: float = 0.0,
    temperature: float = 1.0,
) -> dict[str, Tensor]:
    """Return ``loss`` and its parts, each the mean over a batch.

    The soft part is scaled by ``temperature ** 2``, so that its gradient keeps its size as the temperature
    grows (Hinton et al. 2015, arXiv:1503.02531, section 2); at 1 it is the thesis's formula.

    Args:
        student_logits: (batch,), with gradient.
        labels: (batch,) float, 0 real and 1 fake.
        teacher_logits: (batch,), no gradient; needed when ``alpha`` is above 0.
        alpha: Weight of the soft part, in [0, 1]. At 0 the loss is ``hard_loss`` itself, to the bit.
        temperature: Divides both logits in the soft part.

    Returns:
        ``loss`` and ``hard_loss``; with a teacher also ``soft_loss``.
    """
    hard = binary_cross_entropy_with_logits(student_logits, labels)
    if alpha == 0:
        return {"loss": hard, "hard_loss": hard}
    assert teacher_logits is not None, "alpha above 0 without a teacher is refused by TrialConfig"
    soft_labels = torch.sigmoid(teacher_logits / temperature)
    soft = binary_cross_entropy_with_logits(student_logits / temperature, soft_labels) * temperature**2
    return {"loss": alpha * soft + (1 - alpha) * hard, "hard_loss": hard, "soft_loss": soft}


@torch.inference_mode()
def teacher_logits(
    teacher: nn.Module,
    recipe: ModelRecipe,
    crops: SplitCrops,
    positions: np.ndarray,
    parameters: np.ndarray,
    augmentation: Augmentation,
    *,
    device: torch.device,
    batch_size: int = TEACHER_BATCH,
    after_batch: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Return the frozen teacher's logits for one epoch's augmented crops.

    Args:
        teacher: In evaluation mode; it is left there and its weights are not touched.
        recipe: Its resolution and its own normalisation.
        crops: The training split.
        positions: (n,) positions in the split, in any order.
        parameters: (len(crops), k) the epoch's augmentation, the same that the student sees.
        augmentation: Its settings.
        device: Where the teacher is.
        batch_size: Crops at a time; the result does not depend on it but for rounding.
        after_batch: Called after each batch.

    Returns:
        (len(crops),) float32 by position in the split; ``nan`` where ``positions`` has none.
    """
    assert not teacher.training, "a teacher is never in train mode"
    logits = np.full(len(crops), np.nan, dtype=np.float32)
    for at, crops_u8 in batches(crops, positions, batch_size):
        rows = torch.from_numpy(parameters[at]).to(device)
        images = augment(crops_u8.to(device, non_blocking=True), rows, augmentation, recipe.resolution_px)
        logits[at] = forward(teacher, normalise_in_place(images, recipe.mean, recipe.std)).float().cpu().numpy()
        after_batch()
    return logits


def signal_for_epoch(
    teacher: nn.Module,
    recipe: ModelRecipe,
    config: TrialConfig,
    crops: Crops,
    *,
    folder: Path,
    epoch: int,
    mirror: Mirror | None = None,
) -> np.ndarray:
    """Return the teacher's logits for an epoch of ``config``: read if any trial has saved them, else computed.

    It is a whole epoch's, computed when the first trial comes to that epoch. A second trial that comes to it
    meanwhile waits for the first. In a bucket the trials of one node do; two nodes that come to it at the same time
    both compute it, which takes no longer, and use the one that is sent first.

    Args:
        teacher: Frozen, in evaluation mode.
        recipe: The teacher's.
        config: The student's trial.
        crops: The store.
        folder: Where the signals of all teachers are shared.
        epoch: From 1.
        mirror: Looked into before anything is computed, and sent what was.

    Returns:
        (number of training crops,) float32 by position; ``nan`` where the epoch does not go.
    """
    train = crops.split("train")
    settings = {
        "teacher": config.teacher,
        "store": crops.manifest.digest,
        "resolution_px": recipe.resolution_px,
        "augmentation": asdict(config.recipe.augmentation),
        "data_seed": config.data_seed,
        "num_positions": len(epoch_positions(config, train, epoch)),
        "device": config.device,
        "num_threads": config.num_threads,
    }
    file = folder / digest(settings)[:16] / f"epoch-{epoch:03d}.npy"
    file.parent.mkdir(parents=True, exist_ok=True)
    mirror = mirror or Mirror(local=folder)
    with turn(file.with_suffix(".lock"), lambda: _whole(file, len(train)) is not None) as sign_of_life:
        found = _whole(file, len(train))
        if found is None and mirror.pull_file(file):
            found = _whole(file, len(train))
        if found is not None:
            return found
        augmentation = config.recipe.augmentation
        logits = teacher_logits(
            teacher.to(config.device),
            recipe,
            train,
            epoch_positions(config, train, epoch),
            epoch_parameters(augmentation, len(train), seed=config.data_seed, epoch=epoch),
            augmentation,
            device=torch.device(config.device),
            after_batch=sign_of_life,
        )
        if mirror.pull_file(file) and (found := _whole(file, len(train))) is not None:  # another node was faster
            return found
        # Containers on two nodes may have the same process number.
        partial = file.with_suffix(f".{os.uname().nodename}-{os.getpid()}.partial")
        with partial.open("wb") as stream:
            np.save(stream, logits, allow_pickle=False)
        secure(partial)
        partial.replace(file)
        secure(file.parent)
        mirror.push(file)
    return logits


def _whole(file: Path, num_crops: int) -> np.ndarray | None:
    """Return the signal in a file, or None where there is none: a disk may have lost what it had promised to keep."""
    try:
        found: np.ndarray = np.load(file, allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return found if found.shape == (num_crops,) and found.dtype == np.float32 else None


def epoch_positions(config: TrialConfig, crops: SplitCrops, epoch: int) -> np.ndarray:
    """Return the positions in the training split that an epoch visits, in order."""
    order = epoch_order(len(crops), seed=config.data_seed, epoch=epoch)
    limit = config.recipe.max_steps_per_epoch
    return order if limit is None else order[: limit * config.recipe.batch_size]

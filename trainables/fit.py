"""What is trained: a model with its optimizer, as it starts and as it goes on."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from trainables.architectures import build
from trainables.artifact_files import PruningHistory
from trainables.fake_quantisation import FakeQuantised, Ranges
from trainables.precision import new_scaler
from trainables.recipes import Recipe, TrialConfig
from trainables.start_weights import load_start, origin_of


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


def restore_best(fit: Fit) -> None:
    """Put the weights of the lowest validation loss back into the model."""
    if fit.best_weights:  # none when the recipe only evaluates its start weights
        fit.model.load_state_dict(fit.best_weights)

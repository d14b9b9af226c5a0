"""What a graph costs to keep and to run: parameters, multiply-accumulates, bytes; and its identity."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trainables.artifact_files import ModelRecipe
from trainables.recipes import digest


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A network's shape: trials with equal graphs have equal cost, whatever their weights.

    Attributes:
        architecture: A name of ``trainables.architectures``.
        resolution_px: Side of the square input.
        removed: (layer, channels) that pruning took at each group of layers; which ones makes no difference.
    """

    architecture: str
    resolution_px: int
    removed: tuple[tuple[str, int], ...] = ()

    @property
    def digest(self) -> str:
        """Identity of the graph, 64 hex digits."""
        return digest(asdict(self))


def state_dict_mb(model: nn.Module) -> float:
    """Return the 10^6 bytes of the model's state dict as PyTorch saves it: the thesis's measure of size."""
    with TemporaryDirectory() as scratch:
        file = Path(scratch) / "model.pth"
        torch.save(model.state_dict(), file)
        return file.stat().st_size / 1e6


def graph_of(recipe: ModelRecipe) -> Graph:
    """Return the graph of a model."""
    removed: Counter[str] = Counter()
    for layer, _, channels in recipe.pruning:
        removed[layer] += len(channels)
    return Graph(
        architecture=recipe.architecture,
        resolution_px=recipe.resolution_px,
        removed=tuple(sorted(removed.items())),
    )


def num_parameters(model: nn.Module) -> int:
    """Return the number of trainable values."""
    return sum(parameter.numel() for parameter in model.parameters())


def macs(model: nn.Module, resolution_px: int) -> int:
    """Return the multiply-accumulates of one image, convolutions and matrix products only."""
    device = next(model.parameters()).device
    image = torch.zeros(1, 3, resolution_px, resolution_px, device=device)
    was_training = model.training
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    model.train(was_training)
    return int(counter.get_total_flops()) // 2

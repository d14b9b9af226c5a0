"""What a graph costs to keep and to run: parameters, multiply-accumulates, bytes moved; and its identity."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode

from trainables.artifact_files import ModelRecipe
from trainables.predicted_latency import Work
from trainables.recipes import digest

_EXPONENT, _FRACTION = 0x7F800000, 0x007FFFFF  # of a float32


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A network's shape: trials with equal graphs have equal cost, whatever their weights.

    Attributes:
        architecture: A name of ``trainables.architectures``.
        resolution_px: Side of the square input.
        removed: (layer, channels) that pruning took at each group of layers; which ones makes no difference.
        int8: Whether it computes in 8 bits.
    """

    architecture: str
    resolution_px: int
    removed: tuple[tuple[str, int], ...] = ()
    int8: bool = False

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
        int8=recipe.quantisation != "none",
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


class _Traffic(TorchDispatchMode):
    """Adds up the bytes of the tensors that operations read and write, and counts those operations."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.traffic_bytes = 0
        self.num_operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        result = func(*args, **(kwargs or {}))
        reads = [value for value in tree_iter((args, kwargs)) if isinstance(value, Tensor)]
        # A view moves nothing; what reads no tensor (an empty buffer) computes nothing.
        if reads and not func.is_view:
            writes = [value for value in tree_iter(result) if isinstance(value, Tensor)]
            self.traffic_bytes += sum(value.numel() * value.element_size() for value in [*reads, *writes])
            self.num_operations += 1
        return result


def work(model: nn.Module, resolution_px: int) -> Work:
    """Return what a network does for one image, from which its latency can be predicted."""
    image = torch.zeros(1, 3, resolution_px, resolution_px, device=next(model.parameters()).device)
    was_training = model.training
    model.eval()
    with torch.no_grad(), _Traffic() as traffic:
        model(image)
    model.train(was_training)
    return Work(
        macs=macs(model, resolution_px), traffic_bytes=traffic.traffic_bytes, num_operations=traffic.num_operations
    )


def num_denormals(model: nn.Module) -> int:
    """Return how many weights and statistics are below the smallest normal number and not 0.

    Arithmetic on them is many times slower on most CPUs, unless they are flushed to 0.
    """
    total = 0
    for value in model.state_dict().values():
        if value.dtype == torch.float32:
            bits = value.contiguous().view(torch.int32)  # read as integers: a flushing CPU takes them for 0
            total += int(((bits & _EXPONENT == 0) & (bits & _FRACTION != 0)).sum())
    return total

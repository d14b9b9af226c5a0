"""Structured pruning: whole channels go, and every layer that is tied to them shrinks with them.

Which layers are tied is found by torch-pruning's dependency graph (Fang et al. 2023, arXiv:2301.12900).
"""

import torch
import torch_pruning as tp
from torch import nn

from data_store.errors import InputError
from trainables.artifact_files import PruningHistory

_TRACED_PX = 64


def dependency_graph(model: nn.Module) -> tp.DependencyGraph:
    """Trace a network and return which layers must lose channels together; evaluation mode is left switched on."""
    example = torch.zeros(1, 3, _TRACED_PX, _TRACED_PX, device=next(model.parameters()).device)
    with torch.enable_grad():
        return tp.DependencyGraph().build_dependency(model, example_inputs=(example,))


def replay(model: nn.Module, history: PruningHistory) -> None:
    """Remove the channels of a recorded history from a freshly built network, in place.

    Raises:
        InputError: The history names a layer or a channel that the network does not have.
    """
    if not history:
        return
    graph = dependency_graph(model)
    layers = dict(model.named_modules())
    for name, is_out, channels in history:
        layer = layers.get(name)
        width = getattr(layer, "out_channels" if is_out else "in_channels", 0)
        if not channels or not 0 <= min(channels) <= max(channels) < width or len({*channels}) == width:
            raise InputError(
                f"a pruning history must name channels that the network has, but it removes {len(channels)} of "
                f"{width} from {name!r}; copy recipe and weights from the same model"
            )
        prune = tp.prune_conv_out_channels if is_out else tp.prune_conv_in_channels
        graph.get_pruning_group(layer, prune, list(channels)).prune()

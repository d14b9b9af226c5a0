"""Structured pruning: whole channels go, and every layer that is tied to them shrinks with them.

Which layers are tied is found by torch-pruning's dependency graph (Fang et al. 2023, arXiv:2301.12900), which channels
matter by its Taylor importance (Molchanov et al. 2019, arXiv:1906.10771). Which channels go is decided here and not by
the library's pruners: their ``max_pruning_ratio`` is no bound, and costs are no target of theirs.

Channels go in blocks, so that widths stay multiples of ``round_to``; a block is out of reach where the layer would
fall below its floor. The blocks of all layers stand in one row, the next to go first: global pruning sorts them by
their importance, local pruning by the ratio at which rounding makes a layer lose them. A prefix of this row is what
a ratio removes, and the longer it is, the lower is every cost.
"""

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch_pruning as tp
from safetensors.torch import save
from torch import nn

from data_store.errors import InputError
from trainables.architectures import build, head
from trainables.artifact_files import PruningHistory
from trainables.footprint import work
from trainables.predicted_latency import predict
from trainables.recipes import Pruning, TrialConfig

FLOOR_CHANNELS = 8
FLOOR_SHARE = 0.2
"""No layer falls below the larger of the two, of its channels before any pruning; narrower layers are left alone."""
TOLERANCE = 0.02
"""How far from its target a cost may end, as a share of the target."""
_TRACED_PX = 64

CostOf = Callable[[nn.Module], float]


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """The widest common name of layers that share their channels.

    Attributes:
        name: Of the layer at the root of the group, as the history names it.
        order: Its channels by rising importance.
        scores: Importance of each channel.
        start_width: Channels when the trial began.
        floor: Fewest channels it may keep.
    """

    name: str
    order: list[int]
    scores: torch.Tensor
    start_width: int
    floor: int


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Channels of one layer that go together.

    Attributes:
        layer: Index of the layer.
        size: How many.
        key: Position in the row: the block's mean importance, or the ratio at which it goes.
    """

    layer: int
    size: int
    key: float


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
        prune_layer = tp.prune_conv_out_channels if is_out else tp.prune_conv_in_channels
        graph.get_pruning_group(layer, prune_layer, list(channels)).prune()


def removed(history: PruningHistory) -> Counter[str]:
    """Return how many channels a history removes at each layer."""
    counts: Counter[str] = Counter()
    for layer, _, channels in history:
        counts[layer] += len(channels)
    return counts


def prune(
    model: nn.Module,
    config: TrialConfig,
    *,
    share: float,
    start: PruningHistory,
    history: PruningHistory,
) -> PruningHistory:
    """Remove the channels that matter least, in place, until ``share`` of the trial's ratio is gone.

    The head keeps its logit and loses inputs only. The parameters are new ones afterwards, without gradients.

    Args:
        model: With the gradients that the importance is taken from.
        config: Architecture, resolution and ``pruning``.
        share: Of the ratio, in (0, 1]; counted from the model that the trial started from.
        start: What that model had lost before.
        history: What ``model`` has lost so far.

    Returns:
        The history, longer by what was removed.

    Raises:
        FloatingPointError: A gradient is not finite.
        InputError: The target cannot be met.
    """
    settings = config.pruning
    assert settings is not None
    graph = dependency_graph(model)
    layers = _layers(model, graph, start, history)
    row = _row(layers, settings)
    if settings.by != "channels":
        chosen = _by_cost(config, settings, layers, row, share, start, history)
    elif settings.scope == "local":
        chosen = [block for block in row if block.key <= share * settings.ratio]
    else:
        chosen = _by_channels(layers, row, share * settings.ratio)
    taken: Counter[int] = Counter()
    for block in chosen:
        taken[block.layer] += block.size
    modules = dict(model.named_modules())
    steps = []
    for index, count in sorted(taken.items()):
        layer = layers[index]
        channels = sorted(layer.order[:count])
        graph.get_pruning_group(modules[layer.name], tp.prune_conv_out_channels, channels).prune()
        steps.append((layer.name, True, tuple(channels)))
    model.zero_grad(set_to_none=True)
    return (*history, *steps)


def pruned_shares(
    model: nn.Module, settings: Pruning, start: PruningHistory, history: PruningHistory
) -> tuple[float, float]:
    """Return how much of its channels a network has lost, and how much it could have lost at most.

    Both are shares of the channels that the model had from which the trial started, and equal where every layer is at
    its floor: a higher ratio then makes the same network.

    Args:
        model: As it is after pruning; evaluation mode is left switched on.
        settings: Of its trial.
        start: What the model that the trial started from had lost.
        history: What ``model`` has lost.
    """
    names = {module: name for name, module in model.named_modules()}
    before, now = removed(start), removed(history)
    gone = left = total = 0
    for group in dependency_graph(model).get_all_groups(ignored_layers=[head(model)]):
        name, width = names[group[0].dep.target.module], len(group[0].idxs)
        narrowest = -(-floor_of(width + now[name]) // settings.round_to) * settings.round_to
        gone += now[name] - before[name]
        left += max(0, width - narrowest)
        total += width + now[name] - before[name]
    return gone / total, (gone + left) / total


def thinned(architecture: str, share: float) -> PruningHistory:
    """Return a history that takes the same share of every layer, whichever channels: for graphs that are only timed."""
    model = _network(architecture, ())
    names = {module: name for name, module in model.named_modules()}
    steps = []
    for group in dependency_graph(model).get_all_groups(ignored_layers=[head(model)]):
        width = len(group[0].idxs)
        narrower = max(floor_of(width), round(width * (1 - share) / 8) * 8)
        if narrower < width:
            steps.append((names[group[0].dep.target.module], True, tuple(range(width - narrower))))
    return tuple(steps)


def floor_of(width: int) -> int:
    """Return the fewest channels that a layer of so many may be left with."""
    return min(width, max(FLOOR_CHANNELS, -int(-width * FLOOR_SHARE // 1)))


def weights_bytes(model: nn.Module) -> float:
    """Return the bytes of the network's weights file."""
    return float(len(save({key: value.contiguous() for key, value in model.state_dict().items()})))


def _layers(
    model: nn.Module, graph: tp.DependencyGraph, start: PruningHistory, history: PruningHistory
) -> list[_Layer]:
    """Return every group of layers but the head's, with the importance of its channels."""
    for name, parameter in model.named_parameters():
        if parameter.grad is None or not torch.isfinite(parameter.grad).all():
            raise FloatingPointError(
                f"the gradients that pruning ranks channels by must be finite, but those of {name} are not; start "
                "from a model that trains"
            )
    names = {module: name for name, module in model.named_modules()}
    importance = tp.importance.GroupTaylorImportance()
    before, now = removed(start), removed(history)
    layers = []
    for group in graph.get_all_groups(ignored_layers=[head(model)]):
        name, width = names[group[0].dep.target.module], len(group[0].idxs)
        # Scores are divided by their mean over the layer: not a number where nothing in it matters.
        scores = torch.nan_to_num(importance(group).double().cpu())
        layers.append(
            _Layer(
                name=name,
                order=torch.argsort(scores, stable=True).tolist(),
                scores=scores,
                start_width=width + now[name] - before[name],
                floor=floor_of(width + now[name]),
            )
        )
    return layers


def _row(layers: list[_Layer], settings: Pruning) -> list[_Block]:
    """Return all blocks that may go, the next one first."""
    row = []
    for index, layer in enumerate(layers):
        width = len(layer.order)
        while True:
            narrower = (width - 1) // settings.round_to * settings.round_to
            if narrower < layer.floor:
                break
            gone = len(layer.order) - width
            block = layer.order[gone : gone + width - narrower]
            switch = 1 - (narrower + width) / 2 / layer.start_width  # rounded to the nearer width
            key = switch if settings.scope == "local" else layer.scores[block].mean().item()
            row.append(_Block(layer=index, size=width - narrower, key=key))
            width = narrower
    return sorted(row, key=lambda block: block.key)


def _by_channels(layers: list[_Layer], row: list[_Block], ratio: float) -> list[_Block]:
    """Return the prefix of the row that brings the removed channels nearest to a share of all."""
    total = sum(layer.start_width for layer in layers)
    gone = total - sum(len(layer.order) for layer in layers)
    wanted = ratio * total
    chosen: list[_Block] = []
    for block in row:
        if abs(gone + block.size - wanted) >= abs(gone - wanted):
            break
        chosen.append(block)
        gone += block.size
    return chosen


def _by_cost(
    config: TrialConfig,
    settings: Pruning,
    layers: list[_Layer],
    row: list[_Block],
    share: float,
    start: PruningHistory,
    history: PruningHistory,
) -> list[_Block]:
    """Return blocks, a prefix of the row as far as it goes, that bring a cost within 2 % of its target."""
    whole = _network(config.architecture, start)
    cost = _cost(config, settings, whole)
    target = cost(whole) * (1 - share * settings.ratio)
    now = _network(config.architecture, history)
    known: dict[tuple[tuple[int, int], ...], float] = {}

    def after(blocks: list[_Block]) -> float:
        counts: Counter[int] = Counter()
        for block in blocks:
            counts[block.layer] += block.size
        key = tuple(sorted(counts.items()))
        if key not in known:
            model = copy.deepcopy(now)
            replay(model, tuple((layers[index].name, True, tuple(range(count))) for index, count in key))
            known[key] = cost(model)
        return known[key]

    def misses(blocks: list[_Block]) -> float:
        return abs(after(blocks) / target - 1)

    low, high = 0, len(row)  # the shortest prefix that is not above the target, or all there is
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if after(row[:middle]) > target else (low, middle)
    before = max(low - 1, 0)
    nearest = min(row[:before], row[:low], key=misses)
    if misses(nearest) > TOLERANCE and after(row[:low]) < target:
        nearest = _filled(row, before, after, target)
    if misses(nearest) > TOLERANCE:
        raise InputError(
            f"pruning must bring {settings.by} within {TOLERANCE:.0%} of {_shown(target)}, but the nearest that widths "
            f"in multiples of {settings.round_to} and floors of {FLOOR_SHARE:.0%} allow is {_shown(after(nearest))}; "
            "use a lower ratio or round_to"
        )
    return nearest


def _shown(cost: float) -> str:
    return f"{cost:,.0f}" if cost >= 1000 else f"{cost:.3g}"


def _filled(row: list[_Block], length: int, after: Callable[[list[_Block]], float], target: float) -> list[_Block]:
    """Return a prefix and those later blocks that bring the cost nearer to the target without overshooting it."""
    blocks, skipped = row[:length], set()
    for block in row[length:]:
        if block.layer in skipped:
            continue
        value = after([*blocks, block])
        if value < target * (1 - TOLERANCE):
            skipped.add(block.layer)  # a layer's blocks go in their order
            continue
        blocks.append(block)
        if value <= target * (1 + TOLERANCE):
            break
    return blocks


def _cost(config: TrialConfig, settings: Pruning, whole: nn.Module) -> CostOf:
    """Return what measures a network's cost; ``whole`` is one of the same layers."""
    if settings.by == "macs":
        pixels = _output_pixels(whole, config.resolution_px)
        return lambda model: float(sum(m.weight.numel() * pixels[name] for name, m in _weighted(model)))
    if settings.by == "size":
        return weights_bytes
    rates = settings.rates
    if rates is None:
        raise InputError(
            "pruning by latency needs the rates that latency is predicted by, but this trial has none; run it in a "
            "sweep, which fits them, or prune by macs"
        )
    return lambda model: predict(rates, work(model, config.resolution_px))


def _weighted(model: nn.Module) -> list[tuple[str, nn.Conv2d | nn.Linear]]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def _output_pixels(model: nn.Module, resolution_px: int) -> dict[str, int]:
    """Return how often each weight of a layer is used for one image: pruning does not change it."""
    pixels: dict[str, int] = {}

    def note(name: str) -> Callable[[nn.Module, object, torch.Tensor], None]:
        return lambda _, __, output: pixels.update({name: output[0, 0].numel()})

    hooks = [module.register_forward_hook(note(name)) for name, module in _weighted(model)]
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, resolution_px, resolution_px))
    for hook in hooks:
        hook.remove()
    return pixels


def _network(architecture: str, history: PruningHistory) -> nn.Module:
    """Return a network of the same shape on the CPU, without touching torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        model = build(architecture)
    replay(model, history)
    return model

"""Which channels go, and how many: floors, targets, and the library's own choice as a peer."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch_pruning as tp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from data_store.errors import InputError
from data_store.resident import Crops
from trainables import ranking
from trainables.architectures import build, forward, head
from trainables.artifact_files import PruningHistory
from trainables.artifacts import build_graph, recipe_for
from trainables.finish import shortfall
from trainables.fit import start
from trainables.footprint import macs, num_parameters, work
from trainables.predicted_latency import predict
from trainables.pruning import (
    CostOf,
    _cost,
    dependency_graph,
    floor_of,
    prune,
    pruned_shares,
    removed,
    thinned,
    weights_bytes,
)
from trainables.ranking import gradients_for_ranking
from trainables.recipes import DEMO_FINE_TUNING, Cost, LatencyRates, Pruning, Scope, TrialConfig

RECIPE = replace(DEMO_FINE_TUNING, epochs=2, warmup_epochs=0, batch_size=8, max_steps_per_epoch=2)
CONFIG = TrialConfig(architecture="Lite0", resolution_px=64, weights="ab", recipe=RECIPE)
MODEL = recipe_for("Lite0", 64)
PX = 64
RATES = LatencyRates(ms_per_mac=2e-8, ms_per_byte=2e-7, ms_per_operation=0.004)
COSTS: dict[Cost, CostOf] = {
    "macs": lambda model: macs(model, PX),
    "size": weights_bytes,
    "latency": lambda model: predict(RATES, work(model, PX)),
}


def ranked(architecture: str, seed: int = 0) -> nn.Module:
    """Return an untrained network with gradients of some loss; by batch statistics, so that no channel is dead."""
    torch.manual_seed(seed)
    model = build(architecture).train()
    forward(model, torch.rand(4, 3, PX, PX)).square().sum().backward()
    return model


def widths(model: nn.Module) -> dict[str, int]:
    return {name: layer.out_channels for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}


def pruned(architecture: str, amount: Pruning) -> tuple[nn.Module, PruningHistory]:
    model = ranked(architecture)
    config = replace(CONFIG, architecture=architecture, pruning=amount)
    return model, prune(model, config, share=1.0, start=(), history=())


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    architecture=st.sampled_from(["Lite0", "B0", "B0-lite", "B1"]),
    ratio=st.floats(0, 0.9),
    scope=st.sampled_from(["local", "global"]),
    iterations=st.sampled_from([1, 2]),
    round_to=st.sampled_from([1, 4, 8]),
)
def test_no_layer_falls_below_its_floor(
    architecture: str, ratio: float, scope: Scope, iterations: int, round_to: int
) -> None:
    model = ranked(architecture)
    before, logit = widths(model), head(model)
    config = replace(
        CONFIG,
        architecture=architecture,
        pruning=Pruning(ratio=ratio, scope=scope, iterations=iterations, round_to=round_to),
    )
    history: PruningHistory = ()
    for iteration in range(1, iterations + 1):
        history = prune(model, config, share=iteration / iterations, start=(), history=history)
        model.eval()
        forward(model, torch.rand(2, 3, PX, PX)).square().sum().backward()
    after = widths(model)
    assert after.keys() == before.keys()
    for name, width in after.items():
        assert min(before[name], max(8, math.ceil(0.2 * before[name]))) <= width <= before[name], name
        assert width == before[name] or width % round_to == 0, name
    assert head(model) is logit
    assert logit.out_features == 1
    assert ratio < 0.1 or sum(after.values()) < sum(before.values())


def test_a_floor_binds_where_it_should() -> None:
    """Shown to bind: at 0.9 some layers stand on their floor, and without it the library empties layers."""
    model, _ = pruned("Lite0", Pruning(ratio=0.9, round_to=1))
    before = widths(build("Lite0"))
    on_floor = [name for name, width in widths(model).items() if width == floor_of(before[name]) < before[name]]
    assert len(on_floor) > 5
    peer = ranked("Lite0")
    tp.pruner.BasePruner(
        peer,
        (torch.zeros(1, 3, PX, PX),),
        importance=tp.importance.GroupTaylorImportance(),
        global_pruning=True,
        pruning_ratio=0.9,
        max_pruning_ratio=0.8,
        ignored_layers=[head(peer)],
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
        channel_groups={},
    ).step()
    assert any(width < floor_of(before[name]) for name, width in widths(peer).items())


@pytest.mark.parametrize("scope", ["local", "global"])
def test_a_low_ratio_takes_the_channels_that_the_librarys_pruner_takes(scope: Scope) -> None:
    ratio = 0.1
    ours, history = pruned("Lite0", Pruning(ratio=ratio, scope=scope, round_to=1))
    peer = ranked("Lite0")
    pruner = tp.pruner.BasePruner(
        peer,
        (torch.zeros(1, 3, PX, PX),),
        importance=tp.importance.GroupTaylorImportance(),
        global_pruning=scope == "global",
        pruning_ratio=ratio,
        ignored_layers=[head(peer)],
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
        channel_groups={},
    )
    pruner.step()
    theirs = {name: set(channels) for name, _, channels in pruner.pruning_history()}
    mine = {name: set(channels) for name, _, channels in history}
    assert sum(map(len, mine.values())) == pytest.approx(sum(map(len, theirs.values())), abs=len(mine))
    for name in mine.keys() | theirs.keys():  # the library rounds the number of a layer's channels up
        few, many = sorted((mine.get(name, set()), theirs.get(name, set())), key=len)
        assert few <= many
        assert len(many) - len(few) <= 1
    assert num_parameters(ours) < num_parameters(build("Lite0"))


def test_the_ratio_counts_channels() -> None:
    for ratio in (0.05, 0.3):
        _, history = pruned("Lite0", Pruning(ratio=ratio, round_to=1))
        groups = [
            len(group[0].idxs) for group in dependency_graph(build("Lite0")).get_all_groups() if len(group[0].idxs) > 1
        ]
        assert removed(history).total() == pytest.approx(ratio * sum(groups), abs=1)
        model, history = pruned("Lite0", Pruning(ratio=ratio, scope="local", round_to=1))
        before = widths(build("Lite0"))
        assert {name: removed(history)[name] / before[name] for name in removed(history)} == pytest.approx(
            dict.fromkeys(removed(history), ratio), abs=0.05
        )


@pytest.mark.parametrize(
    ("architecture", "by", "ratio", "scope"),
    [
        ("Lite0", "macs", 0.4, "local"),
        ("Lite0", "macs", 0.4, "global"),
        ("Lite0", "size", 0.7, "local"),
        ("Lite0", "size", 0.7, "global"),
        ("Lite0", "latency", 0.3, "global"),
        ("B0", "macs", 0.4, "global"),
        ("B0", "size", 0.6, "global"),
        ("B0", "latency", 0.3, "local"),
        pytest.param("V2-S", "macs", 0.4, "global", marks=pytest.mark.slow),
        pytest.param("V2-S", "size", 0.6, "local", marks=pytest.mark.slow),
        pytest.param("V2-S", "latency", 0.3, "global", marks=pytest.mark.slow),
    ],
)
def test_a_cost_is_met_within_2_percent(architecture: str, by: Cost, ratio: float, scope: Scope) -> None:
    rates = RATES if by == "latency" else None
    whole = build(architecture)
    model, history = pruned(architecture, Pruning(ratio=ratio, by=by, scope=scope, rates=rates))
    found, before = (COSTS[by](network) for network in (model, whole))
    assert found / before == pytest.approx(1 - ratio, rel=0.02)
    rounded = {name for name, _, _ in history}
    assert rounded
    assert all(width % 8 == 0 for name, width in widths(model).items() if name in rounded)


def test_macs_are_counted_as_the_footprint_counts_them() -> None:
    for architecture in ("B0", "Lite0"):
        model, _ = pruned(architecture, Pruning(ratio=0.3))
        config = replace(CONFIG, architecture=architecture, pruning=Pruning(ratio=0.3, by="macs"))
        assert config.pruning is not None
        assert _cost(config, config.pruning, build(architecture))(model) == macs(model, PX)


def test_pruning_by_latency_needs_rates_and_only_it_takes_them() -> None:
    with pytest.raises(InputError, match="needs the rates that latency is predicted by, but this trial has none"):
        pruned("Lite0", Pruning(ratio=0.3, by="latency"))
    with pytest.raises(InputError, match="latency rates go with pruning by latency, but got 'macs'"):
        Pruning(ratio=0.3, by="macs", rates=RATES)
    calls = LatencyRates(ms_per_mac=0.0, ms_per_byte=0.0, ms_per_operation=0.05)  # which pruning does not change
    with pytest.raises(InputError, match=r"must bring latency within 2% of [\d.]+, but the nearest .* is [\d.]+;"):
        pruned("Lite0", Pruning(ratio=0.3, by="latency", rates=calls))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_thinned_network_keeps_the_floors_and_can_be_built(share: float) -> None:
    before, model = widths(build("Lite0")), build_graph(replace(MODEL, pruning=thinned("Lite0", share)))
    after = widths(model)
    assert (sum(after.values()) < sum(before.values())) == (share > 0)
    assert all(floor_of(before[name]) <= width for name, width in after.items())


def test_a_cost_that_the_floors_do_not_allow_is_refused() -> None:
    with pytest.raises(InputError, match=r"must bring macs within 2% of [\d,]+, but the nearest .* is [\d,]+; use a"):
        pruned("Lite0", Pruning(ratio=0.99, by="macs"))


def test_an_iteration_counts_from_the_start_model() -> None:
    """Half of the ratio, then the rest: as much is gone as in one step; a pruned start loses its ratio once more."""
    once = removed(pruned("Lite0", Pruning(ratio=0.4, round_to=1))[1]).total()
    config = replace(CONFIG, pruning=Pruning(ratio=0.4, iterations=2, round_to=1))
    model = ranked("Lite0")
    first = prune(model, config, share=0.5, start=(), history=())
    assert removed(first).total() == pytest.approx(once / 2, abs=1)
    forward(model, torch.rand(2, 3, PX, PX)).square().sum().backward()
    both = prune(model, config, share=1.0, start=(), history=first)
    assert both[: len(first)] == first
    assert removed(both).total() == once
    forward(model, torch.rand(2, 3, PX, PX)).square().sum().backward()
    more = prune(model, config, share=0.5, start=both, history=both)
    total = sum(len(group[0].idxs) for group in dependency_graph(build("Lite0")).get_all_groups()) - 1
    assert removed(more).total() - once == pytest.approx(0.2 * (total - once), abs=1)


def test_what_went_is_said_and_that_no_more_could_go() -> None:
    """Above what the floors allow, every ratio makes the same network, which its share tells and its name does not."""
    networks = {}
    for ratio in (0.3, 0.8, 0.85, 0.9):
        model, history = pruned("Lite0", Pruning(ratio=ratio))
        networks[ratio] = (removed(history), *pruned_shares(model, Pruning(ratio=ratio), (), history))
    whole = sum(len(group[0].idxs) for group in dependency_graph(build("Lite0")).get_all_groups()) - 1
    for counts, gone, most in networks.values():
        assert gone == counts.total() / whole
        assert most == pytest.approx(0.797, abs=5e-4)
    assert networks[0.3][1] == pytest.approx(0.3, abs=5e-4)
    assert networks[0.8] == networks[0.85] == networks[0.9]
    assert networks[0.9][1] == networks[0.9][2]
    model, both = pruned("Lite0", Pruning(ratio=0.3))
    forward(model, torch.rand(2, 3, PX, PX)).square().sum().backward()
    more = prune(model, replace(CONFIG, pruning=Pruning(ratio=0.9)), share=1.0, start=both, history=both)
    left = whole - removed(both).total()
    gone, most = pruned_shares(model, Pruning(ratio=0.9), both, more)
    assert gone == most == (removed(more) - removed(both)).total() / left  # counted from the start model


@pytest.mark.parametrize(
    ("settings", "gone", "most", "words"),
    [
        (Pruning(ratio=0.85), 0.797, 0.797, "pruned by 79.7% of its channels, not 85.0%: every layer is at its floor"),
        (Pruning(ratio=0.8), 0.797, 0.797, None),
        (Pruning(ratio=0.4, scope="local"), 0.38, 0.797, None),
        (Pruning(ratio=0.9, by="macs"), 0.797, 0.797, None),
    ],
)
def test_an_alarm_where_floors_keep_a_ratio_from_being_met(
    settings: Pruning, gone: float, most: float, words: str | None
) -> None:
    assert shortfall(settings, gone, most) == words


def test_gradients_that_are_not_finite_are_refused() -> None:
    model = ranked("Lite0")
    weight = head(model).weight
    assert weight.grad is not None
    weight.grad[0, 0] = math.nan
    with pytest.raises(FloatingPointError, match=r"must be finite, but those of classifier\.weight are not"):
        prune(model, replace(CONFIG, pruning=Pruning(ratio=0.1)), share=1.0, start=(), history=())


def test_importance_leaves_weights_statistics_and_generators_alone(crops: Crops) -> None:
    config = replace(CONFIG, pruning=Pruning(ratio=0.1, calibration_batches=2))
    fit = start(config, None)
    before = {key: value.clone() for key, value in fit.model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    gradients_for_ranking(fit.model, config, MODEL, crops.split("train"), None, epoch=1)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(value, before[key]) for key, value in fit.model.state_dict().items())
    whole = {
        name: parameter.grad.clone() for name, parameter in fit.model.named_parameters() if parameter.grad is not None
    }
    assert len(whole) == len(list(fit.model.parameters()))
    halves = replace(config, micro_batch=4)
    gradients_for_ranking(fit.model, halves, MODEL, crops.split("train"), None, epoch=1)
    for name, parameter in fit.model.named_parameters():
        torch.testing.assert_close(parameter.grad, whole[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("first_scale", [2.0**16, 2.0**130])
def test_in_float16_the_loss_is_scaled_and_the_gradients_are_not(
    first_scale: float, crops: Crops, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Computed in float32 here, where a power of two changes no bits; too large a scale is lowered until it fits."""
    config = replace(CONFIG, pruning=Pruning(ratio=0.1, calibration_batches=1))
    fit = start(config, None)
    gradients_for_ranking(fit.model, config, MODEL, crops.split("train"), None, epoch=1)
    plain = [parameter.grad.clone() for parameter in fit.model.parameters() if parameter.grad is not None]
    scales: list[float] = []
    accumulate = ranking._accumulate

    def noted(*given: Any, scale: float, **more: Any) -> None:  # noqa: ANN401
        scales.append(scale)
        accumulate(*given, scale=scale, **more)

    monkeypatch.setattr(ranking, "_accumulate", noted)
    monkeypatch.setattr(ranking, "autocast_dtype", lambda _: torch.float16)
    monkeypatch.setattr(ranking, "FIRST_SCALE", first_scale)
    gradients_for_ranking(fit.model, config, MODEL, crops.split("train"), None, epoch=1)
    scaled = [parameter.grad for parameter in fit.model.parameters() if parameter.grad is not None]
    assert scales == [first_scale / 2**lowered for lowered in range(len(scales))]
    assert (len(scales) == 1) == (first_scale == 2.0**16)
    assert len(scaled) == len(plain) > 0
    for ours, theirs in zip(scaled, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-30)

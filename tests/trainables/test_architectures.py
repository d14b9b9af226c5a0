import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.ops import SqueezeExcitation

from data_store.errors import InputError
from trainables import architectures
from trainables.architectures import (
    ARCHITECTURES,
    build,
    check_resolution,
    forward,
    is_head,
    is_squeeze_excitation,
    named,
    normalise,
)
from trainables.footprint import Graph, macs, num_parameters, state_dict_mb


@pytest.mark.parametrize(
    ("name", "expected", "size_mb"),
    [("B0", 4_008_829, 16.31), ("Lite0", 3_372_289, 13.74), ("B0-lite", 3_372_289, 13.74)],
)
def test_parameter_counts_and_sizes_are_the_published_ones(name: str, expected: int, size_mb: float) -> None:
    model = build(name)
    assert num_parameters(model) == expected
    assert round(state_dict_mb(model), 2) == size_mb
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_lite_by_surgery_is_lite_in_every_layer() -> None:
    """The published Lite0 has the same layers in the same order, and neither network has another activation."""

    def layers(name: str) -> list[tuple[int, ...]]:
        return [tuple(m.weight.shape) for m in build(name).modules() if isinstance(m, nn.Conv2d | nn.Linear)]

    assert layers("B0-lite") == layers("Lite0")
    kinds = {type(module) for module in build("B0-lite").modules()}
    assert nn.ReLU6 in kinds
    assert not kinds & {nn.SiLU, SqueezeExcitation}
    assert macs(build("B0-lite"), 224) == macs(build("Lite0"), 224)


def test_a_resolution_below_the_stride_is_refused() -> None:
    check_resolution("B0", 32)
    with pytest.raises(InputError, match="at least 32 px, by which B0 shrinks its input, but got 31; use 224"):
        check_resolution("B0", 31)


def test_the_table_is_read_without_torch() -> None:
    code = "import sys; from trainables.architectures import named; named('B0'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_resolution_and_dropout_are_those_of_the_published_table() -> None:
    table = {
        name: (row.resolution_px, row.dropout)
        for name, row in ARCHITECTURES.items()
        if name in {f"B{i}" for i in range(8)}
    }
    assert table == {
        "B0": (224, 0.2),
        "B1": (240, 0.2),
        "B2": (260, 0.3),
        "B3": (300, 0.3),
        "B4": (380, 0.4),
        "B5": (456, 0.4),
        "B6": (528, 0.5),
        "B7": (600, 0.5),
    }


@pytest.mark.parametrize("name", ["B0", "Lite0"])
def test_dropout_stands_before_the_logit(name: str) -> None:
    torch.manual_seed(0)
    model = build(name).train()
    images = torch.rand(4, 3, 64, 64)
    logits = forward(model, images)
    assert logits.shape == (4,)
    assert not torch.equal(logits, forward(model, images))  # dropout and stochastic depth draw again
    model.eval()
    assert torch.equal(forward(model, images), forward(model, images))


@pytest.mark.parametrize("name", ["B0", "V2-S", "Lite0"])
def test_an_untrained_head_starts_near_even_odds(name: str) -> None:
    torch.manual_seed(0)
    logits = forward(build(name).train(), torch.rand(8, 3, 64, 64))
    assert logits.abs().max().item() < 3  # with the libraries' own start of the head it is ten and more


def test_the_seed_decides_the_initial_weights() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.cat([value.flatten().float() for value in build("Lite0").state_dict().values()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_macs_of_b0_are_the_published_ones() -> None:
    # 0.39 G at 224 px (Tan and Le 2019, arXiv:1905.11946, Table 2), counted with its 1,000 classes.
    assert macs(build("B0"), 224) == pytest.approx(0.39e9, rel=0.02)


def test_graphs_are_told_apart_by_what_they_cost() -> None:
    digests = {Graph(architecture=a, resolution_px=px).digest for a in ("B0", "Lite0") for px in (64, 224)}
    assert len(digests) == 4


def test_normalise() -> None:
    images = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1)
    assert normalise(images, (0.5, 0.5, 0.5), (0.5, 0.25, 0.5)).flatten().tolist() == [-1.0, 0.0, 1.0]


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"B0, .*Lite4, but got 'B9'"):
        named("B9")


def test_imagenet_weights_offline_name_the_file_and_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)
    with pytest.raises(InputError, match=r"put that file at .*tf_efficientnet_lite0-0aa007d2.pth"):
        build("Lite0", imagenet=True)


def test_a_file_of_imagenet_weights_must_have_the_hash_in_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints"
    place.mkdir(parents=True)
    other = place / "efficientnet_b0_rwightman-7f5810bc.pth"
    torch.save(build("B0").state_dict(), other)
    with pytest.raises(InputError, match=rf"begins with 7f5810bc, but that of {other} begins with \w{{8}}; delete it"):
        build("B0", imagenet=True)
    digest = hashlib.sha256(other.read_bytes()).hexdigest()[:8]
    other.rename(place / f"published-{digest}.pth")
    monkeypatch.setattr(architectures, "_published_at", lambda _: f"https://127.0.0.1/published-{digest}.pth")
    assert build("B0", imagenet=True).training


@pytest.mark.parametrize("name", ["B0", "Lite0", "B0-lite"])
def test_imagenet_weights_fill_all_but_the_head(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm
    import torchvision

    torch.manual_seed(1)
    lite = name == "Lite0"
    published = timm.create_model("tf_efficientnet_lite0") if lite else torchvision.models.efficientnet_b0()
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: published.state_dict())
    torch.manual_seed(2)
    started = build(name)
    torch.manual_seed(2)
    loaded = build(name, imagenet=True)
    same = {key for key, value in loaded.state_dict().items() if torch.equal(value, published.state_dict()[key])}
    heads = [key for key in loaded.state_dict() if is_head(key)]
    assert set(loaded.state_dict()) - same == set(heads)
    for key in heads:
        assert torch.equal(loaded.state_dict()[key], started.state_dict()[key])
    dropped = set(published.state_dict()) - set(loaded.state_dict())
    assert dropped == {key for key in published.state_dict() if name == "B0-lite" and is_squeeze_excitation(key)}

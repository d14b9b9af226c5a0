from pathlib import Path

import pytest
import torch

from data_store.errors import InputError
from trainables.architectures import ARCHITECTURES, build, forward, named, normalise
from trainables.footprint import Graph, macs, num_parameters


@pytest.mark.parametrize(("name", "expected"), [("B0", 4_008_829), ("Lite0", 3_372_289)])
def test_parameter_counts_are_the_published_ones(name: str, expected: int) -> None:
    model = build(name)
    assert num_parameters(model) == expected
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_resolution_and_dropout_are_those_of_the_published_table() -> None:
    table = {name: (row.resolution_px, row.dropout) for name, row in ARCHITECTURES.items() if name[0] == "B"}
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


@pytest.mark.parametrize("name", ["B0", "Lite0"])
def test_imagenet_weights_fill_all_but_the_head(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm
    import torchvision

    torch.manual_seed(1)
    published = torchvision.models.efficientnet_b0() if name == "B0" else timm.create_model("tf_efficientnet_lite0")
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: published.state_dict())
    torch.manual_seed(2)
    started = build(name)
    torch.manual_seed(2)
    loaded = build(name, imagenet=True)
    same = {key for key, value in loaded.state_dict().items() if torch.equal(value, published.state_dict()[key])}
    heads = [key for key in loaded.state_dict() if key.startswith("classifier")]
    assert set(loaded.state_dict()) - same == set(heads)
    for key in heads:
        assert torch.equal(loaded.state_dict()[key], started.state_dict()[key])

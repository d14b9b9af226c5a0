"""The networks: EfficientNet B0 to B7 and V2-S (torchvision), EfficientNet-Lite0 to Lite4 (timm).

Every one ends in dropout and one logit: above 0 is fake, below 0 is real (a probability of 0.5 apart).
"""

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Literal

from torch import Tensor, nn

from data_store.errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
STRIDE_PX = 32
"""The factor by which every network here shrinks its input."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One row of the table of networks.

    Attributes:
        name: What sweeps and people call it.
        family: The library it comes from.
        builder: The library's own name for it.
        resolution_px: Input side it was made for (Table 2.3.5.1 of the thesis for B0 to B7).
        dropout: Probability of dropout before the logit (same table).
        stochastic_depth: Highest probability that a residual branch is dropped.
        mean: Input normalisation, RGB in [0, 1].
        std: Input normalisation, RGB in [0, 1].
    """

    name: str
    family: Literal["torchvision", "timm"]
    builder: str
    resolution_px: int
    dropout: float
    stochastic_depth: float = 0.2
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


def _table() -> dict[str, Architecture]:
    rows = [
        Architecture(name=f"B{i}", family="torchvision", builder=f"efficientnet_b{i}", resolution_px=px, dropout=p)
        for i, (px, p) in enumerate(
            [(224, 0.2), (240, 0.2), (260, 0.3), (300, 0.3), (380, 0.4), (456, 0.4), (528, 0.5), (600, 0.5)]
        )
    ]
    rows.append(
        Architecture(name="V2-S", family="torchvision", builder="efficientnet_v2_s", resolution_px=384, dropout=0.2)
    )
    rows += [
        Architecture(
            name=f"Lite{i}",
            family="timm",
            builder=f"tf_efficientnet_lite{i}",
            resolution_px=px,
            dropout=0.2,
            mean=HALF,
            std=HALF,
        )
        for i, px in enumerate([224, 240, 260, 280, 300])
    ]
    return {row.name: row for row in rows}


ARCHITECTURES = _table()


def named(name: str) -> Architecture:
    """Return a network's row.

    Raises:
        InputError: No network has this name.
    """
    if name not in ARCHITECTURES:
        raise InputError(
            f"the architecture must be one of {', '.join(ARCHITECTURES)}, but got {name!r}; choose one of these"
        )
    return ARCHITECTURES[name]


def build(name: str, *, imagenet: bool = False) -> nn.Module:
    """Build a network with one logit and all gradients on.

    Initialisation draws from torch's global generator: seed it first.

    Args:
        name: A name of ``ARCHITECTURES``.
        imagenet: Load the library's published ImageNet weights into the backbone (hash checked).

    Raises:
        InputError: The name is unknown, or the ImageNet weights are neither cached nor to be had.
    """
    row = named(name)
    if row.family == "torchvision":
        import torchvision

        model: nn.Module = torchvision.models.get_model(
            row.builder,
            weights=None,
            num_classes=1,
            dropout=row.dropout,
            stochastic_depth_prob=row.stochastic_depth,
        )
    else:
        import timm

        model = timm.create_model(
            row.builder,
            pretrained=False,
            num_classes=1,
            drop_rate=row.dropout,
            drop_path_rate=row.stochastic_depth,
        )
    # Both libraries start a head of one output with weights in [-1, 1], hence logits of ten and more; the thesis
    # puts a plain linear layer there, whose start is +-1/sqrt(inputs).
    head(model).reset_parameters()
    if imagenet:
        _load_imagenet(row, model)
    return model


def head(model: nn.Module) -> nn.Linear:
    """Return the layer that makes the logit."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert layers[-1].out_features == 1
    return layers[-1]


def normalise(images: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Tensor:
    """Return (images - mean) / std for RGB images (batch, 3, height, width) in [0, 1]."""
    shift = images.new_tensor(mean).view(1, 3, 1, 1)
    scale = images.new_tensor(std).view(1, 3, 1, 1)
    return (images - shift) / scale


def forward(model: nn.Module, images: Tensor) -> Tensor:
    """Return logits (batch,) of normalised images (batch, 3, resolution_px, resolution_px)."""
    logits: Tensor = model(images)  # (batch, 1)
    return logits.squeeze(1)


def _load_imagenet(row: Architecture, model: nn.Module) -> None:
    """Copy the published ImageNet backbone into ``model``, leaving its one-logit head as initialised."""
    import torch

    if row.family == "torchvision":
        import torchvision

        url = torchvision.models.get_model_weights(row.builder).IMAGENET1K_V1.url
    else:
        import timm

        published = timm.get_pretrained_cfg(row.builder)
        assert published is not None
        url = published.url
    file_name = url.rsplit("/", 1)[1]  # ends in the first digits of the file's SHA-256
    cached = Path(torch.hub.get_dir()) / "checkpoints" / file_name
    try:
        state = torch.hub.load_state_dict_from_url(
            url, progress=False, map_location="cpu", check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError, UnpicklingError) as error:
        raise InputError(
            f"ImageNet weights of {row.name} must be cached or downloadable, but {file_name} could not be had "
            f"({str(error).splitlines()[0]}); put that file at {cached}, or use --weights none"
        ) from error
    backbone = {key: value for key, value in state.items() if not key.startswith("classifier.")}
    missing, unexpected = model.load_state_dict(backbone, strict=False)
    left = [key for key in missing if not key.startswith("classifier.")]
    if left or unexpected:
        raise InputError(
            f"weights must fit {row.name}, but {cached} lacks {left[:3]} and has {list(unexpected)[:3]} too many; "
            "delete it so that it is fetched again"
        )

"""The networks: EfficientNet B0 to B7 and V2-S (torchvision), EfficientNet-Lite0 to Lite4 (timm), and Lite0 by surgery.

Every one ends in dropout and one logit: above 0 is fake, below 0 is real (a probability of 0.5 apart). The table is
read without torch, which only building a network needs.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from data_store.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

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
        lite_of: The network that this one is, less its squeeze-and-excitation and with ReLU6 for SiLU; its weights
            fit but for the missing parts.
    """

    name: str
    family: Literal["torchvision", "timm"]
    builder: str
    resolution_px: int
    dropout: float
    stochastic_depth: float = 0.2
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    lite_of: str | None = None


def _table() -> dict[str, Architecture]:
    rows = [
        Architecture(name=f"B{i}", family="torchvision", builder=f"efficientnet_b{i}", resolution_px=px, dropout=p)
        for i, (px, p) in enumerate(
            [(224, 0.2), (240, 0.2), (260, 0.3), (300, 0.3), (380, 0.4), (456, 0.4), (528, 0.5), (600, 0.5)]
        )
    ]
    rows += [
        Architecture(name="V2-S", family="torchvision", builder="efficientnet_v2_s", resolution_px=384, dropout=0.2),
        Architecture(
            name="B0-lite",
            family="torchvision",
            builder="efficientnet_b0",
            resolution_px=224,
            dropout=0.2,
            lite_of="B0",
        ),
    ]
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


def check_resolution(name: str, resolution_px: int) -> None:
    """Check that a network can take an input of this size.

    Raises:
        InputError: It shrinks the input to less than one pixel, or no network has this name.
    """
    row = named(name)
    if resolution_px < STRIDE_PX:
        raise InputError(
            f"the resolution must be at least {STRIDE_PX} px, by which {name} shrinks its input, but got "
            f"{resolution_px}; use {row.resolution_px}"
        )


def fewest_crops(resolution_px: int) -> int:
    """Return how many crops a forward pass in training must have at least.

    Batch normalisation takes its statistics over crops and pixels, and at the smallest input the last layers see one
    pixel of each crop: a single crop has none.
    """
    return 2 if resolution_px <= STRIDE_PX else 1


def build(name: str, *, imagenet: bool = False) -> "nn.Module":
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
        if row.lite_of:
            _make_lite(model)
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


def head(model: "nn.Module") -> "nn.Linear":
    """Return the layer that makes the logit."""
    from torch import nn

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert layers[-1].out_features == 1
    return layers[-1]


def normalise(images: "Tensor", mean: tuple[float, float, float], std: tuple[float, float, float]) -> "Tensor":
    """Return (images - mean) / std for RGB images (batch, 3, height, width) in [0, 1]."""
    return normalise_in_place(images.clone(), mean, std)


def normalise_in_place(images: "Tensor", mean: tuple[float, float, float], std: tuple[float, float, float]) -> "Tensor":
    """Do what ``normalise`` does to the bit, in the images' own memory, and return them."""
    shift = images.new_tensor(mean).view(1, 3, 1, 1)
    scale = images.new_tensor(std).view(1, 3, 1, 1)
    return images.sub_(shift).div_(scale)


def forward(model: "nn.Module", images: "Tensor") -> "Tensor":
    """Return logits (batch,) of normalised images (batch, 3, resolution_px, resolution_px)."""
    logits: Tensor = model(images)  # (batch, 1)
    return logits.squeeze(1)


def is_head(key: str) -> bool:
    """Tell whether a tensor of a network's state belongs to the layer that makes the logit."""
    return key.startswith("classifier.")


def is_squeeze_excitation(key: str) -> bool:
    """Tell whether a tensor of a torchvision network's state belongs to a squeeze-and-excitation block."""
    return ".fc1." in key or ".fc2." in key


def _make_lite(model: "nn.Module") -> None:
    """Take squeeze-and-excitation out of a torchvision EfficientNet and put ReLU6 in for SiLU, in place.

    What is left keeps its name in the state, so that the whole network's weights fit.
    """
    from torch import nn
    from torchvision.ops import SqueezeExcitation

    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, SqueezeExcitation):
                setattr(parent, name, nn.Identity())
            elif isinstance(layer, nn.SiLU):
                setattr(parent, name, nn.ReLU6(inplace=True))


def _published_at(row: Architecture) -> str:
    """Return where a library has its ImageNet weights; the file's name ends in the first digits of its SHA-256."""
    if row.family == "torchvision":
        import torchvision

        url: str = torchvision.models.get_model_weights(row.builder).IMAGENET1K_V1.url
        return url
    import timm

    published = timm.get_pretrained_cfg(row.builder)
    assert published is not None
    assert isinstance(published.url, str)
    return published.url


def _check_hash(cached: Path) -> None:
    """Refuse a file that lies where the published one belongs and is another."""
    promised = cached.stem.rsplit("-", 1)[1]
    if not cached.is_file():
        return
    found = hashlib.sha256(cached.read_bytes()).hexdigest()
    if not found.startswith(promised):
        raise InputError(
            f"ImageNet weights must be the published file, whose SHA-256 begins with {promised}, but that of {cached} "
            f"begins with {found[:8]}; delete it so that it is fetched again, or put the published file there"
        )


def _load_imagenet(row: Architecture, model: "nn.Module") -> None:
    """Copy the published ImageNet backbone into ``model``, leaving its one-logit head as initialised."""
    from pickle import UnpicklingError

    import torch

    url = _published_at(row)
    file_name = url.rsplit("/", 1)[1]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / file_name
    _check_hash(cached)  # torch checks what it has downloaded itself, and nothing else
    try:
        state = torch.hub.load_state_dict_from_url(
            url, progress=False, map_location="cpu", check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError, UnpicklingError) as error:
        raise InputError(
            f"ImageNet weights of {row.lite_of or row.name} must be cached or downloadable, but {file_name} could not "
            f"be had ({str(error).splitlines()[0]}); put that file at {cached}, or use --weights none"
        ) from error
    wanted = {key for key in state if not is_head(key) and not (row.lite_of and is_squeeze_excitation(key))}
    missing, unexpected = model.load_state_dict({key: state[key] for key in wanted}, strict=False)
    left = [key for key in missing if not is_head(key)]
    if left or unexpected:
        raise InputError(
            f"weights must fit {row.name}, but {cached} lacks {left[:3]} and has {list(unexpected)[:3]} too many; "
            "delete it so that it is fetched again"
        )

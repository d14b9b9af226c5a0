"""Flip, rotation and colour jitter on whole batches, each sample with parameters of its own.

The distribution is that of torchvision's ``RandomHorizontalFlip``, ``RandomRotation(bilinear)`` and
``ColorJitter``, applied in this order. Two things are fixed where torchvision draws: the colour operations
always come as brightness, contrast, saturation, hue, and a mirrored crop and its rotation are one resampling
with the resize to the model's resolution, not three.

A sample's pixels are a function of its crop and its row of parameters alone: whatever stands beside it in the
batch, they are the same bits. Every operation is therefore elementwise or per sample, and the mean that the
contrast needs is summed as integers.
"""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.recipes import Augmentation

PARAMETERS = ("mirror", "rotation_degrees", "brightness", "contrast", "saturation", "hue")
"""Columns of ``epoch_parameters``: 0 or 1; degrees counter-clockwise; three factors; hue shift in turns."""

_STREAM = 2  # high word of the Philox counter: keeps these draws apart from those of the sample order
_RED, _GREEN, _BLUE = torch.tensor(0.2989), 0.587, 0.114  # ITU-R BT.601 luma, as torchvision rounds it
_MEAN_STEPS = 4096.0  # a row's sum of greys is rounded to 1/4096 before it is summed exactly
_THREE = torch.tensor(3.0)  # a Python number would be made a tensor in every call
_CACHE_BYTES = 1 << 20  # float pixels worked on at once on a CPU: small enough to stay in its cache


def epoch_parameters(settings: Augmentation, num_crops: int, *, seed: int, epoch: int) -> npt.NDArray[np.float32]:
    """Draw the parameters of every crop for one epoch.

    Row i depends on (seed, epoch, i) alone: not on ``num_crops``, on batches or on what was drawn before. A
    switched-off operation does not move the draws of the others.

    Args:
        settings: How far to vary.
        num_crops: Number of crops of the training split.
        seed: The trial's data seed, at least 0.
        epoch: The epoch, at least 0.

    Returns:
        (num_crops, 6) float32, columns as in ``PARAMETERS``.
    """
    key = np.array([seed, epoch], np.uint64)
    counter = np.array([0, 0, 0, _STREAM], np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key, counter=counter))
    unit = generator.random((num_crops, len(PARAMETERS)), dtype=np.float32)  # in [0, 1)
    low = np.array(
        [
            0.0,
            -settings.rotation_degrees,
            max(0.0, 1 - settings.brightness),
            max(0.0, 1 - settings.contrast),
            max(0.0, 1 - settings.saturation),
            -settings.hue,
        ],
        np.float32,
    )
    high = np.array(
        [
            1.0,
            settings.rotation_degrees,
            1 + settings.brightness,
            1 + settings.contrast,
            1 + settings.saturation,
            settings.hue,
        ],
        np.float32,
    )
    drawn: npt.NDArray[np.float32] = low + unit * (high - low)
    drawn[:, 0] = (unit[:, 0] < 0.5) if settings.horizontal_flip else 0.0
    return drawn


def augment(
    crops_u8: Tensor,
    parameters: Tensor,
    settings: Augmentation,
    resolution_px: int,
    out: Tensor | None = None,
) -> Tensor:
    """Vary a batch of crops and bring it to the model's resolution, on the device that the crops are on.

    Args:
        crops_u8: (batch, crop_px, crop_px, 3) uint8 RGB.
        parameters: (batch, 6) float32, rows of ``epoch_parameters`` for these crops; any device.
        settings: The settings that the parameters were drawn with: an operation of strength 0 is left out.
        resolution_px: Height and width of the result.
        out: A tensor like the result, to be filled and returned. On a CPU the memory of a new one costs a
            third of the whole call at 224 px.

    Returns:
        (batch, 3, resolution_px, resolution_px) float32 RGB in [0, 1], channels last.

    Raises:
        ValueError: The crops are not square uint8 RGB, there is not one row of parameters a crop, or ``out``
            does not fit.
    """
    _check(crops_u8)
    if parameters.shape != (len(crops_u8), len(PARAMETERS)):
        raise ValueError(
            f"parameters must be ({len(crops_u8)}, {len(PARAMETERS)}), one row a crop, "
            f"but got {tuple(parameters.shape)}; take the rows of epoch_parameters at the batch's positions"
        )
    device, shape = crops_u8.device, (len(crops_u8), 3, resolution_px, resolution_px)
    if out is None:
        out = torch.empty(shape, device=device, memory_format=torch.channels_last)
    elif out.shape != shape or out.dtype != torch.float32 or out.device != device:
        raise ValueError(
            f"out must be {shape} torch.float32 on {device}, but is {tuple(out.shape)} {out.dtype} on "
            f"{out.device}; pass the result of an earlier call of the same size"
        )
    if len(crops_u8) == 0:
        return out
    parameters = parameters.to(device, torch.float32)
    # A GPU takes the batch at once; a CPU is twice as fast when a piece stays in its cache.
    on_cpu = device.type == "cpu"
    piece = max(1, _CACHE_BYTES // (12 * resolution_px**2)) if on_cpu else len(crops_u8)
    across, down = _source_steps(parameters, resolution_px)
    brightness, contrast, saturation, hue = parameters[:, 2:].T
    factors = torch.stack((brightness / 255, contrast, 1 - contrast, saturation, 1 - saturation, hue * 6))
    pieces = (crops_u8, parameters[:, 0], across, down, factors.view(6, -1, 1, 1, 1).transpose(0, 1), out)
    for crops, mirror, x_step, y_step, factor, place in zip(*(p.split(piece) for p in pieces), strict=True):
        pixels = _move(crops, mirror, x_step, y_step, settings, resolution_px)
        _colour(pixels, factor, settings, place)
    return out


def to_float(crops_u8: Tensor, resolution_px: int) -> Tensor:
    """Bring a batch of crops to the model's resolution and do nothing else: for evaluation.

    Args:
        crops_u8: (batch, crop_px, crop_px, 3) uint8 RGB.
        resolution_px: Height and width of the result.

    Returns:
        (batch, 3, resolution_px, resolution_px) float32 RGB in [0, 1], channels last.

    Raises:
        ValueError: The crops are not square uint8 RGB.
    """
    _check(crops_u8)
    pixels = _resize(_planar(crops_u8), resolution_px)
    return pixels.div_(255).clamp_(0, 1).contiguous(memory_format=torch.channels_last)


def _check(crops_u8: Tensor) -> None:
    """Refuse anything but square uint8 RGB crops, channels last."""
    shape = tuple(crops_u8.shape)
    if crops_u8.dtype != torch.uint8 or len(shape) != 4 or shape[3] != 3 or shape[1] != shape[2]:
        raise ValueError(
            f"crops must be (batch, crop_px, crop_px, 3) uint8, but got {shape} {crops_u8.dtype}; "
            "pass what gather returns"
        )


def _planar(crops_u8: Tensor) -> Tensor:
    """(batch, px, px, 3) uint8 -> (batch, 3, px, px) float32 in [0, 255], a channels-last copy."""
    return crops_u8.to(torch.float32).permute(0, 3, 1, 2)


def _resize(pixels: Tensor, resolution_px: int) -> Tensor:
    """Resize (batch, 3, px, px) bilinearly; with the triangle filter when that makes it smaller."""
    crop_px = pixels.shape[-1]
    if crop_px == resolution_px:
        return pixels
    size, smaller = (resolution_px, resolution_px), resolution_px < crop_px
    return F.interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=smaller)


def _source_steps(parameters: Tensor, resolution_px: int) -> tuple[Tensor, Tensor]:
    """Return where in the crop the columns and the rows of the result come from: (batch, resolution_px, 2) each.

    The pixel at column i and row j comes from ``across[i] + down[j]``, (x, y) in [-1, 1] over the crop.
    """
    mirror, degrees = parameters[:, 0], parameters[:, 1]
    turn = torch.deg2rad(degrees.double())  # rounded from double, every sample's cosine has the same bits
    cos, sin, sign = turn.cos().float(), turn.sin().float(), 1 - 2 * mirror
    centres = (torch.arange(resolution_px, device=parameters.device) * 2 + 1) / resolution_px - 1
    steps = torch.stack((sign * cos, sin, -sign * sin, cos), dim=-1)[:, None] * centres[None, :, None]
    return steps[..., :2].contiguous(), steps[..., 2:].contiguous()


def _move(
    crops_u8: Tensor, mirror: Tensor, across: Tensor, down: Tensor, settings: Augmentation, resolution_px: int
) -> Tensor:
    """Mirror, rotate and resize: -> (batch, 3, resolution_px, resolution_px) float32 in [0, 255].

    The corners that a rotation uncovers are black.
    """
    pixels = _planar(crops_u8)
    if settings.rotation_degrees == 0:
        pixels = _resize(pixels, resolution_px)
        return torch.where(mirror.bool().view(-1, 1, 1, 1), pixels.flip(-1), pixels)
    if resolution_px < pixels.shape[-1]:
        pixels = _resize(pixels, resolution_px)  # one bilinear pass would skip pixels here
    x, y = torch.view_as_complex(across)[:, None, :], torch.view_as_complex(down)[:, :, None]
    grid = torch.view_as_real(x + y)  # (batch, y, x, 2); complex numbers only to add pairs fast
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _colour(pixels: Tensor, factors: Tensor, settings: Augmentation, out: Tensor) -> None:
    """Jitter the colours of (batch, 3, px, px) float32 in [0, 255] and write them to ``out`` in [0, 1].

    As in torchvision each operation ends with a clamp to [0, 1]. Works in place.

    Args:
        pixels: Overwritten.
        factors: (batch, 6, 1, 1, 1): brightness / 255, contrast, 1 - contrast, saturation, 1 - saturation and
            the turn of the hue in sixths.
        settings: Which operations there are.
        out: Like ``pixels``, of any layout.
    """
    brightness, contrast, not_contrast, saturation, not_saturation, sixths = factors.unbind(1)
    pixels = pixels.mul_(brightness) if settings.brightness > 0 else pixels.div_(255)
    pixels.clamp_(0, 1)
    if settings.contrast > 0:
        rows = _grey(pixels).sum(-1).mul_(_MEAN_STEPS).to(torch.int64).sum((1, 2))  # (batch,)
        mean = rows.to(torch.float32).view(-1, 1, 1, 1) / (_MEAN_STEPS * pixels.shape[-1] ** 2)
        pixels.mul_(contrast).add_(not_contrast * mean).clamp_(0, 1)
    if settings.saturation > 0:
        grey = _grey(pixels).mul_(not_saturation)
        pixels.mul_(saturation).add_(grey).clamp_(0, 1)
    if settings.hue > 0:
        _shift_hue(pixels, sixths, far=settings.hue > 1 / 6)
    out.copy_(pixels)


def _grey(pixels: Tensor) -> Tensor:
    """Luma of (batch, 3, px, px) as (batch, 1, px, px)."""
    red, green, blue = _channels(pixels)
    return (red * _RED).add_(green, alpha=_GREEN).add_(blue, alpha=_BLUE)


def _channels(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Views of red, green and blue, each (batch, 1, px, px)."""
    return pixels[:, 0:1], pixels[:, 1:2], pixels[:, 2:3]


def _shift_hue(pixels: Tensor, sixths: Tensor, *, far: bool) -> None:
    """Turn the hue in HSV as torchvision's ``adjust_hue`` does, in place, without its divisions and branches.

    With M and m the largest and smallest channel and C = M - m, the hue in sixths of a turn from red, times
    C, is H = sign(g - b) (C + g + b - r - m): on the hexagon of equal (M, m) one channel is M and one m, and
    the cases of the usual definition fall together. After the shift a channel at distance D from the new hue
    (in sixths around the circle, times C) is M + C - D, held within [m, M]. For a distance straight along the
    line, up to 6 C, that is |D - 3 C| + m - C.

    Args:
        pixels: (batch, 3, px, px) float32 in [0, 1].
        sixths: (batch, 1, 1, 1) in [-3, 3], sixths of a turn.
        far: Whether a shift may go beyond one sixth; the new hue is then brought back to half a turn of red.
    """
    red, green, blue = _channels(pixels)
    largest = torch.maximum(red, green)
    torch.maximum(largest, blue, out=largest)
    smallest = torch.minimum(red, green)
    torch.minimum(smallest, blue, out=smallest)
    chroma = largest - smallest
    below = smallest - chroma
    hue = (green + blue).sub_(red).sub_(below).copysign_(green - blue)
    hue.add_(chroma * sixths)
    half_turn = chroma * _THREE
    if far:
        hue = torch.where(hue.abs() > half_turn, hue - torch.copysign(half_turn * 2, hue), hue)
    red.copy_(hue)  # from here on each channel holds its distance from the new hue
    torch.sub(hue, chroma, alpha=2, out=green)
    torch.add(hue, chroma, alpha=2, out=blue)
    pixels.abs_().sub_(half_turn).abs_().add_(below)
    torch.clamp(pixels, smallest, largest, out=pixels)

"""Flip, rotation and colour jitter on whole batches, each sample with parameters of its own.

The distribution is that of torchvision's ``RandomHorizontalFlip``, ``RandomRotation(bilinear)`` and
``ColorJitter``, applied in this order. Two things are fixed where torchvision draws: the colour operations
always come as brightness, contrast, saturation, hue, and a mirrored crop and its rotation are one resampling
with the resize to the model's resolution, not three.

A sample's pixels are a function of its crop and its row of parameters alone: whatever stands beside it in the
batch, they are the same bits. On a CPU each crop goes through OpenCV by itself; on a GPU the whole batch goes
through operations that are elementwise or per sample, and the mean that the contrast needs is summed as integers.
"""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.augmentation_opencv import augment_in_opencv
from trainables.recipes import Augmentation

PARAMETERS = ("mirror", "rotation_degrees", "brightness", "contrast", "saturation", "hue")
"""Columns of ``epoch_parameters``: 0 or 1; degrees counter-clockwise; three factors; hue shift in turns."""

_STREAM = 2  # high word of the Philox counter: keeps these draws apart from those of the sample order
_RED, _GREEN, _BLUE = 0.2989, 0.587, 0.114  # ITU-R BT.601 luma, as torchvision rounds it
_MEAN_STEPS = 4096.0  # a row's sum of greys is rounded to 1/4096 before it is summed exactly


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
    elif (
        out.shape != shape
        or out.dtype != torch.float32
        or out.device != device
        or not out.is_contiguous(memory_format=torch.channels_last)
    ):
        raise ValueError(
            f"out must be {shape} torch.float32 on {device}, channels last, but is {tuple(out.shape)} {out.dtype} on "
            f"{out.device}; pass the result of an earlier call of the same size"
        )
    if device.type == "cpu":
        augment_in_opencv(crops_u8, parameters.cpu(), settings, out)
    else:
        augment_in_torch(crops_u8, parameters.to(device), settings, out)
    return out


def augment_in_torch(crops_u8: Tensor, parameters: Tensor, settings: Augmentation, out: Tensor) -> None:
    """Vary a batch as a whole and write it to ``out``: what ``augment`` does where the crops are on a GPU.

    Args:
        crops_u8: (batch, crop_px, crop_px, 3) uint8 RGB.
        parameters: (batch, 6) float32, on the same device.
        settings: The settings that the parameters were drawn with.
        out: (batch, 3, resolution_px, resolution_px) float32, on the same device.
    """
    pixels = _move(crops_u8, parameters, settings, out.shape[-1])
    _colour(pixels, parameters, settings)
    out.copy_(pixels)


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


def _move(crops_u8: Tensor, parameters: Tensor, settings: Augmentation, resolution_px: int) -> Tensor:
    """Mirror, rotate and resize: -> (batch, 3, resolution_px, resolution_px) float32 in [0, 255].

    The corners that a rotation uncovers are black.
    """
    pixels = _planar(crops_u8)
    mirror, degrees = parameters[:, 0], parameters[:, 1]
    if settings.rotation_degrees == 0:
        pixels = _resize(pixels, resolution_px)
        return torch.where(mirror.bool().view(-1, 1, 1, 1), pixels.flip(-1), pixels)
    if resolution_px < pixels.shape[-1]:
        pixels = _resize(pixels, resolution_px)  # one bilinear pass would skip pixels here
    turn = torch.deg2rad(degrees.double())  # rounded from double, a sample's cosine has the same bits anywhere
    cos, sin, sign = (value.view(-1, 1, 1) for value in (turn.cos().float(), turn.sin().float(), 1 - 2 * mirror))
    centres = (torch.arange(resolution_px, device=pixels.device) * 2 + 1) / resolution_px - 1
    x, y = centres[None, None, :], centres[None, :, None]
    grid = torch.stack((sign * cos * x - sign * sin * y, sin * x + cos * y), dim=-1)  # (batch, y, x, 2)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _colour(pixels: Tensor, parameters: Tensor, settings: Augmentation) -> None:
    """Jitter the colours of (batch, 3, px, px) float32 in [0, 255], in place, to [0, 1].

    As in torchvision each operation ends with a clamp to [0, 1].
    """
    brightness, contrast, saturation, turns = parameters[:, 2:].T.reshape(4, -1, 1, 1, 1).unbind()
    pixels = pixels.mul_(brightness / 255) if settings.brightness > 0 else pixels.div_(255)
    pixels.clamp_(0, 1)
    if settings.contrast > 0:
        rows = _grey(pixels).sum(-1).mul_(_MEAN_STEPS).to(torch.int64).sum((1, 2))  # (batch,)
        mean = rows.to(torch.float32).view(-1, 1, 1, 1) / (_MEAN_STEPS * pixels.shape[-1] ** 2)
        pixels.mul_(contrast).add_((1 - contrast) * mean).clamp_(0, 1)
    if settings.saturation > 0:
        grey = _grey(pixels).mul_(1 - saturation)
        pixels.mul_(saturation).add_(grey).clamp_(0, 1)
    if settings.hue > 0:
        _shift_hue(pixels, turns, far=settings.hue > 1 / 6)


def _grey(pixels: Tensor) -> Tensor:
    """Luma of (batch, 3, px, px) as (batch, 1, px, px)."""
    red, green, blue = _channels(pixels)
    return (red * _RED).add_(green, alpha=_GREEN).add_(blue, alpha=_BLUE)


def _channels(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Views of red, green and blue, each (batch, 1, px, px)."""
    return pixels[:, 0:1], pixels[:, 1:2], pixels[:, 2:3]


def _shift_hue(pixels: Tensor, turns: Tensor, *, far: bool) -> None:
    """Turn the hue in HSV as torchvision's ``adjust_hue`` does, in place, without its divisions and branches.

    With M and m the largest and smallest channel and C = M - m, the hue in sixths of a turn from red, times
    C, is H = sign(g - b) (C + g + b - r - m): on the hexagon of equal (M, m) one channel is M and one m, and
    the cases of the usual definition fall together. After the shift a channel at distance D from the new hue
    (in sixths around the circle, times C) is M + C - D, held within [m, M]. For a distance straight along the
    line, up to 6 C, that is |D - 3 C| + m - C.

    Args:
        pixels: (batch, 3, px, px) float32 in [0, 1].
        turns: (batch, 1, 1, 1) in [-0.5, 0.5].
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
    hue.add_(chroma * (turns * 6))
    half_turn = chroma * 3
    if far:
        hue = torch.where(hue.abs() > half_turn, hue - torch.copysign(half_turn * 2, hue), hue)
    red.copy_(hue)  # from here on each channel holds its distance from the new hue
    torch.sub(hue, chroma, alpha=2, out=green)
    torch.add(hue, chroma, alpha=2, out=blue)
    pixels.abs_().sub_(half_turn).abs_().add_(below)
    torch.clamp(pixels, smallest, largest, out=pixels)

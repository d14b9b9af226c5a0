"""The augmentation on a CPU: one crop after the other through OpenCV, which keeps each in the cache.

Twice as fast there as the whole-batch operations that a GPU wants, and the same pixels but for the resampling:
OpenCV places a sample to 1/32 of a pixel and rounds to 8 bits, as torchvision does for images.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from torch import Tensor

from trainables.recipes import Augmentation

_GREY = np.array([0.2989, 0.587, 0.114])  # ITU-R BT.601 luma, as torchvision rounds it

Face = npt.NDArray[np.uint8]
Pixels = npt.NDArray[np.float32]


def augment_in_opencv(crops_u8: Tensor, parameters: Tensor, settings: Augmentation, out: Tensor) -> None:
    """Vary crops and write them to ``out``; arguments and result as in ``augment``, checked by it.

    Args:
        crops_u8: (batch, crop_px, crop_px, 3) uint8 RGB on the CPU.
        parameters: (batch, 6) float32.
        settings: The settings that the parameters were drawn with.
        out: (batch, 3, resolution_px, resolution_px) float32, channels last.
    """
    resolution_px = out.shape[-1]
    if resolution_px < crops_u8.shape[1]:
        planar = crops_u8.permute(0, 3, 1, 2)
        size = (resolution_px, resolution_px)
        smaller = F.interpolate(planar, size=size, mode="bilinear", align_corners=False, antialias=True)
        crops_u8 = smaller.permute(0, 2, 3, 1)
    faces: Face = crops_u8.contiguous().numpy()
    results: Pixels = out.permute(0, 2, 3, 1).numpy()  # (batch, resolution_px, resolution_px, 3) of the same memory
    for face, row, pixels in zip(faces, parameters.tolist(), results, strict=True):
        mirror, degrees, *factors = row
        np.copyto(pixels, _moved(face, mirror == 1, degrees, settings, resolution_px))
        _colour(pixels, *factors, settings=settings)


def _moved(face: Face, mirror: bool, degrees: float, settings: Augmentation, resolution_px: int) -> Face:
    """Mirror, rotate and enlarge one crop; the corners that a rotation uncovers are black."""
    size = (resolution_px, resolution_px)
    if settings.rotation_degrees == 0:
        resized = face if face.shape[0] == resolution_px else cv2.resize(face, size, interpolation=cv2.INTER_LINEAR)
        return resized[:, ::-1] if mirror else resized  # type: ignore[return-value]
    scale, sign = face.shape[0] / resolution_px, -1 if mirror else 1
    cos, sin = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    centre, source_centre = (resolution_px - 1) / 2, (face.shape[0] - 1) / 2
    # Where in the crop a pixel of the result comes from.
    source = np.array([[sign * cos, -sign * sin, 0], [sin, cos, 0]])
    source[:, 2] = source_centre - source[:, :2].sum(1) * centre
    return cv2.warpAffine(face, source, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)  # type: ignore[return-value]


def _colour(
    pixels: Pixels, brightness: float, contrast: float, saturation: float, turns: float, *, settings: Augmentation
) -> None:
    """Jitter the colours of (px, px, 3) float32 in [0, 255], in place, to [0, 1]; each operation ends clamped."""
    np.multiply(pixels, np.float32(brightness / 255), out=pixels)
    if settings.brightness > 0:
        cv2.threshold(pixels, 1, 1, cv2.THRESH_TRUNC, dst=pixels)
    if settings.contrast > 0:
        mean = cv2.mean(cv2.transform(pixels, _GREY[None]))[0]
        cv2.addWeighted(pixels, contrast, pixels, 0, (1 - contrast) * mean, dst=pixels)
        _clamp(pixels)
    if settings.saturation > 0:
        cv2.transform(pixels, saturation * np.eye(3) + (1 - saturation) * _GREY, dst=pixels)
        _clamp(pixels)
    if settings.hue > 0:
        hsv: Pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), np.float32)
        hsv[..., 0] += np.float32(360 * (turns % 1))  # the way back takes degrees up to 720, but none below 0
        cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=pixels)


def _clamp(pixels: Pixels) -> None:
    cv2.threshold(pixels, 1, 1, cv2.THRESH_TRUNC, dst=pixels)
    cv2.threshold(pixels, 0, 0, cv2.THRESH_TOZERO, dst=pixels)

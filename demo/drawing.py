"""Boxes and labels, drawn straight into a frame's luma and colour planes: no frame is converted to be drawn on."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from demo.footage import Planes
from demo.verdicts import AUTHENTIC, DEEPFAKE, TOO_SMALL, UNCERTAIN

LOOKING = "looking"
"""In place of a verdict before a face's first score."""
COLOURS = {
    AUTHENTIC: (30, 158, 90),
    DEEPFAKE: (224, 49, 49),
    UNCERTAIN: (214, 140, 0),
    TOO_SMALL: (120, 126, 134),
    LOOKING: (120, 126, 134),
}
"""RGB; also the page's."""
FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
SMALLEST_TEXT_PX = 11
DARK = (16, 128, 128)


class Yuv(NamedTuple):
    """A colour in BT.601, limited range."""

    y: int
    u: int
    v: int


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What is drawn about one face in one frame."""

    face: int
    """Number of the face."""
    left: float
    """Of the box, in pixels of the full frame, as the others."""
    top: float
    width: float
    height: float
    verdict: str
    """A verdict's word, or ``LOOKING``."""
    probability: float | None
    """Of being fake; None where it was not scored."""

    @property
    def label(self) -> str:
        """Verdict and how probable it is."""
        return label(self.verdict, self.probability)


def label(verdict: str, probability: float | None) -> str:
    """The words beside a box: the verdict, and the probability of what it says."""
    if probability is None:
        return verdict
    if verdict == UNCERTAIN:
        return f"{verdict} \N{MIDDLE DOT} {100 * probability:.0f} % fake"
    return f"{verdict} {100 * (probability if verdict == DEEPFAKE else 1 - probability):.0f} %"


def draw(planes: Planes, marks: Sequence[Mark], scale: float, *, numbered: bool) -> None:
    """Draw boxes and labels into a frame.

    Args:
        planes: of the marked video, writable.
        marks: what to draw.
        scale: pixels of the marked video in one of the full frame.
        numbered: name the faces too.
    """
    rows, columns = planes[0].shape
    thick = max(2, round(min(rows, columns) / 300) * 2)
    text_px = max(SMALLEST_TEXT_PX, min(rows, columns) // 34)
    for mark in marks:
        colour = COLOURS[mark.verdict]
        left, top = round(mark.left * scale), round(mark.top * scale)
        right, bottom = round((mark.left + mark.width) * scale), round((mark.top + mark.height) * scale)
        _frame(planes, (left - 2, top - 2, right + 2, bottom + 2), thick + 4, Yuv(*DARK))
        _frame(planes, (left, top, right, bottom), thick, yuv(colour))
        words = f"{mark.face}  {mark.label}" if numbered else mark.label
        _paste(planes, _patch(words, colour, text_px), left - 2, top - 2, bottom + 2)


def yuv(rgb: tuple[int, int, int]) -> Yuv:
    """Turn an RGB colour into luma and colour (ITU-R BT.601, limited range)."""
    return Yuv(*(round(float(value)) for value in _YUV @ np.array(rgb, np.float64) + _OFFSET))


_YUV = (
    np.array(
        [
            [65.481, 128.553, 24.966],
            [-37.797, -74.203, 112.0],
            [112.0, -93.786, -18.214],
        ]
    )
    / 255.0
)
_OFFSET = np.array([16.0, 128.0, 128.0])


def _frame(planes: Planes, edges: tuple[int, int, int, int], thick: int, colour: Yuv) -> None:
    """Draw a rectangle's outline, inwards from its edges; what sticks out of the frame is left out."""
    for plane, value, part in zip(planes, colour, (1, 2, 2), strict=True):
        rows, columns = plane.shape
        left, top, right, bottom = (edge // part for edge in edges)
        line = max(1, thick // part)
        across = slice(max(0, left), min(max(0, right), columns))
        down = slice(max(0, top), min(max(0, bottom), rows))
        for start in (top, bottom - line):
            plane[max(0, start) : max(0, start + line), across] = value
        for start in (left, right - line):
            plane[down, max(0, start) : max(0, start + line)] = value


class _Patch(NamedTuple):
    """A label, ready to be blended into the planes."""

    values: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
    """Y, U, V, each times its opacity."""
    clear: tuple[NDArray[np.float32], NDArray[np.float32]]
    """Of the luma's pixels and of the colour's: share of the picture that shows through."""


@functools.lru_cache(maxsize=512)
def _patch(words: str, colour: tuple[int, int, int], text_px: int) -> _Patch:
    """Render a label: white words on a rounded plate."""
    font = ImageFont.truetype(str(FONT), text_px)
    left, top, right, bottom = font.getbbox(words)
    pad_x, pad_y = round(text_px * 0.5), round(text_px * 0.32)
    height = round(text_px * 1.05) + 2 * pad_y
    width = round(right - left) + 2 * pad_x
    width, height = width + width % 2, height + height % 2
    image = Image.new("RGBA", (width, height), (*colour, 0))
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((0, 0, width - 1, height - 1), radius=text_px // 4, fill=(*colour, 255))
    pen.text((pad_x - left, height / 2), words, fill=(255, 255, 255, 255), font=font, anchor="lm")
    pixels = np.asarray(image, np.float64)
    opacity = pixels[..., 3] / 255.0
    full = pixels[..., :3] @ _YUV.T + _OFFSET  # (height, width, 3)
    quarter = full.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
    opacity_quarter = opacity.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
    values = (full[..., 0] * opacity, quarter[..., 1] * opacity_quarter, quarter[..., 2] * opacity_quarter)
    return _Patch(
        (values[0].astype(np.float32), values[1].astype(np.float32), values[2].astype(np.float32)),
        ((1 - opacity).astype(np.float32), (1 - opacity_quarter).astype(np.float32)),
    )


def _paste(planes: Planes, patch: _Patch, left: int, top: int, bottom: int) -> None:
    """Blend a label in above a box, below it where there is no room above, always inside the frame."""
    rows, columns = planes[0].shape
    height, width = patch.values[0].shape
    y = top - height if top >= height else bottom
    y = min(max(0, y), max(0, rows - height)) // 2 * 2
    x = min(max(0, left), max(0, columns - width)) // 2 * 2
    for plane, values, clear, part in zip(
        planes, patch.values, (patch.clear[0], patch.clear[1], patch.clear[1]), (1, 2, 2), strict=True
    ):
        region = plane[y // part : y // part + values.shape[0], x // part : x // part + values.shape[1]]
        seen = (slice(region.shape[0]), slice(region.shape[1]))  # a label wider than the frame is cut
        region[...] = (region * clear[seen] + values[seen]).astype(np.uint8)

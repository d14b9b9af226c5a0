"""What every drawing step of the Pareto picture shares: places, colours, sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.comparison import Comparison, Point
from analysis.published import PublishedModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito (2008), ordered so that neighbours differ in lightness as well as in hue.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, SOFT, FAINT, FRONT = "#222222", "#555555", "#8a8a8a", "#444444"
DODGE_POINTS = 9.0
"""Points of equal cost stand this far apart (1/72 inch) so that their bars can be told apart."""
MOST_NAMED = 15
"""Up to this many points, every one is named; else those on the front and the teachers."""
MOST_LABELS = 12
"""Of a longer front, as many are named, spread evenly along it, its ends and its knee among them."""
MOST_BARS = 60
"""Up to this many points, every one has its bars and stands beside its equals; else those on the front."""
CROWD = 300
"""With more points than this, those that are dominated are dots."""
MOST_VECTORS = 3000
"""With more points than this, the dots are an image within the SVG."""

Style = dict[str, tuple[str, str]]
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A comparison on its axes: what every drawing step needs."""

    axes: "Axes"
    comparison: Comparison
    style: Style
    at: Array
    """(num_points, 2) where each point stands, in shown units, side by side where costs are equal."""
    pixel: float
    """Pixels in 1/72 inch."""
    published: tuple[PublishedModel, ...]

    def to_pixels(self, xy: Array) -> Array:
        """Return (n, 2) places in shown units as pixels."""
        return np.asarray(self.axes.transData.transform(xy), dtype=np.float64).reshape(-1, 2)

    def colour(self, point: Point) -> str:
        """Return the colour of a point's architecture."""
        return self.style[point.trial.architecture][0]


def styles(architectures: Sequence[str]) -> Style:
    """Return (colour, marker) for each architecture, the same for the same set of names."""
    names = sorted(set(architectures))
    return {name: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(names)}


def barred(comparison: Comparison) -> list[int]:
    """Return the points that get interval bars, those on the front first: all while they are few."""
    points = comparison.points
    few = len(points) <= MOST_BARS
    return sorted(
        (index for index in range(len(points)) if few or points[index].on_front),
        key=lambda index: not points[index].on_front,
    )

"""Where names go in a picture so that none covers another name, a point or a bar."""

from collections.abc import Sequence
from dataclasses import dataclass

STEPS = (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6, 7, -7, 8, -8)
"""Tried heights of a name above its point, in heights of the name."""

REACHES = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
"""Tried distances of a name from its point, in gaps."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle in pixels, y upwards."""

    left: float
    bottom: float
    right: float
    top: float

    @staticmethod
    def around(x: float, y: float, width: float, height: float) -> "Box":
        """Return the box of that size centred on a point."""
        return Box(left=x - width / 2, right=x + width / 2, bottom=y - height / 2, top=y + height / 2)

    @property
    def middle(self) -> float:
        """Height of the middle."""
        return (self.bottom + self.top) / 2

    def overlap(self, other: "Box") -> float:
        """Return the shared area."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return width * height if width > 0 and height > 0 else 0.0

    def inside(self, other: "Box") -> bool:
        """Tell whether this box lies within another."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.bottom >= other.bottom
            and self.top <= other.top
        )

    def near_end(self, x: float) -> tuple[float, float]:
        """Return the end of the box's middle line that is nearer to an x."""
        side = self.left if abs(self.left - x) < abs(self.right - x) else self.right
        return side, self.middle


def place(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    *,
    obstacles: Sequence[tuple[Box, float]],
    frame: Box,
    gap: float,
) -> list[Box | None]:
    """Return a box for each name, None where none fits without covering another name.

    Names are placed in the given order, each at the free place nearest to its point: right or left of it, at
    its height or stepped up or down. Names never overlap; points and bars are covered only at a price.

    Args:
        points: centres of the named points.
        sizes: (width, height) of each name.
        obstacles: (box, price of touching it) of points, bars and lines that should stay visible.
        frame: the area that names must stay within.
        gap: distance between a point and its name.
    """
    placed: list[Box | None] = []
    for (x, y), (width, height) in zip(points, sizes, strict=True):
        best: tuple[float, Box] | None = None
        for reach in REACHES:
            for step in STEPS:
                for side in (1, -1):
                    price = abs(step) + (0.4 if side < 0 else 0) + 0.5 * (reach - 1)
                    if best and price >= best[0]:
                        continue
                    centre = x + side * (gap * reach + width / 2)
                    box = Box.around(centre, y + step * height * 0.55, width, height)
                    if not box.inside(frame) or any(other and box.overlap(other) > 0 for other in placed):
                        continue
                    price += sum(cost for obstacle, cost in obstacles if box.overlap(obstacle) > 0)
                    if best is None or price < best[0]:
                        best = (price, box)
        placed.append(best[1] if best else None)
    return placed

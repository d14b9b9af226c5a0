"""The space of a search: axes with declared steps, so that it is finite and two configs are equal or a step apart."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from sweeps.engine.space import Known, PlannedTrial, Setting, Sweep

Value = str | float | int
Point = Mapping[str, Value]
"""One value an axis."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One quantity that a search varies.

    Attributes:
        name: Of the quantity.
        values: All that it may be, numbers in rising order.
        log: Whether its steps are factors.
    """

    name: str
    values: tuple[Value, ...]
    log: bool = False

    @property
    def numeric(self) -> bool:
        """Whether its values have an order and distances."""
        return not any(isinstance(value, str) for value in self.values)

    def nearest(self, value: Value) -> Value:
        """Return the axis's value that is closest."""
        if not self.numeric:
            return value
        return min(self.values, key=lambda own: abs(self.place(own) - self.place(value)))

    def place(self, value: Value) -> float:
        """Return where a number lies on the axis."""
        return math.log(float(value)) if self.log else float(value)

    def distance(self, one: Value, other: Value) -> float:
        """Return how far two values are apart: 1 from end to end, and between two names."""
        if not self.numeric:
            return float(one != other)
        length = self.place(self.values[-1]) - self.place(self.values[0])
        return abs(self.place(one) - self.place(other)) / length if length else 0.0


def choice(name: str, *values: str) -> Axis:
    """Return an axis of names."""
    return Axis(name=name, values=values)


def steps(name: str, first: float, last: float, step: float) -> Axis:
    """Return an axis of equal steps: ``first``, ``first + step``, to ``last``."""
    count = round((last - first) / step) + 1
    values = [round(first + place * step, 10) for place in range(count)]
    return Axis(name=name, values=tuple(int(value) if value == int(value) else value for value in values))


def factors(name: str, first: float, factor: float, count: int) -> Axis:
    """Return an axis of equal factors: ``first``, ``first * factor``, and so on, to 3 digits."""
    return Axis(name=name, values=tuple(float(f"{first * factor**place:.3g}") for place in range(count)), log=True)


@dataclass(frozen=True, kw_only=True)
class Space:
    """What a search chooses from.

    Attributes:
        axes: What is varied.
        canonical: Maps points that compute the same to one of them.
        plan: The trials of a point, in the order in which they depend on one another; the last is the point's own.
        network: (architecture, resolution_px, prune ratio by size) of a point's model.
    """

    axes: tuple[Axis, ...]
    canonical: Callable[[Point], Point]
    plan: Callable[[Setting, Point], list[PlannedTrial]]
    network: Callable[[Setting, Point], tuple[str, int, float]]

    def cells(self) -> Iterator[Point]:
        """Return every distinct point, in the order of the axes."""
        seen = set()
        for values in itertools.product(*(axis.values for axis in self.axes)):
            point = self.canonical(dict(zip((axis.name for axis in self.axes), values, strict=True)))
            if key_of(point) not in seen:
                seen.add(key_of(point))
                yield point


def with_seeds(space: Space, num_seeds: int) -> Space:
    """Return the space with the seed as one more axis: 0 for the sweep's own, 1 for the next, and so on."""
    if num_seeds == 1:
        return space

    def plan(setting: Setting, point: Point) -> list[PlannedTrial]:
        return of_seed(space.plan(replace(setting, seed=setting.seed + int(point["seed"])), point), int(point["seed"]))

    return replace(
        space,
        axes=(*space.axes, Axis(name="seed", values=tuple(range(num_seeds)))),
        canonical=lambda point: {**space.canonical(point), "seed": point["seed"]},
        plan=plan,
    )


def seeded(sweep: Sweep, num_seeds: int) -> Sweep:
    """Return the sweep with each of its trials, teachers and all, once a seed."""
    if num_seeds == 1:
        return sweep
    first, more = sweep.trials, sweep.more

    def settings(setting: Setting) -> list[Setting]:
        return [replace(setting, seed=setting.seed + place) for place in range(num_seeds)]

    def every(setting: Setting) -> list[PlannedTrial]:
        return [row for place, own in enumerate(settings(setting)) for row in of_seed(first(own), place)]

    def further(setting: Setting, known: Known) -> list[PlannedTrial]:
        assert more is not None
        return [row for place, own in enumerate(settings(setting)) for row in of_seed(more(own, known), place)]

    space = with_seeds(sweep.space, num_seeds) if sweep.space else None
    return replace(sweep, trials=first if space else every, more=further if more else None, space=space)


def of_seed(trials: list[PlannedTrial], place: int) -> list[PlannedTrial]:
    """Return trials with their seed in their names, the first seed's as they are."""
    return [replace(trial, name=f"{trial.name}, seed {place}") if place else trial for trial in trials]


def key_of(point: Point) -> tuple[tuple[str, Value], ...]:
    """Return a point as something that can be in a set."""
    return tuple(sorted(point.items()))

"""Which point of a space to try next: a pure function of what was tried, so that a relaunch changes nothing.

The samplers are Optuna's. Each suggestion is made by a sampler of its own, seeded by the search's seed and the
suggestion's number, on a study that is rebuilt from the history: no state is kept that a crash could lose. A sampler
may repeat itself; what was tried is never tried again: the nearest point that was not takes its place.
"""

import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from data_store.errors import InputError
from sweeps.engine.axes import Axis, Point, Space, key_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

METHODS = ("grid", "random", "tpe", "nsga2", "gp")
LISTED = ("grid", "random")
"""Methods that need no axes: they order the cells that a sweep lists."""
STARTUP = 10
"""Random points before a model is fitted, and the size of a generation."""
OBJECTIVES = ("val_auc", "size_mb", "predicted_latency_ms")
DIRECTIONS: tuple[Literal["maximize", "minimize"], ...] = ("maximize", "minimize", "minimize")

Standing = Literal["open", "done", "stopped", "failed"]


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A point that was suggested.

    Attributes:
        point: What was suggested.
        standing: What became of it.
        values: Of ``OBJECTIVES``, when it is done.
        notes: What the sampler wants to find again: the generation of a genetic search.
    """

    point: Point
    standing: Standing = "open"
    values: tuple[float, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)


def suggest(
    space: Space,
    method: str,
    seed: int,
    history: Sequence[Tried],
    allowed: Callable[[Point], bool] = lambda _: True,
) -> Tried | None:
    """Return the next point to try, or None when none is left.

    Args:
        space: What to choose from.
        method: One of ``METHODS``.
        seed: Of the search.
        history: All that was suggested, in order.
        allowed: Whether a point may be tried at all; asked of no more points than there is need to.
    """
    taken = {key_of(row.point) for row in history}
    left = [cell for cell in space.cells() if key_of(cell) not in taken]
    if not any(allowed(cell) for cell in left):
        return None
    if method == "grid":
        return Tried(point=next(filter(allowed, left)))
    if method == "random":
        return Tried(point=next(filter(allowed, _drawn(left, random.Random(f"{seed} {len(history)}")))))
    asked, notes = _ask(space.axes, method, seed, history)
    rounded = space.canonical({axis.name: axis.nearest(asked[axis.name]) for axis in space.axes})
    left.sort(key=lambda cell: sum(axis.distance(cell[axis.name], rounded[axis.name]) for axis in space.axes))
    return Tried(point=next(filter(allowed, left)), notes=notes)


def _drawn(left: list[Point], draw: random.Random) -> Iterator[Point]:
    """Draw points until there are no more."""
    while left:
        yield left.pop(draw.randrange(len(left)))


def in_order(method: str, seed: int, count: int) -> list[int]:
    """Return the order in which the cells of a sweep that lists them are begun; each comes once.

    Raises:
        InputError: The method needs axes.
    """
    if method not in LISTED:
        raise InputError(
            f"--search {method} needs a space of axes, but this sweep lists its cells; use {' or '.join(LISTED)}, or "
            "ask sweeps/search.py"
        )
    order = list(range(count))
    if method == "random":
        random.Random(seed).shuffle(order)
    return order


def write_study(file: Path, name: str, space: Space, history: Sequence[Tried]) -> None:
    """Write the history as a study that ``optuna-dashboard`` opens, in place of the file there."""
    with _quiet():
        from optuna import create_study
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        partial = file.with_suffix(".part")
        partial.unlink(missing_ok=True)
        study = create_study(
            study_name=name, storage=JournalStorage(JournalFileBackend(str(partial))), directions=list(DIRECTIONS)
        )
        study.set_metric_names(list(OBJECTIVES))
        study.add_trials(_trials(space.axes, history))
    partial.replace(file)


def _ask(
    axes: Sequence[Axis], method: str, seed: int, history: Sequence[Tried]
) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Return what the sampler wants to try, and its notes on it."""
    with _quiet():
        study = _study(axes, method, hash_seed(seed, len(history)), history)
        trial = study.ask({axis.name: _distribution(axis) for axis in axes})
        kept = study.get_trials(deepcopy=False)[-1].system_attrs
        return dict(trial.params), {key: value for key, value in kept.items() if "generation" in key}


def hash_seed(seed: int, number: int) -> int:
    """Return the seed of one suggestion."""
    return random.Random(f"{seed} {number}").getrandbits(31)


def _study(axes: Sequence[Axis], method: str, seed: int, history: Sequence[Tried]) -> "Study":
    from optuna import create_study

    study = create_study(directions=list(DIRECTIONS), sampler=_sampler(method, seed))
    study.add_trials(_trials(axes, history))
    return study


def _sampler(method: str, seed: int) -> "BaseSampler":
    from optuna import samplers

    if method == "tpe":
        return samplers.TPESampler(seed=seed, n_startup_trials=STARTUP, multivariate=True, constant_liar=True)
    if method == "nsga2":
        return samplers.NSGAIISampler(seed=seed, population_size=STARTUP)
    assert method == "gp"
    return samplers.GPSampler(seed=seed, n_startup_trials=STARTUP)


def _trials(axes: Sequence[Axis], history: Sequence[Tried]) -> "list[FrozenTrial]":
    from optuna.trial import TrialState, create_trial

    states = {
        "open": TrialState.RUNNING,
        "done": TrialState.COMPLETE,
        "stopped": TrialState.PRUNED,
        "failed": TrialState.FAIL,
    }
    distributions = {axis.name: _distribution(axis) for axis in axes}
    return [
        create_trial(
            state=states[row.standing],
            params=dict(row.point),
            distributions=distributions,
            values=list(row.values) if row.standing == "done" else None,
            system_attrs=dict(row.notes),
        )
        for row in history
    ]


def _distribution(axis: Axis) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if not axis.numeric or len(axis.values) == 1:
        return CategoricalDistribution(axis.values)
    return FloatDistribution(float(axis.values[0]), float(axis.values[-1]), log=axis.log)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna's remarks, on what it calls experimental, off the user's screen."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)

"""A search in progress: what it has suggested, what came of it, and what it suggests next; the journal is its state."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from data_store.errors import InputError
from sweeps.engine.axes import Point, Space, key_of
from sweeps.engine.forecast import Footprint, Forecasts
from sweeps.engine.journal import Journal, State
from sweeps.engine.searchers import Tried, suggest, write_study
from sweeps.engine.space import PlannedTrial, Setting
from trainables import metric_keys as keys
from trainables.limits import Limits
from trainables.predicted_latency import MIN_GRAPHS, LatencyFit, Work, predict

STUDY_FILE = "study.log"
FITTED_NETWORKS = 8
"""Networks that are timed at a search's start, spread over its space."""
FITTED_SHARES = (0.0, 0.2, 0.4, 0.6)
"""Of a network's channels, taken off: so each is timed where a space has too few networks to fit to."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A point of the space and what is known of it beforehand.

    Attributes:
        point: The point.
        trials: Its trials, its own last.
        chain: Their identities.
        network: ``architecture@resolution_px``.
        ratio: Share of the network's size that pruning removes.
    """

    point: Point
    trials: Sequence[PlannedTrial]
    chain: Sequence[str]
    network: str
    ratio: float


@dataclass(kw_only=True)
class Search:
    """Suggests points until so many were tried.

    Attributes:
        space: What it chooses from.
        method: One of ``searchers.METHODS``.
        setting: Of the sweep.
        limits: What a model may cost.
        num_trials: Points to try in all.
        ahead: Points that are open at a time.
        forecasts: Knows what networks cost.
        folder: The sweep's; the study for ``optuna-dashboard`` is written there.
    """

    space: Space
    method: str
    setting: Setting
    limits: Limits
    num_trials: int
    ahead: int
    forecasts: Forecasts
    folder: Path
    _cells: dict[tuple[object, ...], Cell | None] = field(default_factory=dict)
    _footprints: dict[str, Footprint] = field(default_factory=dict)
    _fit: LatencyFit | None = None
    _num_points: int = 0
    _exhausted: bool = False

    def prepare(self, journal: Journal) -> None:
        """Lay out the space and, once in a sweep's life, fit what latency is predicted by.

        Raises:
            InputError: No model of the space keeps to the limits.
        """
        self._cells = {}
        networks = sorted({_split(cell.network) for cell in representatives(self.space, self.setting)})
        device, num_threads = self.setting.device, self.setting.num_threads
        self._footprints = self.forecasts.footprints(networks, device=device, num_threads=num_threads)
        if journal.state.latency_fit is None:
            spread = sorted(networks, key=lambda row: self._footprints[f"{row[0]}@{row[1]}"].macs)
            step = max(1, len(spread) // FITTED_NETWORKS)
            timed = spread[::step]
            shares = (0.0,) if len(timed) >= MIN_GRAPHS else FITTED_SHARES
            fit = self.forecasts.latency_fit(timed, shares=shares)
            journal.append("latency_fit", fit=fit)
        assert journal.state.latency_fit is not None
        self._fit = LatencyFit(**journal.state.latency_fit)
        self._num_points = sum(self._keeps_limits(point) for point in self.space.cells())
        if not self._num_points:
            raise InputError(self._nothing_fits())

    @property
    def fit(self) -> LatencyFit:
        """What latency is predicted by."""
        assert self._fit is not None
        return self._fit

    @property
    def pruned_limits(self) -> Limits | None:
        """What a pruned model may cost; None where it may cost anything."""
        return replace(self.limits, fit=self.fit) if self.limits.any else None

    def grow(self, journal: Journal) -> list[PlannedTrial]:
        """Suggest points while fewer than ``ahead`` are open, and return the trials of all that were suggested.

        Each suggestion is in the journal before anything is done about it.
        """
        history = self.history(journal.state)
        before = len(history)
        ended = journal.state.failed.keys() | journal.state.stopped.keys()

        def allowed(point: Point) -> bool:
            if not self._keeps_limits(point):
                return False
            cell = self._cell(point)
            return cell is not None and ended.isdisjoint(cell.chain)

        while len(history) < self.num_trials and sum(row.standing == "open" for row in history) < self.ahead:
            row = suggest(self.space, self.method, self.setting.seed, history, allowed)
            if row is None:
                self._exhausted = True
                break
            cell = self._planned(row.point)
            journal.append(
                "suggested",
                number=len(history),
                point=dict(row.point),
                notes=dict(row.notes),
                trial=cell.chain[-1],
            )
            history.append(row)
        if len(history) > before or any(row.standing != "open" for row in history):
            write_study(self.folder / STUDY_FILE, self.folder.name, self.space, history)
        suggested = [(self._planned(row["point"]), row["trial"]) for row in journal.state.suggested]
        return [trial for cell, own in suggested if cell.chain[-1] == own for trial in cell.trials]

    def to_come(self, journal: Journal) -> int:
        """Return how many trials its next points will plan, if each plans as many of its own as those so far.

        There are no more points than the space has within the limits, however many are asked for.
        """
        suggested = tuple(journal.state.suggested)
        left = max(0, min(self.num_trials, self._num_points) - len(suggested))
        if self._exhausted or not suggested:
            return 0 if self._exhausted else left
        planned = {trial for row in suggested for trial in self._planned(row["point"]).chain}
        return round(left * len(planned) / len(suggested))

    def history(self, state: State) -> list[Tried]:
        """Return what was suggested, and what became of it."""
        return [self._tried(row["point"], row["notes"], row["trial"], state) for row in state.suggested]

    def _tried(self, point: Point, notes: dict[str, object], own: str, state: State) -> Tried:
        chain = _chain(own, state)
        if own in state.finished:
            values = self._values(state.finished[own]["metrics"])
            return Tried(point=point, notes=notes, standing="done" if values else "failed", values=values)
        if any(trial in state.failed for trial in chain):
            return Tried(point=point, notes=notes, standing="failed")
        if any(trial in state.stopped for trial in chain):
            return Tried(point=point, notes=notes, standing="stopped")
        return Tried(point=point, notes=notes)

    def _values(self, metrics: dict[str, float]) -> tuple[float, ...]:
        """Return the objectives of a finished trial; none where they are not known."""
        auc = metrics.get(keys.scored("val", keys.AUC))
        return (
            ()
            if auc is None or keys.TRAFFIC_MB not in metrics
            else (auc, metrics[keys.SIZE_MB], self.latency_ms(metrics))
        )

    def latency_ms(self, metrics: dict[str, float]) -> float:
        """Return the predicted milliseconds of a finished trial's graph."""
        return predict(
            self.fit,
            Work(
                macs=int(metrics[keys.MACS]),
                traffic_bytes=int(metrics[keys.TRAFFIC_MB] * 1e6),
                num_operations=int(metrics[keys.OPERATIONS]),
            ),
        )

    def _planned(self, point: Point) -> Cell:
        """Return what a point that was suggested plans.

        Raises:
            InputError: It was suggested under a larger memory budget.
        """
        cell = self._cell(point)
        if cell is None:
            raise InputError(
                f"a search goes on with points that fit its memory budget, but {self.folder.name} has suggested "
                f"{dict(point)}, which does not fit this command's; give the --gpu-memory-gb that it began with"
            )
        return cell

    def _cell(self, point: Point) -> Cell | None:
        """Return what a point plans; None when its trials do not fit the memory budget."""
        key = key_of(point)
        if key not in self._cells:
            self._cells[key] = cell_of(self.space, self.setting, point)
        return self._cells[key]

    def _keeps_limits(self, point: Point) -> bool:
        return self.limits.allow(*self._cost(point)) if self.limits.any else self._known(point)

    def _known(self, point: Point) -> bool:
        """Tell whether a point's network fits the memory budget at all."""
        architecture, resolution_px, _ = self.space.network(self.setting, point)
        return f"{architecture}@{resolution_px}" in self._footprints

    def _cost(self, point: Point) -> tuple[float, float]:
        """Return size and latency as far as they are known before pruning, which takes its share of the size."""
        architecture, resolution_px, ratio = self.space.network(self.setting, point)
        footprint = self._footprints.get(f"{architecture}@{resolution_px}")
        if footprint is None:
            return math.inf, math.inf
        work = Work(
            macs=footprint.macs,
            traffic_bytes=footprint.traffic_bytes,
            num_operations=footprint.num_operations,
        )
        # How much faster a pruned network is shows only when it is pruned: until then, no faster than its share.
        return footprint.size_mb * (1 - ratio), predict(self.fit, work) * (1 - ratio)

    def _nothing_fits(self) -> str:
        costs = [self._cost(point) for point in self.space.cells()]
        return (
            f"a model must keep to --max-size-mb {self.limits.max_size_mb} and --max-latency-ms "
            f"{self.limits.max_latency_ms}, but the smallest of this space has {min(size for size, _ in costs):.2f} MB "
            f"and the fastest {min(ms for _, ms in costs):.2f} ms; raise the limit"
        )


def cell_of(space: Space, setting: Setting, point: Point) -> Cell | None:
    """Return what a point plans; None when its trials fit on no rung of the memory ladder."""
    architecture, resolution_px, ratio = space.network(setting, point)
    try:
        trials = space.plan(setting, point)
    except InputError:
        return None
    chain = [setting.identity(trial.config) for trial in trials]
    return Cell(point=point, trials=trials, chain=chain, network=f"{architecture}@{resolution_px}", ratio=ratio)


def representatives(space: Space, setting: Setting) -> list[Cell]:
    """Return one cell of each network with and without whatever an axis switches off at 0: all memory needs."""
    chosen: dict[object, Point] = {}
    for point in space.cells():
        zeros = tuple(value == 0 for value in point.values())
        chosen.setdefault((space.network(setting, point), zeros), point)
    found = [cell_of(space, setting, point) for point in chosen.values()]
    return [cell for cell in found if cell is not None]


def _chain(own: str, state: State) -> set[str]:
    """Return the identities of a point's trials as the journal has them, whatever this launch would make of the point.

    Args:
        own: The point's own trial, which may be suggested and not planned yet.
        state: Of the journal.
    """
    chain, left = set[str](), [own]
    while left:
        trial = left.pop()
        chain.add(trial)
        config = state.planned[trial]["config"] if trial in state.planned else {}
        needed = (config.get("weights"), config.get("teacher"))
        left += [name for name in needed if name in state.planned and name not in chain]
    return chain


def _split(network: str) -> tuple[str, int]:
    architecture, _, resolution_px = network.partition("@")
    return architecture, int(resolution_px)

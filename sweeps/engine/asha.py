"""Stop trials early that fall behind, as ASHA does (Li et al. 2020, arXiv:1810.05934), among models of like cost.

A trial that comes to a rung is stopped there unless its validation loss is among the best third of those that have
come there before it. It is held against trials of the same kind of training only, whose model costs no more than its
own and at least half as much: a small model is never stopped because a large one is ahead.

Who came to which rung, and who was stopped there, is in the journal, one line each; a decision depends on the lines
before it and on nothing else, so that a sweep that was killed decides as it would have.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from sweeps.engine.journal import Journal
from sweeps.engine.space import PlannedTrial
from trainables.recipes import Recipe, TrialConfig

METHODS = ("none", "asha")
REDUCTION = 3
"""One of so many goes on from a rung, and a rung has so many times the epochs of the one before."""
FIRST_RUNG = 2
"""Epochs of the first rung, where no longer warm-up puts it later."""
FEWEST = 3
"""Trials that must have come to a rung before one is stopped there."""
LIKE = 2.0
"""A model is held against those that cost up to so many times less."""
MAY_STOP = ("student", "model", "pruned")
"""Roles of trials that a sweep asks about; teachers and start models are made because others need them."""


class Cost(Protocol):
    """What a network costs before it is pruned; ``forecast.Footprint`` is one."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""

    @property
    def size_mb(self) -> float:
        """10^6 bytes of its weights."""


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A trial at a rung.

    Attributes:
        trial: Its identity.
        group: The kind of training that it is compared within.
        macs: Multiply-accumulates of its model, as far as they are known before pruning.
        size_mb: Likewise 10^6 bytes.
        epoch: Of the rung.
        loss: Its lowest validation loss until then.
    """

    trial: str
    group: str
    macs: float
    size_mb: float
    epoch: int
    loss: float


def rungs(recipe: Recipe) -> list[int]:
    """Return the epochs after which a trial may be stopped: none during the warm-up, and never the last one."""
    found = []
    epoch = max(FIRST_RUNG, recipe.warmup_epochs + 1)
    while epoch < recipe.epochs:
        found.append(epoch)
        epoch *= REDUCTION
    return found


def peers(new: Arrival, arrivals: Sequence[Arrival]) -> dict[str, float]:
    """Return the losses, by trial, of those that ``new`` is held against, its own among them."""
    return {
        row.trial: row.loss
        for row in [*arrivals, new]
        if (row.group, row.epoch) == (new.group, new.epoch)
        and new.macs / LIKE <= row.macs <= new.macs
        and row.size_mb <= new.size_mb
    }


def falls_behind(new: Arrival, arrivals: Sequence[Arrival]) -> bool:
    """Tell whether a trial is to be stopped at a rung.

    Args:
        new: The trial that has come there.
        arrivals: All so far, with or without it.
    """
    losses = sorted(peers(new, arrivals).values())
    return len(losses) >= FEWEST and new.loss > losses[len(losses) // REDUCTION - 1]


def has_ended(losses: Sequence[float], recipe: Recipe) -> bool:
    """Tell whether a trial with these validation losses is trained to its end: all epochs, or patience."""
    best = min(range(len(losses)), key=lambda place: _rank(losses[place]), default=0) + 1
    return len(losses) >= recipe.epochs or len(losses) - best >= recipe.patience


class EarlyStop:
    """Judges the trials of a sweep as they come to their rungs."""

    def __init__(
        self, journal: Journal, planned: Mapping[str, PlannedTrial], cost_of: Callable[[TrialConfig], Cost]
    ) -> None:
        """Take what decisions are made by.

        Args:
            journal: Told of each rung and each stop.
            planned: All trials of the sweep; it may grow.
            cost_of: Of a config's network before pruning.
        """
        self.journal = journal
        self.planned = planned
        self.cost_of = cost_of

    def stops(self, trial: str, losses: Sequence[float]) -> bool:
        """Write down the rungs that a trial has come to since it was last asked about; tell whether it stops.

        Args:
            trial: Its identity.
            losses: Its validation losses, from its first epoch on.
        """
        state, planned = self.journal.state, self.planned[trial]
        if trial in state.stopped:
            return True
        if not self._may_stop(trial, planned):
            return False
        before = [Arrival(**row) for row in state.arrivals]
        known = {row.epoch for row in before if row.trial == trial}
        for epoch in rungs(planned.config.recipe):
            if epoch > len(losses) or epoch in known:
                continue
            if has_ended(losses[:epoch], planned.config.recipe):
                return False
            new = self._arrival(trial, planned.config, losses[:epoch])
            if falls_behind(new, before):
                among = len(peers(new, before))
                reason = f"validation loss {new.loss:.3f} after epoch {epoch} is not in the best third of {among}"
                self.journal.append("stopped", trial=trial, epoch=epoch, reason=reason, arrival=asdict(new))
                return True
            self.journal.append("rung", trial=trial, arrival=asdict(new))
            before.append(new)
        return False

    def _may_stop(self, trial: str, planned: PlannedTrial) -> bool:
        config = planned.config
        return (
            planned.role in MAY_STOP
            and (config.pruning is None or config.pruning.iterations == 1)  # losses rise at each later iteration
            and not any(other.config.teacher == trial for other in self.planned.values())
        )

    def _arrival(self, trial: str, config: TrialConfig, losses: Sequence[float]) -> Arrival:
        cost, left = self.cost_of(config), 1.0 - (config.pruning.ratio if config.pruning else 0.0)
        return Arrival(
            trial=trial,
            group=_group(config),
            macs=cost.macs * left,
            size_mb=cost.size_mb * left,
            epoch=len(losses),
            loss=min((_rank(loss) for loss in losses), default=math.inf),
        )


def _group(config: TrialConfig) -> str:
    """Return what trials share whose losses after the same epoch say the same; learning rates may differ.

    What pruning leaves of a network is known as a share of that network, so pruned ones are compared within theirs.
    """
    recipe, pruning = config.recipe, config.pruning
    kind = f"{recipe.optimizer}, {recipe.schedule}, {recipe.epochs} epochs, {recipe.warmup_epochs} of warm-up"
    return f"{kind}, {config.architecture}@{config.resolution_px} pruned by {pruning.by}" if pruning else kind


def _rank(loss: float) -> float:
    """Return a loss that can be compared: what is no number is worse than any."""
    return loss if math.isfinite(loss) else math.inf

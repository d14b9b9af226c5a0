"""Stop trials early that fall behind, as ASHA does (Li et al. 2020, arXiv:1810.05934), among models of like cost.

A trial that has come to a rung is stopped unless its validation loss is among the best of those that have come there
before it. Only models whose multiply-accumulates share a bin are compared, and only within the same recipe: a small
model is never stopped because a large one is ahead. What came to which rung is rebuilt from the journal.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

REDUCTION = 3
"""One of so many goes on from a rung."""
FIRST_RUNG = 2
"""Epochs of the first rung."""
FEWEST = 3
"""Trials that must have come to a rung before one is stopped there."""


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A trial at a rung.

    Attributes:
        trial: Its identity.
        group: What it is compared with; see ``group_of``.
        epoch: Of the rung.
        loss: Its lowest validation loss until then.
    """

    trial: str
    group: str
    epoch: int
    loss: float


def group_of(macs: int, recipe: str) -> str:
    """Return the bin of a cost, within a factor of two, and the recipe that trains."""
    return f"{recipe} 2^{math.floor(math.log2(macs))}"


def rungs(num_epochs: int) -> list[int]:
    """Return the epochs after which a trial of so many may be stopped."""
    found = []
    epoch = FIRST_RUNG
    while epoch < num_epochs:
        found.append(epoch)
        epoch *= REDUCTION
    return found


def arrival(trial: str, group: str, losses: Sequence[float], num_epochs: int) -> Arrival | None:
    """Return the rung that a trial with these validation losses has just come to, if it has."""
    if len(losses) not in rungs(num_epochs):
        return None
    return Arrival(trial=trial, group=group, epoch=len(losses), loss=min(losses))


def falls_behind(new: Arrival, arrivals: Sequence[Arrival]) -> bool:
    """Tell whether a trial is to be stopped at a rung.

    Args:
        new: The trial that has come there.
        arrivals: All so far, with or without it.
    """
    peers: Mapping[str, float] = {
        row.trial: row.loss for row in [*arrivals, new] if (row.group, row.epoch) == (new.group, new.epoch)
    }
    if len(peers) < FEWEST:
        return False
    keep = max(1, len(peers) // REDUCTION)
    return new.loss > sorted(peers.values())[keep - 1]

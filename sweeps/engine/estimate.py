"""How long a sweep will train on: a pure function of what its trials have cost so far."""

import math
import statistics
from collections import OrderedDict  # a dict slows down where it loses its first entries again and again
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import chain

SURE, FEW, UNSEEN = 0.08, 0.1, 0.35
"""Least half-width of the range, as a share: of costs that were seen, seen once or twice, and only scaled."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """How far one trial is.

    Attributes:
        trial: Its identity.
        network: What an epoch's cost depends on first: architecture, resolution and what else is alike.
        taught: Whether a teacher's logits come on top.
        work: Its predicted bytes, or 0 where they are not known: costs that were not seen are scaled by them, and the
            budget is shared by them.
        epochs: How many it trains at most.
        stop: After how many it may have ended already by early stopping, as far as is known; ``epochs`` where it
            cannot. None for a trial that has not begun.
        seconds: What each epoch took that it has done.
        since_s: Seconds since the last of them, or since its start; None for a trial that does not run.
        ended: Whether nothing of it is left to train.
        needs: Identities of the models that it reads.
    """

    trial: str
    network: str
    taught: bool
    work: int
    epochs: int
    stop: int | None = None
    seconds: tuple[float, ...] = ()
    since_s: float | None = None
    ended: bool = False
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Left:
    """Seconds that a sweep will train on.

    Attributes:
        low_s: If trials stop as early as those seen so far may, and epochs are as quick as they were at best.
        high_s: If none stops early, and epochs are as slow as they may turn out.
    """

    low_s: float
    high_s: float


def time_left(courses: Sequence[Course], *, workers: int, budget_bytes: int | None = None) -> Left | None:
    """Return how long the trials will train on, or None while no epoch is done.

    The trials that are left are dealt to the workers as the plan does it: in order, when the models that they need
    are there and their bytes fit beside the others'.

    Args:
        courses: All trials, in the order of the plan; those that ended tell what an epoch costs.
        workers: Trials at a time.
        budget_bytes: Sum of ``work`` that may run at a time; None for any.
    """
    costs = _Costs(courses)
    if not costs.known:
        return None
    shares = [course.stop / course.epochs for course in courses if course.stop is not None and course.epochs]
    stopped = statistics.fmean(shares) if shares else 1.0

    def bound(*, early: bool) -> float:
        def seconds(course: Course) -> float:
            epoch_s, spread = costs.of(course)
            epoch_s *= 1 - spread if early else 1 + spread
            done = len(course.seconds)
            last = max(1, round(stopped * course.epochs)) if course.stop is None else course.stop
            left = (min(last, course.epochs) if early else course.epochs) - done
            if course.epochs > done:
                left = max(1, left)  # it has not ended, so there is an epoch to come
            return max(0.0, left * epoch_s - min(course.since_s or 0.0, epoch_s))

        return makespan(courses, seconds, workers=workers, budget_bytes=budget_bytes)

    low_s, high_s = bound(early=True), bound(early=False)
    return Left(low_s=min(low_s, high_s), high_s=high_s)


class _Costs:
    """Seconds of an epoch, as they were seen, by network and teacher."""

    def __init__(self, courses: Sequence[Course]) -> None:
        self._seen: dict[tuple[str, bool], list[float]] = {}
        scaled = []
        for course in courses:
            if course.seconds:
                self._seen.setdefault((course.network, course.taught), []).extend(course.seconds)
                if course.work:
                    scaled.append(statistics.fmean(course.seconds) / course.work)
        self._per_byte = statistics.fmean(scaled) if scaled else 0.0
        self._any = statistics.fmean(chain(*self._seen.values())) if self._seen else 0.0
        self._figures = {kind: (statistics.fmean(values), _spread(values)) for kind, values in self._seen.items()}
        self.known = bool(self._seen)

    def of(self, course: Course) -> tuple[float, float]:
        """Return the seconds of one epoch, and by which share they may be off."""
        own = self._figures.get((course.network, course.taught))
        if own is not None:
            return own
        other = self._figures.get((course.network, not course.taught))
        if other is not None:
            return other[0], UNSEEN
        return self._per_byte * course.work or self._any, UNSEEN


def _spread(values: Sequence[float]) -> float:
    """Return twice the relative standard error of the mean, at least ``SURE``."""
    if len(values) < 3:
        return FEW
    error = statistics.stdev(values) / math.sqrt(len(values))
    return min(UNSEEN, max(SURE, 2 * error / statistics.fmean(values)))


def makespan(
    courses: Sequence[Course], seconds: Callable[[Course], float], *, workers: int, budget_bytes: int | None
) -> float:
    """Return when the last trial ends, in seconds from now.

    Args:
        courses: As ``time_left`` takes them.
        seconds: Tells how long each will yet take.
        workers: Trials at a time.
        budget_bytes: Sum of ``work`` that may run at a time; None for any.
    """
    ended = {course.trial for course in courses if course.ended}
    known = {course.trial for course in courses}
    running = {c.trial: (seconds(c), c) for c in courses if not c.ended and c.since_s is not None}
    waiting = OrderedDict((c.trial, c) for c in courses if not c.ended and c.since_s is None)
    clock: float = 0.0
    while True:
        started = []
        for course in waiting.values():
            if len(running) >= workers:
                break
            if _fits(course, [row for _, row in running.values()], ended, known, budget_bytes):
                running[course.trial] = (clock + seconds(course), course)
                started.append(course.trial)
        for trial in started:
            del waiting[trial]
        if not running:
            return clock
        clock, first = min((end, trial) for trial, (end, _) in running.items())
        del running[first]
        ended.add(first)


def _fits(
    course: Course,
    running: Sequence[Course],
    ended: Collection[str],
    known: Collection[str],
    budget_bytes: int | None,
) -> bool:
    if any(name in known and name not in ended for name in course.needs):
        return False
    total = course.work + sum(row.work for row in running)
    return budget_bytes is None or not running or total <= budget_bytes


def shown(left: Left) -> str:
    """Return a range as people say it: ``3.2 to 4.1 min``."""
    for unit, seconds, below_s in (("s", 1, 180), ("min", 60, 5400), ("h", 3600, math.inf)):
        if left.high_s < below_s:
            digits = 1 if unit != "s" and left.high_s < 10 * seconds else 0
            low, high = (f"{value / seconds:.{digits}f}" for value in (left.low_s, left.high_s))
            return f"about {high} {unit}" if low == high else f"{low} to {high} {unit}"
    raise AssertionError(left)

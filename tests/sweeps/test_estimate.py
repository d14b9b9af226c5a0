"""The time left is held against sweeps that are played through here, with costs that the estimate cannot know."""

import random
import statistics

import pytest

from sweeps.engine.estimate import Course, Left, shown, time_left

WITHIN = 0.2
TENTH = 0.1


def played(
    costs: list[tuple[str, float]], *, workers: int, epochs: int, seed: int, first_free: float = 0.0
) -> tuple[list[Course], float]:
    """Play a sweep through second by second; return its courses at a tenth of its time, and the seconds left then.

    Args:
        costs: Network and mean seconds of an epoch of each trial.
        workers: Trials at a time.
        epochs: Of each trial.
        seed: Of the noise of 10 % on every epoch.
        first_free: Seconds by which the second worker begins later.
    """
    draw = random.Random(seed)
    needed = [[mean * draw.uniform(0.9, 1.1) for _ in range(epochs)] for _, mean in costs]
    free = [first_free * (worker > 0) for worker in range(workers)]
    spans = []
    for seconds in needed:
        worker = free.index(min(free))
        spans.append((free[worker], free[worker] + sum(seconds)))
        free[worker] += sum(seconds)
    end = max(free)
    now = TENTH * end
    courses = []
    for place, ((network, _), seconds, (began, ended)) in enumerate(zip(costs, needed, spans, strict=True)):
        done, clock = [], began
        for value in seconds:
            if clock + value <= now:
                done.append(value)
                clock += value
        runs = began <= now < ended
        courses.append(
            Course(
                trial=str(place),
                network=network,
                taught=False,
                work=100,
                epochs=epochs,
                stop=epochs if done else None,
                seconds=tuple(done),
                since_s=now - clock if runs else None,
                ended=ended <= now,
            )
        )
    return courses, end - now


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    ("trials", "workers", "epochs"), [(6, 2, 4), (28, 2, 12), (28, 1, 12), (9, 4, 30), (40, 3, 20)]
)
def test_after_a_tenth_both_ends_are_within_a_fifth(trials: int, workers: int, epochs: int, seed: int) -> None:
    courses, truth = played([("B0", 10.0)] * trials, workers=workers, epochs=epochs, seed=seed)
    left = time_left(courses, workers=workers)
    assert left is not None
    assert left.low_s <= left.high_s
    assert abs(statistics.fmean((left.low_s, left.high_s)) - truth) <= WITHIN * truth
    assert left.low_s >= (1 - WITHIN) * truth
    assert left.high_s <= (1 + WITHIN) * truth


def test_networks_that_were_not_seen_are_scaled_by_their_bytes_and_widen_the_range() -> None:
    seen = Course(trial="a", network="B0", taught=False, work=100, epochs=10, stop=10, seconds=(10.0,) * 10, ended=True)
    other = Course(trial="b", network="B3", taught=False, work=300, epochs=10)
    left = time_left([seen, other], workers=2)
    assert left is not None
    assert left.low_s < 300 < left.high_s
    assert statistics.fmean((left.low_s, left.high_s)) == pytest.approx(300)
    same = time_left([seen, Course(trial="b", network="B0", taught=False, work=100, epochs=10)], workers=2)
    assert same is not None
    assert (same.high_s - same.low_s) / same.high_s < (left.high_s - left.low_s) / left.high_s


def test_early_stops_that_were_seen_lower_the_near_end_only() -> None:
    stopped = Course(trial="a", network="B0", taught=False, work=1, epochs=30, stop=6, seconds=(10.0,) * 6, ended=True)
    left = time_left([stopped, Course(trial="b", network="B0", taught=False, work=1, epochs=30)], workers=1)
    assert left is not None
    assert left.low_s == pytest.approx(60, rel=0.1)
    assert left.high_s == pytest.approx(300, rel=0.1)


def test_a_chain_and_a_budget_take_their_time() -> None:
    """Two trials that wait for one another, or do not fit beside each other, run one after the other."""
    done = Course(trial="x", network="B0", taught=False, work=1, epochs=4, stop=4, seconds=(10.0,) * 4, ended=True)
    one = Course(trial="a", network="B0", taught=False, work=60, epochs=4)
    two = Course(trial="b", network="B0", taught=False, work=60, epochs=4)
    after = Course(trial="b", network="B0", taught=False, work=60, epochs=4, needs=frozenset({"a", "given"}))
    beside = time_left([done, one, two], workers=2)
    chained = time_left([done, one, after], workers=2)
    packed = time_left([done, one, two], workers=2, budget_bytes=100)
    assert beside is not None
    assert chained is not None
    assert chained == packed
    assert chained.high_s == pytest.approx(2 * beside.high_s)


def test_a_trial_that_needs_a_failed_one_is_not_waited_for() -> None:
    done = Course(trial="x", network="B0", taught=False, work=1, epochs=1, stop=1, seconds=(10.0,), ended=True)
    stuck = Course(trial="a", network="B0", taught=False, work=1, epochs=4, needs=frozenset({"b"}))
    circle = Course(trial="b", network="B0", taught=False, work=1, epochs=4, needs=frozenset({"a"}))
    assert time_left([done, stuck, circle], workers=1) == Left(low_s=0.0, high_s=0.0)


def test_a_trial_whose_bytes_are_not_known_scales_nothing() -> None:
    """It was found trained, with its seconds; what has not been seen costs what is known to scale, else the mean."""
    found = Course(trial="x", network="B0", taught=False, work=0, epochs=4, stop=4, seconds=(30.0,) * 4, ended=True)
    seen = Course(trial="y", network="Lite0", taught=False, work=100, epochs=4, stop=4, seconds=(10.0,) * 4, ended=True)
    new = Course(trial="a", network="Lite2", taught=False, work=200, epochs=4)
    scaled = time_left([found, seen, new], workers=1)
    assert scaled is not None
    assert statistics.fmean((scaled.low_s, scaled.high_s)) == pytest.approx(4 * 20)
    alone = time_left([found, new], workers=1)
    assert alone is not None
    assert statistics.fmean((alone.low_s, alone.high_s)) == pytest.approx(4 * 30)


def test_nothing_is_said_before_the_first_epoch() -> None:
    assert time_left([Course(trial="a", network="B0", taught=False, work=1, epochs=4, since_s=9.0)], workers=1) is None


@pytest.mark.parametrize(
    ("low_s", "high_s", "words"),
    [
        (27, 38, "27 to 38 s"),
        (80, 200, "1.3 to 3.3 min"),
        (199, 200, "about 3.3 min"),
        (1200, 1500, "20 to 25 min"),
        (3600, 9000, "1.0 to 2.5 h"),
        (36_000, 72_000, "10 to 20 h"),
    ],
)
def test_ranges_are_said_in_one_unit(low_s: float, high_s: float, words: str) -> None:
    assert shown(Left(low_s=low_s, high_s=high_s)) == words

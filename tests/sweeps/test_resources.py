import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_store.errors import InputError
from sweeps.engine import resources
from sweeps.engine.estimate import Course, makespan
from sweeps.engine.resources import Capacity, capacity, most_at_once, refuse_too_large
from sweeps.engine.space import PROFILES, Setting
from sweeps.kd_alpha import trials

SETTING = Setting(profile=PROFILES["demo"], seed=0, store_digest="s", device="cpu", num_threads=1)
PLANNED = [(SETTING.identity(row.config), row) for row in trials(SETTING)]


def test_trials_share_the_machine_and_the_budget() -> None:
    have = capacity("cpu", num_cpus=8, num_threads=2, gpu_memory_gb=8, num_trials=6)
    assert (have.workers, have.cpus, have.gpus, have.budget_bytes) == (4, 2, 0.0, 8 * 2**30)
    have = capacity("cuda", num_cpus=4, num_threads=1, gpu_memory_gb=8, num_trials=2)
    assert (have.workers, have.gpus) == (2, 0.5)
    assert have.budget_bytes == 8 * 2**30 - 2 * resources.CUDA_CONTEXT_BYTES
    with pytest.raises(InputError, match="--threads must not exceed the CPUs of a machine, 1, but got 4; use fewer"):
        capacity("cpu", num_cpus=1, num_threads=4, gpu_memory_gb=8, num_trials=6)


@pytest.mark.parametrize(
    ("needs_gib", "workers"),
    [
        ([2.7] * 28, 2),
        ([0.35] * 28, 9),
        ([1, 5] * 8, 2),
        ([1, 1, 1, 5, 5, 5, 5], 2),  # a median of 5 would leave the small ones no room beside the large
        ([0.3] * 15 + [5], 6),
        ([7.4], 1),
        ([9, 1], 1),
    ],
)
def test_contexts_of_idle_workers_do_not_eat_the_budget(needs_gib: list[float], workers: int) -> None:
    needs = [int(gib * 2**30) for gib in needs_gib]
    have = capacity("cuda", num_cpus=16, num_threads=1, gpu_memory_gb=8, num_trials=len(needs), needs=needs)
    assert (have.workers, have.gpus) == (workers, 1 / workers)
    assert have.budget_bytes == 8 * 2**30 - workers * resources.CUDA_CONTEXT_BYTES
    assert most_at_once(needs, have) == workers
    on_cpus = capacity("cpu", num_cpus=16, num_threads=1, gpu_memory_gb=8, num_trials=16, needs=[2**33])
    assert on_cpus.workers == 16
    assert most_at_once([2**33] * 16, on_cpus) == 1


@given(
    st.lists(st.sampled_from([0.35, 0.5, 0.8, 1.6, 2.7, 4.2]), min_size=4, max_size=24),
    st.lists(st.floats(0.5, 1.5), min_size=24, max_size=24),
)
def test_a_sweep_on_a_gpu_takes_about_as_long_as_with_the_best_number_of_workers(
    needs_gib: list[float], noise: list[float]
) -> None:
    """Played through with every number of workers, trials taking as long as their memory is large, more or less."""
    needs = [int(gib * 2**30) for gib in needs_gib]
    courses = [
        Course(trial=str(place), network="", taught=False, work=need, epochs=1) for place, need in enumerate(needs)
    ]

    def seconds(course: Course) -> float:
        return needs_gib[int(course.trial)] * noise[int(course.trial)]

    def ends(workers: int) -> float:
        budget = resources.budget_bytes("cuda", 8, workers=workers)
        return makespan(courses, seconds, workers=workers, budget_bytes=budget) if budget >= max(needs) else math.inf

    have = capacity("cuda", num_cpus=16, num_threads=1, gpu_memory_gb=8, num_trials=len(needs), needs=needs)
    assert ends(have.workers) <= 2 * min(map(ends, range(1, len(needs) + 1)))


def test_on_a_cluster_each_card_takes_its_share() -> None:
    have = Capacity(workers=8, cpus=1, gpus=0.5, budget_bytes=9 * 2**30, per_card=2)
    assert most_at_once([2 * 2**30] * 8 + [4 * 2**30] * 2, have) == 8
    assert most_at_once([2 * 2**30] * 3, have) == 3


def test_a_trial_larger_than_the_budget_is_refused_with_the_numbers() -> None:
    rows = [row for _, row in PLANNED]
    have = capacity("cpu", num_cpus=2, num_threads=1, gpu_memory_gb=0.5, num_trials=6)
    refuse_too_large(rows, {row.config: 2**29 for row in rows}, have)
    with pytest.raises(InputError, match=r"budget of 0.50 GiB, but teacher B0 \(B0 at 64 px, batch 32\) needs 0.75"):
        refuse_too_large(rows, {row.config: 3 * 2**28 for row in rows}, have)

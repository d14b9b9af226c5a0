import pytest

from data_store.errors import InputError
from sweeps.engine import resources
from sweeps.engine.resources import capacity, refuse_too_large
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


def test_contexts_of_idle_workers_do_not_eat_the_budget() -> None:
    have = capacity("cuda", num_cpus=16, num_threads=1, gpu_memory_gb=8, num_trials=16, needs=[2**30, 5 * 2**30])
    assert (have.workers, have.budget_bytes) == (6, 5 * 2**30)
    assert capacity("cpu", num_cpus=16, num_threads=1, gpu_memory_gb=8, num_trials=16, needs=[2**33]).workers == 16


def test_a_trial_larger_than_the_budget_is_refused_with_the_numbers() -> None:
    rows = [row for _, row in PLANNED]
    have = capacity("cpu", num_cpus=2, num_threads=1, gpu_memory_gb=0.5, num_trials=6)
    refuse_too_large(rows, {row.config: 2**29 for row in rows}, have)
    with pytest.raises(InputError, match=r"budget of 0.50 GiB, but teacher B0 \(B0 at 64 px, batch 32\) needs 0.75"):
        refuse_too_large(rows, {row.config: 3 * 2**28 for row in rows}, have)

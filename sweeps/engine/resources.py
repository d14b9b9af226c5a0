"""What a trial needs and what there is: device, CPU share, and the one memory budget of all trials."""

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_store.errors import InputError
from sweeps.engine.space import PlannedTrial
from trainables.recipes import TrialConfig

CUDA_CONTEXT_BYTES = 512 * 2**20
"""Taken by each GPU process before its first tensor; assumed where there is no GPU to measure it on."""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """How much runs at once.

    Attributes:
        workers: Trials at a time.
        cpus: CPUs that each asks Ray for.
        gpus: Share of the GPU that each asks Ray for.
        budget_bytes: Sum of predictions that may be admitted to one card, CUDA contexts taken off.
        per_card: Trials that may share one card; without GPUs a machine counts as a card.
    """

    workers: int
    cpus: int
    gpus: float
    budget_bytes: int
    per_card: int


def cpu_name() -> str:
    """Return the CPU's model, as Linux names it."""
    info = Path("/proc/cpuinfo")
    rows = info.read_text().splitlines() if info.is_file() else []
    return next((row.split(":", 1)[1].strip() for row in rows if row.startswith("model name")), platform.machine())


def device_kind() -> str:
    """Return ``cuda`` when an NVIDIA device may be used here, else ``cpu``; without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    return "cuda" if visible not in ("", "-1") and Path("/dev/nvidiactl").exists() else "cpu"


def budget_bytes(device: str, gpu_memory_gb: float, *, workers: int) -> int:
    """Return what so many workers may need together: the user's budget without their CUDA contexts."""
    contexts = workers * CUDA_CONTEXT_BYTES if device == "cuda" else 0
    return int(gpu_memory_gb * 2**30) - contexts


def capacity(
    device: str,
    *,
    num_cpus: int,
    num_threads: int,
    gpu_memory_gb: float,
    num_trials: int,
    needs: Sequence[int] = (),
) -> Capacity:
    """Divide the machine among trials that all ask for the same, so that workers are reused.

    Args:
        device: ``cpu`` or ``cuda``.
        num_cpus: Of the machine or cluster.
        num_threads: CPU threads of a trial.
        gpu_memory_gb: The user's budget in GiB.
        num_trials: How many there are; no more workers than that.
        needs: Bytes of the trials. Each worker's CUDA context takes from the budget, whether it has work or not. So
            on a GPU there are as many workers as the trials of mean size that fit beside all their contexts, if
            the largest trial fits beside them, too.

    Raises:
        InputError: A trial asks for more threads than there are CPUs.
    """
    refuse_too_many_threads(num_threads, num_cpus)
    workers = max(1, min(num_cpus // num_threads, num_trials))
    if device == "cuda" and needs:
        workers = _workers_beside_contexts(workers, gpu_memory_gb, needs)
    return Capacity(
        workers=workers,
        cpus=num_threads,
        gpus=1 / workers if device == "cuda" else 0.0,
        budget_bytes=budget_bytes(device, gpu_memory_gb, workers=workers),
        per_card=workers,
    )


def _workers_beside_contexts(most: int, gpu_memory_gb: float, needs: Sequence[int]) -> int:
    """Return the fewest workers with which as many trials run at once as ever can, 1 to ``most``.

    The mean stands for the mix of trials; by a median that is large, small ones would have no room beside large ones.
    """
    mean = statistics.fmean(needs)
    room = {k: budget_bytes("cuda", gpu_memory_gb, workers=k) for k in range(1, most + 1)}
    fitting = [k for k in room if room[k] >= max(needs)]
    return max(fitting, key=lambda k: min(k, room[k] // mean), default=1)  # the first of equals


def most_at_once(needs: Sequence[int], have: Capacity) -> int:
    """Return how many trials of these sizes ever run at once: as many of the smallest as the plan lets share cards."""
    smallest = sorted(needs)[: have.workers]
    fitting = (n for n in range(1, len(smallest) + 1) if sum(smallest[:n][-have.per_card :]) <= have.budget_bytes)
    return max(fitting, default=1)


def refuse_too_many_threads(num_threads: int, num_cpus: int) -> None:
    """Check that one machine has the CPUs of a trial: Ray would wait for one that has.

    Raises:
        InputError: None has.
    """
    if num_threads > num_cpus:
        raise InputError(
            f"--threads must not exceed the CPUs of a machine, {num_cpus}, but got {num_threads}; use fewer"
        )


def refuse_too_large(planned: Sequence[PlannedTrial], predicted: Mapping[TrialConfig, int], have: Capacity) -> None:
    """Check that every trial fits the budget when it runs alone.

    Raises:
        InputError: One does not.
    """
    for trial in planned:
        need = predicted[trial.config]
        if need > have.budget_bytes:
            raise InputError(
                f"a trial must fit the memory budget of {have.budget_bytes / 2**30:.2f} GiB, but {trial.name} "
                f"({trial.config.architecture} at {trial.config.resolution_px} px, batch "
                f"{trial.config.recipe.batch_size}) needs {need / 2**30:.2f} GiB; raise --gpu-memory-gb"
            )

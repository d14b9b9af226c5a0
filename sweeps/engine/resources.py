"""What a trial needs and what there is: device, CPU share, and the one memory budget of all trials."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_store.errors import InputError
from sweeps.engine.space import GivenModel, PlannedTrial
from trainables.recipes import RECIPE_VERSION, TrialConfig, digest, to_dict

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


def device_kind() -> str:
    """Return ``cuda`` when an NVIDIA device may be used here, else ``cpu``; without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    return "cuda" if visible not in ("", "-1") and Path("/dev/nvidiactl").exists() else "cpu"


def capacity(device: str, *, num_cpus: int, num_threads: int, gpu_memory_gb: float, num_trials: int) -> Capacity:
    """Divide the machine among trials that all ask for the same, so that workers are reused."""
    workers = max(1, min(num_cpus // num_threads, num_trials))
    contexts = workers * CUDA_CONTEXT_BYTES if device == "cuda" else 0
    return Capacity(
        workers=workers,
        cpus=num_threads,
        gpus=1 / workers if device == "cuda" else 0.0,
        budget_bytes=int(gpu_memory_gb * 2**30) - contexts,
        per_card=workers,
    )


def predicted_bytes(
    planned: Sequence[PlannedTrial], teachers: Mapping[str, tuple[str, int]], cache: Path
) -> dict[TrialConfig, int]:
    """Return each config's predicted peak bytes, from the cache where it is known.

    The prediction needs torch, so it runs in a process of its own while the driver does something else.

    Args:
        planned: The trials.
        teachers: (architecture, resolution_px) by the digest that configs name.
        cache: JSON file, made and extended.
    """
    known: dict[str, int] = json.loads(cache.read_text()) if cache.exists() else {}
    requests = {}
    for trial in planned:
        teacher = teachers[trial.config.teacher] if trial.config.teacher else None
        requests[trial.config] = {"config": _shape(trial.config), "teacher": teacher}
    keys = {config: digest([request, RECIPE_VERSION])[:16] for config, request in requests.items()}
    missing = {keys[config]: request for config, request in requests.items() if keys[config] not in known}
    if missing:
        done = subprocess.run(
            [sys.executable, "-m", "trainables.memory"],
            input=json.dumps(list(missing.values())),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"the memory prediction failed: {done.stderr.strip()[-500:]}")
        known |= dict(zip(missing, json.loads(done.stdout), strict=True))
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(known))
        partial.replace(cache)
    return {config: known[key] for config, key in keys.items()}


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


def _shape(config: TrialConfig) -> dict[str, object]:
    """Return the config with what does not touch memory set to fixed values, so that the cache is shared."""
    values = to_dict(config)
    start = {"weights": "none", "pruning": None, "quantisation": "none"}  # a network is largest before it is pruned
    return values | start | {"alpha": 0.0, "teacher": None, "data_seed": 0, "init_seed": 0}


def teacher_shapes(planned: Sequence[tuple[str, PlannedTrial]], given: GivenModel | None) -> dict[str, tuple[str, int]]:
    """Return (architecture, resolution_px) by the digest under which trials may name a teacher."""
    shapes = {trial: (row.config.architecture, row.config.resolution_px) for trial, row in planned}
    if given is not None:
        shapes[given.digest] = (given.architecture, given.resolution_px)
    return shapes

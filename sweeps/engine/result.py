"""A sweep's result as people read it, from the journal alone: no torch, no ray, no MLflow."""

from collections.abc import Mapping
from typing import Any

from sweeps.engine.journal import State
from sweeps.engine.space import PlannedTrial
from trainables import metric_keys as keys

HEADER = (
    "trial",
    "val acc",
    "test acc",
    "test AUC",
    "video acc",
    "parameters",
    "size MB",
    "latency ms",
    "to B0",
)


def rows(planned: Mapping[str, PlannedTrial], state: State) -> list[list[str]]:
    """Return one row of cells a trial, in the order of the plan; a failed one says so."""
    return [[trial.name, *_cells(identity, state)] for identity, trial in planned.items()]


def _cells(identity: str, state: State) -> list[str]:
    empty = [""] * (len(HEADER) - 2)
    if identity in state.failed:
        return ["failed", *empty]
    if identity not in state.finished:
        return ["not run", *empty]
    result = state.finished[identity]
    metrics: Mapping[str, Any] = result["metrics"]
    latency = state.latencies.get(result["graph"]["digest"])

    def share(split: str, name: str) -> str:
        value = metrics.get(keys.scored(split, name))
        return "-" if value is None else f"{value:.3f}"

    noisy = "~" if latency and latency[keys.LATENCY_NOISE] > 0.1 else ""
    return [
        share("val", keys.ACCURACY),
        share("test", keys.ACCURACY),
        share("test", keys.AUC),
        share("test", keys.VIDEO_ACCURACY),
        f"{metrics[keys.PARAMETERS]:,}",
        f"{metrics[keys.SIZE_MB]:.2f}",
        f"{noisy}{latency[keys.LATENCY_MS_P50]:.1f}" if latency else "-",
        f"x{latency[keys.LATENCY_RATIO]:.2f}" if latency else "-",
    ]

"""A sweep's result as people read it, from the journal alone: no torch, no ray, no MLflow."""

from collections.abc import Mapping
from typing import Any

from sweeps.engine import elsewhere
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


GAIN, ORIGIN = "gain", "started from"
ALARM = " !"


def table(planned: Mapping[str, PlannedTrial], state: State) -> tuple[list[str], list[list[str]]]:
    """Return the header, and one row of cells a trial in the order of the plan; a failed or stopped one says so.

    Where a trial trains another one of the same table on, ``gain`` is what its validation accuracy gained. Where not
    all trials started from the same, it is said from what. A validation accuracy with a mark has an alarm. A trial that
    ran out of memory says with which micro-batch it went on.
    """
    tuned = {trial: _trained_on(row, planned) for trial, row in planned.items()}
    columns: dict[str, dict[str, str]] = {}
    if any(tuned.values()):
        columns[GAIN] = {trial: _gain(trial, start, state) if start else "" for trial, start in tuned.items()}
    origins = {trial: _origin(trial, planned, state) for trial in planned}
    if len({*filter(None, origins.values())}) > 1:
        columns[ORIGIN] = origins
    columns |= elsewhere.columns(planned, state)
    rows = [
        [_name(trial, row, state), *_cells(trial, state), *(column[trial] for column in columns.values())]
        for trial, row in planned.items()
    ]
    return [*HEADER, *columns], rows


def _name(trial: str, planned: PlannedTrial, state: State) -> str:
    narrow = state.micro_batches.get(trial)
    return planned.name if narrow is None else f"{planned.name} (micro-batch {narrow})"


def alarms(planned: Mapping[str, PlannedTrial], state: State) -> list[str]:
    """Return one line a finished trial whose model is of no use, or not what it was to be: its name, and why."""
    found = ((row.name, state.finished.get(trial, {}).get("alarm")) for trial, row in planned.items())
    return [f"{name}: {alarm}" for name, alarm in found if alarm]


def _origin(trial: str, planned: Mapping[str, PlannedTrial], state: State) -> str:
    """Return what a finished trial started from: another trial's name, or where its weights came from in words."""
    if trial not in state.finished:
        return ""
    origin: str = state.finished[trial].get("origin") or ""
    start = planned.get(planned[trial].config.weights)
    if start is None:
        return origin
    return start.name + origin[origin.find(" without") :] if " without" in origin else start.name


def _trained_on(trial: PlannedTrial, planned: Mapping[str, PlannedTrial]) -> str | None:
    """Return the trial that this one only trains on: the same network, nothing removed."""
    config = trial.config
    start = planned.get(config.weights)
    same = start is not None and start.config.architecture == config.architecture
    return config.weights if same and config.pruning is None and config.quantisation == "none" else None


def _gain(trial: str, start: str, state: State) -> str:
    if trial not in state.finished or start not in state.finished:
        return ""
    before, after = (state.finished[one]["metrics"].get(keys.scored("val", keys.ACCURACY)) for one in (start, trial))
    return "-" if before is None or after is None else f"{after - before:+.3f}"


def _cells(identity: str, state: State) -> list[str]:
    empty = [""] * (len(HEADER) - 2)
    if identity in state.failed:
        return ["failed", *empty]
    if identity in state.stopped:
        epoch = state.stopped[identity]["epoch"]
        return [f"stopped at epoch {epoch}" if epoch else "over a limit", *empty]
    if identity not in state.finished:
        return ["not run", *empty]
    result = state.finished[identity]
    metrics: Mapping[str, Any] = result["metrics"]
    latency = state.latencies.get(result["graph"]["digest"])

    def share(split: str, name: str) -> str:
        value = metrics.get(keys.scored(split, name))
        return "-" if value is None else f"{value:.3f}"

    return [
        share("val", keys.ACCURACY) + (ALARM if result.get("alarm") else ""),
        share("test", keys.ACCURACY),
        share("test", keys.AUC),
        share("test", keys.VIDEO_ACCURACY),
        f"{metrics[keys.PARAMETERS]:,}",
        f"{metrics[keys.SIZE_MB]:.2f}",
        *_latency_cells(latency or {}),
    ]


def _latency_cells(latency: Mapping[str, float]) -> list[str]:
    """Return latency and its ratio to B0: in eager PyTorch, or of a quantised model in ONNX Runtime, which is said."""
    runtime = "eager" if keys.LATENCY_MS_P50 in latency else "int8"
    if keys.latency("ms_p50", runtime) not in latency:
        return ["-", "-"]
    p50, ratio, noise = (latency[keys.latency(name, runtime)] for name in ("ms_p50", "ratio", "noise"))
    said = "" if runtime == "eager" else f" {runtime}"
    return [f"{'~' if noise > keys.NOISY else ''}{p50:.1f}{said}", f"x{ratio:.2f}{said}"]

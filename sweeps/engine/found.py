"""Models that another sweep has trained already: the same identity, finished, in the same tracking store."""

import shutil
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_store.folders import secure
from sweeps.engine.courier import Courier, may_pass
from sweeps.engine.journal import Journal
from sweeps.engine.places import Places
from sweeps.engine.resources import cpu_name
from sweeps.engine.space import PlannedTrial
from sweeps.engine.terminal import Terminal
from trainables import metric_keys as keys
from trainables.artifact_files import content_digest
from trainables.attempts import MODEL_FOLDER

WAIT_S = 10.0
"""Seconds that new trials wait for a tracking store to say whether another sweep has trained them."""

if TYPE_CHECKING:
    from mlflow.entities import Run

    from sweeps.engine.tracking import Tracking


def take_over(
    pending: Mapping[str, PlannedTrial],
    journal: Journal,
    places: Places,
    tracking: "Tracking",
    terminal: Terminal,
    *,
    reference_px: int,
) -> set[str]:
    """Take over the trials that need not be trained again, and return their identities.

    Args:
        pending: What is left to do; a trial that this sweep has started is its own and is not looked for.
        journal: Told of each model that is found.
        places: Where the models' folders are put.
        tracking: The store that is searched.
        terminal: Told what was found.
        reference_px: Side of the images of the B0 that latencies are measured beside. One that was measured beside
            another, or on another CPU, is not taken over: the graph is measured here.
    """
    found: set[str] = set()
    here = cpu_name()
    if not tracking.has_others():
        return found
    for trial, planned in pending.items():
        if trial in journal.state.attempts:
            continue
        run = tracking.trained_elsewhere(trial)
        if run is None:
            continue
        if not _fetched(run, places.found(trial), tracking):
            terminal.line("found", f"{planned.name} in {run.data.tags['sweep']}, but not its model: trained again")
            continue
        places.mirror.push(places.found(trial) / MODEL_FOLDER)
        latency = {key: value for key, value in run.data.metrics.items() if key.startswith("latency_")}
        result = _result(run)
        graph = result["graph"]["digest"]
        cpu = run.data.tags.get(keys.LATENCY_CPU)
        comparable = cpu == here and latency.get(keys.LATENCY_REFERENCE_PX) == reference_px
        if comparable and graph not in journal.state.latencies:
            journal.append("latency", graph=graph, latency=latency, cpu=cpu)
        journal.append("found", trial=trial, run=run.info.run_id, sweep=run.data.tags["sweep"], result=result)
        terminal.line("found", f"{planned.name}: trained by {run.data.tags['sweep']}")
        found.add(trial)
    return found


def take_over_by(
    courier: Courier,
    pending: Mapping[str, PlannedTrial],
    journal: Journal,
    places: Places,
    terminal: Terminal,
    *,
    reference_px: int,
    wait_s: float = WAIT_S,
) -> None:
    """Do the same while trials run: the courier has the tracking store. Where it is away, nothing is found in time."""
    done: Future[None] = Future()

    def look(tracking: "Tracking") -> None:
        if not done.set_running_or_notify_cancel():
            return  # too late: the trials may have started
        try:
            take_over(pending, journal, places, tracking, terminal, reference_px=reference_px)
        except Exception as error:  # noqa: BLE001 # told to who asked
            done.set_exception(error)
        else:
            done.set_result(None)

    if courier.away:
        return
    courier.put(look)
    try:
        done.result(timeout=wait_s)
    except TimeoutError:
        if not done.cancel():  # it is at it
            done.result()
    except Exception as error:
        if not may_pass(error):
            raise


def _fetched(run: "Run", folder: Path, tracking: "Tracking") -> bool:
    """Copy a run's model below ``folder``; tell whether it is there, and the one that was recorded."""
    from mlflow.exceptions import MlflowException

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        tracking.client.download_artifacts(run.info.run_id, MODEL_FOLDER, str(folder))
        model = folder / MODEL_FOLDER
        secure(*model.iterdir(), model, folder, folder.parent)  # before the journal says that it is there
        return content_digest(model) == run.data.tags["model"]
    except (MlflowException, OSError, ValueError):
        return False


def _result(run: "Run") -> dict[str, Any]:
    """Return what the trial ended with, as its own sweep's journal has it."""
    final = {key: value for key, value in run.data.metrics.items() if "/" not in key and not key.startswith("latency_")}
    for key in (keys.PARAMETERS, keys.MACS, keys.OPERATIONS, keys.EPOCHS, keys.BEST_EPOCH):
        if key in final:
            final[key] = int(final[key])  # MLflow keeps floats only
    undefined = "undefined."
    return {
        "metrics": final,
        "undefined": {
            key.removeprefix(undefined): value for key, value in run.data.tags.items() if key.startswith(undefined)
        },
        "graph": {
            "digest": run.data.tags["graph"],
            "architecture": run.data.params["architecture"],
            "resolution_px": int(run.data.params["resolution_px"]),
        },
        "model": run.data.tags["model"],
        "origin": run.data.tags.get("origin", ""),
        "alarm": run.data.tags.get("alarm"),
    }

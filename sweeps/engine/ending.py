"""What follows the last trial: latency in a quiet machine, every record in MLflow, plots and table."""

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.engine import result
from sweeps.engine.journal import Journal
from sweeps.engine.places import Places
from sweeps.engine.space import PlannedTrial, Setting
from sweeps.engine.terminal import Terminal, markdown_table
from trainables.artifact_files import ONNX_FILE
from trainables.attempts import attempt_folder, latest_checkpoint, read_history
from trainables.exporter import Exporter

if TYPE_CHECKING:
    from sweeps.engine.tracking import Tracking

SMOKE_SAMPLES = 4


@contextmanager
def exporting(journal: Journal, places: Places) -> Iterator[Exporter]:
    """Give what writes ONNX files while trials run; first to those whose record an earlier launch did not come to."""
    state, exporter = journal.state, Exporter()
    try:
        for trial in state.finished.keys() - state.recorded:
            exporter.put(places.trained(trial, state))
        yield exporter
    finally:
        exporter.stop()


def measured(
    places: Places, journal: Journal, setting: Setting, terminal: Terminal, *, smoke: bool
) -> Iterator[tuple[str, dict[str, float]]]:
    """Measure each distinct graph once, now that no trial runs; yields its digest and values by metric key."""
    from trainables.artifacts import recipe_for
    from trainables.latency import NUM_SAMPLES, measure

    todo: dict[str, Path] = {}
    for trial, row in journal.state.finished.items():
        if row["graph"]["digest"] in journal.state.latencies:
            continue
        folder = places.trained(trial, journal.state)
        if (folder / ONNX_FILE).exists():
            todo.setdefault(row["graph"]["digest"], folder)
    if todo:
        node = platform.node()
        graphs = "1 graph" if len(todo) == 1 else f"{len(todo)} graphs"
        terminal.event(f"measuring CPU latency of {graphs} on {node}, which now runs nothing else, beside B0")
        reference = recipe_for("B0", setting.profile.resolution_px)
        rows = measure(
            list(todo.values()),
            reference=reference,
            num_samples=SMOKE_SAMPLES if smoke else NUM_SAMPLES,
        )
        yield from zip(todo, rows, strict=True)


def record_finished(trial: str, planned: PlannedTrial, places: Places, journal: Journal, tracking: "Tracking") -> None:
    """Tell tracking all of a finished trial, and the journal that it knows."""
    tracking.start(trial, planned)
    attempt = attempt_folder(places.trial(trial), journal.state.attempts[trial])
    tracking.curves(trial, saved_history(trial, places))
    if trial in journal.state.micro_batches:
        tracking.narrow(trial, journal.state.micro_batches[trial])
    tracking.finish(trial, journal.state.finished[trial], attempt)
    journal.append("recorded", trial=trial)


def saved_history(trial: str, places: Places) -> list[dict[str, float]]:
    """Return the curve values of the epochs that a trial has saved, over all its attempts."""
    places.bring(trial)
    checkpoint = latest_checkpoint(places.trial(trial))
    return read_history(checkpoint) if checkpoint else []


def catch_up(journal: Journal, planned: Mapping[str, PlannedTrial], places: Places, tracking: "Tracking") -> None:
    """Send what the tracking store lacks of a sweep that does not run: runs, epochs, results, failures, costs.

    Everything comes from the journal and the checkpoints, in the order in which the trials were planned. A run that was
    deleted is made anew.
    """
    state = journal.state
    tracking.forget_deleted()
    for trial, row in planned.items():
        if trial in state.found:
            continue
        if trial in state.finished:
            if trial not in state.recorded or not tracking.knows(trial):
                record_finished(trial, row, places, journal, tracking)
            graph = state.finished[trial]["graph"]["digest"]
            if graph in state.latencies:
                tracking.costs(trial, state.latencies[graph], cpu=state.latency_cpus[graph])
            for scores in state.elsewhere.get(trial, {}).values():
                tracking.costs(trial, scores)
        elif trial in state.attempts:
            tracking.start(trial, row)
            tracking.curves(trial, saved_history(trial, places))
            if trial in state.failed:
                tracking.fail(trial, state.failed[trial])
            elif trial in state.stopped:
                tracking.stop_early(trial, **state.stopped[trial])
            else:
                tracking.stop([trial])
    tracking.name_found(state.found)


def close(
    journal: Journal,
    planned: Mapping[str, PlannedTrial],
    folder: Path,
    uri: str,
    tracking: "Tracking",
) -> None:
    """Draw the plots from MLflow, put them and the table on the parent run, and say so in the journal."""
    from analysis.pareto import draw
    from analysis.runs import read_runs

    plots = folder / "plots"
    if journal.state.finished:
        runs = read_runs(uri, [tracking.sweep])
        draw(runs.trials, plots, tracking_uri=uri, questions=runs.questions)
    plots.mkdir(exist_ok=True)
    failed = [f"- {planned[trial].name} failed: {why}\n" for trial, why in journal.state.failed.items()]
    tracking.close(plots, "\n".join([markdown_table(*result.table(planned, journal.state)), *failed]))
    journal.append("closed")

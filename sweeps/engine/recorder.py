"""Writes down what Tune reports: to the journal first, then to the courier and the terminal."""

import json
import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
from ray import tune
from ray.tune.experiment import Trial

from sweeps.engine import room
from sweeps.engine.asha import EarlyStop
from sweeps.engine.courier import Courier
from sweeps.engine.ending import record_finished, saved_history
from sweeps.engine.energy import Energy
from sweeps.engine.journal import Journal
from sweeps.engine.places import Places
from sweeps.engine.progress import Progress, most_epochs
from sweeps.engine.space import PlannedTrial
from sweeps.engine.terminal import Terminal
from sweeps.engine.tracking import Tracking
from trainables import metric_keys as keys
from trainables.attempts import ERROR_FILE, ON_HOST, OUTPUT_FILE, RESULT_FILE, attempt_folder
from trainables.exporter import Exporter

POLL_S, BUCKET_POLL_S, COUNTED_S, PROBE_S, SYSTEM_PERIOD_S = 0.05, 1.0, 1.0, 5.0, 10.0
OUT_OF_MEMORY = re.compile(r"^torch\.(cuda\.)?OutOfMemoryError", re.MULTILINE)
"""In a traceback: the trial's own error, not one of a thread or of another library."""
DEATHS_FORGIVEN = 3
"""A process that dies (out of memory, kill -9) is seldom its trial's fault; one that dies each time is."""


@dataclass(kw_only=True)
class Ending:
    """A trial that is trained, while its worker tests and exports it behind the next trial's training.

    Attributes:
        folder: Where its result will lie.
        worker: The process that does it, or None when it was not known.
        probe: A question to that process that it answers while it lives.
        probed: When it was asked, on the monotonic clock.
    """

    folder: Path
    worker: Any
    probe: Any = None
    probed: float = 0.0


class Recorder(tune.Callback):
    """Takes in epochs, ends and failures of trials."""

    def __init__(
        self,
        journal: Journal,
        places: Places,
        courier: Courier,
        exporter: Exporter,
        terminal: Terminal,
        progress: Progress,
        energy: Energy,
        *,
        max_failures: int,
    ) -> None:
        """Keep who is told what.

        Args:
            journal: Told first.
            places: Where the trials' folders are.
            courier: Told next.
            exporter: Writes the ONNX file of a finished trial before the courier gets the trial.
            terminal: Shows each epoch.
            progress: Told what runs, and asked for the time left.
            energy: Told what runs, and asked what it took.
            max_failures: How often a trial that raised is tried again.
        """
        self.planned: dict[str, PlannedTrial] = {}
        self.predicted: dict[str, int] = {}
        self.journal = journal
        self.places = places
        self.courier = courier
        self.exporter = exporter
        self.terminal = terminal
        self.progress = progress
        self.energy = energy
        self.max_failures = max_failures
        self.open: set[str] = set()
        self.ending: dict[str, Ending] = {}
        self.raised: dict[str, int] = {}
        self.deaths: dict[str, int] = {}
        self.lost_worker = False
        self.on_end: Callable[[], None] = lambda: None
        self.on_retry: Callable[[str, PlannedTrial], None] = lambda *_: None
        self.early_stop: EarlyStop | None = None
        self.full_disk = ""  # which, once one is
        self.on_full_disk: Callable[[], None] = lambda: None
        self._polled = 0.0
        self._brought = 0.0
        self._sampled = 0.0
        self._counted = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune, which pickles its callbacks for a restore that never comes, nothing."""
        return {}

    def started(self, trial: str, planned: PlannedTrial, predicted_bytes: int) -> None:
        """Open the trial's run, and send the epochs that an earlier driver saved and could not send."""
        self.planned[trial], self.predicted[trial] = planned, predicted_bytes
        self.open.add(trial)
        history = saved_history(trial, self.places)
        self.courier.put(lambda tracking: _open_run(tracking, trial, planned, history))
        self.energy.count(self.progress.running)
        self.energy.started(trial, anew=self.journal.state.attempts[trial] == 1)
        self.progress.started(trial, planned, history)
        if history:
            self.terminal.event(f"{planned.name:<12} goes on after epoch {len(history)}")

    def on_trial_start(self, **_: object) -> None:  # type: ignore[override]
        """Let tracking load, whose store may not be there yet: a worker has loaded."""
        self.courier.begin()

    def stopped_before(self, trial: str, planned: PlannedTrial) -> bool:
        """Judge the epochs that an earlier attempt saved and nobody judged; take a trial in that is stopped by them."""
        history = saved_history(trial, self.places)
        if not self.stops(trial, history):
            return False
        self.planned[trial] = planned
        self.courier.put(lambda tracking: _open_run(tracking, trial, planned, history))
        self._stopped(trial)
        return True

    def stops(self, trial: str, history: list[dict[str, float]]) -> bool:
        """Tell whether a trial is to be stopped early; the journal knows it then."""
        losses = [epoch[keys.EPOCH_VAL_LOSS] for epoch in history]
        return self.early_stop is not None and self.early_stop.stops(trial, losses)

    def on_trial_result(  # type: ignore[override] # Tune passes all by keyword
        self, *, trial: Trial, result: dict[str, Any], **_: object
    ) -> None:
        """Take in an epoch; after the last one, the trial's worker makes its result."""
        assignment = trial.config["assignment"]
        name, history = assignment["trial"], result["history"]
        self.progress.epoch(name, history, trained=result["complete"])
        if history:
            self.courier.put(lambda tracking: tracking.curves(name, history))
            self.terminal.detail(self._epoch_line(name, history))
        if result["refusal"]:
            self.journal.append("stopped", trial=name, epoch=len(history), reason=result["refusal"], arrival=None)
        if name in self.journal.state.stopped:
            self._stopped(name)
        elif result["complete"]:
            folder = attempt_folder(self.places.trial(name), assignment["attempt"])
            self.ending[name] = Ending(folder=folder, worker=trial.temporary_state.ray_actor)
            self.take_results()

    def on_step_end(self, **_: object) -> None:  # type: ignore[override]
        """Look for results, a few times a second; write down how busy the machine is, now and then."""
        now = time.monotonic()
        if now - self._sampled > SYSTEM_PERIOD_S:
            self._sampled = now
            values = {
                "cpu_utilization_percentage": psutil.cpu_percent(),
                "system_memory_usage_percentage": psutil.virtual_memory().percent,
            }
            self.courier.put(lambda tracking: tracking.system(values))
        if now - self._counted > COUNTED_S:
            self._counted = now
            self.energy.count(self.progress.running)
        if self.ending and time.monotonic() - self._polled > POLL_S:
            self.take_results()

    def take_results(self, *, last: bool = False) -> None:
        """Take in the results that workers have written since, and notice workers that died before they did.

        Args:
            last: No worker is left that could write one.
        """
        self._polled = time.monotonic()
        bring = last or self._polled - self._brought > BUCKET_POLL_S
        self._brought = self._polled if bring else self._brought
        for name, ending in list(self.ending.items()):
            if bring:
                self.places.bring(name)
            if (ending.folder / RESULT_FILE).exists():
                del self.ending[name]
                self._finished(name, json.loads((ending.folder / RESULT_FILE).read_text()))
            elif (ending.folder / ERROR_FILE).exists() or self._has_died(name, ending):
                del self.ending[name]
                self._failed(name, ending.folder)

    def give_up_endings(self) -> None:
        """Count the workers of the trials that have no result yet as dead: theirs are gone."""
        self.take_results(last=True)
        for name, ending in list(self.ending.items()):
            del self.ending[name]
            self._failed(name, ending.folder)

    def on_trial_complete(self, *, trial: Trial, **_: object) -> None:  # type: ignore[override]
        """Drop what Tune counts of each number of an ended trial: 60 kB that nobody asks for."""
        trial.run_metadata.metric_analysis.clear()
        trial.run_metadata.metric_n_steps.clear()

    def on_trial_error(self, *, trial: Trial, **_: object) -> None:  # type: ignore[override]
        """Take in a trial that raised or whose process died: one failed cell, the sweep goes on."""
        assignment = trial.config["assignment"]
        self._failed(assignment["trial"], attempt_folder(self.places.trial(assignment["trial"]), assignment["attempt"]))

    def _finished(self, name: str, final: dict[str, Any]) -> None:
        self.energy.count(self.progress.running)
        energy_wh = self.energy.of(name)
        if energy_wh is not None:
            final["metrics"][keys.ENERGY_WH] = energy_wh
        final["metrics"][keys.PREDICTED_MEMORY_MB] = self.predicted[name] / 1e6
        self.journal.append("finished", trial=name, result=final)
        self.open.discard(name)
        self.progress.ended(name)
        planned, journal, places, courier = self.planned[name], self.journal, self.places, self.courier
        self.exporter.put(
            places.trained(name, journal.state),
            then=lambda: courier.put(lambda tracking: record_finished(name, planned, places, journal, tracking)),
        )
        accuracy = final["metrics"].get(keys.scored("val", keys.ACCURACY))
        words = "unknown" if accuracy is None else f"{accuracy:.3f}"
        alarm = f"; {final['alarm']}" if final.get("alarm") else ""
        self.terminal.event(f"{planned.name:<12} done, validation accuracy {words}{alarm}")
        self.on_end()

    def _stopped(self, name: str) -> None:
        self.energy.count(self.progress.running)
        self.progress.ended(name)
        planned, stop = self.planned[name], self.journal.state.stopped[name]
        self.open.discard(name)
        self.courier.put(lambda tracking: tracking.stop_early(name, **stop))
        self.terminal.event(f"{planned.name:<12} stopped: {stop['reason']}")
        self.on_end()

    def _failed(self, name: str, attempt: Path) -> None:
        """Try a trial again, or write it down as failed."""
        self.energy.count(self.progress.running)
        self.progress.ended(name)
        self.places.bring(name)
        trace, planned = attempt / ERROR_FILE, self.planned[name]
        said = trace.read_text().strip() if trace.exists() else ""
        if room.SAID.search(said) or (not said and room.is_short(self.places.sweep)):
            self.full_disk = _full_disk(said) or f"the disk of {self.places.sweep}"
            self.on_full_disk()
            return  # no fault of the trial: it stays open
        if OUT_OF_MEMORY.search(said) and self._narrowed(name, planned):
            return
        if said:
            last = said.splitlines()[-1].removeprefix("data_store.errors.InputError: ")
            reason, counted, allowed = f"{last} (log: {trace})", self.raised, self.max_failures
        else:
            output = attempt / OUTPUT_FILE  # there once it has come to its first step
            reason, counted = f"its process died (log: {output if output.exists() else attempt})", self.deaths
            allowed = max(DEATHS_FORGIVEN, self.max_failures)
            self.lost_worker = True
        counted[name] = counted.get(name, 0) + 1
        if counted[name] <= allowed:
            self.terminal.event(f"{planned.name:<12} is tried again ({counted[name]} of {allowed}): {reason}")
            self.on_retry(name, planned)
            return
        self.journal.append("failed", trial=name, reason=reason)
        self.open.discard(name)
        self.courier.put(lambda tracking: tracking.fail(name, reason))
        self.terminal.event(f"{planned.name:<12} failed: {reason}")
        self.on_end()

    def _narrowed(self, name: str, planned: PlannedTrial) -> bool:
        """Let a trial that ran out of memory wait for another attempt at half its micro-batch; False at single crops.

        Gradients are accumulated to the same batch, so what it computes is the same up to rounding and batch
        statistics.
        """
        recipe = planned.config.recipe
        before = self.journal.state.micro_batches.get(name, planned.config.micro_batch or recipe.batch_size)
        if before == 1:
            return False
        now = (before + 1) // 2
        self.journal.append("narrowed", trial=name, micro_batch=now)
        self.terminal.event(f"{planned.name:<12} ran out of memory: goes on with a micro-batch of {now}, not {before}")
        self.on_retry(name, planned)
        return True

    def _has_died(self, name: str, ending: Ending) -> bool:
        """Ask a worker now and then whether it lives; it answers between two epochs of its next trial."""
        now = time.monotonic()
        if ending.worker is None or now - ending.probed < PROBE_S:
            return False
        if ending.probe is None:
            ending.probe = ending.worker.alive.remote()
        ending.probed = now
        if room.is_short(self.places.sweep):
            return True  # what went wrong there could not be written down
        if not ray.wait([ending.probe], timeout=0)[0]:
            return False
        probe, ending.probe = ending.probe, None
        try:
            ray.get(probe)
        except ray.exceptions.RayActorError:
            self.places.bring(name)
            return not (ending.folder / RESULT_FILE).exists()
        return False

    def _epoch_line(self, trial: str, history: list[dict[str, float]]) -> str:
        planned, last = self.planned[trial], history[-1]
        line = (
            f"{planned.name:<12} epoch {len(history):>2}/{most_epochs(planned.config)}  "
            f"train loss {last[keys.EPOCH_TRAIN_LOSS]:.3f}  val loss {last[keys.EPOCH_VAL_LOSS]:.3f}  "
            f"val accuracy {last[keys.EPOCH_VAL_ACCURACY]:.3f}  {self.progress.left()}"
        )
        return line.rstrip()


def _full_disk(said: str) -> str:
    """Return which other machine's disk a trial found full, by what its process left; nothing where it is this one."""
    host = ON_HOST.match(said)
    if host is None or host[1] == platform.node():
        return ""
    words = [line for line in said.splitlines() if room.SAID.search(line)]
    return f"a disk of {host[1]} ({words[-1]})" if words else f"a disk of {host[1]}"


def _open_run(tracking: Tracking, trial: str, planned: PlannedTrial, history: list[dict[str, float]]) -> None:
    tracking.start(trial, planned)
    tracking.curves(trial, history)

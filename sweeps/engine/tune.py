"""One Ray Tune run over the trials that are left: workers, callbacks, and what is recorded when."""

import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial

from data_store.manifest import Manifest
from data_store.resident import preflight, put
from sweeps.engine import cluster, resources
from sweeps.engine.journal import Journal
from sweeps.engine.options import Options
from sweeps.engine.places import Places
from sweeps.engine.plan import Added, Plan
from sweeps.engine.space import PlannedTrial, Setting
from sweeps.engine.terminal import Terminal
from sweeps.engine.tracking import Tracking
from trainables import metric_keys as keys
from trainables.attempts import ERROR_FILE, attempt_folder, latest_checkpoint, read_history
from trainables.recipes import TrialConfig
from trainables.trainable import DetectorTrial


def start_ray(address: str | None) -> None:
    """Connect to a cluster, or start Ray on this machine; leave a running connection alone.

    Raises:
        InputError: The cluster cannot be used; see ``cluster.connect``.
    """
    if address is not None:
        cluster.connect(address)
    elif not ray.is_initialized():
        ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


def smallest_object_store() -> int:
    """Bytes of the smallest object store of the cluster's nodes: any of them may run a trial and hold the crops."""
    return int(min(node["Resources"].get("object_store_memory", 0) for node in ray.nodes() if node["Alive"]))


def _log_to(file: Path) -> None:
    """Send what Ray says in this process to a file: a failed trial is told by us, in one line."""
    logger = logging.getLogger("ray")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.addHandler(logging.FileHandler(file))
    logger.propagate = False


def fit(
    pending: Mapping[str, PlannedTrial],
    prediction: Future[dict[TrialConfig, int]],
    *,
    manifest: Manifest,
    setting: Setting,
    options: Options,
    places: Places,
    journal: Journal,
    tracking: Tracking,
    terminal: Terminal,
    more: Callable[[], Future[Added] | None],
) -> bool:
    """Run the pending trials to their ends; return False when the user interrupted.

    Args:
        pending: By identity, in the order in which they should start.
        prediction: Bytes that each pending config will need.
        manifest: Of the store of crops.
        setting: Device, threads and the given teacher.
        options: Budget, cluster and residency.
        places: Of the sweep.
        journal: Told of each start and end before anybody else.
        tracking: Told after it.
        terminal: Shows each epoch.
        more: Asked after each trial's end for the trials that its result calls for.
    """
    start_ray(options.address)
    _log_to(places.sweep / "ray.log")
    if options.address is not None:
        room = smallest_object_store()
        terminal.line("crops", preflight(manifest, residency=options.residency, object_store_bytes=room))
        for line in cluster.inspect(options.results, store=manifest.store if options.residency == "mmap" else None):
            terminal.line("cluster", line)
    crops = put(manifest.store, residency=options.residency)
    by_config = prediction.result()
    have = _capacity(setting, options, list(by_config.values()), num_trials=len(pending))
    resources.refuse_too_large(list(pending.values()), by_config, have)
    predicted = {trial: by_config[row.config] for trial, row in pending.items()}
    terminal.event(
        f"{have.workers} at a time, {have.cpus} CPU thread each; predicted memory at most "
        f"{max(predicted.values()) / 2**30:.2f} GiB a trial, budget {options.gpu_memory_gb:g} GiB"
    )
    recorder = Recorder(journal, places, tracking, terminal)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(have.workers)  # start all workers at once, not one by one
    now = _workers_now(setting, options, have)
    plan = Plan(pending, predicted, have, journal, places, recorder.started, more, now)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(DetectorTrial, store=crops), {"cpu": have.cpus, "gpu": have.gpus}),
        tune_config=tune.TuneConfig(search_alg=plan, num_samples=-1, reuse_actors=True),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(places.sweep.resolve()),
            callbacks=[recorder],
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    try:
        tuner.fit()
    finally:
        open_runs = [run for trial, run in recorder.runs.items() if trial not in recorder.ended]
        tracking.stop(open_runs) if open_runs else None
        ray.shutdown()
    return not open_runs and not plan.waiting


def _capacity(setting: Setting, options: Options, predicted: list[int], *, num_trials: int) -> resources.Capacity:
    """Divide this machine, or the cluster."""
    if options.address is None:
        return resources.capacity(
            setting.device,
            num_cpus=int(ray.cluster_resources().get("CPU", 1)),
            num_threads=setting.num_threads,
            gpu_memory_gb=options.gpu_memory_gb,
            num_trials=num_trials,
            needs=predicted,
        )
    return cluster.capacity(
        setting.device,
        ray.nodes(),
        num_threads=setting.num_threads,
        gpu_memory_gb=options.gpu_memory_gb,
        predicted=predicted,
    )


def _workers_now(setting: Setting, options: Options, have: resources.Capacity) -> Callable[[], int] | None:
    """Return what counts the trials that the cluster has room for now: nodes leave it and join it."""
    if options.address is None:
        return None
    return cluster.watch(setting.device, num_threads=setting.num_threads, per_card=have.per_card)


def record_finished(trial: str, planned: PlannedTrial, places: Places, journal: Journal, tracking: Tracking) -> None:
    """Tell tracking all of a finished trial, and the journal that it knows."""
    run_id = tracking.start(trial, planned)
    attempt = attempt_folder(places.trial(trial), journal.state.attempts[trial])
    checkpoint = latest_checkpoint(places.trial(trial))
    tracking.curves(run_id, trial, read_history(checkpoint) if checkpoint else [])
    tracking.finish(run_id, journal.state.finished[trial], attempt)
    journal.append("recorded", trial=trial)


class Recorder(tune.Callback):
    """Writes down what Tune reports: to the journal first, then to tracking and the terminal."""

    def __init__(self, journal: Journal, places: Places, tracking: Tracking, terminal: Terminal) -> None:
        """Keep who is told what."""
        self.planned: dict[str, PlannedTrial] = {}
        self.predicted: dict[str, int] = {}
        self.journal = journal
        self.places = places
        self.tracking = tracking
        self.terminal = terminal
        self.runs: dict[str, str] = {}
        self.ended: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune, which pickles its callbacks for a restore that never comes, nothing."""
        return {}

    def started(self, trial: str, planned: PlannedTrial, predicted_bytes: int) -> None:
        """Open the trial's run, and send the epochs that an earlier driver saved and could not send."""
        self.planned[trial], self.predicted[trial] = planned, predicted_bytes
        self.runs[trial] = self.tracking.start(trial, planned)
        checkpoint = latest_checkpoint(self.places.trial(trial))
        if checkpoint is not None:
            history = read_history(checkpoint)
            self.tracking.curves(self.runs[trial], trial, history)
            self.terminal.event(f"{self.planned[trial].name:<12} goes on after epoch {len(history)}")

    def on_trial_result(  # type: ignore[override] # Tune passes all by keyword
        self, *, trial: Trial, result: dict[str, Any], **_: object
    ) -> None:
        """Take in an epoch, and the end of the trial with its last one."""
        name = trial.config["assignment"]["trial"]
        history = result["history"]
        self.tracking.curves(self.runs[name], name, history)
        if history:
            self.terminal.event(self._epoch_line(name, history))
        if result["done"]:
            final = result["final"]
            final["metrics"][keys.PREDICTED_MEMORY_MB] = self.predicted[name] / 1e6
            self.journal.append("finished", trial=name, result=final)
            record_finished(name, self.planned[name], self.places, self.journal, self.tracking)
            self.ended.add(name)
            accuracy = final["metrics"].get(keys.scored("val", keys.ACCURACY))
            self.terminal.event(f"{self.planned[name].name:<12} done, validation accuracy {accuracy:.3f}")

    def on_trial_error(self, *, trial: Trial, **_: object) -> None:  # type: ignore[override]
        """Take in a trial that raised or whose process died: one failed cell, the sweep goes on."""
        name = trial.config["assignment"]["trial"]
        attempt = attempt_folder(self.places.trial(name), trial.config["assignment"]["attempt"])
        trace = attempt / ERROR_FILE
        last = trace.read_text().strip().splitlines()[-1] if trace.exists() else "its process died"
        reason = f"{last.removeprefix('data_store.errors.InputError: ')} (log: {trace if trace.exists() else attempt})"
        self.journal.append("failed", trial=name, reason=reason)
        self.tracking.fail(self.runs[name], reason)
        self.ended.add(name)
        self.terminal.event(f"{self.planned[name].name:<12} failed: {reason}")

    def _epoch_line(self, trial: str, history: list[dict[str, float]]) -> str:
        planned, last = self.planned[trial], history[-1]
        return (
            f"{planned.name:<12} epoch {len(history):>2}/{planned.config.recipe.epochs}  "
            f"train loss {last[keys.EPOCH_TRAIN_LOSS]:.3f}  val loss {last[keys.EPOCH_VAL_LOSS]:.3f}  "
            f"val accuracy {last[keys.EPOCH_VAL_ACCURACY]:.3f}"
        )

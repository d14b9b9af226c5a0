"""One Ray Tune run over the trials that are left: workers, callbacks, and what is recorded when."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

import ray
from ray import tune
from ray.air.execution import FixedResourceManager
from ray.tune.execution import class_cache, tune_controller

from data_store.manifest import Manifest
from data_store.resident import preflight, put
from sweeps.engine import cluster, resources
from sweeps.engine.asha import EarlyStop
from sweeps.engine.courier import Courier
from sweeps.engine.ending import saved_history
from sweeps.engine.energy import Energy, counter
from sweeps.engine.interruption import interruptible
from sweeps.engine.journal import Journal
from sweeps.engine.nodes import Node, Nodes, alive, num_at_once
from sweeps.engine.options import Options
from sweeps.engine.places import Places
from sweeps.engine.plan import Added, Plan
from sweeps.engine.progress import Progress
from sweeps.engine.ray_start import start_ray
from sweeps.engine.recorder import Recorder
from sweeps.engine.replaced import replaced
from sweeps.engine.room import refusal
from sweeps.engine.space import PlannedTrial, Setting
from sweeps.engine.terminal import Terminal
from sweeps.engine.watch import Watch
from trainables.exporter import Exporter
from trainables.limits import Limits
from trainables.recipes import TrialConfig
from trainables.trainable import DetectorTrial

GONE_FLUSH_S = 2.0
"""Seconds for the last records when Ray is gone: it ends this process soon."""


def smallest_object_store() -> int:
    """Bytes of the smallest object store of the cluster's nodes: any of them may run a trial and hold the crops."""
    return int(min(node["Resources"].get("object_store_memory", 0) for node in ray.nodes() if node["Alive"]))


def _log_with_the_rest() -> None:
    """Let what Ray says in this process go where other libraries' words go: a failed trial is told by us."""
    logger = logging.getLogger("ray")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.propagate = True


def fit(
    pending: Mapping[str, PlannedTrial],
    prediction: Future[dict[TrialConfig, int]],
    *,
    manifest: Manifest,
    setting: Setting,
    options: Options,
    places: Places,
    journal: Journal,
    courier: Courier,
    exporter: Exporter,
    terminal: Terminal,
    planned: Callable[[], Mapping[str, PlannedTrial]],
    to_come: Callable[[], int],
    more: Callable[[], Future[Added] | None],
    early_stop: EarlyStop | None,
    limits: Limits | None,
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
        courier: Told after it.
        exporter: Writes the ONNX files of finished trials.
        terminal: Shows each epoch.
        planned: Asked for all trials of the sweep so far, those that are done among them.
        to_come: Asked for how many trials a search will plan later, as far as can be told.
        more: Asked after each trial's end for the trials that its result calls for.
        early_stop: Judges trials that come to a rung; None where all are trained to their ends.
        limits: What a pruned model may cost; None where a model may cost anything.
    """
    start_ray(options.address)
    _log_with_the_rest()
    nodes = None
    if options.address is not None:
        least = smallest_object_store()
        terminal.line("crops", preflight(manifest, residency=options.residency, object_store_bytes=least))
        nodes = _looked_at(options, manifest, terminal)
    crops = put(manifest.store, residency=options.residency)
    by_config = prediction.result()
    have = _capacity(setting, options, list(by_config.values()), num_trials=len(pending))
    resources.refuse_too_large(list(pending.values()), by_config, have)
    predicted = {trial: by_config[row.config] for trial, row in pending.items()}
    most = resources.most_at_once(list(predicted.values()), have)
    terminal.event(
        f"{most} at a time, {have.cpus} CPU thread each; predicted memory at most "
        f"{max(predicted.values()) / 2**30:.2f} GiB a trial, budget {options.gpu_memory_gb:g} GiB"
    )
    progress = Progress(terminal, journal, planned, lambda trial: plan.predicted.get(trial, 0), have, to_come)
    progress.begun({trial: saved_history(trial, places) for trial in pending if trial in journal.state.attempts})
    energy = Energy(counter(setting.device) if options.address is None else None)  # this machine's, if any
    recorder = Recorder(
        journal, places, courier, exporter, terminal, progress, energy, max_failures=options.max_failures
    )
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "inf"  # the journal is the state; Tune's own grows with every trial
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(have.workers)  # start all workers at once, not one by one
    now = _workers_now(setting, have, nodes)
    plan = Plan(pending, predicted, have, journal, places, recorder.started, more, now)
    plan.ending, recorder.on_end, recorder.on_retry = recorder.ending, plan.ask_for_more, plan.retry
    plan.look, plan.stopped_before = recorder.take_results, recorder.stopped_before
    recorder.on_full_disk = plan.close
    recorder.early_stop, plan.limits = early_stop, asdict(limits) if limits else None
    trainable = tune.with_parameters(DetectorTrial, store=crops)
    watch = Watch(lambda: _say_gone(terminal, courier))
    with (
        progress.live(),
        interruptible(plan, terminal, progress) as interruption,
        _workers_as_they_are(options.address),
    ):
        try:
            while True:
                fit_once(tune.with_resources(trainable, {"cpu": have.cpus, "gpu": have.gpus}), plan, recorder, places)
                recorder.give_up_endings()
                outgrown = plan.outgrown
                again = (recorder.lost_worker or outgrown) and not (interruption.asked or recorder.full_disk)
                recorder.lost_worker = False
                plan.reopen()
                progress.stopped(plan.waiting)
                if not (again and (plan.waiting or plan.coming)):  # what a result called for may still be on its way
                    break
                if not outgrown:
                    terminal.event("a worker was lost: starting its successor")
                    continue
                needs = {row.config: plan.predicted[trial] for trial, row in plan.waiting.items()}
                have = progress.have = _capacity(setting, options, list(needs.values()), num_trials=len(needs))
                resources.refuse_too_large(list(plan.waiting.values()), needs, have)
                plan.divide(have, _workers_now(setting, have, nodes))
                most = resources.most_at_once(list(needs.values()), have)
                terminal.event(f"{most} at a time from here: trials that came later need more memory each")
        except KeyboardInterrupt:
            terminal.event("stopped at once")
        finally:
            watch.stop()
            if nodes is not None:
                nodes.close()
            ray.shutdown()
    left = bool(recorder.open or interruption.asked)
    if left:
        trials = list(recorder.open)
        courier.put(lambda tracking: tracking.stop(trials))
    if recorder.full_disk:
        raise refusal(recorder.full_disk)
    return not left


def _looked_at(options: Options, manifest: Manifest, terminal: Terminal) -> Nodes:
    """Look at every node of the cluster, and return what looks at those that join.

    Raises:
        InputError: One of them breaks a rule.
    """
    results = options.bucket or str(options.results)
    store = manifest.store if options.residency == "mmap" else None  # one that each node reads by itself
    there = alive()
    for line in cluster.inspect(results, store=store, nodes=there):
        terminal.line("cluster", line)

    def look(node: Node) -> None:
        cluster.inspect(results, store=store, nodes=[node], given_up=nodes.closing.is_set)

    nodes = Nodes(there, look, terminal.event)
    return nodes


@contextmanager
def _workers_as_they_are(address: str | None) -> Iterator[None]:
    """Let Tune take the workers that Ray has started and that are loading; Tune has no setting for it.

    It would ask for others: with an environment of their own, in which are the driver's AWS keys, if it has any, and a
    variable for a library that is not used here. And on this machine in placement groups, of which a task of Ray's
    tells that they are ready: it would wait in a worker that is still loading, while the trial gets a new one. On a
    cluster, whose nodes come and go, groups it is.
    """
    groups = {"PlacementGroupResourceManager": FixedResourceManager} if address is None else {}
    with (
        replaced(class_cache, {"DEFAULT_ENV_VARS": {}, "ENV_VARS_TO_PROPAGATE": set()}),
        replaced(tune_controller, groups),
    ):
        yield


def fit_once(trainable: Any, plan: Plan, recorder: Recorder, places: Places) -> None:  # noqa: ANN401 # Tune's own
    """Let Tune run until the plan has no more, or closes because a worker was lost or the user interrupts."""

    def stop(trial_id: str, result: Mapping[Any, Any]) -> bool:
        plan.closing = plan.closing or recorder.lost_worker
        behind = not result["complete"] and recorder.stops(plan.running[trial_id], result["history"])
        return behind or plan.closing  # after an epoch, which is saved by then

    tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(search_alg=plan, num_samples=-1, reuse_actors=True),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(places.sweep.resolve()),
            callbacks=[recorder],
            stop=stop,
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    ).fit()


def _say_gone(terminal: Terminal, courier: Courier) -> None:
    """Say that the sweep ends, and tell tracking while there is time: what does not arrive, the next launch sends."""
    terminal.wipe()
    where = f" (log: {terminal.log.path})" if terminal.log else ""
    terminal.line("stopped", f"Ray is gone; the same command goes on from the last whole epoch{where}")
    if not courier.begun:
        return
    courier.put(lambda tracking: tracking.stop_all())
    with suppress(Exception):
        courier.flush(GONE_FLUSH_S)


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


def _workers_now(setting: Setting, have: resources.Capacity, nodes: Nodes | None) -> Callable[[], int] | None:
    """Return what counts the trials that the cluster has room for now: nodes leave it and join it."""
    if nodes is None:
        return None
    room = {"num_threads": setting.num_threads, "per_card": have.per_card}
    return lambda: num_at_once(nodes.usable(), setting.device, **room)

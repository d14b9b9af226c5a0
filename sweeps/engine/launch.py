"""A sweep's command line, from its first word to its table: what is left to do is done, recorded and shown."""

import logging
import os
import platform
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.addresses import how_to_browse
from data_store.errors import InputError
from data_store.manifest import read_manifest
from data_store.resident import preflight
from data_store.verified import require_verified
from sweeps.engine import bucket, ending, preview, resources, result, room, shelf
from sweeps.engine.agenda import nothing_to_tune, out_of_reach
from sweeps.engine.asha import EarlyStop
from sweeps.engine.builtin import builtin_store
from sweeps.engine.courier import Courier
from sweeps.engine.elsewhere import score_elsewhere, untested
from sweeps.engine.forecast import Footprint
from sweeps.engine.interruption import TEMPORARY_FAILURE, held_back, terminable
from sweeps.engine.journal import Journal, open_journal
from sweeps.engine.ladder import Shape
from sweeps.engine.launch_log import LaunchLog, launch_log
from sweeps.engine.lock import sweep_lock
from sweeps.engine.options import Options, parse
from sweeps.engine.preparing import Launch, begin, prepare, tags_of
from sweeps.engine.space import PlannedTrial, Sweep
from sweeps.engine.terminal import Terminal, text_table
from sweeps.engine.tracking import check_server, default_uri
from sweeps.engine.tracking_file import check_file, is_new, make
from trainables.exporter import Exporter
from trainables.recipes import TrialConfig

if TYPE_CHECKING:
    from sweeps.engine.plan import Added
    from sweeps.engine.tracking import Tracking

INTERRUPTED = 130
FLUSH_S = 30.0
"""How long a sweep that has ended waits for a tracking store that does not answer."""
CRASH_FLUSH_S = 5.0
"""And one that ends in an error."""


def run(sweep: Sweep, argv: Sequence[str] | None = None) -> int:
    """Run a sweep's command line, go on with what an earlier launch left, and return the exit code.

    Raises:
        InputError: Something that the user gave breaks a rule.
    """
    terminal = Terminal()
    with terminable(terminal) as termination:
        try:
            code = _launched(sweep, parse(sweep, argv), terminal)
        except KeyboardInterrupt:
            if not termination.asked:
                raise
            code = INTERRUPTED
    return TEMPORARY_FAILURE if termination.asked and code == INTERRUPTED else code


def _launched(sweep: Sweep, options: Options, terminal: Terminal) -> int:
    """Check what has to be there, and run the sweep with a log."""
    if options.bucket is not None:
        bucket.check(options.bucket)
        _check_writable(options.results)
        bucket.pull_journals(options.bucket, options.results)
    if options.show_list:
        terminal.write(text_table(shelf.HEADER, shelf.listing(options.results)) + "\n")
        return 0
    _quiet_libraries()
    uri = options.tracking_uri or default_uri(options.results)
    check_server(uri)
    _check_writable(options.results)
    check_file(uri)
    try:
        with launch_log(options.results, terminal) as log:
            return _run(sweep, options, uri, terminal, log)
    except Exception as error:
        if room.is_full(error):
            raise room.refusal(f"the disk of {options.results}") from error
        raise


def _run(sweep: Sweep, options: Options, uri: str, terminal: Terminal, log: LaunchLog) -> int:
    """Plan, work and show, with other libraries' words going to the log."""
    terminal.line(sweep.name, sweep.question)
    store = options.store or str(builtin_store(options.results, terminal))
    manifest = read_manifest(store)
    require_verified(manifest)
    launch = prepare(sweep, options, manifest, uri, terminal)
    _announce(launch, terminal)
    if options.plan:
        preview.show(launch, terminal)
        return 0
    with sweep_lock(launch.folder), bucket.kept(launch.bucket, launch.folder, terminal) as keeper:
        log.keep(launch.folder)
        journal = open_journal(launch.folder / "journal.jsonl")
        if keeper is not None:
            terminal.line("bucket", f"{launch.bucket}; runs, plots and logs are in {options.results}")
            bucket.record_again(journal, uri)
            bucket.give({digest: model.folder for digest, model in launch.setting.given.items()}, launch.places)
            keeper.follow(journal)
        if journal.dropped_tail:
            terminal.line("journal", "the last line was cut off in mid-write and is dropped")
        launch = begin(launch, journal, terminal)
        pending = _pending(launch, journal)
        if journal.state.closed is None or pending or untested(launch.other, journal.state):
            code = _work(launch, journal, pending, terminal)
            if journal.state.closed is not None:
                bucket.recorded_here(launch.folder)
        else:
            terminal.line("done", "nothing left to do: neither torch nor ray was loaded")
            code = 1 if journal.state.failed else 0
        _show(launch, journal, terminal)
    return code


def _announce(launch: Launch, terminal: Terminal) -> None:
    manifest, profile = launch.manifest, launch.setting.profile
    terminal.line(
        "data",
        f"{manifest.num_crops:,} crops of {manifest.crop_px} px, {manifest.split_kind} split, guarantee: "
        f"{manifest.guarantee}; {manifest.store}",
    )
    terminal.line("profile", f"{profile.name}: {profile.note}")
    terminal.line("sweep", f"{launch.label}, {len(launch.planned)} trials")
    if launch.options.fine_tune and launch.search is None:
        why = nothing_to_tune(launch.setting, launch.planned.values())
        if why:
            terminal.line("fine-tune", why)
    if launch.search is not None:
        terminal.line("search", f"{launch.options.num_trials} points by {launch.options.search}")


def _pending(launch: Launch, journal: Journal) -> dict[str, PlannedTrial]:
    """Return the trials that this launch has to run."""
    state = journal.state
    ended = set(state.stopped) | (set() if launch.options.retry_failed else set(state.failed))
    gone = state.finished.keys() | ended | out_of_reach(launch.planned, ended)
    return {trial: planned for trial, planned in launch.planned.items() if trial not in gone}


def _work(launch: Launch, journal: Journal, pending: dict[str, PlannedTrial], terminal: Terminal) -> int:
    """Run what is pending, then measure, record and draw; return the exit code."""
    done = len(launch.planned) - len(pending)
    if pending and launch.options.address is None:  # a cluster's object store is known once Ray answers
        terminal.line("crops", preflight(launch.manifest, residency=launch.options.residency))
    # In a new file is nothing to find: its tables are made, and MLflow is loaded, once a worker has loaded.
    new = bool(pending) and is_new(launch.uri)
    starting = "Ray" if new else "Ray and MLflow" if pending else "MLflow"
    with ThreadPoolExecutor(2) as pool:
        opening = None
        try:
            with held_back(terminal):
                terminal.line("plan", f"{done} done, {len(pending)} to run; starting {starting} ...")
                prediction = pool.submit(_predict, launch, pending)
                if pending:
                    from sweeps.engine.ray_start import start_ray

                    start_ray(launch.options.address)  # before MLflow, which loads while Ray's workers do
                if not new:
                    opening = pool.submit(_open_tracking, launch, journal)
                    opening.result()
            left = pending if opening is None else _without_found(launch, journal, pending, opening.result(), terminal)
            if not left.keys() <= pending.keys():
                prediction = pool.submit(_predict, launch, left)
            if pending and not left:
                import ray

                ray.shutdown()  # all were found: latencies are measured on a quiet machine
        except BaseException:
            if opening is not None:
                with suppress(Exception):  # what it failed with is told already
                    opening.result().stop([])  # else the sweep's run would be left running
            raise
        opened = partial(_open_tracking, launch, journal) if opening is None else opening.result
        courier = Courier(opened, terminal, held=new)
        try:
            with ending.exporting(journal, launch.places) as exporter:
                if left and not _train(launch, journal, left, prediction, courier, exporter, terminal):
                    exporter.finish(FLUSH_S)
                    raise KeyboardInterrupt
                exporter.finish()
            code = _end(launch, journal, courier, exporter, terminal)
            courier.stop()
            return code
        except KeyboardInterrupt:
            if courier.begun:  # else nothing is there that would be left running
                courier.put(lambda tracking: tracking.stop_all())  # those that wait for ONNX files, too
                _delivered(launch, courier, terminal)
            courier.stop()
            terminal.line("stopped", "saved after the last whole epoch; the same command goes on from there")
            return INTERRUPTED
        except BaseException:
            if courier.begun:
                courier.put(lambda tracking: tracking.stop_all())
                with suppress(Exception):  # what ends the sweep is what is to be told
                    courier.flush(CRASH_FLUSH_S)
            courier.stop()
            raise


def _end(launch: Launch, journal: Journal, courier: Courier, exporter: Exporter, terminal: Terminal) -> int:
    """Score, measure, record and draw what was trained; return the exit code."""
    for trial, row in launch.planned.items():
        folder = launch.places.model(trial, journal.state)
        if folder in exporter.failed:
            terminal.line("no ONNX", f"{row.name}, and so no latency: {exporter.failed[folder]}")
    if launch.other is not None:
        score_elsewhere(launch.other, launch.setting, journal, launch.places, terminal)
    courier.wait_open()  # which keeps a core busy
    for graph, values in ending.measured(launch.places, journal, launch.setting, terminal, smoke=launch.options.smoke):
        journal.append("latency", graph=graph, latency=values, node=platform.node(), cpu=resources.cpu_name())
    courier.put(lambda tracking: ending.catch_up(journal, launch.planned, launch.places, tracking))
    if not _delivered(launch, courier, terminal):
        return TEMPORARY_FAILURE
    ending.close(journal, launch.planned, launch.folder, launch.uri, courier.tracking)
    return 1 if journal.state.failed or exporter.failed else 0


def _delivered(launch: Launch, courier: Courier, terminal: Terminal) -> bool:
    """Wait for the records to arrive; say where they are when the tracking store stays away."""
    arrived = courier.flush(FLUSH_S)
    if not arrived:
        by_hand = f", or python -m sweeps.engine.deliver --results {launch.options.results}"
        terminal.line(
            "records",
            f"{launch.uri} does not answer; they wait in {launch.folder}: run the same command again"
            f"{'' if launch.bucket else by_hand} when it does",
        )
    return arrived


def _without_found(
    launch: Launch,
    journal: Journal,
    pending: dict[str, PlannedTrial],
    tracking: "Tracking",
    terminal: Terminal,
) -> dict[str, PlannedTrial]:
    """Close the runs of sweeps that died, take over what others have trained, and return what is left to train."""
    from sweeps.engine.found import take_over

    if tracking.sweep != launch.label:
        terminal.line("records", f"{tracking.sweep} in MLflow: another results folder has {launch.label} there")
    local = launch.bucket is None
    stale = tracking.close_stale(partial(shelf.may_run, launch.folder.parent, mine=tracking.sweep, local=local))
    if stale:
        terminal.line("closed", f"{stale} runs that a sweep which died had left running")
    if _is_fresh(journal):
        return pending
    reference_px = launch.setting.profile.resolution_px
    while found := take_over(pending, journal, launch.places, tracking, terminal, reference_px=reference_px):
        pending = {trial: planned for trial, planned in pending.items() if trial not in found}
        pending |= launch.agenda.grow(journal)
    return pending


def _predict(launch: Launch, pending: dict[str, PlannedTrial]) -> dict[TrialConfig, int]:
    """Return the bytes that each pending config will need."""
    return {planned.config: launch.ladder.need(planned.config) for planned in pending.values()}


def _open_tracking(launch: Launch, journal: Journal) -> "Tracking":
    make(launch.uri)
    from sweeps.engine.tracking import Tracking

    return Tracking(
        launch.uri,
        experiment=launch.sweep.name,
        sweep=launch.label,
        question=launch.sweep.question,
        results=launch.options.results,
        tags=tags_of(launch.setting, launch.manifest),
        owner=journal.state.owner,
    )


def _train(
    launch: Launch,
    journal: Journal,
    pending: dict[str, PlannedTrial],
    prediction: Future[dict[TrialConfig, int]],
    courier: Courier,
    exporter: Exporter,
    terminal: Terminal,
) -> bool:
    """Let Ray Tune run the pending trials, and those that come of them; return False when it was interrupted."""
    from sweeps.engine.tune import fit

    with ThreadPoolExecutor(1) as pool:

        def more() -> "Future[Added] | None":
            new = launch.agenda.grow(journal)
            return pool.submit(_added, launch, journal, courier, terminal, new) if new else None

        return fit(
            pending,
            prediction,
            manifest=launch.manifest,
            setting=launch.setting,
            options=launch.options,
            places=launch.places,
            journal=journal,
            courier=courier,
            exporter=exporter,
            terminal=terminal,
            planned=lambda: launch.planned,
            to_come=partial(launch.search.to_come, journal) if launch.search else lambda: 0,
            more=more,
            early_stop=_early_stop(launch, journal),
            limits=launch.search.pruned_limits if launch.search else None,
        )


def _early_stop(launch: Launch, journal: Journal) -> EarlyStop | None:
    """Return what stops trials early, where that was asked for."""
    if launch.options.early_stop == "none":
        return None
    setting, forecasts = launch.setting, launch.ladder.forecasts

    def costs(shapes: Iterable[Shape]) -> dict[str, Footprint]:
        return forecasts.footprints(shapes, device=setting.device, num_threads=setting.num_threads)

    costs({(row.config.architecture, row.config.resolution_px) for row in launch.planned.values()})  # all at once
    return EarlyStop(
        journal,
        launch.planned,
        lambda config: costs([(config.architecture, config.resolution_px)])[preview.network_of(config)],
    )


def _added(
    launch: Launch, journal: Journal, courier: Courier, terminal: Terminal, new: dict[str, PlannedTrial]
) -> "Added":
    """Take over those of the new trials that other sweeps have trained, and predict what the others need."""
    from sweeps.engine.found import take_over_by
    from sweeps.engine.plan import Added

    if not _is_fresh(journal):
        reference_px = launch.setting.profile.resolution_px
        take_over_by(courier, new, journal, launch.places, terminal, reference_px=reference_px)
    left = {trial: planned for trial, planned in new.items() if trial not in journal.state.finished}
    predicted = _predict(launch, left)
    needs = {trial: predicted[planned.config] for trial, planned in left.items()}
    return Added(left, needs, found=len(left) < len(new))


def _is_fresh(journal: Journal) -> bool:
    """Tell whether a sweep trains again what others have trained."""
    return journal.state.opened is not None and bool(journal.state.opened["fresh"])


def _show(launch: Launch, journal: Journal, terminal: Terminal) -> None:
    """Print the table, where the plots are, and what to do next."""
    terminal.write("\n" + text_table(*result.table(launch.planned, journal.state)) + "\n\n")
    for alarm in result.alarms(launch.planned, journal.state):
        terminal.line("alarm", alarm)
    for trial, reason in journal.state.failed.items():
        terminal.line("failed", f"{launch.planned[trial].name}: {reason}")
    if journal.state.failed:
        terminal.line("again", "the same command with --retry-failed runs them once more")
    if journal.state.failed and terminal.log:
        terminal.line("log", f"{terminal.log.path}: this launch, with what Ray and other libraries said")
    for file in sorted((launch.folder / "plots").glob("*.png")) + sorted((launch.folder / "plots").glob("*.html")):
        terminal.line("plot", str(file))
    terminal.line("browse", how_to_browse(launch.uri))


def _check_writable(results: Path) -> None:
    try:
        results.mkdir(parents=True, exist_ok=True)
        probe = results / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"the results folder must be writable, but {results} is not ({error.strerror}); name another with --results"
        ) from error


def _quiet_libraries() -> None:
    """Ask other libraries for few remarks; what they say nevertheless goes to the launch's log."""
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # the courier looks first what has arrived
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
    logging.getLogger("ray").setLevel(logging.ERROR)

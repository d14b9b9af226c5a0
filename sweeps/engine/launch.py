"""From a sweep's command line to Ray Tune and back: what is left to do, done, recorded and shown."""

import logging
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from data_store.errors import InputError
from data_store.manifest import Manifest, read_manifest
from data_store.resident import preflight
from data_store.verified import require_verified
from sweeps.engine import ending, fitting, preview, resources, result, room, shelf
from sweeps.engine.agenda import Agenda, out_of_reach, with_fine_tuning
from sweeps.engine.asha import EarlyStop
from sweeps.engine.axes import seeded
from sweeps.engine.builtin import builtin_store
from sweeps.engine.courier import Courier
from sweeps.engine.elsewhere import OtherStore, other_store, score_elsewhere, untested
from sweeps.engine.forecast import Footprint
from sweeps.engine.journal import Journal, open_journal
from sweeps.engine.ladder import Ladder, Shape
from sweeps.engine.launch_log import LaunchLog, launch_log
from sweeps.engine.lock import is_held, sweep_lock
from sweeps.engine.models import given_model, with_start
from sweeps.engine.options import Options, parse
from sweeps.engine.places import Places
from sweeps.engine.searchers import LISTED, in_order
from sweeps.engine.searching import Search, representatives
from sweeps.engine.space import PROFILES, PlannedTrial, Profile, Setting, Sweep, recipe_digest
from sweeps.engine.terminal import Terminal, text_table
from sweeps.engine.tracking import check_server, default_uri
from trainables.data_rules import check_store
from trainables.exporter import Exporter
from trainables.limits import Limits
from trainables.recipes import Recipe, TrialConfig, digest

if TYPE_CHECKING:
    from sweeps.engine.plan import Added
    from sweeps.engine.tracking import Tracking

INTERRUPTED = 130
LATENCY_PROTOCOL = "quiet process, 1 thread, interleaved with unpruned B0, p50 and p90 of 64 samples"
FLUSH_S = 30.0
"""How long a sweep that has ended waits for a tracking store that does not answer."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A sweep that is named, planned and locked.

    Attributes:
        sweep: The question.
        options: What the user asked for.
        setting: What its trials depend on.
        ladder: Knows the memory that each of them needs.
        agenda: Its trials.
        search: Chooses further ones, where the sweep has a space.
        plan: Makes its first trials in another setting.
        manifest: Of the store.
        other: Another store, that every model is scored on as well.
        label: ``kd_alpha-demo-1a2b3c4d``: name, profile and digest.
        folder: Where it writes.
        uri: Of the tracking store.
    """

    sweep: Sweep
    options: Options
    setting: Setting
    ladder: Ladder
    agenda: Agenda
    search: Search | None
    plan: Callable[[Setting], dict[str, PlannedTrial]]
    manifest: Manifest
    other: OtherStore | None
    label: str
    folder: Path
    uri: str

    @property
    def planned(self) -> dict[str, PlannedTrial]:
        """Its trials by identity, in order."""
        return self.agenda.planned

    @property
    def prefix(self) -> str:
        """What all sweeps of this name and profile are called, whatever their space."""
        return self.label.rpartition("-")[0]

    @property
    def places(self) -> Places:
        """Where it keeps what."""
        given = self.setting.given.values()
        return Places(sweep=self.folder, models={model.digest: Path(model.folder) for model in given})


def run(sweep: Sweep, argv: Sequence[str] | None = None) -> int:
    """Run a sweep's command line, go on with what an earlier launch left, and return the exit code.

    Raises:
        InputError: Something that the user gave breaks a rule.
    """
    terminal = Terminal()
    options = parse(sweep, argv)
    if options.show_list:
        terminal.write(text_table(shelf.HEADER, shelf.listing(options.results)) + "\n")
        return 0
    _quiet_libraries()
    uri = options.tracking_uri or default_uri(options.results)
    check_server(uri)
    _check_writable(options.results)
    try:
        with launch_log(options.results, terminal) as log:
            return _run(sweep, options, uri, terminal, log)
    except Exception as error:
        if room.is_full(error):
            raise room.refusal(options.results) from error
        raise


def _run(sweep: Sweep, options: Options, uri: str, terminal: Terminal, log: LaunchLog) -> int:
    """Plan, work and show, with other libraries' words going to the log."""
    terminal.line(sweep.name, sweep.question)
    store = options.store or str(builtin_store(options.results, terminal))
    manifest = read_manifest(store)
    require_verified(manifest)
    launch = _plan(sweep, options, manifest, uri, terminal)
    _announce(launch, terminal)
    if options.plan:
        _preview(launch, terminal)
        return 0
    with sweep_lock(launch.folder):
        log.keep(launch.folder)
        journal = open_journal(launch.folder / "journal.jsonl")
        if journal.dropped_tail:
            terminal.line("journal", "the last line was cut off in mid-write and is dropped")
        launch = _open_journal(launch, journal, terminal)
        pending = _pending(launch, journal)
        if journal.state.closed is None or pending or untested(launch.other, journal.state):
            code = _work(launch, journal, pending, terminal)
        else:
            terminal.line("done", "nothing left to do: neither torch nor ray was loaded")
            code = 1 if journal.state.failed else 0
        _show(launch, journal, terminal)
    return code


def _open_journal(launch: Launch, journal: Journal, terminal: Terminal) -> Launch:
    """Write down at a sweep's first launch what it is, and say which other sweeps of its name there are.

    Returns the launch, with what its trials depend on and only the journal knows.
    """
    if journal.state.opened is None:
        others = [path.parent.name for path in shelf.journals(launch.options.results, f"{launch.prefix}-")]
        others = [other for other in others if other != launch.label]
        if others:
            terminal.line(
                "new", f"another space, store, seed or recipe than {', '.join(others)}: these stay as they are"
            )
        journal.append(
            "opened",
            sweep=launch.sweep.name,
            question=launch.sweep.question,
            label=launch.label,
            uri=launch.uri,
            tags=_tags(launch.setting, launch.manifest),
            fresh=launch.options.fresh,
        )
        if launch.options.fresh:
            name = launch.prefix.removesuffix(f"-{launch.setting.profile.name}")
            terminal.line("fresh", f"to go on with it later, give --name {name} in place of --fresh")
    if launch.search is not None:
        launch.search.prepare(journal)
    setting = fitting.with_rates(launch.setting, launch.planned.values(), journal, launch.ladder.forecasts, terminal)
    if setting is not launch.setting:  # the sweep's name does not depend on the rates, which it keeps for good
        launch = replace(launch, setting=setting)
        launch.agenda.plan_again(setting, launch.plan(setting))
        if launch.search is not None:
            launch.search.setting = setting
    launch.agenda.open(journal)
    return launch


def _plan(sweep: Sweep, options: Options, manifest: Manifest, uri: str, terminal: Terminal) -> Launch:
    """Name the sweep by the digest of everything that its trials depend on."""
    sweep = seeded(sweep, options.num_seeds)
    profile = PROFILES[options.profile]
    if options.smoke:
        profile = _smoke(profile)
    if options.weights in ("none", "imagenet"):
        profile = replace(profile, weights=options.weights)
    setting = Setting(
        profile=profile,
        seed=options.seed,
        store_digest=manifest.digest,
        device=_device_kind(options),
        num_threads=options.num_threads,
        teacher=given_model(options.teacher, uri, options.results) if options.teacher else None,
        smoke=options.smoke,
    )
    if options.weights not in (None, "none", "imagenet"):
        setting = with_start(options.weights, sweep, setting, uri, options.results)
    setting, ladder = fitting.with_ladder(setting, options)
    other = other_store(options.test_store, manifest) if options.test_store else None

    def plan(setting: Setting) -> list[PlannedTrial]:
        first = sweep.trials(setting)
        if sweep.space is not None and ladder.gathering:
            representatives(sweep.space, setting)  # to learn which predictions are missing
        check_store(manifest, [trial.config for trial in first])
        return with_fine_tuning(setting, first) if options.fine_tune else first

    def meanwhile() -> None:
        _start_early(sweep, options, manifest, terminal)

    trials = fitting.planned(partial(plan, setting), ladder, meanwhile, preview=options.plan)
    planned = {setting.identity(trial.config): trial for trial in trials}
    stopping = {} if options.early_stop == "none" else {"early_stop": options.early_stop}
    identity = digest({"sweep": sweep.name, "trials": list(planned), **stopping, **_search_spec(sweep, options)})
    name = options.name or sweep.name
    if options.fresh:
        name = shelf.next_name(options.results, name)
    label = f"{name}-{profile.name}-{identity[:8]}"
    if options.extend:
        label = shelf.to_extend(options.results, label.rpartition("-")[0], _tags(setting, manifest))
    folder = options.results / "sweeps" / label
    agenda, search = Agenda(sweep, setting, _ordered(planned, options), fine_tune=options.fine_tune), None
    if sweep.space is not None:
        search = Search(
            space=sweep.space,
            method=options.search,
            setting=setting,
            limits=Limits(max_size_mb=options.max_size_mb, max_latency_ms=options.max_latency_ms),
            num_trials=options.num_trials,
            ahead=max(2, (os.cpu_count() or 1) // options.num_threads),
            forecasts=ladder.forecasts,
            folder=folder,
        )
        agenda.search = search.grow
    return Launch(
        sweep=sweep,
        options=options,
        setting=setting,
        ladder=ladder,
        agenda=agenda,
        search=search,
        plan=lambda other: _ordered({other.identity(trial.config): trial for trial in plan(other)}, options),
        manifest=manifest,
        other=other,
        label=label,
        folder=folder,
        uri=uri,
    )


def _device_kind(options: Options) -> str:
    """Return what trials run on, here or on the cluster, which is joined for that."""
    if options.address is None:
        return resources.device_kind()
    from sweeps.engine import cluster

    cluster.connect(options.address)
    return cluster.device_kind()


def _ordered(planned: dict[str, PlannedTrial], options: Options) -> dict[str, PlannedTrial]:
    """Return a sweep's listed cells in the order in which they are begun, as far as they wait for no other."""
    rows = list(planned.items())
    method = options.search if options.search in LISTED else "grid"
    return dict(rows[place] for place in in_order(method, options.seed, len(rows)))


def _search_spec(sweep: Sweep, options: Options) -> dict[str, object]:
    """Return what names a search besides its first trials; not how many it tries, which may be raised."""
    if sweep.space is None:
        return {}
    axes = [[axis.name, *axis.values] for axis in sweep.space.axes]
    return {"search": [options.search, options.max_size_mb, options.max_latency_ms], "axes": axes}


def _start_early(sweep: Sweep, options: Options, manifest: Manifest, terminal: Terminal) -> None:
    """Start what takes long while memory is predicted, unless the crops do not fit anyhow."""
    name = f"{options.name or sweep.name}-{options.profile}-"
    if options.plan or any(is_held(path.parent) for path in shelf.journals(options.results, name)):
        terminal.line("plan", "predicting memory ...")  # this may be a second driver, which is refused
        return
    if options.address is None:
        preflight(manifest, residency=options.residency)
    terminal.line("plan", "predicting memory; starting Ray and MLflow ...")
    fitting.start_all(options.address)


def _preview(launch: Launch, terminal: Terminal) -> None:
    """Print what each trial would need."""
    planned, setting, options = list(launch.planned.values()), launch.setting, launch.options
    if launch.search is not None:  # one model of each network stands for all
        models = {cell.network: cell.trials[-1] for cell in reversed(representatives(launch.search.space, setting))}
        planned += [trial for trial in models.values() if trial not in planned]
    networks = {(trial.config.architecture, trial.config.resolution_px) for trial in planned}
    terminal.line("plan", f"counting and timing {len(networks)} networks on random pixels; nothing is trained ...")
    footprints = launch.ladder.forecasts.footprints(networks, device=setting.device, num_threads=setting.num_threads)
    have = resources.capacity(
        setting.device,
        num_cpus=os.cpu_count() or 1,
        num_threads=setting.num_threads,
        gpu_memory_gb=options.gpu_memory_gb,
        num_trials=len(planned),
        needs=[launch.ladder.need(trial.config) for trial in planned],
    )
    amount = preview.amount_of(launch.manifest)
    cells = preview.rows(planned, launch.ladder, footprints, have, amount)
    terminal.write("\n" + text_table(preview.HEADER, cells) + "\n\n")
    total = preview.duration(preview.total_seconds(planned, footprints, have, amount))
    terminal.line("budget", f"{options.gpu_memory_gb:g} GiB for all; {have.workers} at a time on this machine")
    terminal.line("time", f"about {total} in all, without augmentation, test passes and latency; nothing was trained")


def _smoke(profile: Profile) -> Profile:
    """Cut a profile to one step of one epoch, from random weights so that nothing has to be fetched."""
    return replace(
        profile,
        recipe=_one_step(profile.recipe),
        fine_tuning=_one_step(profile.fine_tuning),
        fine_tuned_models=False,
        weights="none",
        note="smoke test: one step from random weights; scores mean nothing",
    )


def _one_step(recipe: Recipe) -> Recipe:
    return replace(recipe, epochs=1, warmup_epochs=0, max_steps_per_epoch=1)


def _announce(launch: Launch, terminal: Terminal) -> None:
    manifest, profile = launch.manifest, launch.setting.profile
    terminal.line(
        "data",
        f"{manifest.num_crops:,} crops of {manifest.crop_px} px, {manifest.split_kind} split, guarantee: "
        f"{manifest.guarantee}; {manifest.store}",
    )
    terminal.line("profile", f"{profile.name}: {profile.note}")
    terminal.line("sweep", f"{launch.label}, {len(launch.planned)} trials")
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
    starting = "Ray and MLflow" if pending else "MLflow"
    terminal.line("plan", f"{done} done, {len(pending)} to run; starting {starting} ...")
    with ThreadPoolExecutor(2) as pool:
        prediction = pool.submit(_predict, launch, pending)
        opening = pool.submit(_open_tracking, launch)
        if pending:
            from sweeps.engine.tune import start_ray

            start_ray(launch.options.address)
        tracking = opening.result()
        stale = tracking.close_stale(lambda sweep: _may_run(launch, sweep))
        if stale:
            terminal.line("closed", f"{stale} runs that a sweep which died had left running")
        left = _without_found(launch, journal, pending, tracking, terminal)
        if not left.keys() <= pending.keys():
            prediction = pool.submit(_predict, launch, left)
        if pending and not left:
            import ray

            ray.shutdown()  # all were found: latencies are measured on a quiet machine
        courier = Courier(tracking, terminal)
        with ending.exporting(journal, launch.places) as exporter:
            if left and not _train(launch, journal, left, prediction, courier, exporter, terminal):
                exporter.finish(FLUSH_S)
                _delivered(launch, courier, terminal)
                terminal.line("stopped", "saved after the last whole epoch; the same command goes on from there")
                return INTERRUPTED
            exporter.finish()
    if launch.other is not None:
        score_elsewhere(launch.other, launch.setting, journal, launch.places, terminal)
    for graph, values in ending.measured(launch.places, journal, launch.setting, terminal, smoke=launch.options.smoke):
        journal.append("latency", graph=graph, latency=values, node=platform.node())
    courier.put(lambda tracking: ending.catch_up(journal, launch.planned, launch.places, tracking))
    if _delivered(launch, courier, terminal):
        ending.close(journal, launch.planned, launch.folder, launch.label, launch.uri, tracking)
    return 1 if journal.state.failed else 0


def _may_run(launch: Launch, sweep: str) -> bool:
    """Tell whether another sweep has a driver; one that has no folder here may run elsewhere."""
    folder = launch.folder.parent / sweep
    return not folder.is_dir() or (sweep != launch.label and is_held(folder))


def _delivered(launch: Launch, courier: Courier, terminal: Terminal) -> bool:
    """Wait for the records to arrive; say where they are when the tracking store stays away."""
    arrived = courier.flush(FLUSH_S)
    courier.stop()
    if not arrived:
        terminal.line(
            "records",
            f"{launch.uri} does not answer; they wait in {launch.folder}: run the same command again, or "
            f"python -m sweeps.engine.deliver --results {launch.options.results}, when it does",
        )
    return arrived


def _without_found(
    launch: Launch,
    journal: Journal,
    pending: dict[str, PlannedTrial],
    tracking: "Tracking",
    terminal: Terminal,
) -> dict[str, PlannedTrial]:
    """Take over what other sweeps have trained, and what is then called for; return what is left to train."""
    from sweeps.engine.found import take_over

    if _is_fresh(journal):
        return pending
    while found := take_over(pending, journal, launch.places, tracking, terminal):
        pending = {trial: planned for trial, planned in pending.items() if trial not in found}
        pending |= launch.agenda.grow(journal)
    return pending


def _predict(launch: Launch, pending: dict[str, PlannedTrial]) -> dict[TrialConfig, int]:
    """Return the bytes that each pending config will need."""
    return {planned.config: launch.ladder.need(planned.config) for planned in pending.values()}


def _open_tracking(launch: Launch) -> "Tracking":
    from sweeps.engine.tracking import Tracking

    return Tracking(
        launch.uri,
        experiment=launch.sweep.name,
        sweep=launch.label,
        question=launch.sweep.question,
        results=launch.options.results,
        tags=_tags(launch.setting, launch.manifest),
    )


def _tags(setting: Setting, manifest: Manifest) -> dict[str, str]:
    """Return the card of the protocol that every run carries."""
    return {
        "profile": setting.profile.name,
        "seed": str(setting.seed),
        "recipe": recipe_digest(setting.profile),
        "store": manifest.store,
        "store_digest": manifest.digest,
        "split_kind": manifest.split_kind,
        "guarantee": manifest.guarantee,
        "latency_protocol": LATENCY_PROTOCOL,
    }


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
        take_over_by(courier, new, journal, launch.places, terminal)
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
    if journal.state.failed and terminal.log:
        terminal.line("log", f"{terminal.log.path}: this launch, with what Ray and other libraries said")
    for file in sorted((launch.folder / "plots").glob("*.png")) + sorted((launch.folder / "plots").glob("*.html")):
        terminal.line("plot", str(file))
    terminal.line("browse", "make ui")


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
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # the courier tries again, and says so
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
    logging.getLogger("ray").setLevel(logging.ERROR)

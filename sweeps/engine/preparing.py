"""From what the user asked for to a sweep that is named, planned and opened: all that comes before the work."""

import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from data_store.errors import InputError
from data_store.manifest import Manifest
from data_store.resident import preflight
from sweeps.engine import fitting, resources, shelf
from sweeps.engine.agenda import Agenda, planned_in, with_fine_tuning
from sweeps.engine.axes import seeded
from sweeps.engine.bucket import given_place
from sweeps.engine.elsewhere import OtherStore, other_store
from sweeps.engine.interruption import held_back
from sweeps.engine.journal import Journal
from sweeps.engine.ladder import Ladder
from sweeps.engine.lock import is_held
from sweeps.engine.models import check_given, given_model, with_start
from sweeps.engine.options import Options
from sweeps.engine.places import Places
from sweeps.engine.searchers import LISTED, in_order
from sweeps.engine.searching import Search, representatives
from sweeps.engine.space import PROFILES, PlannedTrial, Profile, Setting, Sweep, recipe_digest
from sweeps.engine.terminal import Terminal
from sweeps.engine.tracking import default_uri
from trainables.data_rules import check_store
from trainables.limits import Limits
from trainables.recipes import Recipe, digest

LATENCY_PROTOCOL = "quiet process, 1 thread, interleaved with unpruned B0, p50 and p90"


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
        models = {model.digest: Path(model.folder) for model in self.setting.given.values()}
        if self.bucket is not None:
            models = {digest: given_place(self.folder, digest) for digest in models}
        return Places(sweep=self.folder, models=models, bucket=self.bucket)

    @property
    def bucket(self) -> str | None:
        """Its address in a bucket, if it is kept in one."""
        return self.options.bucket and f"{self.options.bucket}/sweeps/{self.label}"


def begin(launch: Launch, journal: Journal, terminal: Terminal) -> Launch:
    """Write down at a sweep's first launch what it is, and say which other sweeps of its name there are.

    Returns the launch, with what its trials depend on and only the journal knows.

    Raises:
        InputError: It was begun with another tracking store, or the crops do not fit this machine.
    """
    opened = journal.state.opened
    if opened is not None and launch.bucket is None and not _same_store(opened["uri"], launch):
        raise InputError(
            f"a sweep's records go to one tracking store, but {launch.label} began with {opened['uri']} and this "
            f"command has {launch.uri}; give --tracking-uri {opened['uri']}, or --fresh to start over"
        )
    if opened is None:
        if launch.options.address is None:  # a first launch trains: crops that do not fit are refused before it is one
            preflight(launch.manifest, residency=launch.options.residency)
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
            tags=tags_of(launch.setting, launch.manifest),
            fresh=launch.options.fresh,
            bucket=launch.bucket,
            gpu_memory_gb=launch.options.gpu_memory_gb,
            owner=uuid.uuid4().hex,
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
    launch.ladder.know(planned_in(journal.state))
    launch.agenda.open(journal)
    return launch


def _same_store(uri: str, launch: Launch) -> bool:
    """Tell whether an earlier launch's tracking store is this one's: a results folder takes its file along."""
    mine = default_uri(launch.options.results)
    moved = launch.uri == mine and uri.startswith("sqlite:") and uri.rpartition("/")[2] == mine.rpartition("/")[2]
    return uri == launch.uri or moved


def prepare(sweep: Sweep, options: Options, manifest: Manifest, uri: str, terminal: Terminal) -> Launch:
    """Name the sweep by the digest of everything that its trials depend on.

    Raises:
        InputError: A flag breaks a rule of this machine or of the sweep, or no rung of the ladder fits a trial.
    """
    if options.address is None:
        resources.refuse_too_many_threads(options.num_threads, os.cpu_count() or 1)
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
    check_given(setting, options.results)
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
        axes = [axis.name for axis in sweep.space.axes] if sweep.space is not None else []
        own = shelf.shared(planned)
        if sweep.space is not None:  # a point's rung, and so what it is, depends on the budget
            own[shelf.BUDGET] = options.gpu_memory_gb
        label = shelf.to_extend(options.results, label.rpartition("-")[0], tags_of(setting, manifest), axes, own)
    folder = options.results / "sweeps" / label
    agenda, search = Agenda(sweep, setting, _ordered(planned, options), fine_tune=options.fine_tune), None
    if sweep.space is not None:
        search = Search(
            space=sweep.space,
            method=options.search,
            setting=setting,
            limits=Limits(max_size_mb=options.max_size_mb, max_latency_ms=options.max_latency_ms),
            num_trials=options.num_trials,
            ahead=max(2, _places(options, setting.device)),
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


def _places(options: Options, device: str) -> int:
    """Return about how many trials run at once, on a cluster two a card: a search suggests no further ahead."""
    if options.address is None:
        return (os.cpu_count() or 1) // options.num_threads
    from sweeps.engine.nodes import alive, num_at_once

    return num_at_once(alive(), device, num_threads=options.num_threads, per_card=2)


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
    limits = [options.max_size_mb, options.max_latency_ms, options.gpu_memory_gb]  # the last one chooses the rungs
    return {"search": [options.search, *limits], "axes": axes}


def _start_early(sweep: Sweep, options: Options, manifest: Manifest, terminal: Terminal) -> None:
    """Start what takes long while memory is predicted, unless the crops do not fit anyhow."""
    name = f"{options.name or sweep.name}-{options.profile}-"
    if options.plan or any(is_held(path.parent) for path in shelf.journals(options.results, name)):
        terminal.line("plan", "predicting memory ...")  # this may be a second driver, which is refused
        return
    if options.address is None:
        preflight(manifest, residency=options.residency)
    terminal.line("plan", "predicting memory; starting Ray and MLflow ...")
    with held_back(terminal):
        fitting.start_all(options.address)


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


def tags_of(setting: Setting, manifest: Manifest) -> dict[str, str]:
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

"""What a sweep would need, shown by ``--plan`` before anything is trained."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_store.manifest import Manifest
from sweeps.engine.estimate import Course, makespan
from sweeps.engine.forecast import Footprint
from sweeps.engine.ladder import Ladder, rung_name, rungs
from sweeps.engine.resources import Capacity, capacity, most_at_once
from sweeps.engine.searching import representatives
from sweeps.engine.space import PlannedTrial, needs
from sweeps.engine.terminal import Terminal, text_table
from trainables.recipes import Recipe, TrialConfig

if TYPE_CHECKING:
    from sweeps.engine.preparing import Launch

HEADER = ("trial", "fp32 GiB", "AMP GiB", "runs as", "at once", "parameters", "MMACs", "about")
UNKNOWN = "-"


@dataclass(frozen=True, kw_only=True)
class Amount:
    """How much data an epoch is.

    Attributes:
        train: Crops of the training split.
        val: Crops of the validation split.
    """

    train: int
    val: int


def amount_of(manifest: Manifest) -> Amount:
    """Return how many crops an epoch trains on and is validated on."""
    return Amount(train=sum(manifest.counts["train"].values()), val=sum(manifest.counts["val"].values()))


def seconds_of(config: TrialConfig, footprint: Footprint, amount: Amount) -> float:
    """Return about how long a trial takes alone, all its epochs, from timed steps of its network.

    Augmentation, the teacher's pass and the test split come on top; early stopping and pruning make it shorter.
    """
    return _epochs(config) * (
        _train_crops(config.recipe, amount.train) * footprint.train_ms / 1e3 + amount.val * footprint.evaluate_ms / 1e3
    )


def show(launch: "Launch", terminal: Terminal) -> None:
    """Print what each trial would need, how many run at once and for how long."""
    planned, setting, options = list(launch.planned.values()), launch.setting, launch.options
    if launch.search is not None:  # one model of each network stands for all
        models = {cell.network: cell.trials[-1] for cell in reversed(representatives(launch.search.space, setting))}
        planned += [trial for trial in models.values() if trial not in planned]
    networks = {(trial.config.architecture, trial.config.resolution_px) for trial in planned}
    terminal.line("plan", f"counting and timing {len(networks)} networks on random pixels; nothing is trained ...")
    footprints = launch.ladder.forecasts.footprints(networks, device=setting.device, num_threads=setting.num_threads)
    sizes = [launch.ladder.need(trial.config) for trial in planned]
    have = capacity(
        setting.device,
        num_cpus=os.cpu_count() or 1,
        num_threads=setting.num_threads,
        gpu_memory_gb=options.gpu_memory_gb,
        num_trials=len(planned),
        needs=sizes,
    )
    amount = amount_of(launch.manifest)
    cells = rows(planned, launch.ladder, footprints, have, amount)
    terminal.write("\n" + text_table(HEADER, cells) + "\n\n")
    named = {setting.identity(trial.config): trial for trial in planned}
    total = duration(total_seconds(named, launch.ladder, footprints, have, amount))
    most = most_at_once(sizes, have)
    terminal.line("budget", f"{options.gpu_memory_gb:g} GiB for all; {most} at a time on this machine")
    terminal.line("time", f"about {total} in all, without augmentation, test passes and latency; nothing was trained")


def rows(
    planned: Sequence[PlannedTrial],
    ladder: Ladder,
    footprints: Mapping[str, Footprint],
    have: Capacity,
    amount: Amount,
) -> list[list[str]]:
    """Return one row of cells a trial.

    Args:
        planned: Their configs have gone through the ladder.
        ladder: Knows what each rung needs.
        footprints: By ``architecture@resolution_px``.
        have: The machine and the budget.
        amount: Of data.
    """
    return [[trial.name, *_cells(trial.config, ladder, footprints, have, amount)] for trial in planned]


def total_seconds(
    planned: Mapping[str, PlannedTrial],
    ladder: Ladder,
    footprints: Mapping[str, Footprint],
    have: Capacity,
    amount: Amount,
) -> float:
    """Return about how long all trials take, each beside those that the budget holds with it, after its teacher.

    Args:
        planned: By identity.
        ladder: Knows what each rung needs.
        footprints: By ``architecture@resolution_px``.
        have: The machine and the budget.
        amount: Of data.
    """
    courses = [
        Course(
            trial=name,
            network=network_of(trial.config),
            taught=trial.config.teacher is not None,
            work=ladder.need(trial.config),
            epochs=_epochs(trial.config),
            needs=frozenset(needs(trial.config)),
        )
        for name, trial in planned.items()
    ]

    def alone(course: Course) -> float:
        return seconds_of(planned[course.trial].config, footprints[course.network], amount)

    return makespan(courses, alone, workers=have.workers, budget_bytes=have.budget_bytes)


def network_of(config: TrialConfig) -> str:
    """Return ``architecture@resolution_px``."""
    return f"{config.architecture}@{config.resolution_px}"


def duration(seconds: float) -> str:
    """Return seconds as people say them: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _cells(
    config: TrialConfig, ladder: Ladder, footprints: Mapping[str, Footprint], have: Capacity, amount: Amount
) -> list[str]:
    teacher = ladder.teacher_of(config)
    first, second = list(rungs(config))[:2]
    need = ladder.need(config)
    footprint = footprints[network_of(config)]
    return [
        _gib(ladder.forecasts.bytes_of(first, teacher)),
        _gib(ladder.forecasts.bytes_of(second, teacher)),
        rung_name(config),
        str(max(1, min(have.workers, have.budget_bytes // need))),
        f"{footprint.parameters:,}",
        f"{footprint.macs / 1e6:,.0f}",
        duration(seconds_of(config, footprint, amount)),
    ]


def _gib(num_bytes: int | None) -> str:
    return UNKNOWN if num_bytes is None else f"{num_bytes / 2**30:.2f}"


def _epochs(config: TrialConfig) -> int:
    return config.recipe.epochs * (config.pruning.iterations if config.pruning else 1)


def _train_crops(recipe: Recipe, available: int) -> int:
    if recipe.max_steps_per_epoch is None:
        return available
    return min(available, recipe.max_steps_per_epoch * recipe.batch_size)

"""What a sweep has on its list: the trials of its file, and those that the results so far ask for."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from sweeps.engine.journal import Journal, State
from sweeps.engine.space import Known, PlannedTrial, Setting, Sweep, needs
from trainables.recipes import from_dict, to_dict

FINE_TUNED_ROLES = ("student", "model")


def with_fine_tuning(setting: Setting, planned: Sequence[PlannedTrial]) -> list[PlannedTrial]:
    """Add to each student and model a trial that trains it on by the profile's fine-tuning, teacher and all.

    One that is trained by that recipe is not trained by it a second time.
    """
    both: list[PlannedTrial] = []
    for trial in planned:
        both.append(trial)
        if _is_to_be_tuned(setting, trial):
            config = replace(
                trial.config,
                weights=setting.identity(trial.config),
                recipe=setting.profile.fine_tuning,
                pruning=None,
                precision="fp32",
                micro_batch=None,
            )
            config = setting.fit(config)  # its optimizer may need more than the one before
            both.append(PlannedTrial(name=f"{trial.name}, fine-tuned", role=trial.role, config=config))
    return both


def nothing_to_tune(setting: Setting, planned: Iterable[PlannedTrial]) -> str:
    """Say why ``--fine-tune`` adds no trial to these; an empty text where it does."""
    planned = list(planned)
    if any(_is_to_be_tuned(setting, trial) for trial in planned):
        return ""
    reasons = []
    if any(trial.role in FINE_TUNED_ROLES for trial in planned):
        reasons.append("its students and models are fine-tuned already")
    if any(trial.config.pruning is not None for trial in planned):
        reasons.append("pruned models are fine-tuned after each step already")
    return f"adds no trial: {'; '.join(reasons) or 'none of these is a student or a model'}"


def _is_to_be_tuned(setting: Setting, trial: PlannedTrial) -> bool:
    return trial.role in FINE_TUNED_ROLES and trial.config.recipe != setting.profile.fine_tuning


def known(state: State) -> Known:
    """Return what a sweep may plan by: validation scores and costs, never test scores."""
    return {
        trial: {key: value for key, value in result["metrics"].items() if not key.startswith("test_")}
        for trial, result in state.finished.items()
    }


def planned_in(state: State) -> dict[str, PlannedTrial]:
    """Return the trials that a journal knows, in the order in which they were planned."""
    return {
        trial: PlannedTrial(name=row["name"], role=row["role"], config=from_dict(row["config"]))
        for trial, row in state.planned.items()
    }


def out_of_reach(planned: Mapping[str, PlannedTrial], ended: Collection[str]) -> set[str]:
    """Return the trials that need, directly or by others, the model of one that ended without making it.

    Args:
        planned: All trials of a sweep.
        ended: Those that failed or were stopped.
    """
    without = set(ended)
    found: set[str] = set()
    while more := {trial for trial, row in planned.items() if trial not in without and needs(row.config) & without}:
        found |= more
        without |= more
    return found


class Agenda:
    """The trials of a sweep by identity, in the order in which they were planned; it only grows.

    Every trial is in the journal before anything is done about it, so that a later launch, and a listing of the
    sweep, know it without asking the sweep's file again.
    """

    def __init__(self, sweep: Sweep, setting: Setting, first: Mapping[str, PlannedTrial], *, fine_tune: bool) -> None:
        """Take the trials that the sweep's file plans from the start."""
        self.sweep = sweep
        self.setting = setting
        self.fine_tune = fine_tune
        self.planned = dict(first)
        self.search: Callable[[Journal], list[PlannedTrial]] | None = None

    def plan_again(self, setting: Setting, first: Mapping[str, PlannedTrial]) -> None:
        """Take the trials of another setting in place of those so far, none of which is in the journal."""
        self.setting = setting
        self.planned = dict(first)

    def open(self, journal: Journal) -> None:
        """Write down what the journal lacks, take in what an earlier launch planned further, and grow."""
        self._write({trial: row for trial, row in self.planned.items() if trial not in journal.state.planned}, journal)
        self.planned |= {trial: row for trial, row in planned_in(journal.state).items() if trial not in self.planned}
        self.grow(journal)

    def grow(self, journal: Journal) -> dict[str, PlannedTrial]:
        """Ask the sweep what the results so far call for, and return the trials that are new."""
        wanted = self.sweep.more(self.setting, known(journal.state)) if self.sweep.more else []
        wanted += self.search(journal) if self.search else []
        if self.fine_tune:
            wanted = with_fine_tuning(self.setting, wanted)
        by_identity = {self.setting.identity(trial.config): trial for trial in wanted}
        new = {trial: row for trial, row in by_identity.items() if trial not in self.planned}
        self._write(new, journal)
        self.planned |= new
        return new

    def _write(self, planned: Mapping[str, PlannedTrial], journal: Journal) -> None:
        if planned:
            journal.extend(
                {
                    "event": "planned",
                    "trial": trial,
                    "name": row.name,
                    "role": row.role,
                    "config": to_dict(row.config),
                }
                for trial, row in planned.items()
            )

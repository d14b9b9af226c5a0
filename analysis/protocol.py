"""Which trials may stand in the rows of the thesis, and which two may be held against one another."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.lineage import Kind
from analysis.runs import Trial

THESIS = "thesis"
"""The engine's profile with the settings of SCSE23-0504."""
SEARCH = "search"
"""Experiment of the joint search, whose points have a learning rate and an input side of their own."""
PROFILES_OWN = ("teacher", "start")
"""Roles of the trials that the search trains by the profile alone."""
SETTINGS = ("architecture", "resolution_px", "temperature", "recipe.name", "recipe.learning_rate")
"""What the search varies, beside alpha and the prune ratio."""
SEEDS = ("data_seed", "init_seed")


@dataclass(frozen=True, kw_only=True)
class Eligible:
    """The trials that may stand in the rows of the thesis."""

    trials: tuple[Trial, ...]
    """In the order in which they were given."""
    left_out: str
    """What may not, and why, in a sentence; empty when all may."""


def eligible(trials: Sequence[Trial]) -> Eligible:
    """Return the trials that may stand in the rows of the thesis: equal in everything that no row is about.

    They are of one profile, the thesis's where there is a trial of it, else the one with most trials. They are no
    points of the joint search, but for those whose settings another trial of that profile has: a sweep that needs
    such a point takes it over in place of training it again. And each network has one input side, that of most of
    its trials.
    """
    points = {t.run_id for t in trials if t.experiment == SEARCH and t.role not in PROFILES_OWN}
    profiles = Counter(_profile(trial) for trial in trials if trial.run_id not in points)
    profile = THESIS if profiles[THESIS] else max(profiles, key=profiles.__getitem__, default="")
    planned = [trial for trial in trials if _profile(trial) == profile and trial.run_id not in points]
    sides: dict[str, Counter[str]] = {}
    for trial in planned:
        sides.setdefault(trial.architecture, Counter())[trial.params.get("resolution_px", "")] += 1
    settings = {_settings(trial) for trial in planned}

    def reason(trial: Trial) -> str:
        if trial.run_id in points and _settings(trial) not in settings:
            return "of the joint search with settings of its own"
        if _profile(trial) != profile:
            return f"of the {_profile(trial)} profile"
        counts = sides[trial.architecture]
        if counts[trial.params.get("resolution_px", "")] < max(counts.values()):
            return "at another input side than most trials of the same network"
        return ""

    reasons = [reason(trial) for trial in trials]
    parts = [f"{count} {words}" for words, count in Counter(filter(None, reasons)).most_common()]
    shown = f"Trials left out of the thesis's rows, since they do not compare with the rest: {', '.join(parts)}."
    kept = tuple(trial for trial, words in zip(trials, reasons, strict=True) if not words)
    return Eligible(trials=kept, left_out=shown if parts else "")


def unlike(one: Trial, other: Trial, kinds: tuple[Kind, Kind]) -> tuple[str, ...]:
    """Return what two trials should share and do not, as `data_seed 0 and 1`; what one did not record is left open.

    They should share the seeds; the temperature, where both have a teacher; and the recipe, where both are at the same
    stage: fine-tuning has another one than training, and a constant rate than a schedule.
    """
    names = list(SEEDS)
    if all(kind.alpha for kind in kinds):
        names.append("temperature")
    if (kinds[0].fine_tuned, kinds[0].scheduled) == (kinds[1].fine_tuned, kinds[1].scheduled):
        names += sorted(name for name in one.params if name.startswith("recipe.") and name != "recipe.name")
    found = [(name, one.params.get(name), other.params.get(name)) for name in names]
    return tuple(
        f"{name} {mine} and {theirs}" for name, mine, theirs in found if None not in (mine, theirs) and mine != theirs
    )


def seeds(trial: Trial) -> tuple[str | None, ...]:
    """Return a trial's seeds, None for one that it did not record."""
    return tuple(trial.params.get(name) for name in SEEDS)


def _profile(trial: Trial) -> str:
    return trial.tags.get("profile", "unknown")


def _settings(trial: Trial) -> tuple[str | None, ...]:
    return tuple(trial.params.get(name) for name in SETTINGS)

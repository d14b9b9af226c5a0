"""What ``--test-store`` adds to a sweep: its finished models scored on the test split of another data set.

No trial depends on it, so a sweep that is done can be asked for it later, and for several stores one after another.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data_store.errors import InputError
from data_store.folders import open_folder
from data_store.manifest import Manifest, read_manifest
from data_store.verified import require_verified
from sweeps.engine.journal import Journal, State
from sweeps.engine.places import Places
from sweeps.engine.space import PlannedTrial, Setting
from sweeps.engine.terminal import Terminal
from trainables import metric_keys as keys
from trainables.elsewhere import scored_elsewhere


@dataclass(frozen=True, kw_only=True)
class OtherStore:
    """Another data set.

    Attributes:
        manifest: Its own.
        name: In keys and tables: its folder's, and the first digits of its digest.
    """

    manifest: Manifest
    name: str

    @property
    def prefix(self) -> str:
        """What stands in place of a split's name in the keys of its scores."""
        return f"{keys.ELSEWHERE}{self.name}"


def other_store(store: str, trained_on: Manifest) -> OtherStore:
    """Read the store that ``--test-store`` names.

    Raises:
        InputError: It is no verified store on this machine, has no test split, or is the one that is trained on.
    """
    manifest = read_manifest(store)
    require_verified(manifest)
    if manifest.digest == trained_on.digest:
        raise InputError(
            f"--test-store must be another data set than the one that is trained on, but got {store} for both; "
            "leave it out: every trial is scored on its own test split"
        )
    if open_folder(store).local is None:
        raise InputError(f"--test-store must be a store on this machine, but got {store}; copy it here first")
    if not sum(manifest.counts.get("test", {}).values()):
        raise InputError(f"--test-store must have a test split, but {store} has no crop in it; build one that has")
    folder = re.sub(r"[^A-Za-z0-9]+", "_", Path(store).resolve().name).strip("_")
    return OtherStore(manifest=manifest, name=f"{folder}_{manifest.digest[:6]}")


def untested(other: OtherStore | None, state: State) -> list[str]:
    """Return the finished trials that have no scores on the other store."""
    if other is None:
        return []
    return [trial for trial in state.finished if other.name not in state.elsewhere.get(trial, {})]


def score_elsewhere(other: OtherStore, setting: Setting, journal: Journal, places: Places, terminal: Terminal) -> None:
    """Score what is not scored yet, and write it down, one model after another."""
    todo = untested(other, journal.state)
    if not todo:
        return
    counts, limit = sum(other.manifest.counts["test"].values()), setting.profile.recipe.max_steps_per_epoch
    terminal.event(f"scoring {len(todo)} models on the {counts:,} test crops of {other.manifest.store}")
    scores = scored_elsewhere(
        [places.trained(trial, journal.state) for trial in todo],
        other.manifest.store,
        other.prefix,
        device=setting.device,
        num_threads=setting.num_threads,
        max_batches=limit,
    )
    for trial, found in zip(todo, scores, strict=True):
        journal.append(
            "elsewhere",
            trial=trial,
            name=other.name,
            store=other.manifest.store,
            store_digest=other.manifest.digest,
            metrics=found.values,
            undefined=found.undefined,
        )


def columns(planned: Mapping[str, PlannedTrial], state: State) -> dict[str, dict[str, str]]:
    """Return accuracy and AUC on each other store, by the column's header and the trial."""
    names = sorted({name for tested in state.elsewhere.values() for name in tested})
    return {
        f"{name} {shown}": {
            trial: _share(state.elsewhere.get(trial, {}).get(name, {}), f"{keys.ELSEWHERE}{name}_{key}")
            for trial in planned
        }
        for name in names
        for shown, key in (("acc", "accuracy"), ("AUC", "auc"))
    }


def _share(values: Mapping[str, float], key: str) -> str:
    return f"{values[key]:.3f}" if key in values else "-" if values else ""

"""The sweeps of a results folder: which there are, how far they are, and under which name one goes on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_store.errors import InputError
from sweeps.engine.agenda import planned_in
from sweeps.engine.journal import State, read_state
from sweeps.engine.lock import is_held
from sweeps.engine.space import PlannedTrial, needs

HEADER = ("sweep", "state", "trials", "finished", "stopped", "failed", "profile", "seed", "store")
CARD = ("profile", "seed", "store_digest", "recipe")
"""Tags that two halves of one sweep share."""
BUDGET = "--gpu-memory-gb"


def journals(results: Path, prefix: str = "") -> list[Path]:
    """Return the journals of the sweeps whose names start with ``prefix``, oldest first."""
    return sorted(results.glob(f"sweeps/{prefix}*/journal.jsonl"), key=lambda path: path.stat().st_mtime)


def listing(results: Path) -> list[list[str]]:
    """Return one row of cells a sweep, oldest first; a sweep whose journal is damaged says so."""
    rows = []
    for path in journals(results):
        try:
            state = read_state(path)
        except InputError:  # its own command says which line; the others are listed all the same
            rows.append([path.parent.name, "damaged", *[""] * (len(HEADER) - 2)])
            continue
        tags = state.opened["tags"] if state.opened else {}
        card = [tags.get("profile", ""), tags.get("seed", ""), tags.get("store", "")]
        counts = [str(len(part)) for part in (state.planned, state.finished, state.stopped, state.failed)]
        rows.append([path.parent.name, _state(path.parent, state), *counts, *card])
    return rows


def _state(folder: Path, state: State) -> str:
    if is_held(folder):
        return "running"
    if state.closed is not None:
        return "done"
    return "stopped" if state.attempts else "not begun"


def may_run(sweeps: Path, sweep: str, owner: str, *, mine: str, local: bool) -> bool:
    """Tell whether another sweep than mine has a driver; one of which the journal is not here may run elsewhere.

    Args:
        sweeps: Folder of the sweeps here.
        sweep: The other's name in the tracking store.
        owner: Of the other's journal: another results folder may have a sweep of the same name.
        mine: This one's name there.
        local: False where journals are kept in a bucket, whose drivers may be anywhere.
    """
    if sweep == mine:
        return False
    folder = sweeps / sweep.removesuffix(f"-{owner[:6]}")
    if not local or is_held(folder):
        return True
    try:
        return read_state(folder / "journal.jsonl").owner != owner
    except (OSError, InputError):
        return True


def next_name(results: Path, name: str) -> str:
    """Return ``name-2``, or the first such name that no sweep has."""
    number = 2
    while any(results.glob(f"sweeps/{name}-{number}-*")):
        number += 1
    return f"{name}-{number}"


def shared(planned: Mapping[str, PlannedTrial]) -> dict[str, object]:
    """Return what all trials of a sweep have in common besides its card, by the word that a user knows it by.

    Args:
        planned: By identity; where there are none, nothing is common.
    """
    if not planned:
        return {}
    config = next(iter(planned.values())).config
    given = set[str]().union(*(needs(row.config) for row in planned.values())) - planned.keys()
    models = ", ".join(sorted(model[:8] for model in given)) or "none"
    return {"device": config.device, "--threads": config.num_threads, "--teacher": models}


def to_extend(
    results: Path, prefix: str, tags: Mapping[str, str], axes: Sequence[str], own: Mapping[str, object]
) -> str:
    """Return the label of the latest sweep of this name and profile, which is to get more trials.

    Args:
        results: Folder of everything that is written.
        prefix: Name and profile.
        tags: Of the sweep that asks.
        axes: Of its space; none where it lists its cells.
        own: What its first trials share, and the memory budget where their rungs depend on it.

    Raises:
        InputError: There is none, or it has another store, seed, recipe, device, teacher or space.
    """
    found = [path for path in journals(results, f"{prefix}-") if path.parent.name.rpartition("-")[0] == prefix]
    if not found:
        raise InputError(f"--extend adds to a sweep that is there, but {results} has none of {prefix}; leave it out")
    label = found[-1].parent.name
    state = read_state(found[-1])
    opened = state.opened
    before = {**opened["tags"], BUDGET: opened.get("gpu_memory_gb")} if opened else {}
    before |= shared(planned_in(state))
    for key, value in {**{key: tags[key] for key in CARD}, **own}.items():
        if before.get(key) not in (None, value):  # a sweep of before the key was recorded does not say
            raise InputError(
                f"--extend goes on with the same {key}, but {label} has {json.dumps(before[key])} and this command "
                f"{json.dumps(value)}; leave --extend out to start another sweep"
            )
    theirs = list(state.suggested[0]["point"]) if state.suggested else list(axes)
    if theirs != list(axes):
        raise InputError(
            f"--extend goes on with the same axes, but {label} has {', '.join(theirs)} and this command "
            f"{', '.join(axes)}; leave --extend out to start another sweep"
        )
    return label

"""Trials of finished sweeps, kept in a file, so that a second reading asks MLflow for new ones only.

A sweep is taken from the file only while its own run in MLflow is `FINISHED` with the end time that was kept: a
sweep that goes on is marked as running by the engine, and ends with another time. Everything else is asked for
again, so are trials started since the last reading, and what a user has deleted is left out.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.runs import DataIdentity, Record, SweepRun, Trial

VERSION = 2
MANY = 8
"""With more changed sweeps than this, one search for everything is quicker than one for each."""


@dataclass(frozen=True, kw_only=True)
class RecordCache:
    """What the file of one tracking store holds."""

    file: Path
    """Where it is kept."""
    sweeps: dict[str, tuple[int, tuple[Trial, ...]]]
    """Run id of a finished sweep -> (its end time, its trials)."""
    newest: int
    """Latest start of a trial that was ever read, milliseconds since 1970."""

    @staticmethod
    def open(folder: Path, tracking_uri: str) -> "RecordCache":
        """Read the file of a tracking store; an absent, broken or older file is an empty one."""
        file = folder / f"runs-{hashlib.sha256(tracking_uri.encode()).hexdigest()[:16]}.json"
        try:
            held = json.loads(file.read_bytes())
            if held["version"] != VERSION:
                raise KeyError("version")
            sweeps = {
                run_id: (end_time, tuple(_from_json(row) for row in rows))
                for run_id, (end_time, rows) in held["sweeps"].items()
            }
            return RecordCache(file=file, sweeps=sweeps, newest=held["newest"])
        except (OSError, ValueError, KeyError, TypeError):
            return RecordCache(file=file, sweeps={}, newest=0)

    def write(self) -> None:
        """Replace the file as a whole; a folder that cannot be written only costs time."""
        held = {
            "version": VERSION,
            "newest": self.newest,
            "sweeps": {
                run_id: (end_time, [_to_json(trial) for trial in trials])
                for run_id, (end_time, trials) in self.sweeps.items()
            },
        }
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            part = self.file.with_suffix(f".{os.getpid()}.part")
            part.write_text(json.dumps(held, separators=(",", ":")), encoding="utf-8")
            part.replace(self.file)


def read_cached(record: Record, chosen: Sequence[SweepRun], cache: RecordCache, *, everything: bool) -> list[Trial]:
    """Return the trials of the chosen sweeps, asking MLflow only for what the cache cannot know.

    Args:
        record: the tracking store.
        chosen: the wanted sweeps.
        cache: what was read before; its file is written again when it changed.
        everything: True when all sweeps are wanted, and trials without a sweep's run too.
    """
    kept: list[SweepRun] = []
    changed: list[SweepRun] = []
    for sweep in chosen:
        held = cache.sweeps.get(sweep.run_id)
        (kept if held and (sweep.status, sweep.end_time) == ("FINISHED", held[0]) else changed).append(sweep)
    if everything and (not cache.newest or len(changed) > MANY):
        found, kept = record.trials(), []
    else:
        found = record.trials(changed)
        if everything:
            found += record.trials_since(cache.newest)
    trials = {trial.run_id: trial for sweep in kept for trial in cache.sweeps[sweep.run_id][1]}
    if trials:
        for run_id in record.deleted():
            trials.pop(run_id, None)
    trials |= {trial.run_id: trial for trial in found}
    if changed or found:
        _renewed(record.sweeps, cache, list(trials.values()), chosen).write()
    return sorted(trials.values(), key=lambda trial: trial.started)


def _renewed(
    known: Sequence[SweepRun], cache: RecordCache, trials: Sequence[Trial], chosen: Sequence[SweepRun]
) -> RecordCache:
    """Return the cache with the finished ones of the chosen sweeps as they are now."""
    by_sweep: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        by_sweep.setdefault((trial.experiment_id, trial.sweep), []).append(trial)
    alive = {sweep.run_id for sweep in known}
    sweeps = {run_id: held for run_id, held in cache.sweeps.items() if run_id in alive}
    for sweep in chosen:
        sweeps.pop(sweep.run_id, None)
        if sweep.status == "FINISHED":
            mine = tuple(by_sweep.get((sweep.experiment_id, sweep.sweep), ()))
            mine += tuple(trial for trial in trials if trial.run_id in sweep.found)
            sweeps[sweep.run_id] = (sweep.end_time, mine)
    newest = max((trial.started for trial in trials), default=0)
    return RecordCache(file=cache.file, sweeps=sweeps, newest=max(newest, cache.newest))


def _to_json(trial: Trial) -> list[Any]:
    """Return a trial as a JSON row."""
    data = [trial.data.store_digest, trial.data.split_kind]
    return [
        *(trial.run_id, trial.name, trial.sweep, trial.experiment, trial.experiment_id, trial.role),
        *(data, trial.status, trial.started, trial.ended, trial.artifact_uri),
        *(dict(trial.params), dict(trial.metrics), dict(trial.tags)),
    ]


def _from_json(row: list[Any]) -> Trial:
    """Return the trial of a JSON row."""
    run_id, name, sweep, experiment, experiment_id, role, data, status, started, ended, uri, *rest = row
    params, metrics, tags = rest
    return Trial(
        run_id=run_id,
        name=name,
        sweep=sweep,
        experiment=experiment,
        experiment_id=experiment_id,
        role=role,
        data=DataIdentity(store_digest=data[0], split_kind=data[1]),
        status=status,
        started=started,
        ended=ended,
        artifact_uri=uri,
        params=params,
        metrics=metrics,
        tags=tags,
    )

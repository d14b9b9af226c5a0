"""Which trial next: hands Ray Tune the trials that are not done, when their model and their memory are there."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from sweeps.engine.journal import Journal
from sweeps.engine.resources import Capacity
from sweeps.engine.space import PlannedTrial
from trainables.attempts import MODEL_FOLDER, attempt_folder, claim, latest_checkpoint
from trainables.trainable import Assignment


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a sweep keeps what.

    Attributes:
        sweep: The sweep's own folder.
        models: Folders of given models, by content digest.
    """

    sweep: Path
    models: Mapping[str, Path]

    def trial(self, trial: str) -> Path:
        """Return a trial's folder."""
        return self.sweep / "trials" / trial[:16]

    @property
    def signals(self) -> Path:
        """Folder of all teachers' logits."""
        return self.sweep / "signals"


class Plan(Searcher):
    """Suggests each unfinished trial once, in order, as soon as it can run.

    A trial waits until the model that it learns from is trained, and until its predicted bytes fit beside those
    of the trials that are running. A journal line is on disk before Tune hears of the trial.
    """

    def __init__(
        self,
        trials: Mapping[str, PlannedTrial],
        predicted: Mapping[str, int],
        have: Capacity,
        journal: Journal,
        places: Places,
        on_start: Callable[[str], None],
    ) -> None:
        """Take the trials to run, by identity, in the order in which they should start."""
        super().__init__()
        self.waiting = dict(trials)
        self.running: dict[str, str] = {}  # identity by Tune's trial id
        self.predicted = predicted
        self.have = have
        self.journal = journal
        self.places = places
        self.on_start = on_start

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """Return the next trial that can run, None when none can yet, or FINISHED."""
        self._drop_orphaned_students()
        if not self.waiting:
            return str(Searcher.FINISHED)
        trial = next((name for name in self.waiting if self._can_run(name)), None)
        if trial is None:
            return None
        planned = self.waiting.pop(trial)
        self.running[trial_id] = trial
        return {"assignment": asdict(self._assign(trial, planned))}

    def on_trial_complete(self, trial_id: str, *_: object, **__: object) -> None:
        """Free what the trial held; Tune's name for any end of a trial."""
        self.running.pop(trial_id, None)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: a launch plans from the journal."""

    def _can_run(self, trial: str) -> bool:
        if len(self.running) >= self.have.workers:
            return False
        teacher = self.waiting[trial].config.teacher
        if teacher is not None and self._model(teacher) is None:
            return False
        admitted = sum(self.predicted[name] for name in self.running.values())
        return admitted + self.predicted[trial] <= self.have.budget_bytes

    def _drop_orphaned_students(self) -> None:
        """Forget trials whose teacher failed: nothing in this launch can make it."""
        alive = {*self.waiting, *self.running.values()}
        for name, planned in list(self.waiting.items()):
            teacher = planned.config.teacher
            if teacher is not None and teacher not in alive and self._model(teacher) is None:
                del self.waiting[name]

    def _model(self, digest: str) -> Path | None:
        """Return the folder of a given model, or of a finished trial's."""
        if digest in self.places.models:
            return self.places.models[digest]
        if digest in self.journal.state.finished:
            attempt = self.journal.state.attempts[digest]
            return attempt_folder(self.places.trial(digest), attempt) / MODEL_FOLDER
        return None

    def _assign(self, trial: str, planned: PlannedTrial) -> Assignment:
        attempt = self.journal.state.attempts.get(trial, 0) + 1
        folder = self.places.trial(trial)
        self.journal.append("started", trial=trial, attempt=attempt, name=planned.name)
        claim(folder, attempt)
        self.on_start(trial)
        checkpoint = latest_checkpoint(folder)
        config = planned.config
        return Assignment(
            config=asdict(config),
            trial=trial,
            attempt=attempt,
            folder=str(folder),
            checkpoint=str(checkpoint) if checkpoint else None,
            start=str(self.places.models[config.weights]) if config.weights in self.places.models else None,
            teacher=str(self._model(config.teacher)) if config.teacher else None,
            signals=str(self.places.signals) if config.teacher else None,
        )

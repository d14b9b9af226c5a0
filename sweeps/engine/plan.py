"""Which trial next: hands Ray Tune the trials that are not done, when their model and their memory are there."""

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from ray.tune.search import Searcher

from sweeps.engine.journal import Journal
from sweeps.engine.places import Places
from sweeps.engine.resources import Capacity
from sweeps.engine.space import PlannedTrial, needs
from trainables.attempts import ATTEMPT_FILE, claim, latest_checkpoint
from trainables.recipes import digest
from trainables.trainable import Assignment


class Added(NamedTuple):
    """Trials that a result has called for.

    Attributes:
        trials: To run, by identity.
        predicted: Bytes that each needs.
        found: Whether others were found trained elsewhere, whose results may call for more.
    """

    trials: dict[str, PlannedTrial]
    predicted: dict[str, int]
    found: bool = False


class Plan(Searcher):
    """Suggests each unfinished trial once, in order, as soon as it can run.

    A trial waits until the models that it starts from and learns from are trained, and until its predicted bytes
    fit beside those of the trials that are running. A journal line is on disk before Tune hears of the trial.
    """

    def __init__(
        self,
        trials: Mapping[str, PlannedTrial],
        predicted: Mapping[str, int],
        have: Capacity,
        journal: Journal,
        places: Places,
        on_start: Callable[[str, PlannedTrial, int], None],
        more: Callable[[], Future[Added] | None] = lambda: None,
        workers: Callable[[], int] | None = None,
    ) -> None:
        """Take the trials to run, by identity, in the order in which they should start.

        Args:
            trials: What to run.
            predicted: Bytes that each needs.
            have: How much runs at once.
            journal: Told of each start.
            places: Where the trials' folders are.
            on_start: Called with each trial that starts, and its predicted bytes.
            more: Asked after each trial's end for the trials that its result calls for; their predictions may come
                later.
            workers: Trials that there is room for now, where that changes; as many as ``have`` says by default.
        """
        super().__init__()
        self.waiting = dict(trials)
        self.running: dict[str, str] = {}  # identity by Tune's trial id
        self.taken: dict[str, PlannedTrial] = {}
        self.predicted = dict(predicted)
        self.divide(have, workers)
        self.journal = journal
        self.places = places
        self.on_start = on_start
        self.more = more
        self.coming: list[Future[Added]] = []
        self.ending: Collection[str] = ()
        self.closing = False
        self.outgrown = False
        """Whether a trial that came later needs more than a worker's share allows: for it, there must be fewer."""
        self.look: Callable[[], None] = lambda: None
        self.limits: dict[str, Any] | None = None
        self.stopped_before: Callable[[str, PlannedTrial], bool] = lambda *_: False

    def divide(self, have: Capacity, workers: Callable[[], int] | None) -> None:
        """Take how much runs at once, and what counts the trials that there is room for now, where that changes."""
        self.have = have
        self.workers = workers or (lambda: have.workers)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """Return the next trial that can run, None when none can yet, or FINISHED."""
        self.look()  # Tune asks again and again while nothing runs, and asks nobody else
        if self.closing:
            return str(Searcher.FINISHED)
        self._take_in()
        self._drop_orphans()
        if not self.waiting:
            return None if self.running or self.ending or self.coming else str(Searcher.FINISHED)
        trial = next((name for name in self.waiting if self._can_run(name)), None)
        if trial is None:
            self.outgrown = not self.running and any(self._is_too_large(name) for name in self.waiting)
            self.closing = self.outgrown
            return str(Searcher.FINISHED) if self.outgrown else None
        planned = self.waiting.pop(trial)
        if self.stopped_before(trial, planned):
            return None  # Tune asks again
        self.running[trial_id] = trial
        self.taken[trial] = planned
        return {"assignment": asdict(self._assign(trial, planned))}

    def on_trial_complete(self, trial_id: str, *_: object, **__: object) -> None:
        """Free what the trial held; Tune's name for any end of a trial."""
        self.running.pop(trial_id, None)

    def close(self) -> None:
        """Begin nothing new."""
        self.closing = True

    def reopen(self) -> None:
        """Plan for a new fit: what was stopped between two epochs, or had no end, waits again."""
        state = self.journal.state
        for trial, planned in self.taken.items():
            ended = trial in state.finished or trial in state.failed or trial in state.stopped
            if not ended and trial not in self.ending:
                self.waiting.setdefault(trial, planned)
        self.running.clear()
        self.closing = self.outgrown = False

    def retry(self, trial: str, planned: PlannedTrial) -> None:
        """Let a trial wait for another attempt."""
        self.waiting[trial] = planned

    def ask_for_more(self) -> None:
        """Ask what the result that has just come calls for."""
        added = self.more()
        if added is not None:
            self.coming.append(added)

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune, which pickles its searcher for a restore that never comes, nothing."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: a launch plans from the journal."""

    def _has_models(self, trial: str) -> bool:
        return all(self.places.model(name, self.journal.state) for name in needs(self.waiting[trial].config))

    def _is_too_large(self, trial: str) -> bool:
        return self._has_models(trial) and self.predicted[trial] > self.have.budget_bytes

    def _can_run(self, trial: str) -> bool:
        if len(self.running) >= self.workers() or not self._has_models(trial):
            return False
        together = sorted((self.predicted[name] for name in (*self.running.values(), trial)), reverse=True)
        return sum(together[: self.have.per_card]) <= self.have.budget_bytes  # wherever Ray puts them

    def _take_in(self) -> None:
        """Take up the trials whose predictions have come."""
        for added in [future for future in self.coming if future.done()]:
            self.coming.remove(added)
            new = added.result()
            self.predicted |= new.predicted
            self.waiting |= new.trials
            if new.found:
                self.ask_for_more()

    def _drop_orphans(self) -> None:
        """Forget trials that need the model of one that failed: nothing in this launch can make it."""
        dropped = True
        while dropped:
            alive = {*self.waiting, *self.running.values(), *self.ending}
            dropped = False
            for name, planned in list(self.waiting.items()):
                if any(self.places.model(need, self.journal.state) is None for need in needs(planned.config) - alive):
                    del self.waiting[name]
                    dropped = True

    def _assign(self, trial: str, planned: PlannedTrial) -> Assignment:
        state = self.journal.state
        attempt = state.attempts.get(trial, 0) + 1
        folder = self.places.trial(trial)
        self.journal.append("started", trial=trial, attempt=attempt, name=planned.name)
        self.journal.secure()
        claim(folder, attempt)
        self.places.mirror.push(folder / ATTEMPT_FILE)
        self.places.bring(trial)
        self.on_start(trial, planned, self.predicted[trial])
        checkpoint = latest_checkpoint(folder)
        config = planned.config
        if trial in state.micro_batches:
            config = replace(config, micro_batch=state.micro_batches[trial])
        bucket = self.places.bucket
        return Assignment(
            config=asdict(config),
            trial=trial,
            attempt=attempt,
            folder=self._told(folder),
            checkpoint=self._told(checkpoint) if checkpoint else None,
            start=self._told(self.places.model(config.weights, state)) if config.weights in needs(config) else None,
            teacher=self._told(self.places.model(config.teacher, state)) if config.teacher else None,
            signals=self._told(self.places.signals) if config.teacher else None,
            limits=self.limits if config.pruning else None,
            memory_bytes=self.have.budget_bytes if self.have.per_card == 1 else self.predicted[trial],
            bucket=bucket,
            scratch=digest({"bucket": bucket, "opened": state.opened and state.opened["time"]})[:16] if bucket else "",
        )

    def _told(self, path: Path | None) -> str:
        """Return a folder as a worker finds it: in a bucket, by its place in the sweep."""
        assert path is not None
        return str(path if self.places.bucket is None else path.relative_to(self.places.sweep))

"""The Ray Tune Trainable: set up a trial, one epoch a step, hand over the finished model.

torch and what builds on it are imported by the methods, in the worker: the driver, which imports this class to
launch it, starts without them. Tune's own checkpoints are off; each epoch is saved here before its step returns, the
last one right after it. The end of a trial (that checkpoint, test pass, checksums) happens in a thread behind the next
trial's first epoch.
"""

import json
import os
import platform
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from data_store.folders import secure
from trainables.attempts import (
    ATTEMPT_FILE,
    ERROR_FILE,
    MODEL_FOLDER,
    OUTPUT_FILE,
    PREDICTIONS_FILE,
    RESULT_FILE,
    attempt_folder,
    refuse_orphan,
)
from trainables.mirror import Mirror, scratch
from trainables.recipes import from_dict

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from data_store.resident import Crops, ResidentRefs
    from trainables.artifact_files import ModelRecipe
    from trainables.fit import Fit
    from trainables.recipes import TrialConfig


NEXT_TRIAL_S = 1.0
"""A result waits so long at most for the next trial to begin: there may be none."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What the driver hands a worker: one attempt at one trial.

    Attributes:
        config: The trial's config, as plain values.
        trial: Its identity.
        attempt: From 1; a later attempt shuts out an earlier one.
        folder: The trial's folder; the attempt writes below it.
        checkpoint: The folder to go on from, or None to start.
        start: Folder of the model to start from, when the config names one.
        teacher: Folder of the teacher's model, when alpha is above 0.
        signals: Folder of all teachers' logits, shared by the trials that see the same crops.
        limits: What the model may cost when it is pruned; see ``limits.Limits``.
        memory_bytes: What it may take of a GPU, or None for all.
        bucket: Address of the sweep in a bucket, or None where all nodes share a folder. With it, the folders above are
            relative to it.
        scratch: Name of the folder that each node then works in: one of this sweep, and of no earlier one that was
            kept at the same address.
    """

    config: dict[str, Any]
    trial: str
    attempt: int
    folder: str
    checkpoint: str | None = None
    start: str | None = None
    teacher: str | None = None
    signals: str | None = None
    limits: dict[str, Any] | None = None
    memory_bytes: int | None = None
    bucket: str | None = None
    scratch: str = ""


class DetectorTrial(tune.Trainable):
    """Trains one detector after another. Its result dicts hold ``epoch``, ``history``, ``complete`` and ``refusal``.

    After a complete trial, its result appears as ``result.json`` in the attempt's folder.
    """

    ending: "_Ending | None" = None
    """Makes the result of the trial before this one."""
    sizes: tuple[object, ...] = ()

    def setup(self, config: dict[str, Any], store: "ResidentRefs | None" = None) -> None:
        """Load the assignment in ``config["assignment"]``, and its last checkpoint; writes nothing.

        Args:
            config: As suggested by the engine.
            store: The crops in the object store; kept when the process takes up another trial.
        """
        from data_store.resident import attach
        from trainables.allocator import give_back, keep_freed
        from trainables.artifacts import load_model, recipe_for
        from trainables.checkpoints import restore
        from trainables.data_rules import check_crops
        from trainables.fit import fix_threads, start

        if store is not None:
            self.crops = attach(store)
        self.assignment, self.mirror = _on_this_node(Assignment(**config["assignment"]))
        with _traceback_kept(self.assignment, self.mirror):
            for needed in (self.assignment.checkpoint, self.assignment.start, self.assignment.teacher):
                if needed:
                    self.mirror.pull(Path(needed))
            self.trial = from_dict(self.assignment.config)
            keep_freed()
            self.__dict__.pop("fit", None)  # the trial before is over; its tensors count as this one's otherwise
            self.__dict__.pop("teacher", None)
            if (sizes := _sizes(self.trial)) != self.sizes:
                give_back()  # a smaller network would not use it all, another process may
            self.sizes = sizes
            if self.trial.device == "cuda":
                from trainables.gpu_memory import begin_trial

                begin_trial(self.assignment.memory_bytes)
            fix_threads(self.trial.num_threads)
            check_crops(self.crops, self.trial)
            self.recipe = recipe_for(self.trial.architecture, self.trial.resolution_px)
            self.fit = start(self.trial, Path(self.assignment.start) if self.assignment.start else None)
            if self.assignment.checkpoint:
                restore(Path(self.assignment.checkpoint), self.fit, self.trial)
            self.teacher = load_model(Path(self.assignment.teacher)) if self.assignment.teacher else None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up another trial in this process."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train and validate one epoch, save it, and after the last one begin to write what came of the trial."""
        from trainables import checkpoints, training
        from trainables.limits import OverLimitError

        with _traceback_kept(self.assignment, self.mirror):
            folder = attempt_folder(Path(self.assignment.folder), self.assignment.attempt)
            _keep_output(folder)
            if self.ending is not None:
                self.ending.proceed()
            train, val = self.crops.split("train"), self.crops.split("val")
            saved = training.finished(self.fit, self.trial)  # by an attempt that came no further
            if not saved:
                try:
                    training.advance(
                        self.fit,
                        self.trial,
                        self.recipe,
                        train,
                        val,
                        self._soft_labels,
                        check_pruned=self._refuse_over_limit,
                    )
                except OverLimitError as over:  # not saved: asked again, it is refused again
                    return self._report(complete=False, refusal=str(over))
                _refuse_orphan(self.assignment, self.mirror)
                if not training.finished(self.fit, self.trial):
                    self.mirror.push(checkpoints.save(folder, self.fit))
                    self.mirror.prune(folder)
            self.mirror.push(folder / OUTPUT_FILE)
            complete = training.finished(self.fit, self.trial)
        if complete:
            self.cleanup()  # of the trial before: one at a time keeps memory flat
            what = (self.fit, self.trial, self.recipe, self.crops, self.assignment, self.mirror)
            self.ending = _Ending(lambda proceed: _end(proceed, *what, saved=saved))
            if self.trial.device == "cuda":
                self.ending.join()  # its memory was admitted for one trial, not for two
        return self._report(complete=complete)

    def alive(self) -> None:
        """Answer the driver, which asks whether this process lives."""

    def cleanup(self) -> None:
        """Wait for the result that is in the making."""
        if self.ending is not None:
            self.ending.join()
            self.ending = None

    def _report(self, *, complete: bool, refusal: str | None = None) -> dict[str, Any]:
        return {
            "epoch": self.fit.epoch,
            "history": self.fit.history,
            "complete": complete,
            "refusal": refusal,
            "done": complete or refusal is not None,  # Tune's word for: over, another trial may follow
        }

    def _refuse_over_limit(self, model: "nn.Module") -> None:
        from trainables.limits import Limits, refuse_over_limit
        from trainables.predicted_latency import LatencyFit

        values = self.assignment.limits
        if values is not None:
            fit = LatencyFit(**values["fit"]) if values["fit"] else None
            refuse_over_limit(model, self.trial.resolution_px, Limits(**{**values, "fit": fit}))

    def _soft_labels(self, epoch: int) -> "np.ndarray | None":
        """Return the teacher's logits for an epoch: from disk if any trial has them, else computed."""
        if self.teacher is None:
            return None
        from trainables.distillation import signal_for_epoch

        assert self.assignment.signals is not None
        return signal_for_epoch(
            *self.teacher,
            self.trial,
            self.crops,
            folder=Path(self.assignment.signals),
            epoch=epoch,
            mirror=self.mirror,
        )


def _sizes(config: "TrialConfig") -> tuple[object, ...]:
    """Return what decides how much memory a trial's steps ask for."""
    batch = config.recipe.batch_size, config.micro_batch
    return config.architecture, config.resolution_px, *batch, config.quantisation, config.teacher is not None


_BEHIND = ThreadPoolExecutor(1, thread_name_prefix="ending")
"""One thread for all trials of a process: with one each, memory would grow by what C libraries keep for a thread."""


class _Ending:
    """Makes a trial's result behind the next trial, once that one trains: until then it needs this process."""

    def __init__(self, end: Callable[[threading.Event], None]) -> None:
        self._proceed = threading.Event()
        self._result = _BEHIND.submit(end, self._proceed)

    def proceed(self) -> None:
        """Let it work: the next trial is at its first step."""
        self._proceed.set()

    def join(self) -> None:
        """Wait for the result."""
        self._proceed.set()
        self._result.result()


def _end(
    proceed: threading.Event,
    fit: "Fit",
    config: "TrialConfig",
    recipe: "ModelRecipe",
    crops: "Crops",
    assignment: Assignment,
    mirror: Mirror,
    *,
    saved: bool,
) -> None:
    """Save a trained model, unless it is, and test it; its result is written last, whole or not at all."""
    from trainables import checkpoints
    from trainables.finish import finish
    from trainables.fit import fix_threads

    with suppress(Exception), _traceback_kept(assignment, mirror):
        fix_threads(config.num_threads)  # of this thread: OpenMP counts them by thread
        proceed.wait(NEXT_TRIAL_S)
        folder = attempt_folder(Path(assignment.folder), assignment.attempt)
        _refuse_orphan(assignment, mirror)
        if not saved:
            mirror.push(checkpoints.save(folder, fit))
            mirror.prune(folder)
        result = finish(fit, config, recipe, crops, folder)
        secure(*(folder / MODEL_FOLDER).iterdir(), folder / MODEL_FOLDER, folder / PREDICTIONS_FILE)
        _refuse_orphan(assignment, mirror)
        mirror.push(folder / MODEL_FOLDER)
        mirror.push(folder / PREDICTIONS_FILE)
        mirror.drop(Path(assignment.folder))
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{RESULT_FILE}.partial"
        partial.write_text(json.dumps(result))
        secure(partial)
        partial.replace(folder / RESULT_FILE)
        secure(folder)
        mirror.push(folder / RESULT_FILE)


def _on_this_node(assignment: Assignment) -> tuple[Assignment, Mirror]:
    """Return an assignment with the folders of this node, and what brings their content here; brings nothing yet."""
    if assignment.bucket is None:
        return assignment, Mirror(local=Path(assignment.folder))
    here = scratch(assignment.scratch)
    given = {name: getattr(assignment, name) for name in ("folder", "checkpoint", "start", "teacher", "signals")}
    found: dict[str, Any] = {name: str(here / path) for name, path in given.items() if path is not None}
    attempt_folder(Path(found["folder"]), assignment.attempt).mkdir(parents=True, exist_ok=True)
    return replace(assignment, **found), Mirror(local=here, address=assignment.bucket)


def _refuse_orphan(assignment: Assignment, mirror: Mirror) -> None:
    """Check that no later attempt has claimed the trial, by what the driver has written last."""
    mirror.pull_file(Path(assignment.folder) / ATTEMPT_FILE)
    refuse_orphan(Path(assignment.folder), assignment.attempt)


def _keep_output(folder: Path) -> None:
    """Send what a worker and the libraries in it print to the attempt's folder: a process that dies leaves no more."""
    if not (ray.is_initialized() and ray.get_runtime_context().get_actor_id()):
        return  # no process of Ray's, but one that has a terminal
    target = os.open(folder / OUTPUT_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)


@contextmanager
def _traceback_kept(assignment: Assignment, mirror: Mirror) -> Iterator[None]:
    """Leave the traceback of what goes wrong inside in the attempt's folder, where the driver finds it."""
    try:
        yield
    except Exception:
        folder = attempt_folder(Path(assignment.folder), assignment.attempt)
        mirror.tell(folder / ERROR_FILE, f"on {platform.node()}:\n{traceback.format_exc()}")
        raise

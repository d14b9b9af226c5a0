"""Videos that wait to be marked, one worker, and nothing left behind when a page is closed."""

import contextlib
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2

from data_store.errors import InputError
from demo.choosing import ChosenModel
from demo.footage import open_footage
from demo.pipeline import Annotation, Progress, StoppedError, annotate, described

GRACE_S = 10.0
"""How long a job lives without a page that watches it: a reload is quicker, a closed page does not come back."""
MOST_JOBS = 8
"""Jobs that wait or are kept at once."""
LONGEST_NAME = 120
FOLDER = "deepfake-demo-"
SOURCE, MARKED, RECORD = "uploaded-video", "marked.mp4", "record.json"

QUEUED, WORKING, DONE, FAILED = "queued", "working", "done", "failed"


class FullError(Exception):
    """No further job is taken now."""


@dataclass(kw_only=True, eq=False)
class Job:
    """One video on its way."""

    key: str
    """Random: who does not know it cannot reach the job."""
    name: str
    """Of the file, as the user's machine called it; shown, never opened."""
    model: str
    """Key of the model."""
    folder: Path
    """Its files."""
    state: str = "uploading"
    """``uploading``, then ``queued``, ``working``, and ``done`` or ``failed``."""
    progress: Progress | None = None
    """While it works."""
    error: str = ""
    """Why it failed."""
    result: dict[str, Any] | None = None
    """What came out, as JSON values."""
    watchers: int = 0
    """Pages that follow it."""
    last_watched_s: float = field(default_factory=time.monotonic)
    """When the last page left."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set to call the work off."""

    @property
    def source(self) -> Path:
        """The video as it was sent."""
        return self.folder / SOURCE

    @property
    def marked(self) -> Path:
        """The marked video."""
        return self.folder / MARKED

    @property
    def record(self) -> Path:
        """Boxes and scores of every frame."""
        return self.folder / RECORD


class Jobs:
    """All jobs of one server: made by requests, worked on in order by one thread."""

    def __init__(self, root: Path, open_model: Callable[[str], ChosenModel], *, max_minutes: float) -> None:
        """Start the worker.

        Args:
            root: folder for all files.
            open_model: a model by its key; raises ``InputError``.
            max_minutes: longest video that is taken.
        """
        self._root, self._open_model, self._max_minutes = root, open_model, max_minutes
        self._jobs: dict[str, Job] = {}
        self._waiting: list[Job] = []
        self._changed = threading.Condition()
        self._ended = False
        self._worker = threading.Thread(target=self._work, name="marking", daemon=True)
        self._worker.start()

    def create(self, name: str, model: str) -> Job:
        """Make a job that waits for its file.

        Raises:
            FullError: there are too many.
        """
        with self._changed:
            if len(self._jobs) >= MOST_JOBS:
                raise FullError(
                    f"at most {MOST_JOBS} videos are taken at once, but {len(self._jobs)} are here; close another "
                    "page of this demo, or wait until one is done"
                )
            key = secrets.token_urlsafe(16)
            folder = self._root / key
            folder.mkdir(mode=0o700)
            job = Job(key=key, name=shown_name(name), model=model, folder=folder)
            self._jobs[key] = job
            return job

    def get(self, key: str) -> Job | None:
        """The job of that key."""
        return self._jobs.get(key)

    def submit(self, job: Job) -> None:
        """Put a job whose file is there at the end of the queue."""
        with self._changed:
            job.state = QUEUED
            job.last_watched_s = time.monotonic()
            self._waiting.append(job)
            self._changed.notify_all()

    def describe(self, job: Job) -> dict[str, Any]:
        """What a page is told of a job."""
        values: dict[str, Any] = {"state": job.state, "name": job.name}
        with self._changed:
            if job in self._waiting:
                working = any(other.state == WORKING for other in self._jobs.values())
                values["position"] = self._waiting.index(job) + 1 + working
        if job.state == WORKING and job.progress is not None:
            values |= {"share": job.progress.share, "frames": job.progress.frames, "fps": round(job.progress.fps, 1)}
        if job.state == FAILED:
            values["error"] = job.error
        if job.state == DONE:
            values["result"] = job.result
        return values

    def watch(self, job: Job) -> None:
        """Note that a page follows the job."""
        with self._changed:
            job.watchers += 1

    def unwatch(self, job: Job) -> None:
        """Note that it does no more."""
        with self._changed:
            job.watchers -= 1
            job.last_watched_s = time.monotonic()

    def drop(self, job: Job) -> None:
        """Stop a job and remove its files."""
        with self._changed:
            self._jobs.pop(job.key, None)
            if job in self._waiting:
                self._waiting.remove(job)
            job.stop.set()
            working = job.state == WORKING
        if not working:  # else the worker removes them, when its threads have let go of them
            shutil.rmtree(job.folder, ignore_errors=True)

    def reap(self) -> None:
        """Drop the jobs that no page has followed for a while."""
        now = time.monotonic()
        with self._changed:
            left = [
                job
                for job in self._jobs.values()
                if job.state != "uploading" and job.watchers <= 0 and now - job.last_watched_s > GRACE_S
            ]
        for job in left:
            self.drop(job)

    def close(self) -> None:
        """Stop all work and remove all files."""
        with self._changed:
            self._ended = True
            jobs = list(self._jobs.values())
            self._changed.notify_all()
        for job in jobs:
            self.drop(job)
        self._worker.join(timeout=10)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._ended:
                    self._changed.wait()
                if self._ended:
                    return
                job = self._waiting.pop(0)
                job.state = WORKING
            self._mark(job)
            job.source.unlink(missing_ok=True)
            if job.stop.is_set():
                shutil.rmtree(job.folder, ignore_errors=True)

    def _mark(self, job: Job) -> None:
        def progress(now: Progress) -> None:
            job.progress = now

        try:
            footage = open_footage(job.source, max_minutes=self._max_minutes)
            model = self._open_model(job.model)
            more = {"file": job.name, "model": {"name": model.name, "detail": model.detail}}
            result = annotate(
                footage, model.watched, job.marked, json_out=job.record, description=more,
                max_minutes=self._max_minutes, progress=progress, stop=job.stop,
            )  # fmt: skip
            save_portraits(result, job.folder)
            summary = described(result, footage, model.watched, more)
            summary["model"]["notes"] = list(model.notes)
            summary["seconds"] = round(result.seconds, 2)
            job.result = summary
            job.state = DONE
        except StoppedError:
            job.error, job.state = "called off", FAILED
        except InputError as error:
            job.error, job.state = str(error).replace(SOURCE, job.name), FAILED
        except Exception as error:  # noqa: BLE001 - one video must not end the worker: the page says what happened
            job.error, job.state = f"the demo failed on this video ({type(error).__name__}: {error})", FAILED


def save_portraits(result: Annotation, folder: Path) -> None:
    """Keep each face's crop as a JPEG, named by its number."""
    for number, crop in result.portraits.items():
        cv2.imwrite(str(folder / f"face-{number}.jpg"), crop[..., ::-1])


def shown_name(name: str) -> str:
    """A file's name fit to be shown: no folders, nothing that is not printed, not too long."""
    last = re.split(r"[/\\]", name)[-1]
    printed = "".join(letter for letter in last if letter.isprintable()).strip(". ")
    return printed[-LONGEST_NAME:] or "video"


@contextlib.contextmanager
def work_folder(parent: Path | None = None) -> Iterator[Path]:
    """A folder for one server's files, gone when it ends; those of servers that were killed go too."""
    parent = parent or Path(tempfile.gettempdir())
    for left in parent.glob(f"{FOLDER}*"):
        pid = left.name.removeprefix(FOLDER).split("-")[0]
        if pid.isdigit() and not _runs(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    root = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-", dir=parent))
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

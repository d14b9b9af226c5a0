"""Where a trial's attempts write, and who may: used by the driver and, without torch, before a launch.

Each attempt at a trial writes below a folder of its own (``attempt-0001``), and refuses to write once the
trial's ``attempt`` file names a later one: a process that outlived its driver cannot disturb its successor.
"""

import json
import os
import re
from pathlib import Path

from data_store.folders import secure

STATE_FILE = "state.json"
MODEL_FOLDER = "model"
PREDICTIONS_FILE = "predictions.arrow"
ERROR_FILE = "error.txt"
ON_HOST = re.compile(r"on (\S+):\n")
"""How an error's file begins."""
OUTPUT_FILE = "output.txt"
RESULT_FILE = "result.json"
ATTEMPT_FILE = "attempt"


class OrphanError(RuntimeError):
    """This attempt was superseded by a later one, so it may not write."""


def attempt_folder(trial_folder: Path, attempt: int) -> Path:
    """Return the folder that an attempt writes to."""
    return trial_folder / f"attempt-{attempt:04d}"


def claim(trial_folder: Path, attempt: int) -> Path:
    """Make ``attempt`` the only one that may write from now on, and return its folder."""
    folder = attempt_folder(trial_folder, attempt)
    folder.mkdir(parents=True, exist_ok=True)
    partial = trial_folder / f".{ATTEMPT_FILE}.{os.getpid()}"
    partial.write_text(str(attempt))
    secure(partial)
    partial.replace(trial_folder / ATTEMPT_FILE)
    secure(trial_folder)
    return folder


def refuse_orphan(trial_folder: Path, attempt: int) -> None:
    """Check that no later attempt has claimed the trial.

    Raises:
        OrphanError: One has.
    """
    current = int((trial_folder / ATTEMPT_FILE).read_text())
    if current != attempt:
        raise OrphanError(f"attempt {attempt} at {trial_folder.name} was superseded by attempt {current}")


def latest_checkpoint(trial_folder: Path) -> Path | None:
    """Return the whole checkpoint with the most epochs over all attempts, or None."""
    whole = [path.parent for path in trial_folder.glob(f"attempt-*/epoch-*/{STATE_FILE}")]
    return max(whole, key=lambda path: (int(path.name.removeprefix("epoch-")), path.parent.name), default=None)


def read_history(checkpoint: Path) -> list[dict[str, float]]:
    """Return the curve values of the epochs that a checkpoint has behind it."""
    history: list[dict[str, float]] = json.loads((checkpoint / STATE_FILE).read_text())["history"]
    return history

"""What a model needs beside its weights to judge a video: how its faces were cut, and what its logits mean."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.calibration import Calibration, calibration_from, fit
from analysis.intervals import read_predictions
from analysis.runs import Trial
from data_store.errors import InputError
from data_store.manifest import read_manifest
from data_store.settings import FaceSettings

DEPLOYMENT_FILE = "deployment.json"
DRAWN_PROFILE = "demo"
"""The engine's profile of a sweep on the built-in data set."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """How faces are brought to a model, and how its logits are read."""

    faces: FaceSettings = field(default_factory=FaceSettings)
    """How the store that it was trained on found and cut faces."""
    crop_px: int | None = None
    """Side of that store's crops; None where it is not known: the model's own input side."""
    calibration: Calibration = field(default_factory=Calibration)
    """From logits to probabilities."""
    caution: str = ""
    """What the model must not be trusted with, because of what it was trained on."""
    notes: tuple[str, ...] = ()
    """What is not known, and what is assumed instead."""

    def write(self, folder: Path) -> None:
        """Write it into a model's folder."""
        values = {
            "faces": dataclasses.asdict(self.faces),
            "crop_px": self.crop_px,
            "calibration": self.calibration.as_dict(),
            "caution": self.caution,
        }
        (folder / DEPLOYMENT_FILE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_deployment(folder: Path) -> Deployment:
    """Read what an exported model's folder says; defaults, with notes, where it says nothing.

    Raises:
        InputError: the file is there and not readable.
    """
    file = folder / DEPLOYMENT_FILE
    if not file.is_file():
        unknown = f"{DEPLOYMENT_FILE} is not in the model's folder: faces are cut by the store's default settings"
        return Deployment(notes=(unknown,))
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return Deployment(
            faces=FaceSettings(**values["faces"]),
            crop_px=None if values["crop_px"] is None else int(values["crop_px"]),
            calibration=calibration_from(values["calibration"]),
            caution=str(values["caution"]),
        )
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(
            f"{DEPLOYMENT_FILE} must be what analysis/pick.py writes, but {file} is not ({error}); export the model "
            "again, or delete that file"
        ) from error


def deployment_of(trial: Trial, tracking_uri: str) -> Deployment:
    """Read a recorded trial's: its store's settings from the store, the calibration from its validation predictions.

    Args:
        trial: a finished trial.
        tracking_uri: MLflow's address, for predictions on a server.
    """
    faces, crop_px, notes = _crops_of(trial)
    predictions = read_predictions(trial, tracking_uri, "val")
    calibration = Calibration() if predictions is None else fit(predictions.logit, predictions.label)
    return Deployment(faces=faces, crop_px=crop_px, calibration=calibration, caution=_caution(trial), notes=notes)


def _caution(trial: Trial) -> str:
    if trial.smoke:
        return "this model comes from a smoke run: trained for a step or two, its verdicts mean nothing"
    if trial.tags.get("profile") == DRAWN_PROFILE:
        return "this model was trained on drawn faces: what it says of filmed ones means nothing"
    return ""


def _crops_of(trial: Trial) -> tuple[FaceSettings, int | None, tuple[str, ...]]:
    store = trial.tags.get("store", "")
    try:
        manifest = read_manifest(store)
    except InputError:
        return FaceSettings(), None, (f"the run's store {store or '(unnamed)'} is gone: faces are cut by default",)
    if manifest.digest != trial.data.store_digest:
        changed = f"the store {store} was built again since the run: its present settings are used"
        return _face_settings(manifest.settings), manifest.crop_px, (changed,)
    return _face_settings(manifest.settings), manifest.crop_px, ()


def _face_settings(settings: Any) -> FaceSettings:  # noqa: ANN401 - JSON of any store
    return FaceSettings(**settings["faces"])

import dataclasses
from pathlib import Path

import pytest

from analysis import deployment
from analysis.calibration import Calibration
from analysis.deployment import DEPLOYMENT_FILE, Deployment, deployment_of, read_deployment
from analysis.export import model_folder
from analysis.runs import read_runs, read_trial
from data_store.errors import InputError
from data_store.manifest import read_manifest
from data_store.settings import BuildSettings, FaceSettings
from tests.stores import write_store


def test_a_runs_calibration_is_fitted_on_its_validation_predictions(kd_alpha_store: str) -> None:
    trial = next(trial for trial in read_runs(kd_alpha_store).trials if trial.name == "alpha=0.75")
    found = deployment_of(trial, kd_alpha_store)
    assert found.calibration.fitted
    assert found.calibration.slope > 0
    (note,) = found.notes  # the planted runs name a store that is nowhere
    assert "is gone" in note
    assert found.faces == FaceSettings()
    assert "drawn faces" in found.caution  # planted as a sweep of the demo profile


def test_faces_are_cut_as_the_runs_store_cut_them(
    kd_alpha_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = BuildSettings(crop_px=64, faces=FaceSettings(margin=0.2))
    manifest = read_manifest(str(write_store(tmp_path / "store", crop_px=64)))
    manifest = dataclasses.replace(manifest, settings=settings.as_dict())
    monkeypatch.setattr(deployment, "read_manifest", lambda _: manifest)
    trial = read_runs(kd_alpha_store).trials[0]
    data = dataclasses.replace(trial.data, store_digest=manifest.digest)
    found = deployment_of(dataclasses.replace(trial, data=data), kd_alpha_store)
    assert (found.notes, found.crop_px, found.faces) == ((), 64, settings.faces)
    assert "built again" in deployment_of(trial, kd_alpha_store).notes[0]


def test_a_deployment_goes_round_and_a_folder_without_one_says_so(tmp_path: Path) -> None:
    ours = Deployment(
        faces=FaceSettings(margin=0.3),
        crop_px=96,
        calibration=Calibration(slope=0.5, intercept=0.1, num_crops=300),
        caution="drawn",
    )
    ours.write(tmp_path)
    assert read_deployment(tmp_path) == ours
    (tmp_path / DEPLOYMENT_FILE).unlink()
    assert DEPLOYMENT_FILE in read_deployment(tmp_path).notes[0]
    (tmp_path / DEPLOYMENT_FILE).write_text("{}")
    with pytest.raises(InputError, match="must be what analysis/pick.py writes"):
        read_deployment(tmp_path)


def test_one_trial_is_read_by_its_id(kd_alpha_store: str, tmp_path: Path) -> None:
    trial = read_runs(kd_alpha_store).trials[0]
    assert read_trial(trial.run_id, kd_alpha_store) == trial
    assert (model_folder(trial, kd_alpha_store, tmp_path) / "recipe.json").is_file()
    with pytest.raises(InputError, match="must be recorded"):
        read_trial("0" * 32, kd_alpha_store)

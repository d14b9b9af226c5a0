import shutil
from pathlib import Path

import pytest

from analysis.runs import DataIdentity, Runs, Trial
from demo import choosing
from demo.choosing import offers, open_model
from tests.demo.conftest import write_model

NOWHERE = "sqlite:////nowhere/mlflow.db"


def test_exported_models_are_offered_and_a_broken_one_is_named(tmp_path: Path) -> None:
    write_model(tmp_path / "one")
    write_model(write_model(tmp_path / "two"), name="model.int8.onnx")
    shutil.copytree(tmp_path / "one", tmp_path / "broken")
    (tmp_path / "broken" / "recipe.json").write_text("{}")
    (tmp_path / "no-model").mkdir()
    found, missing = offers(tmp_path, NOWHERE)
    assert [(one.name, one.detail.split(", ")[-1]) for one in found] == [
        ("one", "ONNX float"),
        ("two", "ONNX float and int8"),
    ]
    assert "broken is left out" in missing
    assert "no results yet" in missing


def trial(name: str, size_mb: float, accuracy: float, folder: Path, *, smoke: bool = False) -> Trial:
    """A finished trial whose model lies below a folder."""
    cut_short = {"recipe.max_steps_per_epoch": "1"} if smoke else {}
    return Trial(
        run_id=name * 32, name=name, sweep="kd_alpha-demo-1", experiment="kd_alpha", experiment_id="1", role="student",
        data=DataIdentity(store_digest="1a2b3c4d5e", split_kind="official"), status="FINISHED", started=0, ended=1,
        artifact_uri=folder.as_uri(), metrics={"size_mb": size_mb, "val_accuracy": accuracy},
        params={"architecture": "Lite0", "resolution_px": "64", **cut_short},
    )  # fmt: skip


def test_the_runs_on_the_front_are_offered_best_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = (
        trial("a", 16.0, 0.95, tmp_path), trial("b", 14.0, 0.95, tmp_path), trial("c", 9.0, 0.80, tmp_path),
        trial("d", 14.0, 0.70, tmp_path), trial("e", 5.0, 0.75, tmp_path, smoke=True),
    )  # fmt: skip
    monkeypatch.setattr(choosing, "read_runs", lambda *_, **__: Runs(tracking_uri=NOWHERE, trials=trials))
    found, missing = offers(None, NOWHERE)
    assert missing == ""
    assert [(one.name, one.key, one.smoke) for one in found] == [
        ("b", "b" * 32, False),
        ("c", "c" * 32, False),
        ("e", "e" * 32, True),
    ]
    assert found[0].detail == "Lite0, 64 px, 14.0 MB, validation accuracy 95.0 %"
    assert found[0].group == "kd_alpha, store 1a2b3c4d, official split"


def test_a_run_is_opened_by_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "model")
    (tmp_path / "model" / "weights.safetensors").touch()
    monkeypatch.setattr(choosing, "read_trial", lambda *_: trial("a", 16.0, 0.95, tmp_path, smoke=True))
    opened = open_model("a" * 32, tracking_uri=NOWHERE)
    assert (opened.name, opened.watched.crop_px) == ("a", 64)
    assert "smoke run" in opened.notes[0]
    assert "is gone" in opened.notes[1]


def test_a_folder_may_be_a_runs_artifacts(tmp_path: Path) -> None:
    write_model(tmp_path / "artifacts" / "model")
    opened = open_model(str(tmp_path / "artifacts"))
    assert opened.detail == "Lite0 at 64 px, ONNX Runtime, float"
    assert not opened.watched.calibration.fitted

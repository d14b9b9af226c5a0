import shutil
from pathlib import Path

import pytest

from data_store.errors import InputError
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


def test_a_run_is_found_on_the_front_and_opened_with_its_calibration(
    kd_alpha_store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(choosing, "project_root", lambda: tmp_path)  # its cache is this test's own
    found, missing = offers(None, kd_alpha_store)
    assert missing == ""
    accuracies = [one.accuracy for one in found]
    sizes = [one.size_mb for one in found]
    assert accuracies == sorted(accuracies, reverse=True)
    assert sizes == sorted(sizes, reverse=True)  # on a front, less accuracy must buy less size
    assert len(found) >= 2
    with pytest.raises(InputError, match="weights"):  # the planted runs' weights are no network's
        open_model(found[0].key, tracking_uri=kd_alpha_store)


def test_a_folder_may_be_a_runs_artifacts(tmp_path: Path) -> None:
    write_model(tmp_path / "artifacts" / "model")
    opened = open_model(str(tmp_path / "artifacts"))
    assert opened.detail == "Lite0 at 64 px, ONNX Runtime, float"
    assert not opened.watched.calibration.fitted

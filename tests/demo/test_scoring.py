from pathlib import Path

import numpy as np
import pytest
import torch

from data_store.errors import InputError
from demo import scoring
from demo.scoring import model_input, open_scorer
from tests.demo.conftest import GAIN, RESOLUTION_PX, SHIFT, write_model
from trainables.architectures import build, forward, normalise
from trainables.artifact_files import read_recipe
from trainables.artifacts import recipe_for, save_model
from trainables.augmentation import to_float


def crops(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("crop_px", [64, 96, 224, 40])
def test_crops_reach_the_network_as_in_training(crop_px: int) -> None:
    recipe = recipe_for("B0", 64)
    pixels = crops(2, crop_px)
    trained = normalise(to_float(torch.from_numpy(pixels), 64), recipe.mean, recipe.std).numpy()
    ours = model_input(pixels, recipe)
    assert ours.shape == trained.shape
    if crop_px == 64:
        assert np.array_equal(ours, trained)
    assert ours == pytest.approx(trained, abs=1e-5)


def test_onnx_runtime_scores_a_batch(model_folder: Path) -> None:
    scorer = open_scorer(model_folder)
    pixels = crops(3, RESOLUTION_PX)
    expected = GAIN * (pixels.reshape(3, -1) / 255.0 - 0.5).mean(axis=1) / 0.5 + SHIFT
    assert scorer.score(pixels) == pytest.approx(expected, abs=1e-4)
    assert scorer.runtime == "ONNX Runtime, float"
    assert scorer.score(pixels[:0]).shape == (0,)


def test_int8_is_another_file(model_folder: Path, tmp_path: Path) -> None:
    folder = write_model(write_model(tmp_path / "m"), shift=-5.0, name="model.int8.onnx")
    pixels = crops(1, RESOLUTION_PX)
    difference = open_scorer(folder).score(pixels) - open_scorer(folder, precision="int8").score(pixels)
    assert difference == pytest.approx([SHIFT + 5.0], abs=1e-4)
    with pytest.raises(InputError, match=r"--precision int8 needs model\.int8\.onnx"):
        open_scorer(model_folder, precision="int8")
    with pytest.raises(InputError, match="leave --runtime out"):
        open_scorer(folder, runtime="torch", precision="int8")


@pytest.mark.slow
def test_weights_alone_are_run_by_both_runtimes_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "project_root", lambda: tmp_path)
    folder = tmp_path / "model"
    torch.manual_seed(0)
    recipe = recipe_for("Lite0", 64)
    save_model(folder, build("Lite0"), recipe)
    pixels = crops(2, 64)
    made = open_scorer(folder)
    assert (made.runtime, made.note) == ("ONNX Runtime, float", "")
    assert sorted(path.name for path in folder.iterdir()) == ["recipe.json", "weights.safetensors"]
    torch.manual_seed(0)
    with torch.inference_mode():
        images = normalise(to_float(torch.from_numpy(pixels), 64), recipe.mean, recipe.std)
        expected = forward(build("Lite0").eval(), images).numpy()
    assert open_scorer(folder, runtime="torch").score(pixels) == pytest.approx(expected, abs=1e-5)
    assert made.score(pixels) == pytest.approx(expected, abs=1e-4)
    monkeypatch.setattr("trainables.artifacts.load_model", None)  # the second time nothing is made
    assert open_scorer(folder).score(pixels) == pytest.approx(expected, abs=1e-4)


def test_where_no_graph_can_be_kept_pytorch_runs_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").touch()  # a file where the caches should go
    monkeypatch.setattr(scoring, "project_root", lambda: tmp_path)
    save_model(tmp_path / "model", build("Lite0"), recipe_for("Lite0", 64))
    scorer = open_scorer(tmp_path / "model")
    assert scorer.runtime == "PyTorch, float"
    assert "cannot be kept" in scorer.note


def test_a_broken_or_foreign_graph_is_one_clear_line(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    recipe = folder / "recipe.json"
    recipe.write_text(recipe.read_text().replace(f'"resolution_px": {RESOLUTION_PX}', '"resolution_px": 96'))
    assert read_recipe(folder).resolution_px == 96
    with pytest.raises(InputError, match="the recipe's 96 px, but .* takes 64"):
        open_scorer(folder)
    (folder / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(InputError, match="must be an ONNX graph"):
        open_scorer(folder)

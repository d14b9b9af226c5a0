"""Models that the user names with --weights, before anything heavy is loaded."""

from pathlib import Path

import pytest

from data_store.errors import InputError
from sweeps.engine.models import given_model, with_start
from sweeps.engine.space import PROFILES, Setting
from sweeps.kd_alpha import SWEEP as KD_ALPHA
from sweeps.lite import SWEEP as LITE
from sweeps.transfer import SWEEP as TRANSFER
from trainables.artifact_files import RECIPE_FILE, WEIGHTS_FILE, ModelRecipe, recipe_text

SETTING = Setting(profile=PROFILES["demo"], seed=0, store_digest="s", device="cpu", num_threads=1)


@pytest.fixture
def b0(tmp_path: Path) -> Path:
    folder = tmp_path / "b0"
    folder.mkdir()
    recipe = ModelRecipe(architecture="B0", resolution_px=64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    (folder / RECIPE_FILE).write_text(recipe_text(recipe))
    (folder / WEIGHTS_FILE).write_bytes(b"weights")
    return folder


def test_a_given_model_is_where_every_model_starts(b0: Path, tmp_path: Path) -> None:
    setting = with_start(str(b0), TRANSFER, SETTING, "sqlite:////x", tmp_path)
    digest = setting.profile.weights
    assert setting.given[digest].folder == str(b0)
    assert {trial.config.weights for trial in TRANSFER.trials(setting)} == {"none", digest}


def test_a_model_of_another_network_is_refused_with_the_trial(b0: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"alpha=0 is Lite0 and .*b0 holds B0; use it in a sweep of B0 alone"):
        with_start(str(b0), KD_ALPHA, SETTING, "sqlite:////x", tmp_path)


def test_a_file_of_weights_fits_one_network(b0: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a file of weights fits one network, but .* would start B0, Lite0"):
        with_start(str(b0 / WEIGHTS_FILE), LITE, SETTING, "sqlite:////x", tmp_path)


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    words = "--weights must be none, imagenet, a safetensors file, a model folder or an MLflow run id, but got 'cifar'"
    with pytest.raises(InputError, match=words):
        with_start("cifar", TRANSFER, SETTING, "sqlite:////x", tmp_path)
    with pytest.raises(InputError, match="--teacher must be a model folder or an MLflow run id, but got '/nowhere'"):
        given_model("/nowhere", "sqlite:////x", tmp_path)

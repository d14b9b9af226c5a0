"""A model's weights are held against its recipe by names and shapes, before anything is trained."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from data_store.errors import InputError
from trainables.architectures import is_head
from trainables.artifact_check import check, check_once
from trainables.artifact_files import RECIPE_FILE, WEIGHTS_FILE, ModelRecipe, recipe_text
from trainables.artifacts import build_graph, recipe_for, save_model

PRUNED = replace(recipe_for("B0", 64), pruning=(("features.8.0", True, (0, 1)),))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    for name, recipe in (("Lite0", recipe_for("Lite0", 64)), ("B0", recipe_for("B0", 64)), ("pruned", PRUNED)):
        save_model(folder / name, build_graph(recipe), recipe)
    return {path.name: path for path in folder.iterdir()}


def mixed(folder: Path, recipe: ModelRecipe, weights: Path) -> Path:
    """Return a model folder with a recipe, and weights of another model."""
    folder.mkdir()
    (folder / RECIPE_FILE).write_text(recipe_text(recipe))
    (folder / WEIGHTS_FILE).write_bytes((weights / WEIGHTS_FILE).read_bytes())
    return folder


def test_models_as_they_are_written_pass(models: dict[str, Path]) -> None:
    for folder in models.values():
        for flag in ("--teacher", "--weights"):
            check(folder, flag)


@pytest.mark.parametrize(
    ("recipe", "weights", "words"),
    [
        (
            recipe_for("B0", 64),
            "Lite0",
            r"--teacher must be .* names B0 and its weights lack 360 of 360 tensors, have 0",
        ),
        (
            recipe_for("B0", 64),
            "pruned",
            r"names B0 and its weights lack 0 of 360 tensors, have 6 of another shape and 0",
        ),
        (
            PRUNED,
            "B0",
            r"names pruned B0 and its weights lack 0 of 360 tensors, .*, such as features\.8\.0\.weight; copy",
        ),
        (
            recipe_for("B0-lite", 64),
            "B0",
            r"names B0-lite and its weights lack 0 of 296 tensors, have 0 .* and 64 others",
        ),
    ],
)
def test_weights_of_another_network_are_refused(
    recipe: ModelRecipe, weights: str, words: str, models: dict[str, Path], tmp_path: Path
) -> None:
    folder = mixed(tmp_path / "mixed", recipe, models[weights])
    with pytest.raises(InputError, match=words) as refused:
        check(folder, "--teacher")
    assert "\n" not in str(refused.value)


def test_only_a_start_may_lack_the_head(models: dict[str, Path], tmp_path: Path) -> None:
    folder = mixed(tmp_path / "headless", recipe_for("Lite0", 64), models["Lite0"])
    state = load_file(folder / WEIGHTS_FILE)
    save_file({key: value for key, value in state.items() if not is_head(key)}, folder / WEIGHTS_FILE)
    check(folder, "--weights")
    with pytest.raises(
        InputError, match=r"--teacher must be .* lack 2 of \d+ tensors, .*, such as classifier\.weight;"
    ):
        check(folder, "--teacher")


def test_what_is_no_safetensors_file_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    folder = mixed(tmp_path / "torn", recipe_for("Lite0", 64), models["Lite0"])
    whole = (folder / WEIGHTS_FILE).read_bytes()
    for content in (b"weights", whole[: len(whole) // 2]):
        (folder / WEIGHTS_FILE).write_bytes(content)
        with pytest.raises(InputError, match=r"weights are a safetensors file, but .* cannot be read as one"):
            check(folder, "--teacher")


def test_a_model_is_checked_once_and_without_torch_in_this_process(models: dict[str, Path], tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from trainables.artifact_check import check_once;"
        "check_once(Path(sys.argv[1]), 'ab', '--teacher', Path(sys.argv[2])); print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(models["pruned"]), str(tmp_path / "checked")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
    check_once(Path("/nowhere"), "ab", "--teacher", tmp_path / "checked")  # known by its digest
    wrong = mixed(tmp_path / "mixed", recipe_for("B0", 64), models["Lite0"])
    for _ in range(2):  # what failed is asked again
        with pytest.raises(InputError, match="^--teacher must be a model with the weights of the network"):
            check_once(wrong, "cd", "--teacher", tmp_path / "checked")

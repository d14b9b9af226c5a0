import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from data_store.errors import InputError
from trainables.architectures import build, forward
from trainables.artifact_files import content_digest, read_recipe
from trainables.artifacts import load_model, recipe_for, save_model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("model")
    model = build("Lite0").to(memory_format=torch.channels_last)
    save_model(folder, model, recipe_for("Lite0", 64))
    return folder


def test_a_fresh_process_gives_the_same_bits(saved: Path) -> None:
    model, _ = load_model(saved)
    with torch.inference_mode():
        here = forward(model, torch.linspace(0, 1, 3 * 64 * 64).view(1, 3, 64, 64)).item()
    code = (
        "import sys, torch; torch.set_num_threads(1);"
        "from pathlib import Path; from trainables.artifacts import load_model;"
        "model, _ = load_model(Path(sys.argv[1]));"
        "print(model(torch.linspace(0, 1, 3 * 64 * 64).view(1, 3, 64, 64)).item())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(saved)], capture_output=True, text=True, check=True)
    assert float(done.stdout) == here


def test_recipe_and_digest(saved: Path, tmp_path: Path) -> None:
    assert read_recipe(saved) == recipe_for("Lite0", 64)
    assert read_recipe(saved).mean == (0.5, 0.5, 0.5)
    model, recipe = load_model(saved)
    save_model(tmp_path, model, recipe)
    assert content_digest(tmp_path) == content_digest(saved)
    with torch.no_grad():
        next(model.parameters()).add_(1e-6)
    save_model(tmp_path, model, recipe)
    assert content_digest(tmp_path) != content_digest(saved)


def test_what_is_no_model_is_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="recipe.json is missing"):
        read_recipe(tmp_path)
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(InputError, match=r"must be a model's recipe.*mean"):
        read_recipe(tmp_path)
    recipe = json.loads((saved / "recipe.json").read_text())
    (tmp_path / "recipe.json").write_text(json.dumps(recipe | {"labels": ["fake", "real"]}))
    with pytest.raises(InputError, match=r"must be \('real', 'fake'\), but .* has \('fake', 'real'\)"):
        read_recipe(tmp_path)
    (tmp_path / "recipe.json").write_text(json.dumps(recipe | {"architecture": "B0"}))
    with pytest.raises(InputError, match="weights.safetensors is missing"):
        load_model(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes((saved / "weights.safetensors").read_bytes())
    with pytest.raises(InputError, match="must be those of B0"):
        load_model(tmp_path)


def test_a_pickle_in_place_of_weights_is_never_run(saved: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (str(tmp_path / "ran"),))

    (tmp_path / "recipe.json").write_bytes((saved / "recipe.json").read_bytes())
    (tmp_path / "weights.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        load_model(tmp_path)
    assert not (tmp_path / "ran").exists()

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data_store.errors import InputError
from trainables.architectures import build, forward
from trainables.artifact_files import content_digest, read_recipe
from trainables.artifacts import build_graph, load_model, recipe_for, save_model
from trainables.footprint import graph_of

HISTORY = (("blocks.6.0.conv_dw", True, (0, 5, 1151)), ("blocks.2.0.conv_pwl", True, (3,)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("model")
    model = build("Lite0").to(memory_format=torch.channels_last)
    save_model(folder, model, recipe_for("Lite0", 64))
    return folder


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(4)
    folder = tmp_path_factory.mktemp("pruned")
    recipe = replace(recipe_for("Lite0", 64), pruning=HISTORY)
    save_model(folder, build_graph(recipe), recipe)
    return folder


@pytest.mark.parametrize("kind", ["saved", "pruned"])
def test_a_fresh_process_gives_the_same_bits(kind: str, request: pytest.FixtureRequest) -> None:
    saved = request.getfixturevalue(kind)
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


def test_a_graph_is_built_from_its_recipe_alone(pruned: Path) -> None:
    recipe = read_recipe(pruned)
    assert recipe.pruning == HISTORY
    layers = dict(build_graph(recipe).named_modules())
    assert layers["blocks.6.0.conv_dw"].out_channels == 1152 - 3
    assert layers["blocks.6.0.conv_pw"].out_channels == 1152 - 3
    assert layers["blocks.6.0.conv_pwl"].in_channels == 1152 - 3
    assert layers["blocks.3.0.conv_pw"].in_channels == 40 - 1


def test_graphs_are_equal_when_their_widths_are(pruned: Path) -> None:
    recipe = read_recipe(pruned)
    others = tuple((layer, out, tuple(channel - 1 for channel in at if channel)) for layer, out, at in HISTORY)
    same = (("blocks.2.0.conv_pwl", True, (9,)), ("blocks.6.0.conv_dw", True, (1, 2, 3)))
    whole, narrower, equal = (replace(recipe, pruning=history) for history in ((), others, same))
    assert graph_of(equal).digest == graph_of(recipe).digest
    assert len({graph_of(row).digest for row in (recipe, whole, narrower)}) == 3


@pytest.mark.parametrize(
    "step", [("blocks.9", True, (0,)), ("conv_head", True, (1280,)), ("conv_head", True, tuple(range(1280)))]
)
def test_a_history_of_another_network_is_refused(step: tuple[str, bool, tuple[int, ...]]) -> None:
    with pytest.raises(InputError, match=f"must name channels that the network has.*{step[0]}"):
        build_graph(replace(recipe_for("Lite0", 64), pruning=(step,)))


def test_what_is_no_model_is_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="recipe.json is missing"):
        read_recipe(tmp_path)
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(InputError, match=r"must be a model's recipe.*schema_version"):
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

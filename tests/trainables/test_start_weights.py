import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from data_store.errors import InputError
from trainables.architectures import build, is_head, is_squeeze_excitation
from trainables.artifact_files import WEIGHTS_FILE, content_digest, read_recipe
from trainables.artifacts import build_graph, recipe_for, save_model
from trainables.fit import start
from trainables.recipes import DEMO_TRAINING, TrialConfig
from trainables.start_weights import convert, load_start, start_from_file

LITE = TrialConfig(architecture="Lite0", resolution_px=64, recipe=DEMO_TRAINING, weights="ab")


@pytest.fixture(scope="module")
def b0(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(7)
    folder = tmp_path_factory.mktemp("b0")
    save_model(folder, build("B0"), recipe_for("B0", 64))
    return folder


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file as libraries publish it: a Lite0 without a head."""
    torch.manual_seed(8)
    file = tmp_path_factory.mktemp("files") / "backbone.safetensors"
    save_file({key: value for key, value in build("Lite0").state_dict().items() if not is_head(key)}, file)
    return file


def test_lite_by_surgery_starts_from_trained_b0(b0: Path) -> None:
    """Every tensor that both have is B0's, the head's too; what is dropped is squeeze-and-excitation, and said."""
    fit = start(replace(LITE, architecture="B0-lite"), b0)
    whole = start(replace(LITE, architecture="B0"), b0).model.state_dict()
    state = fit.model.state_dict()
    assert all(torch.equal(value, whole[key]) for key, value in state.items())
    assert set(whole) - set(state) == {key for key in whole if is_squeeze_excitation(key)}
    assert fit.origin == (
        f"model {content_digest(b0)[:8]} (B0) without its squeeze-and-excitation, whose tensors are dropped"
    )


def test_weights_of_another_architecture_are_refused(b0: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must be those of Lite0, but .* holds B0; name a model of the same"):
        load_start(b0, "Lite0")
    pruned = replace(recipe_for("B0", 64), pruning=(("features.8.0", True, (0, 1)),))
    save_model(tmp_path, build_graph(pruned), pruned)
    with pytest.raises(InputError, match="must be those of B0-lite or B0, but .* holds pruned B0"):
        load_start(tmp_path, "B0-lite")
    model, history, origin = load_start(tmp_path, "B0")
    assert (history, origin) == (pruned.pruning, f"model {content_digest(tmp_path)[:8]} (B0)")
    assert model.get_submodule("features.8.0").out_channels == 1278


def test_a_file_becomes_a_model_folder_once(backbone: Path, tmp_path: Path) -> None:
    folder = start_from_file(backbone, "Lite0", tmp_path)
    assert (read_recipe(folder).architecture, read_recipe(folder).resolution_px) == ("Lite0", 224)
    written = (folder / WEIGHTS_FILE).stat().st_mtime_ns
    code = (
        "import sys; from pathlib import Path; from trainables.start_weights import start_from_file;"
        "print(start_from_file(Path(sys.argv[1]), 'Lite0', Path(sys.argv[2])), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(backbone), str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(folder), "False"]
    assert (folder / WEIGHTS_FILE).stat().st_mtime_ns == written
    assert len(content_digest(folder)) == 64


def test_a_backbone_leaves_the_head_to_the_seed(backbone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    convert(backbone, "Lite0", folder)
    first, again, other = (start(replace(LITE, init_seed=seed), folder).model for seed in (1, 1, 2))
    assert torch.equal(first.get_parameter("classifier.weight"), again.get_parameter("classifier.weight"))
    assert not torch.equal(first.get_parameter("classifier.weight"), other.get_parameter("classifier.weight"))
    assert torch.equal(first.get_parameter("conv_stem.weight"), other.get_parameter("conv_stem.weight"))


@pytest.mark.parametrize(("rows", "kept"), [(1, True), (1000, False)])
def test_a_head_is_kept_when_it_makes_one_logit(rows: int, kept: bool, tmp_path: Path) -> None:
    state = build("Lite0").state_dict()
    state |= {"classifier.weight": torch.ones(rows, 1280), "classifier.bias": torch.ones(rows)}
    save_file(state, tmp_path / "with_head.safetensors")
    convert(tmp_path / "with_head.safetensors", "Lite0", tmp_path / "model")
    model = start(LITE, tmp_path / "model").model
    assert bool((model.get_parameter("classifier.weight") == 1).all()) == kept


def test_files_that_do_not_fit_are_refused_in_one_line(backbone: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must name a safetensors file, but /nowhere cannot be read"):
        start_from_file(Path("/nowhere"), "Lite0", tmp_path)
    (tmp_path / "no.safetensors").write_text(json.dumps({"no": "tensors"}))
    with pytest.raises(InputError, match="cannot be read as one"):
        convert(tmp_path / "no.safetensors", "B0", tmp_path / "models" / "b0")
    with pytest.raises(InputError, match=r"must be those of B0, but .* lacks \d+ of its tensors") as refused:
        start_from_file(backbone, "B0", tmp_path / "models")
    assert "\n" not in str(refused.value)
    assert not list((tmp_path / "models").glob("*"))


@pytest.mark.samples
def test_real_imagenet_features_start_a_network(samples: Path, tmp_path: Path) -> None:
    file = samples / "weights" / "tf_efficientnet_lite0_imagenet_backbone.safetensors"
    convert(file, "Lite0", tmp_path / "model")
    fit = start(LITE, tmp_path / "model")
    torch.manual_seed(LITE.init_seed)
    random = build("Lite0").get_parameter("blocks.0.0.conv_dw.weight")
    assert not torch.equal(fit.model.get_parameter("blocks.0.0.conv_dw.weight"), random)
    assert fit.origin.endswith("(Lite0)")

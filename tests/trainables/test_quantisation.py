"""Int8 files: what they hold, how large they are, and that a trial's predictions are theirs."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest
import torch

from data_store.errors import InputError
from data_store.resident import Crops
from tests.stores import make_crops
from trainables import finish as finish_module
from trainables import training
from trainables.architectures import build
from trainables.artifact_files import INT8_FILE, ONNX_FILE, WEIGHTS_FILE, content_digest, read_recipe
from trainables.artifacts import recipe_for, save_model
from trainables.finish import collapse, finish
from trainables.fit import start
from trainables.footprint import graph_of
from trainables.quantisation import evaluate_onnx
from trainables.recipes import DEMO_FINE_TUNING, TrialConfig

MODEL = recipe_for("Lite0", 64)
STATIC = TrialConfig(
    architecture="Lite0",
    resolution_px=64,
    weights="ab",
    recipe=replace(DEMO_FINE_TUNING, epochs=0, warmup_epochs=0),
    quantisation="static",
)


@pytest.fixture(scope="module")
def float_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(9)
    folder = tmp_path_factory.mktemp("float")
    model = build("Lite0").train()
    with torch.no_grad():
        for _ in range(20):  # statistics of noise, so that activations have a range worth quantising
            model(torch.randn(8, 3, 64, 64))
    save_model(folder, model, MODEL)
    return folder


@pytest.fixture(scope="module")
def quantised(float_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    folder, crops = tmp_path_factory.mktemp("int8"), make_crops()
    fit = training.train(STATIC, crops, start_folder=float_folder)
    return folder, finish(fit, STATIC, MODEL, crops, folder)


def test_a_static_trial_is_its_int8_file(quantised: tuple[Path, dict[str, object]], crops: Crops) -> None:
    folder, result = quantised
    model = folder / "model"
    assert {path.name for path in model.iterdir()} == {"recipe.json", WEIGHTS_FILE, ONNX_FILE, INT8_FILE}
    recipe = read_recipe(model)
    assert recipe.quantisation == "static"
    metrics = result["metrics"]
    assert isinstance(metrics, dict)
    assert metrics["size_mb"] == (model / INT8_FILE).stat().st_size / 1e6 <= 4
    assert graph_of(recipe).digest != graph_of(MODEL).digest

    table = pa.ipc.open_file(folder / "predictions.arrow").read_all()
    of_test = [split == "test" for split in table["split"].to_pylist()]
    recorded = table["logit"].to_numpy()[of_test]
    test = crops.split("test")
    eight, whole = (evaluate_onnx(model / name, recipe, test, num_threads=1) for name in (INT8_FILE, ONNX_FILE))
    np.testing.assert_array_equal(recorded, eight)
    assert not np.array_equal(eight, whole)
    assert np.corrcoef(eight, whole)[0, 1] > 0.7  # an untrained network: its logits differ by little more than a step


def test_all_convolutions_are_integer_and_relu6_is_part_of_them(quantised: tuple[Path, dict[str, object]]) -> None:
    graph = onnx.load(quantised[0] / "model" / INT8_FILE).graph
    kinds = Counter(node.op_type for node in graph.node)
    assert kinds["Conv"] == 49
    assert "Clip" not in kinds
    produced = {output: node.op_type for node in graph.node for output in node.output}
    scales = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Conv":
            assert [produced.get(name) for name in node.input[:2]] == ["DequantizeLinear"] * 2
    per_channel = [
        node
        for node in graph.node
        if node.op_type == "DequantizeLinear" and len(scales[node.input[1]].dims) and scales[node.input[1]].dims[0] > 1
    ]
    assert len(per_channel) >= 49


def test_the_digest_covers_the_int8_file(quantised: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    model = shutil.copytree(quantised[0] / "model", tmp_path / "model")
    assert quantised[1]["model"] == content_digest(model)
    (model / INT8_FILE).write_bytes((model / INT8_FILE).read_bytes() + b"\0")
    assert content_digest(model) != quantised[1]["model"]


def test_training_does_not_start_from_an_int8_model(quantised: tuple[Path, dict[str, object]]) -> None:
    with pytest.raises(InputError, match=r"starts from a float model, but .* holds an int8 one \(static\)"):
        start(replace(STATIC, quantisation="none"), quantised[0] / "model")


@pytest.mark.parametrize(
    ("logits", "words"),
    [
        ([0.5, 0.5, 0.5], "every crop gets the logit 0.5"),
        ([0.5, 0.1, 3.0], "every crop is called fake"),
        ([-0.5, -0.1], "every crop is called real"),
        ([float("nan"), 1.0], "some logits are not finite"),
        ([-0.5, 0.1], None),
    ],
)
def test_the_alarm_on_collapse(logits: list[float], words: str | None) -> None:
    alarm = collapse(np.array(logits, np.float32))
    assert alarm is None if words is None else words in str(alarm)


def test_a_collapsed_trial_is_flagged(
    float_folder: Path, crops: Crops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(STATIC, quantisation="none")
    fit = training.train(config, crops, start_folder=float_folder)
    monkeypatch.setattr(finish_module, "evaluate", lambda *_, **__: np.full(16, 0.25, np.float32))
    result = finish(fit, config, MODEL, crops, tmp_path)
    assert result["alarm"] == "collapsed: every crop gets the logit 0.25"
    assert result["metrics"]["collapsed"] == 1

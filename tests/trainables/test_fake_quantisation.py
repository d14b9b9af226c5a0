"""Simulated int8 arithmetic: that it is ONNX Runtime's, and that it trains."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from data_store.resident import Crops
from tests.stores import make_crops
from trainables import training
from trainables.architectures import build
from trainables.artifact_files import INT8_FILE, ONNX_FILE, WEIGHTS_FILE, read_recipe
from trainables.artifacts import load_model, recipe_for, save_model
from trainables.evaluation import evaluate
from trainables.fake_quantisation import FakeQuantised, activation_scale, rounded_outputs, rounded_weight
from trainables.finish import finish
from trainables.fit import Fit
from trainables.onnx_files import INPUT
from trainables.quantisation import evaluate_onnx, images, tensor_ranges
from trainables.recipes import DEMO_FINE_TUNING, DEMO_TRAINING, TrialConfig

MODEL = recipe_for("Lite0", 64)
FLOAT = TrialConfig(
    architecture="Lite0", resolution_px=64, recipe=replace(DEMO_TRAINING, epochs=3, warmup_epochs=1, batch_size=8)
)
AWARE = replace(FLOAT, weights="ab", recipe=replace(DEMO_FINE_TUNING, epochs=2, batch_size=8), quantisation="aware")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fit, Path, dict[str, Any]]:
    """A trained Lite0 after quantisation-aware fine-tuning, its model folder, and what is recorded of it."""
    folder, crops = tmp_path_factory.mktemp("aware"), make_crops()
    save_model(folder / "start", training.train(FLOAT, crops).model, MODEL)
    fit = training.train(AWARE, crops, start_folder=folder / "start")
    return fit, folder / "model", finish(fit, AWARE, MODEL, crops, folder)


def test_weights_are_rounded_as_onnx_runtime_rounds_them_whatever_factor_a_channel_has() -> None:
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(24, 6, 3, 3, generator=generator)
    weight[5] = 0
    factor = torch.randn(24, 1, 1, 1, generator=generator)  # what batch normalisation multiplies a channel by
    found = rounded_weight(weight)
    steps = found / (weight.abs().amax((1, 2, 3), keepdim=True) / 64).clamp(min=1e-30)
    assert torch.allclose(steps, steps.round(), atol=1e-4)
    assert torch.equal(found[5], torch.zeros(6, 3, 3))
    quantised = onnxruntime.quantization.quant_utils.quantize_data(
        weight[7].numpy(), onnx.TensorProto.INT8, symmetric=True, reduce_range=True
    )
    np.testing.assert_allclose(found[7].numpy(), quantised[-1].astype(np.float32) * quantised[1], rtol=1e-6)
    scaled = rounded_weight(weight * factor)
    same = torch.isclose(scaled, found * factor, rtol=1e-5)
    assert same.float().mean() > 0.999  # a value half-way between two steps may go either way


def test_activations_are_rounded_as_onnx_runtime_rounds_them() -> None:
    for low, high in ((-1.3, 4.2), (0.0, 6.0), (0.5, 3.0), (-2.0, -0.5), (0.0, 0.0)):
        scale, zero_point = activation_scale(torch.tensor(low), torch.tensor(high))
        expected = onnxruntime.quantization.quant_utils.compute_scale_zp(
            np.float32(low), np.float32(high), np.uint8(0), np.uint8(255)
        )
        assert int(zero_point) == int(expected[0])
        if high > low:
            assert float(scale) == pytest.approx(float(expected[1]), rel=1e-6)


def test_gradients_pass_within_the_range_and_stop_at_its_ends() -> None:
    model = FakeQuantised(nn.Sequential(nn.ReLU6())).eval()
    model.ranges[:] = torch.tensor([-1.0, 2.0])
    images = torch.tensor([-3.0, -0.7, 0.3, 1.9, 5.0], requires_grad=True)
    model(images).sum().backward()
    assert images.grad is not None
    assert images.grad.tolist() == [0, 0, 1, 1, 0]  # ReLU6 stops the second


def test_all_parameters_learn() -> None:
    torch.manual_seed(5)
    model = FakeQuantised(build("Lite0")).train()
    model(torch.rand(8, 3, 64, 64)).square().mean().backward()
    dead = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.abs().sum() > 0]
    assert dead == []
    assert not any(name.startswith("_") or ".parametrizations" in name for name in model.state_dict())


def test_ranges_follow_the_batches_of_training_only() -> None:
    model = FakeQuantised(nn.Sequential(nn.ReLU6()))
    assert model.points == ["", "0"]
    model.train()(torch.tensor([-2.0, 1.0]))
    assert model.learned_ranges() == {"": (-2, 1), "0": (0, 1)}
    model(torch.tensor([-2.0, 3.0]))
    assert model.learned_ranges()[""] == pytest.approx((-2, 1.1))
    before = model.learned_ranges()
    model.eval()(torch.tensor([-9.0, 9.0]))
    assert model.learned_ranges() == before


@pytest.mark.parametrize(("name", "count"), [("Lite0", 49 + 9 + 2), ("B0-lite", 49 + 9 + 2)])
def test_every_convolution_every_sum_the_pool_and_the_logit_are_rounded(name: str, count: int) -> None:
    assert len(rounded_outputs(build(name))) == count


@pytest.mark.slow
def test_an_aware_trial_writes_what_a_static_one_does(trained: tuple[Fit, Path, dict[str, Any]]) -> None:
    fit, folder, result = trained
    assert {path.name for path in folder.iterdir()} == {"recipe.json", WEIGHTS_FILE, ONNX_FILE, INT8_FILE}
    assert read_recipe(folder).quantisation == "aware"
    assert result["metrics"]["size_mb"] == (folder / INT8_FILE).stat().st_size / 1e6 <= 4
    assert result["metrics"]["parameters"] == 3_372_289
    network, _ = load_model(folder)
    saved, own = network.state_dict(), fit.network.state_dict()
    assert [name for name in own if not torch.equal(own[name], saved[name])] == []


@pytest.mark.slow
def test_the_int8_file_keeps_the_learned_ranges_of_all_that_it_rounds(
    trained: tuple[Fit, Path, dict[str, Any]],
) -> None:
    fit, folder, _ = trained
    assert fit.ranges is not None
    found = tensor_ranges(onnx.load(folder / ONNX_FILE).graph, fit.ranges)
    eight = onnx.load(folder / INT8_FILE).graph
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in eight.initializer}
    rounded = [node for node in eight.node if node.op_type == "QuantizeLinear"]
    assert len(rounded) >= 61
    for node in rounded:
        low, high = found[node.input[0].removesuffix("_QuantizeLinear_Input")]
        scale, zero_point = activation_scale(torch.tensor(low), torch.tensor(high))
        assert values[node.input[1]] == pytest.approx(float(scale), rel=1e-5)
        assert values[node.input[2]] == int(zero_point)


@pytest.mark.slow
def test_every_layer_gives_what_onnx_runtime_gives_of_the_same_input(
    trained: tuple[Fit, Path, dict[str, Any]], crops: Crops, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, folder, _ = trained
    file = onnx.load(folder / INT8_FILE)
    pixels = next(images(crops.split("val"), np.arange(16), MODEL, 16))
    assert isinstance(fit.model, FakeQuantised)
    tensors = tensor_ranges(
        onnx.load(folder / ONNX_FILE).graph, {name: (at, at) for at, name in enumerate(fit.model.points)}
    )
    held = {node.output[0]: node.input[0] for node in file.graph.node if node.op_type == "DequantizeLinear"}
    names = [name for name, source in held.items() if source.removesuffix("_QuantizeLinear_Output") in tensors]
    del file.graph.output[:]
    file.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(file.SerializeToString(), options, providers=["CPUExecutionProvider"])
    theirs = {
        int(tensors[held[name].removesuffix("_QuantizeLinear_Output")][0]): value
        for name, value in zip(names, session.run(names, {INPUT: pixels}), strict=True)
    }
    assert sorted(theirs) == list(range(len(fit.model.points)))
    ours_of, differences = FakeQuantised._round, {}

    def compared(self: FakeQuantised, place: int, values: Tensor) -> Tensor:
        ours, other = ours_of(self, place, values), torch.from_numpy(theirs[place]).reshape(values.shape)
        scale, _ = activation_scale(*self.ranges[place])
        differences[self.points[place]] = ((ours - other).abs() / scale).round()
        return other  # so that the next layer has their input

    monkeypatch.setattr(FakeQuantised, "_round", compared)
    with torch.inference_mode():
        fit.model.eval()(torch.from_numpy(pixels))
    assert len(differences) == len(theirs)
    assert {name: value.max().item() for name, value in differences.items() if value.max() > 1} == {}
    # A value half-way between two steps goes either way: float sums differ in their order.
    assert {name: value.mean().item() for name, value in differences.items() if value.mean() > 0.01} == {}


@pytest.mark.slow
def test_logits_agree_with_the_int8_file(trained: tuple[Fit, Path, dict[str, Any]], crops: Crops) -> None:
    fit, folder, _ = trained
    both = {split: crops.split(split) for split in ("val", "test")}
    simulated = np.concatenate([evaluate(fit.model, MODEL, part, device="cpu") for part in both.values()])
    eight = np.concatenate([evaluate_onnx(folder / INT8_FILE, MODEL, part, num_threads=1) for part in both.values()])
    whole = np.concatenate([evaluate(fit.network, MODEL, part, device="cpu") for part in both.values()])
    # A network trained on noise magnifies single steps; the layers are compared one by one above.
    assert np.corrcoef(simulated, eight)[0, 1] > 0.85
    assert np.abs(simulated - eight).mean() < 0.1 * np.ptp(eight)
    assert np.abs(simulated - eight).mean() < np.abs(whole - eight).mean()

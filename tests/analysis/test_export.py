"""The lines of a model card that say how to load what was exported."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from analysis.export import loading
from trainables.architectures import build
from trainables.artifact_files import INT8_FILE
from trainables.artifacts import recipe_for, save_model
from trainables.onnx_files import INPUT, OUTPUT

FLOAT = recipe_for("Lite0", 64)


def done_by_a_reader(lines: list[str]) -> dict[str, Any]:
    """Return what the names stand for after the card's code."""
    names: dict[str, Any] = {}
    exec("\n".join(lines).split("```python\n")[1].split("```")[0], names)  # as in a reader's own session
    return names


def test_a_float_model_is_loaded_by_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(tmp_path, build("Lite0"), FLOAT)
    monkeypatch.chdir(tmp_path)
    names = done_by_a_reader(loading(FLOAT))
    assert names["recipe"] == FLOAT
    assert not names["model"].training


def test_a_quantised_model_is_its_int8_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mean = helper.make_node("ReduceMean", [INPUT, "axes"], [OUTPUT], keepdims=0)
    graph = helper.make_graph(
        [mean],
        "detector",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", 3, 64, 64])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3])],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / INT8_FILE)
    monkeypatch.chdir(tmp_path)
    lines = loading(replace(FLOAT, quantisation="static"))
    assert "those of `model.int8.onnx`" in lines[0]
    np.testing.assert_array_equal(done_by_a_reader(lines)["logits"], np.zeros(1, np.float32))

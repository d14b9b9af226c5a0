"""What the demo's tests share: a drawn video, and a model that any test can foretell."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from demo.scoring import open_scorer
from demo.watching import Watched
from tests.demo import films
from trainables.artifact_files import RECIPE_FILE, ModelRecipe

RESOLUTION_PX = 64
GAIN, SHIFT = 8.0, 1.5


def write_model(folder: Path, *, gain: float = GAIN, shift: float = SHIFT, name: str = "model.onnx") -> Path:
    """Write a model whose logit is ``gain * mean(input) + shift``: a graph of three nodes."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = ModelRecipe(architecture="Lite0", resolution_px=RESOLUTION_PX, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    (folder / RECIPE_FILE).write_text(json.dumps(dataclasses.asdict(recipe)))
    side = [3, RESOLUTION_PX, RESOLUTION_PX]
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images", "axes"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "gain"], ["scaled"]),
            helper.make_node("Add", ["scaled", "shift"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", *side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch"])],
        [
            numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes"),
            numpy_helper.from_array(np.array(gain, np.float32), "gain"),
            numpy_helper.from_array(np.array(shift, np.float32), "shift"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / name))
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder."""
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def watched(model_folder: Path) -> Watched:
    """The same, opened."""
    return Watched(scorer=open_scorer(model_folder), crop_px=RESOLUTION_PX)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a drawn face with sound, 256 px."""
    return films.write(tmp_path_factory.mktemp("films") / "drawn.mp4", films.faces(50), sound="aac")

"""Loading a model, in the demo too, and resuming unpickle nothing: an audit hook watches, in a process of its own."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from safetensors import SafetensorError

from data_store.errors import InputError
from demo.scoring import open_scorer
from tests.stores import make_crops
from trainables import checkpoints, training
from trainables.architectures import build
from trainables.artifact_files import ONNX_FILE, WEIGHTS_FILE
from trainables.artifacts import recipe_for, save_model
from trainables.fit import start
from trainables.recipes import DEMO_FINE_TUNING, Pruning, TrialConfig, to_dict
from trainables.start_weights import convert

CONFIG = TrialConfig(
    architecture="Lite0",
    resolution_px=64,
    weights="ab",
    recipe=replace(DEMO_FINE_TUNING, epochs=1, warmup_epochs=0, batch_size=8, max_steps_per_epoch=1),
    pruning=Pruning(ratio=0.1, iterations=2, calibration_batches=1),
)

WATCHED = """
import json, pickle, sys
from pathlib import Path
import numpy as np
import torch
from demo.scoring import open_scorer
from trainables import checkpoints, training
from trainables.fit import start
from trainables.artifacts import load_model
from trainables.recipes import from_dict

seen = []
sys.addaudithook(lambda event, args: seen.append(args) if event == "pickle.find_class" else None)
model, saved, config = sys.argv[1:]
load_model(Path(model))
trial = from_dict(json.loads(config))
fit = start(trial, Path(model))
checkpoints.restore(Path(saved), fit, trial)
crops = np.zeros((2, 64, 64, 3), np.uint8)
scored = [len(open_scorer(Path(model), runtime=runtime).score(crops)) for runtime in ("onnx", "torch")]
quiet = len(seen)
pickle.loads(pickle.dumps(Path("planted")))
print(quiet, len(seen) > quiet, fit.iteration, *scored)
"""


def tiny_onnx(file: Path) -> None:
    """Write a graph of the demo's inputs and outputs: the mean of each image."""
    images = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["batch", 3, 64, 64])
    logits = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch"])
    node = onnx.helper.make_node("ReduceMean", ["images"], ["logits"], axes=[1, 2, 3], keepdims=0)
    graph = onnx.helper.make_graph([node], "mean", [images], [logits])
    opset = onnx.helper.make_opsetid("", 13)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), file)


def test_load_resume_and_demo_unpickle_nothing_and_the_watch_sees_what_does(tmp_path: Path) -> None:
    crops, model = make_crops(), tmp_path / "model"
    save_model(model, build("Lite0"), recipe_for("Lite0", 64))
    tiny_onnx(model / ONNX_FILE)
    fit = start(CONFIG, model)
    training.advance(fit, CONFIG, recipe_for("Lite0", 64), crops.split("train"), crops.split("val"))
    saved = checkpoints.save(tmp_path, fit)
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(model), str(saved), json.dumps(to_dict(CONFIG))],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["0", "True", "1", "2", "2"]


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (str(self.mark),))


@pytest.mark.parametrize("name", ["model.safetensors", "best.safetensors", "optimizer.safetensors"])
def test_a_malicious_checkpoint_is_not_run(name: str, tmp_path: Path) -> None:
    config = replace(CONFIG, weights="none", pruning=None)
    fit = start(config)
    saved = checkpoints.save(tmp_path, fit)
    (saved / name).write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(SafetensorError, match=r"(?i)header"):
        checkpoints.restore(saved, fit, config)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("name", "runtime"), [(ONNX_FILE, "onnx"), (WEIGHTS_FILE, "torch")])
def test_the_demo_runs_no_malicious_model(name: str, runtime: str, tmp_path: Path) -> None:
    save_model(tmp_path, build("Lite0"), recipe_for("Lite0", 64))
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(InputError, match=f"must be .*{name}"):
        open_scorer(tmp_path, runtime=runtime)
    assert not (tmp_path / "ran").exists()


def test_a_malicious_weights_file_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": Bomb(tmp_path / "ran")}, tmp_path / "weights.pth")
    with pytest.raises(InputError, match="cannot be read as one"):
        convert(tmp_path / "weights.pth", "Lite0", tmp_path / "model")
    assert not (tmp_path / "ran").exists()

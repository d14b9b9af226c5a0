"""Loading a model and resuming a trial unpickle nothing: watched by an audit hook, in a process of their own."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from data_store.errors import InputError
from tests.stores import make_crops
from trainables import checkpoints, training
from trainables.architectures import build
from trainables.artifacts import recipe_for, save_model
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
import torch
from trainables import checkpoints, training
from trainables.artifacts import load_model
from trainables.recipes import from_dict

seen = []
sys.addaudithook(lambda event, args: seen.append(args) if event == "pickle.find_class" else None)
model, saved, config = sys.argv[1:]
load_model(Path(model))
trial = from_dict(json.loads(config))
fit = training.start(trial, Path(model))
checkpoints.restore(Path(saved), fit, trial)
quiet = len(seen)
pickle.loads(pickle.dumps(Path("planted")))
print(quiet, len(seen) > quiet, fit.iteration)
"""


def test_load_and_resume_unpickle_nothing_and_the_watch_sees_what_does(tmp_path: Path) -> None:
    crops, model = make_crops(), tmp_path / "model"
    save_model(model, build("Lite0"), recipe_for("Lite0", 64))
    fit = training.start(CONFIG, model)
    training.advance(fit, CONFIG, recipe_for("Lite0", 64), crops.split("train"), crops.split("val"))
    saved = checkpoints.save(tmp_path, fit)
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(model), str(saved), json.dumps(to_dict(CONFIG))],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["0", "True", "1"]


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (str(self.mark),))


@pytest.mark.parametrize("name", ["model.safetensors", "best.safetensors", "optimizer.safetensors"])
def test_a_malicious_checkpoint_is_not_run(name: str, tmp_path: Path) -> None:
    config = replace(CONFIG, weights="none", pruning=None)
    fit = training.start(config)
    saved = checkpoints.save(tmp_path, fit)
    (saved / name).write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(SafetensorError, match=r"(?i)header"):
        checkpoints.restore(saved, fit, config)
    assert not (tmp_path / "ran").exists()


def test_a_malicious_weights_file_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": Bomb(tmp_path / "ran")}, tmp_path / "weights.pth")
    with pytest.raises(InputError, match="cannot be read as one"):
        convert(tmp_path / "weights.pth", "Lite0", tmp_path / "model")
    assert not (tmp_path / "ran").exists()

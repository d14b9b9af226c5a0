"""What every kind of trial must keep to: one step, save, load, step as two steps; nothing shared; bad input named."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data_store.errors import InputError
from data_store.resident import Crops
from trainables import checkpoints, training
from trainables.architectures import build
from trainables.artifacts import load_model, recipe_for, save_model
from trainables.distillation import signal_for_epoch
from trainables.fit import Fit, start
from trainables.recipes import DEMO_FINE_TUNING, DEMO_TRAINING, Pruning, TrialConfig, from_dict, to_dict

MODEL = recipe_for("Lite0", 64)
SHORT = replace(DEMO_TRAINING, epochs=2, warmup_epochs=0, batch_size=8, max_steps_per_epoch=1)
PLAIN = TrialConfig(architecture="Lite0", resolution_px=64, recipe=SHORT)
TUNED = replace(PLAIN, weights="ab", recipe=replace(DEMO_FINE_TUNING, epochs=2, batch_size=8, max_steps_per_epoch=1))
KINDS = {
    "plain": PLAIN,
    "distilled": replace(PLAIN, alpha=0.5, teacher="cd"),
    "fine-tuned": TUNED,
    "pruned at once": replace(TUNED, pruning=Pruning(ratio=0.2, calibration_batches=1)),
    "pruned in steps": replace(
        TUNED,
        recipe=replace(TUNED.recipe, epochs=1, warmup_epochs=0),
        pruning=Pruning(ratio=0.2, iterations=2, calibration_batches=1),
    ),
    "static int8": replace(TUNED, quantisation="static"),
    "quantisation-aware": replace(TUNED, quantisation="aware", alpha=0.5, teacher="cd"),
}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(11)
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, build("Lite0"), MODEL)
    return folder


def begin(config: TrialConfig, folder: Path) -> Fit:
    return start(config, folder if config.weights == "ab" else None)


def step(fit: Fit, config: TrialConfig, crops: Crops, folder: Path, signals: Path) -> None:
    teacher = load_model(folder) if config.teacher else None
    training.advance(
        fit,
        config,
        MODEL,
        crops.split("train"),
        crops.split("val"),
        lambda epoch: signal_for_epoch(*teacher, config, crops, folder=signals, epoch=epoch) if teacher else None,
    )


def bits(fit: Fit) -> dict[str, torch.Tensor]:
    state = fit.optimizer.state_dict()["state"]
    moments = {f"{index}.{name}": value for index, values in state.items() for name, value in values.items()}
    return {**fit.model.state_dict(), **moments}


def assert_equal(first: Fit, second: Fit) -> None:
    expected, found = bits(first), bits(second)
    assert expected.keys() == found.keys()
    assert [key for key, value in expected.items() if not torch.equal(value, found[key])] == []
    assert (first.pruning, first.iteration, first.epoch) == (second.pruning, second.iteration, second.epoch)


@pytest.mark.parametrize("kind", KINDS)
def test_step_save_load_step_is_two_steps(kind: str, model_folder: Path, crops: Crops, tmp_path: Path) -> None:
    config = KINDS[kind]
    unbroken = begin(config, model_folder)
    step(unbroken, config, crops, model_folder, tmp_path / "a")
    saved = checkpoints.save(tmp_path / "attempt-0001", unbroken)
    other = begin(config, model_folder)  # a second instance in between shares nothing with the first
    step(other, config, crops, model_folder, tmp_path / "b")
    assert_equal(unbroken, other)
    step(unbroken, config, crops, model_folder, tmp_path / "a")
    resumed = begin(config, model_folder)
    checkpoints.restore(saved, resumed, config)
    assert_equal(resumed, other)  # which the first one's second step has left alone
    step(resumed, config, crops, model_folder, tmp_path / "a")
    assert_equal(unbroken, resumed)
    assert unbroken.epoch == 2
    assert training.finished(unbroken, config)


@pytest.mark.parametrize("kind", KINDS)
def test_a_config_survives_json_and_a_bad_one_is_named(kind: str) -> None:
    values = to_dict(KINDS[kind])
    assert from_dict(values) == KINDS[kind]
    with pytest.raises(InputError, match="learning_rat"):
        from_dict({**values, "recipe": {**values["recipe"], "learning_rat": 1.0}})

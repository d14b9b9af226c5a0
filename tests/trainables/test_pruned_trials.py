"""A pruned trial as a whole: iterations and recovery, resuming in between, and what its model is good for after."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from data_store.resident import Crops
from trainables import checkpoints, training
from trainables.architectures import build, forward
from trainables.artifacts import build_graph, load_model, recipe_for, save_model
from trainables.finish import finish
from trainables.fit import Fit, laid_out, start
from trainables.footprint import graph_of, num_parameters
from trainables.pruning import removed
from trainables.recipes import DEMO_FINE_TUNING, Pruning, TrialConfig

PX = 64
RECIPE = replace(DEMO_FINE_TUNING, epochs=2, warmup_epochs=0, batch_size=8, max_steps_per_epoch=2)
CONFIG = TrialConfig(architecture="Lite0", resolution_px=PX, weights="ab", recipe=RECIPE)
MODEL = recipe_for("Lite0", PX)
ITERATIVE = replace(CONFIG, pruning=Pruning(ratio=0.3, iterations=3, calibration_batches=1))


@pytest.fixture(scope="module")
def start_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(6)
    folder = tmp_path_factory.mktemp("start")
    save_model(folder, build("Lite0"), MODEL)
    return folder


def test_iterations_prune_and_recover_in_turn(start_folder: Path, crops: Crops, tmp_path: Path) -> None:
    seen: list[tuple[int, int, int]] = []
    rates: list[float] = []

    def note(fit: Fit) -> None:
        seen.append((fit.epoch, fit.iteration, removed(fit.pruning).total()))
        rates.append(fit.history[-1]["epoch/learning_rate"])

    fit = training.train(ITERATIVE, crops, start_folder=start_folder, after_epoch=note)
    assert [(epoch, iteration) for epoch, iteration, _ in seen] == [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3)]
    gone = [count for *_, count in seen]
    assert gone[0] == gone[1] < gone[2] == gone[3] < gone[4] == gone[5]
    assert rates[:2] == rates[2:4] == rates[4:6]  # the schedule begins anew
    result = finish(fit, ITERATIVE, MODEL, crops, tmp_path)
    model, recipe = load_model(tmp_path / "model")
    assert recipe.pruning == fit.pruning
    assert num_parameters(model) == result["metrics"]["parameters"] < 3_372_289
    assert result["graph"]["digest"] == graph_of(recipe).digest
    assert result["metrics"]["pruned_share"] == pytest.approx(0.3, abs=5e-4)
    assert "at its floor" not in str(result["alarm"])
    images = torch.rand(4, 3, PX, PX).contiguous(memory_format=torch.channels_last)
    fit.model.eval()
    with torch.inference_mode():
        expected = forward(fit.model, images)
        loaded = laid_out(model, "cpu")
        assert torch.equal(forward(loaded, images), expected)


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_a_trial_resumed_within_or_between_iterations_ends_with_the_same_bits(
    epochs: int, start_folder: Path, crops: Crops, tmp_path: Path
) -> None:
    train, val = crops.split("train"), crops.split("val")
    unbroken = start(ITERATIVE, start_folder)
    while unbroken.epoch < 5:
        training.advance(unbroken, ITERATIVE, MODEL, train, val)
        if unbroken.epoch == epochs:
            saved = checkpoints.save(tmp_path, unbroken)
    resumed = start(ITERATIVE, start_folder)
    checkpoints.restore(saved, resumed, ITERATIVE)
    while resumed.epoch < 5:
        training.advance(resumed, ITERATIVE, MODEL, train, val)
    assert resumed.pruning == unbroken.pruning
    assert (resumed.iteration, resumed.began, resumed.best_epoch) == (3, 4, unbroken.best_epoch)
    state, expected = resumed.model.state_dict(), unbroken.model.state_dict()
    assert [key for key, value in expected.items() if not torch.equal(value, state[key])] == []
    moments, wanted = (fit.optimizer.state_dict()["state"] for fit in (resumed, unbroken))
    for index, values in wanted.items():
        assert all(torch.equal(value, moments[index][name]) for name, value in values.items())


def test_patience_counts_anew_after_each_pruning(start_folder: Path, crops: Crops) -> None:
    config = replace(ITERATIVE, recipe=replace(RECIPE, epochs=5, patience=1))
    train, val = crops.split("train"), crops.split("val")
    fit = start(config, start_folder)
    training.advance(fit, config, MODEL, train, val)
    fit.best_val_loss = -1.0  # nothing can be better: the iteration is over after one more epoch
    training.advance(fit, config, MODEL, train, val)
    assert (fit.epoch, fit.iteration) == (2, 1)
    best = fit.best_weights
    training.advance(fit, config, MODEL, train, val)
    assert (fit.epoch, fit.iteration, fit.began) == (3, 2, 2)
    assert fit.best_val_loss > 0
    assert best.keys() == fit.best_weights.keys()
    assert any(best[key].shape != fit.best_weights[key].shape for key in best)


def test_without_epochs_it_only_prunes(start_folder: Path, crops: Crops) -> None:
    config = replace(ITERATIVE, recipe=replace(RECIPE, epochs=0))
    fit = training.train(config, crops, start_folder=start_folder)
    assert (fit.epoch, fit.iteration) == (0, 3)
    assert removed(fit.pruning).total() > 0


def test_a_model_at_its_floors_carries_the_alarm_and_its_true_share(
    start_folder: Path, crops: Crops, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, epochs=0)
    config = replace(CONFIG, pruning=Pruning(ratio=0.9, calibration_batches=1), recipe=recipe)
    result = finish(training.train(config, crops, start_folder=start_folder), config, MODEL, crops, tmp_path)
    assert result["alarm"].endswith("pruned by 79.7% of its channels, not 90.0%: every layer is at its floor")
    assert result["metrics"]["pruned_share"] == result["metrics"]["pruned_share_limit"] < 0.8
    assert result["metrics"]["collapsed"] == float("collapsed" in result["alarm"])


def test_a_teacher_takes_part_in_ranking_and_recovering(start_folder: Path, crops: Crops) -> None:
    config = replace(ITERATIVE, alpha=0.5, teacher="t")
    asked: list[int] = []

    def soft_labels(epoch: int) -> np.ndarray:
        asked.append(epoch)
        return np.full(len(crops.split("train")), 2.0 * epoch, np.float32)

    fit = start(config, start_folder)
    for _ in range(3):
        training.advance(fit, config, MODEL, crops.split("train"), crops.split("val"), soft_labels)
    assert asked == [1, 2, 3]  # iterations go on counting
    plain = start(ITERATIVE, start_folder)
    training.advance(plain, ITERATIVE, MODEL, crops.split("train"), crops.split("val"))
    assert plain.pruning != fit.pruning[: len(plain.pruning)]


def test_a_pruned_model_is_a_start_a_teacher_and_a_graph(start_folder: Path, crops: Crops, tmp_path: Path) -> None:
    once = replace(CONFIG, pruning=Pruning(ratio=0.2, calibration_batches=1), recipe=replace(RECIPE, epochs=1))
    finish(training.train(once, crops, start_folder=start_folder), once, MODEL, crops, tmp_path)
    folder = tmp_path / "model"
    again = training.train(once, crops, start_folder=folder)
    assert removed(again.pruning).total() > removed(again.start_pruning).total() > 0
    assert widths(build_graph(replace(MODEL, pruning=again.pruning))) == widths(again.model)
    plain = replace(CONFIG, recipe=replace(RECIPE, epochs=1), alpha=0.5, teacher="t")
    student = training.train(plain, crops, start_folder=folder, teacher_folder=folder)
    assert student.pruning == again.start_pruning
    assert student.history[0]["epoch/train_soft_loss"] > 0


def widths(model: nn.Module) -> dict[str, int]:
    return {name: layer.out_channels for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data_store.resident import Crops
from trainables import checkpoints
from trainables.artifacts import recipe_for
from trainables.attempts import (
    OrphanError,
    attempt_folder,
    claim,
    latest_checkpoint,
    read_history,
    refuse_orphan,
)
from trainables.fit import Fit, start
from trainables.recipes import DEMO_TRAINING, THESIS_FINE_TUNING, THESIS_TRAINING, Recipe, TrialConfig
from trainables.training import run_epoch

MODEL = recipe_for("Lite0", 64)


def bits(fit: Fit) -> dict[str, torch.Tensor]:
    state = fit.optimizer.state_dict()["state"]
    moments = {f"{index}.{name}": value for index, values in state.items() for name, value in values.items()}
    return {**fit.model.state_dict(), **{f"best.{key}": value for key, value in fit.best_weights.items()}, **moments}


@pytest.mark.parametrize("recipe", [DEMO_TRAINING, THESIS_TRAINING, THESIS_FINE_TUNING], ids=lambda r: r.name)
def test_a_resumed_trial_ends_with_the_same_bits(recipe: Recipe, crops: Crops, tmp_path: Path) -> None:
    config = TrialConfig(architecture="Lite0", resolution_px=64, recipe=replace(recipe, batch_size=16))
    train, val = crops.split("train"), crops.split("val")
    unbroken = start(config)
    for _ in range(3):
        run_epoch(unbroken, config, MODEL, train, val)
        checkpoints.save(tmp_path / "attempt-0001", unbroken) if unbroken.epoch == 1 else None
    resumed = start(config)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    checkpoints.restore(found, resumed, config)
    assert resumed.epoch == 1
    for _ in range(2):
        run_epoch(resumed, config, MODEL, train, val)
    expected, found_bits = bits(unbroken), bits(resumed)
    assert expected.keys() == found_bits.keys()
    assert [key for key, value in expected.items() if not torch.equal(value, found_bits[key])] == []
    timeless = [{k: v for k, v in record.items() if k != "epoch/seconds"} for record in unbroken.history]
    assert [{k: v for k, v in record.items() if k != "epoch/seconds"} for record in resumed.history] == timeless


def test_the_last_two_are_kept_and_the_newest_of_all_attempts_is_found(crops: Crops, tmp_path: Path) -> None:
    config = TrialConfig(architecture="Lite0", resolution_px=64, recipe=DEMO_TRAINING)
    fit = start(config)
    run_epoch(fit, config, MODEL, crops.split("val"), crops.split("test"))
    assert latest_checkpoint(tmp_path) is None
    for epoch in (1, 2, 3):
        fit.epoch = epoch
        checkpoints.save(attempt_folder(tmp_path, 1), fit)
    assert sorted(path.name for path in attempt_folder(tmp_path, 1).iterdir()) == ["epoch-0002", "epoch-0003"]
    fit.epoch = 4
    newest = checkpoints.save(attempt_folder(tmp_path, 2), fit)
    assert latest_checkpoint(tmp_path) == newest
    assert read_history(newest) == fit.history
    (attempt_folder(tmp_path, 2) / ".epoch-0005.partial").mkdir()  # what a crash in mid-write leaves
    (attempt_folder(tmp_path, 2) / "epoch-0006").mkdir()
    assert latest_checkpoint(tmp_path) == newest


def test_an_orphan_may_not_write(tmp_path: Path) -> None:
    claim(tmp_path, 1)
    refuse_orphan(tmp_path, 1)
    claim(tmp_path, 2)
    refuse_orphan(tmp_path, 2)
    with pytest.raises(OrphanError, match=r"attempt 1 .* was superseded by attempt 2"):
        refuse_orphan(tmp_path, 1)

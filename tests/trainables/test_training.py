import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data_store.resident import Crops
from tests.stores import make_crops
from trainables import architectures, distillation, steps
from trainables import metric_keys as keys
from trainables.artifacts import recipe_for
from trainables.fit import Fit, restore_best, start
from trainables.recipes import DEMO_TRAINING, RECIPE_VERSION, THESIS_FINE_TUNING, THESIS_TRAINING, Recipe, TrialConfig
from trainables.steps import accumulate_gradients, learning_rate, num_micro_batches
from trainables.training import finished, run_epoch, train_epoch

GOLDEN = Path(__file__).parent / "golden_losses.json"
RECIPES = (DEMO_TRAINING, THESIS_TRAINING, THESIS_FINE_TUNING)
CONFIG = TrialConfig(
    architecture="Lite0", resolution_px=64, recipe=replace(DEMO_TRAINING, batch_size=16), data_seed=3, init_seed=4
)
MODEL = recipe_for("Lite0", 64)


def weights(fit: Fit) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in fit.model.state_dict().values()])


def schedule(recipe: Recipe, num_steps: int) -> list[float]:
    return [
        learning_rate(recipe, epoch=epoch, step=step, num_steps=num_steps)
        for epoch in range(1, recipe.epochs + 1)
        for step in range(num_steps)
    ]


def test_warm_up_and_cosine_are_torchs() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=THESIS_TRAINING.learning_rate)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=10)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    both = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cosine], milestones=[10])
    expected = []
    for _ in range(30):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        both.step()
    assert schedule(THESIS_TRAINING, 1) == pytest.approx(expected)
    assert schedule(THESIS_TRAINING, 2)[::2] == schedule(THESIS_TRAINING, 2)[1::2]  # it moves by the epoch


def test_one_cycle_rises_to_the_peak_and_falls_to_nothing() -> None:
    rates = schedule(DEMO_TRAINING, 10)
    top = rates.index(max(rates))
    assert top == 10 * DEMO_TRAINING.warmup_epochs
    assert rates[top] == DEMO_TRAINING.learning_rate
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.001 * rates[top]


def test_a_constant_schedule_is_constant() -> None:
    assert set(schedule(THESIS_FINE_TUNING, 3)) == {2e-4}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_golden_losses(recipe: Recipe, crops: Crops) -> None:
    """The first five losses of each recipe may move only with the recipe version."""
    config = replace(CONFIG, recipe=replace(recipe, batch_size=8, max_steps_per_epoch=5))
    fit = start(config)
    seen: list[float] = []
    real = distillation.distillation_loss

    def spied(*args: torch.Tensor, **kwargs: object) -> dict[str, torch.Tensor]:
        parts = real(*args, **kwargs)  # type: ignore[arg-type]
        seen.append(parts["loss"].item())
        return parts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "distillation_loss", spied)
        train_epoch(fit, config, MODEL, crops.split("train"), None)
    golden = json.loads(GOLDEN.read_text())
    assert golden["recipe_version"] == RECIPE_VERSION
    assert seen == pytest.approx(golden["losses"][recipe.name], rel=1e-2)


def test_training_learns_and_the_same_seed_gives_the_same_bits() -> None:
    crops = make_crops(rows={"train": 160, "val": 16})
    recipe = replace(CONFIG.recipe, schedule="constant", warmup_epochs=0)
    config = replace(CONFIG, recipe=recipe)
    fits = [start(config) for _ in range(2)]
    for fit in fits:
        for _ in range(4):
            run_epoch(fit, config, MODEL, crops.split("train"), crops.split("val"))
    assert torch.equal(weights(fits[0]), weights(fits[1]))
    losses = [record[keys.EPOCH_TRAIN_LOSS] for record in fits[0].history]
    assert losses[-1] < 0.7 * losses[0]
    accuracies = [record[keys.EPOCH_TRAIN_ACCURACY] for record in fits[0].history]
    assert accuracies[0] < accuracies[-1] <= 1
    assert accuracies == pytest.approx([round(160 * share) / 160 for share in accuracies])  # a count of crops
    other = replace(config, data_seed=9)
    fit = start(other)
    run_epoch(fit, other, MODEL, crops.split("train"), crops.split("val"))
    assert fit.history[0][keys.EPOCH_TRAIN_LOSS] != fits[0].history[0][keys.EPOCH_TRAIN_LOSS]


def test_alpha_zero_trains_to_the_weights_of_plain_training(crops: Crops) -> None:
    """A student whose loss keeps a teacher term with weight 0 ends with the same bits as one without a teacher."""
    plain, weighted = start(CONFIG), start(CONFIG)
    train = crops.split("train")
    train_epoch(plain, CONFIG, MODEL, train, None)
    real = distillation.distillation_loss
    soft = np.linspace(-2, 2, len(train), dtype=np.float32)

    def with_teacher_term(logits: torch.Tensor, labels: torch.Tensor, **_: object) -> dict[str, torch.Tensor]:
        parts = real(logits, labels, teacher_logits=torch.from_numpy(soft[: len(logits)]), alpha=0.5)
        return {"loss": 0.0 * parts["soft_loss"] + 1.0 * parts["hard_loss"], "hard_loss": parts["hard_loss"]}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "distillation_loss", with_teacher_term)
        train_epoch(weighted, CONFIG, MODEL, train, None)
    assert torch.equal(weights(plain), weights(weighted))


def test_alpha_moves_the_weights_but_not_the_batches(crops: Crops) -> None:
    soft = np.full(len(crops.split("train")), 0.7, dtype=np.float32)
    results = []
    for alpha in (0.25, 0.75):
        config = replace(CONFIG, alpha=alpha, teacher="t")
        fit = start(config)
        parts = train_epoch(fit, config, MODEL, crops.split("train"), soft)
        results.append((weights(fit), parts))
    assert not torch.equal(results[0][0], results[1][0])
    assert set(results[0][1]) == {"loss", "hard_loss", "soft_loss", "accuracy"}
    for _, parts in results:
        assert math.isfinite(parts["soft_loss"])


def test_early_stopping_counts_from_the_best_epoch_and_the_best_weights_come_back(crops: Crops) -> None:
    config = replace(CONFIG, recipe=replace(CONFIG.recipe, epochs=9, patience=2))
    fit = start(CONFIG)
    fit.epoch, fit.best_epoch = 3, 2
    assert not finished(fit, config)
    fit.epoch = 4
    assert finished(fit, config)
    fit.epoch, fit.best_epoch = 9, 9
    assert finished(fit, config)
    fit = start(CONFIG)
    run_epoch(fit, CONFIG, MODEL, crops.split("train"), crops.split("val"))
    best = weights(fit)
    fit.best_val_loss = -1.0  # nothing can be better from here on
    run_epoch(fit, CONFIG, MODEL, crops.split("train"), crops.split("val"))
    assert not torch.equal(weights(fit), best)
    restore_best(fit)
    assert torch.equal(weights(fit), best)


def test_no_epoch_at_all_is_finished_and_keeps_the_start_weights() -> None:
    config = replace(CONFIG, recipe=replace(CONFIG.recipe, epochs=0, warmup_epochs=0))
    fit = start(CONFIG)
    before = weights(fit)
    assert finished(fit, config)
    restore_best(fit)
    assert torch.equal(weights(fit), before)


def test_a_non_finite_loss_stops_before_the_update(crops: Crops) -> None:
    config = replace(CONFIG, alpha=1.0, teacher="t")
    fit = start(config)
    before = [parameter.detach().clone() for parameter in fit.model.parameters()]
    broken = np.full(len(crops.split("train")), np.nan, dtype=np.float32)
    with pytest.raises(FloatingPointError, match="the loss became nan in epoch 1, step 0"):
        train_epoch(fit, config, MODEL, crops.split("train"), broken)
    assert all(torch.equal(a, b) for a, b in zip(before, fit.model.parameters(), strict=True))


def test_a_non_finite_gradient_stops_before_the_update(crops: Crops) -> None:
    fit = start(CONFIG)
    before = weights(fit)
    next(fit.model.parameters()).register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(FloatingPointError, match="the gradient norm became (nan|inf) in epoch 1, step 0"):
        train_epoch(fit, CONFIG, MODEL, crops.split("train"), None)
    parameters = torch.cat([parameter.detach().flatten().double() for parameter in fit.model.parameters()])
    assert torch.isfinite(parameters).all()
    fresh = [parameter.detach() for parameter in start(CONFIG).model.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(fresh, fit.model.parameters(), strict=True))
    assert not torch.equal(weights(fit), before)  # batch statistics only


@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("micro_batch", [4, 5])
def test_micro_batches_add_up_to_the_gradients_of_the_whole_batch(alpha: float, micro_batch: int) -> None:
    """With fixed statistics and without dropout; 5 does not divide 16: parts of 4."""
    config = replace(CONFIG, alpha=alpha, teacher="t" if alpha else None)
    fit = start(config)
    fit.model.eval()
    torch.manual_seed(0)
    images, labels, soft = torch.rand(16, 3, 64, 64), (torch.rand(16) > 0.5).float(), torch.randn(16)
    gradients, losses = [], []
    for each in (config, replace(config, micro_batch=micro_batch)):
        fit.optimizer.zero_grad(set_to_none=True)
        losses.append(accumulate_gradients(fit, each, images, labels, soft if alpha else None))
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in fit.model.parameters()]))  # type: ignore[union-attr]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert gradients[0].norm() > 0
    assert (gradients[1] - gradients[0]).norm() < 1e-4 * gradients[0].norm()


def test_an_epoch_in_micro_batches_takes_the_same_steps(crops: Crops) -> None:
    config = replace(CONFIG, micro_batch=3)
    fit = start(config)
    parts = train_epoch(fit, config, MODEL, crops.split("train"), None)
    assert math.isfinite(parts["loss"])
    states = fit.optimizer.state_dict()["state"]
    assert {int(state["step"]) for state in states.values()} == {3}  # 48 crops in batches of 16


@pytest.mark.parametrize(("num_crops", "micro_batch", "sizes"), [(16, 1, [2] * 8), (5, 2, [3, 2]), (3, 1, [3])])
def test_at_32_px_a_micro_batch_has_two_crops_at_least(
    num_crops: int, micro_batch: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single one has no batch statistics where the last layers see one pixel of it."""
    config = replace(CONFIG, resolution_px=32, micro_batch=micro_batch)
    fit = start(config)
    passed: list[int] = []
    real = architectures.forward

    def forward(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        passed.append(len(images))
        return real(model, images)

    monkeypatch.setattr(steps, "forward", forward)
    losses = accumulate_gradients(fit, config, torch.rand(num_crops, 3, 32, 32), torch.ones(num_crops), None)
    assert passed == sizes
    assert math.isfinite(losses["loss"])
    wider = replace(config, resolution_px=33)
    assert num_micro_batches(wider, num_crops) == math.ceil(num_crops / micro_batch)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_trials_process_flushes_denormals_in_all_its_threads(num_threads: int) -> None:
    code = (
        "import sys, torch; from trainables.fit import fix_threads\n"
        "fix_threads(int(sys.argv[1])); assert torch.get_num_threads() == int(sys.argv[1])\n"
        "tiny = torch.full((1 << 20,), 1e-30) * 1e-9\n"
        "print(int(tiny.view(torch.int32).count_nonzero()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(num_threads)], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == "0\n"


def test_a_last_batch_of_one_crop_is_trained_on() -> None:
    crops = make_crops(rows={"train": 17, "val": 4})
    fit = start(CONFIG)
    assert math.isfinite(run_epoch(fit, CONFIG, MODEL, crops.split("train"), crops.split("val"))["epoch/train_loss"])

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data_store.resident import Crops
from trainables import checkpoints, precision
from trainables.artifacts import recipe_for
from trainables.fit import Fit, start
from trainables.recipes import DEMO_TRAINING, TrialConfig
from trainables.training import train_epoch

CONFIG = TrialConfig(
    architecture="Lite0", resolution_px=64, recipe=replace(DEMO_TRAINING, batch_size=16), data_seed=3, init_seed=4
)
MODEL = recipe_for("Lite0", 64)


def parameters(fit: Fit) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in fit.model.parameters()]


def test_mixed_precision_on_a_cpu_is_float32_to_the_bit(crops: Crops) -> None:
    fits = []
    for config in (CONFIG, replace(CONFIG, precision="amp")):
        fit = start(config)
        assert fit.scaler is None
        train_epoch(fit, config, MODEL, crops.split("train"), None)
        fits.append(fit)
    assert all(torch.equal(a, b) for a, b in zip(parameters(fits[0]), parameters(fits[1]), strict=True))


def test_a_scaled_loss_takes_the_same_steps_and_skips_those_that_overflow(crops: Crops) -> None:
    """The float16 path, whose scaling needs no GPU: a scale changes nothing, and one too large leaves the weights."""
    plain, scaled, overflowing = start(CONFIG), start(CONFIG), start(CONFIG)
    scaled.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    overflowing.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, backoff_factor=2.0**-60)
    one_step = replace(CONFIG, recipe=replace(CONFIG.recipe, max_steps_per_epoch=1))
    before = parameters(plain)
    for fit in (plain, scaled, overflowing):
        train_epoch(fit, one_step, MODEL, crops.split("train"), None)
    assert scaled.scaler.get_scale() == 2.0**10
    for a, b in zip(parameters(plain), parameters(scaled), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert overflowing.scaler.get_scale() == 2.0**67
    assert all(torch.equal(a, b) for a, b in zip(before, parameters(overflowing), strict=True))
    train_epoch(overflowing, one_step, MODEL, crops.split("train"), None)
    assert any(not torch.equal(a, b) for a, b in zip(before, parameters(overflowing), strict=True))
    overflowing.scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    next(overflowing.model.parameters()).register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(FloatingPointError, match="the gradient norm became"):  # no scale is to blame
        train_epoch(overflowing, one_step, MODEL, crops.split("train"), None)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_trains_on_a_gpu(dtype: torch.dtype, crops: Crops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "autocast_dtype", lambda config: dtype if config.precision == "amp" else None)
    losses = {}
    for name in ("fp32", "amp"):
        config = replace(CONFIG, device="cuda", precision=name)
        fit = start(config)
        assert (fit.scaler is not None) == (name == "amp" and dtype is torch.float16)
        losses[name] = [train_epoch(fit, config, MODEL, crops.split("train"), None)["loss"] for _ in range(3)]
        assert {parameter.dtype for parameter in fit.model.parameters()} == {torch.float32}
    assert losses["amp"] == pytest.approx(losses["fp32"], rel=0.1)
    assert losses["amp"] != losses["fp32"]


@pytest.mark.gpu
def test_float32_on_a_gpu_is_float32() -> None:
    from trainables.gpu_memory import begin_trial

    torch.backends.cudnn.allow_tf32 = True
    begin_trial(None)
    torch.manual_seed(0)
    images, weights = torch.randn(8, 64, 32, 32), torch.randn(64, 64, 3, 3)
    exact = torch.nn.functional.conv2d(images.double(), weights.double())
    computed = torch.nn.functional.conv2d(images.cuda(), weights.cuda()).cpu().double()
    assert (computed - exact).abs().max() < 1e-5 * exact.abs().max()  # TF32 is about 100 times less exact


def test_a_checkpoint_keeps_how_the_loss_is_scaled(tmp_path: Path) -> None:
    fit, resumed = start(CONFIG), start(CONFIG)
    fit.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)
    fit.scaler.scale(torch.ones(1))  # made at its first use
    fit.scaler.update(2.0**9)
    resumed.scaler = torch.amp.GradScaler("cpu")
    checkpoints.restore(checkpoints.save(tmp_path, fit), resumed, CONFIG)
    assert resumed.scaler.state_dict() == fit.scaler.state_dict()
    assert resumed.scaler.state_dict()["scale"] == 2.0**9

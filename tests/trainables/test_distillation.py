import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from data_store.resident import Crops, batches
from tests.stores import make_crops
from trainables import distillation
from trainables.architectures import forward, normalise
from trainables.artifacts import recipe_for
from trainables.augmentation import augment, epoch_parameters, to_float
from trainables.distillation import distillation_loss, epoch_positions, signal_for_epoch, teacher_logits
from trainables.fit import start
from trainables.recipes import DEMO_TRAINING, TrialConfig
from trainables.steps import accumulate_gradients
from trainables.training import train_epoch

CONFIG = TrialConfig(
    architecture="Lite0",
    resolution_px=64,
    recipe=replace(DEMO_TRAINING, batch_size=16),
    alpha=0.5,
    teacher="t",
    data_seed=5,
)
STUDENT = torch.tensor([0.3, -1.2, 2.0], requires_grad=True)
LABELS = torch.tensor([1.0, 0.0, 0.0])
TEACHER = torch.tensor([1.5, -0.5, -2.0])


def test_the_loss_is_the_published_formula() -> None:
    parts = distillation_loss(STUDENT, LABELS, teacher_logits=TEACHER, alpha=0.25)
    soft = binary_cross_entropy_with_logits(STUDENT, torch.sigmoid(TEACHER))
    hard = binary_cross_entropy_with_logits(STUDENT, LABELS)
    assert parts["loss"].item() == pytest.approx((0.25 * soft + 0.75 * hard).item())
    assert (parts["soft_loss"].item(), parts["hard_loss"].item()) == (soft.item(), hard.item())


def test_alpha_zero_is_the_plain_loss_and_its_gradient_to_the_bit() -> None:
    parts = distillation_loss(STUDENT, LABELS)
    assert parts["loss"] is parts["hard_loss"]
    plain = torch.autograd.grad(binary_cross_entropy_with_logits(STUDENT, LABELS), STUDENT)[0]
    assert torch.equal(torch.autograd.grad(parts["loss"], STUDENT)[0], plain)


def test_a_student_that_equals_its_teacher_is_a_fixed_point() -> None:
    loss = distillation_loss(STUDENT, LABELS, teacher_logits=STUDENT.detach(), alpha=1.0, temperature=3.0)["loss"]
    gradient = torch.autograd.grad(loss, STUDENT)[0]
    assert gradient.abs().max().item() < 1e-7


def test_a_temperature_keeps_the_size_of_a_small_gradient() -> None:
    student, teacher = torch.tensor([0.02], requires_grad=True), torch.tensor([0.01])

    def gradient(temperature: float) -> float:
        loss = distillation_loss(student, torch.ones(1), teacher_logits=teacher, alpha=1.0, temperature=temperature)
        return torch.autograd.grad(loss["loss"], student)[0].item()

    assert gradient(4.0) == pytest.approx(gradient(1.0), rel=1e-3)


@pytest.fixture(scope="module")
def teacher() -> torch.nn.Module:
    """Return a B0 trained so far that its logits differ between crops and are of ordinary size."""
    config = replace(CONFIG, architecture="B0", alpha=0.0, teacher=None)
    config = replace(config, recipe=replace(config.recipe, schedule="constant", warmup_epochs=0))
    fit, crops = start(config), make_crops()
    for _ in range(8):
        train_epoch(fit, config, recipe_for("B0", 64), crops.split("train"), None)
    return fit.model.eval()


def test_the_signal_does_not_depend_on_the_batch_size_nor_touch_the_teacher(
    crops: Crops, teacher: torch.nn.Module
) -> None:
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    train, settings = crops.split("train"), CONFIG.recipe.augmentation
    rows = epoch_parameters(settings, len(train), seed=5, epoch=1)

    def logits(order: np.ndarray, batch_size: int) -> np.ndarray:
        return teacher_logits(
            teacher,
            recipe_for("B0", 64),
            train,
            order,
            rows,
            settings,
            batch_size=batch_size,
            device=torch.device("cpu"),
        )

    straight = logits(np.arange(len(train)), 16)
    assert np.isfinite(straight).all()
    assert straight.std() > 0
    np.testing.assert_allclose(logits(np.arange(len(train))[::-1].copy(), 7), straight, atol=1e-5)
    partial = logits(np.array([3, 5]), 16)
    assert np.flatnonzero(np.isfinite(partial)).tolist() == [3, 5]
    assert not teacher.training
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())


def test_the_signal_is_computed_once_and_read_after_that(
    crops: Crops, teacher: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for("B0", 64)
    first = signal_for_epoch(teacher, recipe, CONFIG, crops, folder=tmp_path, epoch=1)
    other_epoch = signal_for_epoch(teacher, recipe, CONFIG, crops, folder=tmp_path, epoch=2)
    assert not np.array_equal(first, other_epoch)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the teacher ran again")

    monkeypatch.setattr(distillation, "teacher_logits", never)
    for config in (CONFIG, replace(CONFIG, alpha=1.0), replace(CONFIG, init_seed=9)):
        assert np.array_equal(signal_for_epoch(teacher, recipe, config, crops, folder=tmp_path, epoch=1), first)
    for change in ({"data_seed": 6}, {"teacher": "u"}):
        with pytest.raises(AssertionError, match="ran again"):
            signal_for_epoch(teacher, recipe, replace(CONFIG, **change), crops, folder=tmp_path, epoch=1)
    assert len(list(tmp_path.glob("*/*.npy"))) == 2
    assert not list(tmp_path.glob("*/*.partial"))


@pytest.mark.parametrize("left", [b"", b"\x93NUMPY torn", None])
def test_a_file_that_a_power_cut_left_broken_is_computed_again(
    crops: Crops, teacher: torch.nn.Module, tmp_path: Path, left: bytes | None
) -> None:
    recipe = recipe_for("B0", 64)
    first = signal_for_epoch(teacher, recipe, CONFIG, crops, folder=tmp_path, epoch=1)
    (file,) = tmp_path.glob("*/*.npy")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if left is None else left)
    again = signal_for_epoch(teacher, recipe, CONFIG, crops, folder=tmp_path, epoch=1)
    np.testing.assert_array_equal(again, first)
    assert file.read_bytes() == whole


def test_trials_that_come_to_an_epoch_together_compute_it_once(
    crops: Crops, teacher: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, ran = distillation.teacher_logits, []

    def counted(*args: Any, **kwargs: Any) -> np.ndarray:  # noqa: ANN401 - whatever the real one takes
        ran.append(threading.get_ident())
        return real(*args, **kwargs)

    monkeypatch.setattr(distillation, "teacher_logits", counted)
    recipe, together = recipe_for("B0", 64), threading.Barrier(3)

    def trial(alpha: float) -> np.ndarray:
        together.wait()
        return signal_for_epoch(teacher, recipe, replace(CONFIG, alpha=alpha), crops, folder=tmp_path, epoch=1)

    with ThreadPoolExecutor(3) as pool:
        signals = list(pool.map(trial, (0.25, 0.5, 1.0)))
    assert len(ran) == 1
    assert np.array_equal(signals[0], signals[1])
    assert np.array_equal(signals[0], signals[2])


def test_the_signal_is_what_the_teacher_says_in_the_loop(
    crops: Crops, teacher: torch.nn.Module, tmp_path: Path
) -> None:
    train, augmentation = crops.split("train"), CONFIG.recipe.augmentation
    recipe = recipe_for("B0", 96)  # the teacher has its own resolution and its own normalisation
    for epoch in (1, 2):
        signal = signal_for_epoch(teacher, recipe, CONFIG, crops, folder=tmp_path, epoch=epoch)
        rows = epoch_parameters(augmentation, len(train), seed=5, epoch=epoch)
        seen = 0
        for at, crops_u8 in batches(train, epoch_positions(CONFIG, train, epoch), CONFIG.recipe.batch_size):
            images = augment(crops_u8, torch.from_numpy(rows[at]), augmentation, 96)
            with torch.no_grad():
                inside = forward(teacher, normalise(images, recipe.mean, recipe.std))
            assert np.abs(signal[at] - inside.numpy()).max() <= 1e-5
            seen += len(at)
        assert seen == len(train)


def test_a_student_that_starts_as_its_teacher_has_no_gradient(crops: Crops, teacher: torch.nn.Module) -> None:
    """In the training step itself; without augmentation of its own and batch statistics both see the same function."""
    config = replace(CONFIG, architecture="B0", alpha=1.0)
    student = start(config)
    student.model.load_state_dict(teacher.state_dict())
    student.model.eval()
    images = normalise(to_float(crops.split("train").gather(np.arange(16)), 64), *_normalisation("B0"))
    with torch.no_grad():
        soft = forward(teacher, images.contiguous(memory_format=torch.channels_last))
    assert soft.std() > 0
    accumulate_gradients(student, config, images, torch.zeros(16), soft)
    none = _gradient_norm(student.model)
    student.optimizer.zero_grad(set_to_none=True)
    accumulate_gradients(student, config, images, torch.zeros(16), soft + 1)
    some = _gradient_norm(student.model)
    assert none < 1e-4 * some


def test_a_teacher_is_bit_equal_after_an_epoch(crops: Crops, teacher: torch.nn.Module, tmp_path: Path) -> None:
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    fit, train = start(CONFIG), crops.split("train")
    signal = signal_for_epoch(teacher, recipe_for("B0", 64), CONFIG, crops, folder=tmp_path, epoch=1)
    train_epoch(fit, CONFIG, recipe_for("Lite0", 64), train, signal)
    assert not teacher.training
    assert teacher.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())


def _normalisation(name: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    recipe = recipe_for(name, 64)
    return recipe.mean, recipe.std


def _gradient_norm(model: torch.nn.Module) -> torch.Tensor:
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert gradients
    return torch.nn.utils.get_total_norm(gradients)

"""The augmentation beside torchvision's, in pixels and in distribution, and its independence of batches."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as reference

from trainables.augmentation import PARAMETERS, augment, augment_in_torch, epoch_parameters, to_float
from trainables.recipes import Augmentation

STRONG = Augmentation(rotation_degrees=30, brightness=0.5, contrast=0.5, saturation=0.7, hue=0.5)
STILL = Augmentation(horizontal_flip=False, rotation_degrees=0, brightness=0, contrast=0, saturation=0, hue=0)
NEUTRAL = (0.0, 0.0, 1.0, 1.0, 1.0, 0.0)


def crops_of(num: int, px: int, seed: int = 0) -> Tensor:
    """Smooth coloured crops with grey, black, white and saturated patches: every branch of a colour space."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(num, 3, 5, 5, generator=generator) * 1.6 - 0.3
    pixels = F.interpolate(coarse, size=px, mode="bilinear").clamp(0, 1)
    pixels[:, :, 0:2] = pixels[:, :1, 0:2]
    pixels[:, :, 2, : px // 2], pixels[:, :, 2, px // 2 :] = 0.0, 1.0
    pixels[:, 0, 3], pixels[:, 1:, 3] = 1.0, 0.0
    return pixels.mul(255).round().byte().permute(0, 2, 3, 1).contiguous()


def row(**changed: float) -> Tensor:
    """One row of parameters that changes nothing but what is named."""
    return torch.tensor([[changed.get(name, NEUTRAL[i]) for i, name in enumerate(PARAMETERS)]])


def in_torch(crops: Tensor, rows: Tensor, settings: Augmentation, resolution_px: int) -> Tensor:
    """What ``augment`` does on a GPU."""
    out = torch.empty(len(crops), 3, resolution_px, resolution_px).to(memory_format=torch.channels_last)
    augment_in_torch(crops, rows, settings, out)
    return out


BOTH = pytest.mark.parametrize("way", [augment, in_torch])
Way = Callable[[Tensor, Tensor, Augmentation, int], Tensor]


def as_float(crops: Tensor) -> Tensor:
    return crops.permute(0, 3, 1, 2).float() / 255


@BOTH
@pytest.mark.parametrize(
    ("name", "value", "operation"),
    [
        ("brightness", 1.4, reference.adjust_brightness),
        ("brightness", 0.3, reference.adjust_brightness),
        ("contrast", 1.5, reference.adjust_contrast),
        ("contrast", 0.4, reference.adjust_contrast),
        ("saturation", 1.7, reference.adjust_saturation),
        ("saturation", 0.0, reference.adjust_saturation),
        *[("hue", turns, reference.adjust_hue) for turns in (-0.5, -0.31, -0.1, 0.05, 0.2, 0.4, 0.5)],
    ],
)
def test_each_colour_operation_gives_torchvisions_pixels(
    name: str, value: float, operation: Callable[[Tensor, float], Tensor], way: Way
) -> None:
    crops = crops_of(3, 37)
    only = replace(STILL, **{name: 0.5})  # type: ignore[arg-type]
    ours = way(crops, row(**{name: value}).repeat(3, 1), only, 37)
    torch.testing.assert_close(ours, operation(as_float(crops), value), rtol=0, atol=2e-5)


@BOTH
def test_colour_operations_come_in_the_order_that_the_module_states(way: Way) -> None:
    crops = crops_of(2, 24)
    rows = row(brightness=1.3, contrast=0.6, saturation=1.5, hue=0.1).repeat(2, 1)
    wanted = reference.adjust_brightness(as_float(crops), 1.3)
    wanted = reference.adjust_saturation(reference.adjust_contrast(wanted, 0.6), 1.5)
    torch.testing.assert_close(
        way(crops, rows, replace(STRONG, rotation_degrees=0), 24),
        reference.adjust_hue(wanted, 0.1),
        rtol=0,
        atol=5e-5,
    )


@pytest.mark.parametrize("mirror", [0, 1])
@pytest.mark.parametrize("degrees", [-10.0, 3.0, 27.0])
@pytest.mark.parametrize(("way", "most", "mean"), [(in_torch, 1e-5, 1e-6), (augment, 0.04, 0.003)])
def test_mirror_and_rotation_give_torchvisions_pixels(
    mirror: int, degrees: float, way: Way, most: float, mean: float
) -> None:
    crops = crops_of(1, 40)
    pixels = as_float(crops)
    mirrored = pixels.flip(-1) if mirror else pixels
    # The same angle turns the mirrored crop the other way round: the distribution is symmetric.
    wanted = [reference.rotate(mirrored, sign * degrees, interpolation=InterpolationMode.BILINEAR) for sign in (1, -1)]
    ours = way(crops, row(mirror=mirror, rotation_degrees=degrees), replace(STILL, rotation_degrees=30), 40)
    right, wrong = ((ours - each).abs() for each in wanted)
    assert right.max() < most
    assert right.mean() < mean < 0.01 < wrong.mean()


@BOTH
def test_a_mirrored_crop_without_rotation_is_exact(way: Way) -> None:
    crops = crops_of(2, 16)
    ours = way(crops, torch.cat((row(mirror=1), row())), replace(STILL, horizontal_flip=True), 16)
    wanted = torch.stack((as_float(crops)[0].flip(-1), as_float(crops)[1]))
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-7)


@BOTH
def test_parameters_and_pixels_have_torchvisions_distribution(way: Way) -> None:
    """Mean and spread over many draws of each statistic of a crop, ours beside torchvision's."""
    crop = crops_of(1, 16, seed=3)
    settings = Augmentation(rotation_degrees=10, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05)
    num, num_theirs = 4000, 500
    rows = torch.from_numpy(epoch_parameters(settings, num, seed=1, epoch=0))
    ours = way(crop.expand(num, -1, -1, -1), rows, settings, 16)
    torchvision_jitter = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomRotation(10, interpolation=InterpolationMode.BILINEAR),
            v2.ColorJitter(0.2, 0.2, 0.2, 0.05),
        ]
    )
    with torch.random.fork_rng():
        torch.manual_seed(2)
        theirs = torch.cat([torchvision_jitter(as_float(crop)) for _ in range(num_theirs)])

    def statistics(pixels: Tensor) -> Tensor:
        centre = pixels[:, :, 4:12, 4:12]
        halves = centre[..., :4].mean((2, 3)) - centre[..., 4:].mean((2, 3))  # changes sign with the mirror
        spread = centre.amax(1).sub(centre.amin(1)).mean((1, 2))[:, None]
        return torch.cat((centre.mean((2, 3)), centre.std((2, 3)), halves, spread), dim=1)

    a, b = statistics(ours), statistics(theirs)
    error = (a.var(0) / num + b.var(0) / num_theirs).sqrt()
    assert torch.all((a.mean(0) - b.mean(0)).abs() < 4 * error), (a.mean(0), b.mean(0), error)
    assert torch.all((a.std(0) / b.std(0) - 1).abs() < 0.15), a.std(0) / b.std(0)


def test_drawn_parameters_fill_their_ranges_evenly() -> None:
    drawn = epoch_parameters(STRONG, 20_000, seed=0, epoch=3)
    assert drawn.dtype == np.float32
    assert set(np.unique(drawn[:, 0])) == {0.0, 1.0}
    assert abs(drawn[:, 0].mean() - 0.5) < 0.02
    for column, (low, high) in {
        1: (-30, 30),
        2: (0.5, 1.5),
        3: (0.5, 1.5),
        4: (0.3, 1.7),
        5: (-0.5, 0.5),
    }.items():
        counts, _ = np.histogram(drawn[:, column], bins=10, range=(low, high))
        assert counts.sum() == 20_000
        assert counts.min() > 1800
    assert np.abs(np.corrcoef(drawn.T) - np.eye(6)).max() < 0.04


def test_a_factor_is_never_negative() -> None:
    drawn = epoch_parameters(Augmentation(brightness=3.0), 500, seed=0, epoch=0)
    assert drawn[:, 2].min() >= 0
    assert drawn[:, 2].max() > 3.5


def test_rows_depend_on_seed_epoch_and_index_alone() -> None:
    whole = epoch_parameters(STRONG, 101, seed=7, epoch=2)
    np.testing.assert_array_equal(whole[:13], epoch_parameters(STRONG, 13, seed=7, epoch=2))
    assert not np.any(np.all(whole == epoch_parameters(STRONG, 101, seed=7, epoch=3), axis=1))
    assert not np.any(np.all(whole == epoch_parameters(STRONG, 101, seed=8, epoch=2), axis=1))
    assert len(np.unique(whole, axis=0)) == 101
    others = epoch_parameters(replace(STRONG, hue=0.0, horizontal_flip=False), 101, seed=7, epoch=2)
    np.testing.assert_array_equal(whole[:, 1:5], others[:, 1:5])
    assert not others[:, [0, 5]].any()


@BOTH
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("crop_px", "resolution_px"), [(31, 31), (64, 64), (31, 45), (45, 31)])
def test_a_samples_bits_do_not_depend_on_its_batch(crop_px: int, resolution_px: int, threads: int, way: Way) -> None:
    crops = crops_of(11, crop_px)
    rows = torch.from_numpy(epoch_parameters(STRONG, 11, seed=0, epoch=0))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole = way(crops, rows, STRONG, resolution_px)
        plain = to_float(crops, resolution_px)
        for size in (1, 2, 3, 7):
            for start in range(0, 11, size):
                part = slice(start, start + size)
                assert torch.equal(way(crops[part], rows[part], STRONG, resolution_px), whole[part])
                assert torch.equal(to_float(crops[part], resolution_px), plain[part])
        shuffled = torch.randperm(11, generator=torch.Generator().manual_seed(0))
        assert torch.equal(way(crops[shuffled], rows[shuffled], STRONG, resolution_px), whole[shuffled])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("crop_px", "resolution_px"), [(32, 32), (32, 48), (48, 32)])
def test_results_are_unit_range_channels_last_and_leave_the_crops_alone(crop_px: int, resolution_px: int) -> None:
    crops = crops_of(8, crop_px)
    untouched = crops.clone()
    rows = torch.from_numpy(epoch_parameters(STRONG, 8, seed=0, epoch=0))
    ways = (augment(crops, rows, STRONG, resolution_px), in_torch(crops, rows, STRONG, resolution_px))
    for pixels in (*ways, to_float(crops, resolution_px)):
        assert pixels.shape == (8, 3, resolution_px, resolution_px)
        assert pixels.dtype == torch.float32
        assert pixels.is_contiguous(memory_format=torch.channels_last)
        assert pixels.min() >= 0
        assert pixels.max() <= 1
    assert torch.equal(crops, untouched)


@pytest.mark.parametrize("resolution_px", [24, 32, 48])
@pytest.mark.parametrize(("way", "tolerance"), [(in_torch, 1e-4), (augment, 0.02)])
def test_resizing_alone_is_torchvisions_resize(resolution_px: int, way: Way, tolerance: float) -> None:
    crops = crops_of(2, 32)
    wanted = reference.resize(as_float(crops), [resolution_px, resolution_px], antialias=True)
    torch.testing.assert_close(to_float(crops, resolution_px), wanted, rtol=0, atol=1e-5)
    # The pass that rotates agrees where nothing is turned (its border blends with black).
    for settings in (replace(STILL, rotation_degrees=10), STILL):
        ours = way(crops, row().repeat(2, 1), settings, resolution_px)
        inner = (..., slice(2, -2), slice(2, -2))
        torch.testing.assert_close(ours[inner], wanted[inner], rtol=0, atol=tolerance)


@BOTH
def test_uncovered_corners_are_black(way: Way) -> None:
    white = torch.full((1, 40, 40, 3), 255, dtype=torch.uint8)
    turned = way(white, row(rotation_degrees=30), replace(STILL, rotation_degrees=30), 40)
    assert torch.all(turned[0, :, [0, 0, -1, -1], [0, -1, 0, -1]] == 0)
    torch.testing.assert_close(turned[0, :, 10:30, 10:30], torch.ones(3, 20, 20))


def test_a_given_result_is_filled_with_the_same_bits() -> None:
    crops = crops_of(4, 24)
    rows = torch.from_numpy(epoch_parameters(STRONG, 4, seed=0, epoch=0))
    wanted = augment(crops, rows, STRONG, 24)
    out = torch.full_like(wanted, 7)
    assert augment(crops, rows, STRONG, 24, out=out) is out
    assert torch.equal(out, wanted)
    for wrong in (out[:3], out.double()):
        with pytest.raises(ValueError, match=r"out must be \(4, 3, 24, 24\) torch.float32"):
            augment(crops, rows, STRONG, 24, out=wrong)


def test_an_empty_batch_stays_empty() -> None:
    empty = torch.empty(0, 8, 8, 3, dtype=torch.uint8)
    assert augment(empty, torch.empty(0, 6), STRONG, 8).shape == (0, 3, 8, 8)


@pytest.mark.parametrize(
    ("field", "value"),
    [("brightness", -0.1), ("rotation_degrees", 181.0), ("hue", 0.6), ("contrast", float("nan"))],
)
def test_settings_out_of_range_are_refused_by_name_and_value(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{field} must lie in .*but got {value}"):
        Augmentation(**{field: value})  # type: ignore[arg-type]


def test_wrong_shapes_are_refused() -> None:
    crops = crops_of(2, 8)
    with pytest.raises(ValueError, match=r"\(2, 8, 8, 3\) torch.float32"):
        to_float(crops.float(), 8)
    with pytest.raises(ValueError, match=r"\(2, 3, 8, 8\)"):
        to_float(crops.permute(0, 3, 1, 2), 8)
    with pytest.raises(ValueError, match=r"\(2, 6\).*but got \(1, 6\)"):
        augment(crops, row(), STRONG, 8)


def test_a_cpu_and_a_gpu_differ_by_the_resampling_alone() -> None:
    """On crops without hard edges by four of 255 levels at most, and on average by half a level."""
    coarse = torch.rand(6, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    smooth = F.interpolate(coarse, size=64, mode="bicubic").clamp(0, 1).mul(255).byte().permute(0, 2, 3, 1)
    settings = Augmentation()
    rows = torch.from_numpy(epoch_parameters(settings, 6, seed=0, epoch=0))
    for resolution_px in (48, 64, 80):
        difference = (
            augment(smooth, rows, settings, resolution_px) - in_torch(smooth, rows, settings, resolution_px)
        ).abs()
        inner = difference[..., 10:-10, 10:-10]
        assert inner.max() < 4 / 255
        assert inner.mean() < 0.5 / 255


@pytest.mark.gpu
def test_a_gpu_gives_the_pixels_of_the_same_operations_on_a_cpu() -> None:
    crops = crops_of(6, 64)
    rows = torch.from_numpy(epoch_parameters(STRONG, 6, seed=0, epoch=0))
    on_gpu = augment(crops.cuda(), rows, STRONG, 64)
    assert on_gpu.is_cuda
    torch.testing.assert_close(on_gpu.cpu(), in_torch(crops, rows, STRONG, 64), rtol=0, atol=1e-3)
    assert torch.equal(augment(crops[2:3].cuda(), rows[2:3], STRONG, 64)[0], on_gpu[2])

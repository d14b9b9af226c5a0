"""Augmented batches a second on two cores, beside torchvision's transforms one image at a time.

Two processes of one thread each on both sides: what two data-loading workers do, and two trials of one core.
Timed is the CPU time of each: where nothing else runs that is the time on the clock, and elsewhere less noisy.
Every contender turns the same 64 uint8 crops into one float32 batch, mirrored, rotated and jittered by the same
strengths.
"""

import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Bar, Row, median_ratio, peer, row
from benchmarks.stores import draw_crops

PEERS = ("kornia", "torchvision")

BATCH = 64
ROUNDS = 9
PROCESSES = 2
PIL, UINT8, FLOAT = "torchvision v2, PIL images", "torchvision v2, uint8 tensors", "torchvision v2, float tensors"
KORNIA = "kornia, whole batches"


def rows() -> list[Row]:
    """Compare at the thesis's 224 px and at the demo's 64 px."""
    table = []
    for crop_px in (224, 64):
        seconds = _timed(crop_px)
        for other, bar in ((PIL, 5), (UINT8, 5), (FLOAT, 5), (KORNIA, 1)):
            rates = [PROCESSES / statistics.median(seconds[name]) for name in ("ours", other)]
            table.append(
                row(
                    f"augmented batches a second at {crop_px} px: times as many",
                    other,
                    median_ratio(seconds[other], seconds["ours"]),
                    Bar(">=", bar),
                    f"{rates[0]:.3g} against {rates[1]:.3g} batches/s of {BATCH} on {PROCESSES} cores",
                )
            )
    return table


def _timed(crop_px: int) -> dict[str, list[float]]:
    """CPU seconds a batch of each contender in each round, the mean of the processes."""
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(PROCESSES)
    with context.Pool(PROCESSES, initializer=_share, initargs=(together,)) as pool:
        measured = pool.map(_rounds, [crop_px] * PROCESSES, chunksize=1)
    return {
        name: [statistics.fmean(times) for times in zip(*(each[name] for each in measured), strict=True)]
        for name in measured[0]
    }


def _share(together: Any) -> None:  # noqa: ANN401 - a multiprocessing barrier has no public type
    globals()["_TOGETHER"] = together


def _rounds(crop_px: int) -> dict[str, list[float]]:
    """Time every contender once a round, all processes at the same time."""
    torch.set_num_threads(1)
    together = globals()["_TOGETHER"]
    runs = _contenders(draw_crops(BATCH, crop_px, seed=0))
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for counted in [False] + [True] * ROUNDS:
        for name, run in runs.items():
            together.wait()
            began = time.process_time()
            batch = run()
            passed = time.process_time() - began
            assert batch.shape == (BATCH, 3, crop_px, crop_px)
            if counted:
                seconds[name].append(passed)
    return seconds


def _contenders(crops: np.ndarray) -> dict[str, Callable[[], torch.Tensor]]:
    """Each makes a batch (64, 3, px, px) float32 in [0, 1] from (64, px, px, 3) uint8 crops."""
    from PIL import Image
    from torchvision.transforms import InterpolationMode, v2

    from trainables.augmentation import augment, epoch_parameters
    from trainables.recipes import Augmentation

    settings = Augmentation(rotation_degrees=10, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05)
    crops_u8, crop_px = torch.from_numpy(crops), crops.shape[1]
    varied = [
        v2.RandomHorizontalFlip(),
        v2.RandomRotation(10, interpolation=InterpolationMode.BILINEAR),
        v2.ColorJitter(0.2, 0.2, 0.2, 0.05),
    ]
    to_float = v2.ToDtype(torch.float32, scale=True)
    from_pil = v2.Compose([*varied, v2.ToImage(), to_float])
    from_uint8, from_float = v2.Compose([*varied, to_float]), v2.Compose([to_float, *varied])
    images = [Image.fromarray(crop) for crop in crops]
    tensors = list(crops_u8.permute(0, 3, 1, 2).contiguous())
    kornia = peer("kornia.augmentation")
    whole = kornia.AugmentationSequential(
        kornia.RandomHorizontalFlip(p=0.5),
        kornia.RandomRotation(10.0, p=1.0),
        kornia.ColorJitter(0.2, 0.2, 0.2, 0.05, p=1.0),
    )
    epoch = iter(range(sys.maxsize))
    out = torch.empty(BATCH, 3, crop_px, crop_px).to(memory_format=torch.channels_last)

    def ours() -> torch.Tensor:
        parameters = torch.from_numpy(epoch_parameters(settings, BATCH, seed=0, epoch=next(epoch)))
        return augment(crops_u8, parameters, settings, crop_px, out=out)

    return {
        "ours": ours,
        PIL: lambda: torch.stack([from_pil(image) for image in images]),
        UINT8: lambda: torch.stack([from_uint8(tensor) for tensor in tensors]),
        FLOAT: lambda: torch.stack([from_float(tensor) for tensor in tensors]),
        KORNIA: lambda: whole(crops_u8.permute(0, 3, 1, 2).float() / 255),
    }

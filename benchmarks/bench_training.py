"""The distillation grid on two cores, beside the thesis's loop; and what distillation and the pipeline cost in it.

Both sides train an EfficientNet-Lite0 for each of five alphas on the same 224 px crops, batches and epochs. The
thesis's loop keeps float32 NCHW tensors, transforms them one by one by torchvision, asks the teacher in every step,
and takes one alpha after another on two threads. Ours is two processes of one thread, as a sweep's trials are, but
without Ray, validation and checkpoints. The grid is timed on the clock. Costs are CPU seconds, which other load on the
machine moves less; the wait for a teacher's epoch, which they do not hold, is in the grid's time.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.measure import Bar, Row, median_ratio, row
from benchmarks.stores import write_store

PEERS = ("torchvision",)

CROP_PX = 224
NUM_CROPS = 64
BATCH = 32
EPOCHS = 2
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
ROUNDS = 5
PROCESSES = 2
THESIS = "float32 NCHW tensors, transforms by image, teacher in every step"


def rows() -> list[Row]:
    """Measure the grid beside the thesis's loop, and the costs within it."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="bench_training_") as temporary:
        store = write_store(Path(temporary) / "store", NUM_CROPS, crop_px=CROP_PX)
        with (
            context.Pool(PROCESSES, initializer=_prepare_trial, initargs=(store,)) as trials,
            context.Pool(1, initializer=_prepare, initargs=(store, PROCESSES)) as loop,
        ):
            measured = [_round(trials, loop, Path(temporary) / f"signals-{counted}") for counted in range(ROUNDS + 1)][
                1:
            ]
    seconds = {name: [each[name] for each in measured] for name in measured[0]}
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    sums = [each["five plain"] + each["teacher pass"] for each in measured]
    size = f"{len(ALPHAS)} trials of {EPOCHS} epochs of {NUM_CROPS} crops"
    return [
        row(
            f"alpha grid at {CROP_PX} px on {PROCESSES} cores: times faster",
            THESIS,
            median_ratio(seconds["thesis"], seconds["grid"]),
            Bar(">=", 3),
            f"{middle['grid']:.3g} against {middle['thesis']:.3g} s, {size}",
        ),
        row(
            "CPU time of the alpha grid",
            "five plain trainings and one teacher pass",
            median_ratio(seconds["grid cpu"], sums),
            Bar("<=", 1.1),
            f"{middle['grid cpu']:.3g} against {statistics.median(sums):.3g} s",
        ),
        row(
            "CPU time of a distilled trial whose teacher's signal exists",
            "a plain trial",
            median_ratio(seconds["distilled"], seconds["plain"]),
            Bar("<=", 1.05),
            f"{middle['distilled']:.3g} against {middle['plain']:.3g} s",
        ),
        row(
            "CPU time of a training step",
            "the bare step on a constant batch",
            median_ratio(seconds["plain"], seconds["bare"]),
            Bar("<=", 1.2),
            f"{middle['plain']:.3g} against {middle['bare']:.3g} s, {EPOCHS * NUM_CROPS // BATCH} steps of {BATCH}",
        ),
    ]


def _round(trials: Any, loop: Any, signals: Path) -> dict[str, float]:  # noqa: ANN401 - pools have no public type
    """Return the seconds of everything once, the fast ones and their peers in turn."""
    signals.mkdir()
    began = time.perf_counter()
    cpu = trials.map(_trial, [(alpha, str(signals)) for alpha in ALPHAS], chunksize=1)
    grid = time.perf_counter() - began
    began = time.perf_counter()
    loop.apply(_thesis_loop)
    thesis = time.perf_counter() - began
    plain = trials.map(_trial, [(0.0, None)] * len(ALPHAS), chunksize=1)
    return {
        "grid": grid,
        "thesis": thesis,
        "grid cpu": sum(cpu),
        "five plain": sum(plain),
        "plain": statistics.median(plain),
        "teacher pass": trials.apply(_teacher_pass),
        "distilled": trials.apply(_trial, ((0.5, str(signals)),)),
        "bare": trials.apply(_bare_steps),
    }


def _prepare_trial(store: str) -> None:
    """Load all that a trial needs, with memory handled as a sweep's worker does; the thesis's loop has it as it is."""
    from trainables.allocator import keep_freed

    keep_freed()
    _prepare(store, 1)


def _prepare(store: str, num_threads: int) -> None:
    """Load all that a process needs, and keep it between rounds."""
    import torch

    from data_store.resident import open_mmap
    from trainables.artifacts import recipe_for
    from trainables.fit import fix_threads, start
    from trainables.recipes import THESIS_TRAINING, TrialConfig

    fix_threads(num_threads)
    recipe = replace(THESIS_TRAINING, batch_size=BATCH, epochs=EPOCHS, warmup_epochs=0)
    config = TrialConfig(architecture="Lite0", resolution_px=CROP_PX, recipe=recipe, num_threads=num_threads)
    crops = open_mmap(store)
    teacher = start(replace(config, architecture="B0")).model.eval()
    floats = torch.stack([crops.split("train").gather([at])[0] for at in range(NUM_CROPS)])
    globals()["_HELD"] = {
        "config": config,
        "crops": crops,
        "teacher": teacher,
        "student": recipe_for("Lite0", CROP_PX),
        "teacher recipe": recipe_for("B0", CROP_PX),
        "images": list((floats.permute(0, 3, 1, 2).float() / 255).contiguous()),  # (3, px, px) float32 each
    }


def _cpu_seconds(run: Callable[[], object]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def _trial(job: tuple[float, str | None]) -> float:
    """Train one alpha as a trial does, and return its CPU seconds."""
    from trainables.distillation import signal_for_epoch
    from trainables.fit import start
    from trainables.training import train_epoch

    held, (alpha, signals) = globals()["_HELD"], job
    config = replace(held["config"], alpha=alpha, teacher="teacher" if alpha else None)

    def run() -> None:
        fit = start(config)
        for epoch in range(1, EPOCHS + 1):
            soft = None
            if alpha:
                assert signals is not None
                soft = signal_for_epoch(
                    held["teacher"], held["teacher recipe"], config, held["crops"], folder=Path(signals), epoch=epoch
                )
            train_epoch(fit, config, held["student"], held["crops"].split("train"), soft)
            fit.epoch += 1

    return _cpu_seconds(run)


def _teacher_pass() -> float:
    """Return the CPU seconds of the teacher's logits for all epochs."""
    from trainables.distillation import signal_for_epoch

    held = globals()["_HELD"]
    config = replace(held["config"], alpha=0.5, teacher="teacher")

    def run() -> None:
        with tempfile.TemporaryDirectory() as scratch:
            for epoch in range(1, EPOCHS + 1):
                signal_for_epoch(
                    held["teacher"], held["teacher recipe"], config, held["crops"], folder=Path(scratch), epoch=epoch
                )

    return _cpu_seconds(run)


def _bare_steps() -> float:
    """Return the CPU seconds of as many steps of the same network, loss and optimizer on one batch."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from trainables.fit import start

    config = globals()["_HELD"]["config"]
    images = torch.rand(BATCH, 3, CROP_PX, CROP_PX).contiguous(memory_format=torch.channels_last)
    labels = (torch.arange(BATCH) % 2).float()

    def run() -> None:
        fit = start(config)
        fit.model.train()
        for _ in range(EPOCHS * NUM_CROPS // BATCH):
            fit.optimizer.zero_grad(set_to_none=True)
            binary_cross_entropy_with_logits(fit.model(images).squeeze(1), labels).backward()
            fit.optimizer.step()

    return _cpu_seconds(run)


def _thesis_loop() -> None:
    """Train all alphas one after another, as the thesis describes it; alpha 0 is spared the teacher."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits
    from torchvision import transforms

    from trainables.architectures import build

    held = globals()["_HELD"]
    recipe, images = held["student"], held["images"]
    labels = torch.from_numpy(held["crops"].split("train").labels.copy()).float()
    varied = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.RandomRotation(10),
            transforms.ColorJitter(0.2, 0.2, 0.2, 0.05),
            transforms.Normalize(recipe.mean, recipe.std),
        ]
    )
    torch.manual_seed(0)
    teacher = build("B0").eval()
    for alpha in ALPHAS:
        student = build("Lite0").train()
        optimizer = torch.optim.SGD(student.parameters(), lr=5e-4, momentum=0.9, weight_decay=1e-5)
        for _ in range(EPOCHS):
            for at in torch.randperm(NUM_CROPS).split(BATCH):
                batch = torch.stack([varied(images[place]) for place in at.tolist()])
                optimizer.zero_grad()
                logits = student(batch).squeeze(1)
                loss = binary_cross_entropy_with_logits(logits, labels[at])
                if alpha:
                    with torch.no_grad():
                        soft = torch.sigmoid(teacher(batch).squeeze(1))
                    loss = alpha * binary_cross_entropy_with_logits(logits, soft) + (1 - alpha) * loss
                loss.backward()
                optimizer.step()

"""Real features: what ImageNet weights are worth on the sample videos, beside random ones. Both are reported as found.

The crops come of ``data_store/build.py --split frame``, which promises nothing: frames of one video lie in several
splits. It shuffles, as the thesis does; here the same crops are dealt by time, the first half of each video's frames to
train and the second half to test. So a network may tell the videos apart and nothing else, and the figures say that
loading and transfer work. They say nothing of faces never seen.
"""

import hashlib
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.measure import Bar, Row, row
from data_store.build import build
from data_store.manifest import ShardInfo
from data_store.resident import Crops, SplitCrops, open_mmap
from data_store.settings import BuildSettings, FaceSettings
from data_store.shards import CropRow, encode_shard

PEERS = ()
WEIGHTS = "weights/tf_efficientnet_lite0_imagenet_backbone.safetensors"
SETTINGS = BuildSettings(split="frame", real="even:32", fake="even:32", crop_px=96, faces=FaceSettings(margin=0.3))
SEEDS = range(5)
EPOCHS = 5
BATCH = 16
NUM_THREADS = 1


def rows() -> list[Row]:
    """Train from both starts with every seed; nothing where ``DEEPFAKE_SAMPLES`` names no videos and weights."""
    samples = Path(os.environ.get("DEEPFAKE_SAMPLES", ""))
    if not (samples / WEIGHTS).is_file():
        sys.stdout.write(f"features: not measured, as DEEPFAKE_SAMPLES names no folder with {WEIGHTS}\n")
        return []
    with tempfile.TemporaryDirectory(prefix="bench_features_") as temporary:
        store = str(Path(temporary) / "store")
        manifest = build(samples / "ffpp", store, SETTINGS, workers=0)
        assert manifest.guarantee == "none"
        crops = dealt_by_time(open_mmap(store))
        start = _start(samples / WEIGHTS, Path(temporary) / "models")
        found = {
            name: [_scores(crops, folder, seed) for seed in SEEDS]
            for name, folder in (("imagenet", start), ("random", None))
        }
    return compared(found, f"{len(crops.split('test'))} frames at {SETTINGS.crop_px} px, leaky")


def compared(found: dict[str, list[tuple[float, float]]], size: str) -> list[Row]:
    """Make the rows of (AUC, accuracy) by start and seed."""
    table = []
    for place, score in enumerate(("AUC", "accuracy")):
        values = {name: [each[place] for each in scores] for name, scores in found.items()}
        means = {name: statistics.mean(each) for name, each in values.items()}
        shown = [f"{means[name]:.3f} (sd {statistics.stdev(values[name]):.3f})" for name in ("imagenet", "random")]
        table.append(
            row(
                f"test {score} of Lite0 with ImageNet features, mean of {len(found['random'])} seeds",
                f"random start, the same {EPOCHS} epochs",
                means["imagenet"] / means["random"],
                Bar(">=", 1),  # reported as found; below 1, the weights were not loaded, or do not transfer
                f"{shown[0]} against {shown[1]}, {size}",
            )
        )
    return table


def dealt_by_time(crops: Crops) -> Crops:
    """Deal a store's crops anew, in memory: the earlier half of each video's frames to train, the later to test."""
    parts = [part for part in (crops.split(name) for name in ("train", "val", "test")) if len(part)]
    of_video: dict[tuple[str, str], list[tuple[int, SplitCrops, int]]] = defaultdict(list)
    for part in parts:
        for at, key in enumerate(zip(part.categories.tolist(), part.video_ids.tolist(), strict=True)):
            of_video[key].append((int(part.frame_indices[at]), part, at))
    dealt: dict[str, list[tuple[int, SplitCrops, int]]] = {"train": [], "test": []}
    for _, frames in sorted(of_video.items()):
        ordered = sorted(frames, key=lambda frame: frame[0])
        dealt["train"] += ordered[: len(ordered) // 2]
        dealt["test"] += ordered[len(ordered) // 2 :]
    buffers, infos = [], []
    for split, frames in dealt.items():
        faces = np.concatenate([part.gather([at]).numpy() for _, part, at in frames])
        described = [
            CropRow(
                label=int(part.labels[at]),
                category=str(part.categories[at]),
                video_id=str(part.video_ids[at]),
                target_id="unknown",
                source_id="unknown",
                frame_index=frame,
                box=(0, 0, crops.manifest.crop_px, crops.manifest.crop_px),
            )
            for frame, part, at in frames
        ]
        buffers.append(encode_shard(faces, described, split=split, categories=crops.manifest.categories))
        infos.append(
            ShardInfo(
                name=f"{split}-by-time.arrow",
                split=split,
                num_rows=len(described),
                num_bytes=buffers[-1].size,
                sha256=hashlib.sha256(memoryview(buffers[-1])).hexdigest(),
            )
        )
    return Crops(replace(crops.manifest, shards=tuple(infos)), buffers)


def _start(weights: Path, models: Path) -> Path:
    from trainables.start_weights import start_from_file

    return start_from_file(weights, "Lite0", models)


def _scores(crops: Crops, start_folder: Path | None, seed: int) -> tuple[float, float]:
    """Train once, as a trial does but to the last epoch, as there is nothing to choose by; return AUC and accuracy."""
    from trainables import metric_keys as keys
    from trainables.artifact_files import content_digest
    from trainables.artifacts import recipe_for
    from trainables.evaluation import evaluate
    from trainables.fit import fix_threads, start
    from trainables.metrics import score
    from trainables.recipes import THESIS_FINE_TUNING, TrialConfig
    from trainables.training import train_epoch

    fix_threads(NUM_THREADS)
    config = TrialConfig(
        architecture="Lite0",
        resolution_px=crops.manifest.crop_px,
        weights=content_digest(start_folder) if start_folder else "none",
        recipe=replace(THESIS_FINE_TUNING, epochs=EPOCHS, batch_size=BATCH),
        data_seed=seed,
        init_seed=seed,
        num_threads=NUM_THREADS,
    )
    recipe, train, test = recipe_for("Lite0", crops.manifest.crop_px), crops.split("train"), crops.split("test")
    fit = start(config, start_folder)
    for _ in range(EPOCHS):
        train_epoch(fit, config, recipe, train, None)
        fit.epoch += 1
    logits = evaluate(fit.model, recipe, test, device="cpu")
    values = score("test", logits, test.labels, test.categories, test.video_ids).values
    return values[keys.scored("test", keys.AUC)], values[keys.scored("test", keys.ACCURACY)]

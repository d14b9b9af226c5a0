"""Stores for measuring: crops that compress about as face crops do, in shards of the usual size."""

import hashlib
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from data_store.manifest import MANIFEST_NAME, ShardInfo, manifest_bytes
from data_store.shards import CropRow, encode_shard

CATEGORIES = ("Deepfakes", "youtube")
ROWS_A_SHARD = 850
"""128 MB of crops of 224 px."""


def draw_crops(num: int, crop_px: int, *, seed: int) -> npt.NDArray[np.uint8]:
    """(num, crop_px, crop_px, 3) uint8 RGB: smooth colour with edges and a little noise of the sensor.

    As PNG files they are about as large as face crops of H.264 video: 60 to 100 KB at 224 px.
    """
    generator = np.random.default_rng(seed)
    crops = np.empty((num, crop_px, crop_px, 3), np.uint8)
    for crop in crops:
        coarse = generator.integers(30, 220, (9, 9, 3)).astype(np.float32)
        smooth = cv2.resize(coarse, (crop_px, crop_px), interpolation=cv2.INTER_CUBIC)
        centre = tuple(int(value) for value in generator.integers(0, crop_px, 2))
        cv2.circle(smooth, centre, crop_px // 4, tuple(float(value) for value in coarse[0, 0]), -1)
        noise = generator.normal(0, 2, (crop_px, crop_px, 1))
        crop[:] = np.clip(smooth + noise, 0, 255)
    return crops


def write_store(folder: Path, num_crops: int, *, crop_px: int, drawn: int = 256) -> str:
    """Write a store of one training split.

    Args:
        folder: Made by this call.
        num_crops: Crops in all.
        crop_px: Their side.
        drawn: Crops that are drawn; the others repeat them, shifted, so that no two are equal.

    Returns:
        The store's address.
    """
    folder.mkdir(parents=True)
    base = draw_crops(min(drawn, num_crops), crop_px, seed=0)
    shards: list[ShardInfo] = []
    for start in range(0, num_crops, ROWS_A_SHARD):
        places = range(start, min(start + ROWS_A_SHARD, num_crops))
        faces = np.stack([np.roll(base[place % len(base)], place // len(base), axis=1) for place in places])
        rows = [
            CropRow(
                label=place % 2,
                category=CATEGORIES[1 - place % 2],
                video_id=f"{place // 10:05d}",
                target_id=f"{place // 10:05d}",
                source_id=f"{place // 10:05d}",
                frame_index=place % 10,
                box=(0, 0, crop_px, crop_px),
            )
            for place in places
        ]
        data = encode_shard(faces, rows, split="train", categories=CATEGORIES)
        name = f"train-{len(shards):05d}.arrow"
        (folder / name).write_bytes(data)
        digest = hashlib.sha256(memoryview(data)).hexdigest()
        shards.append(ShardInfo(name=name, split="train", num_rows=len(rows), num_bytes=data.size, sha256=digest))
    values = {
        "crop_px": crop_px,
        "settings": {},
        "layout": "faceforensics",
        "split_kind": "identity",
        "guarantee": "identity",
        "categories": CATEGORIES,
        "counts": {},
        "num_crops": num_crops,
        "summary": {},
        "libraries": [],
        "videos_sha256": "",
        "shards": [asdict(shard) for shard in shards],
    }
    (folder / MANIFEST_NAME).write_bytes(manifest_bytes(values))
    return str(folder)

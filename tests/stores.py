"""Small stores of noise for tests that need crops, but neither videos nor Ray."""

import hashlib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_store.manifest import MANIFEST_NAME, SPLITS, ShardInfo, manifest_bytes, parse_manifest
from data_store.resident import Crops
from data_store.shards import CropRow, encode_shard
from data_store.verify import verify

CATEGORIES = ("Deepfakes", "youtube")


def make_shards(
    *, crop_px: int = 64, rows: dict[str, int] | None = None, seed: int = 0, fakes: bool = True
) -> tuple[list[pa.Buffer], list[ShardInfo]]:
    """Return the shards of a store of noise: half real, half fake and redder, so that there is something to learn.

    Args:
        crop_px: Side of the crops.
        rows: Crops by split.
        seed: Of the noise.
        fakes: Whether there are any.
    """
    generator = np.random.default_rng(seed)
    shards, infos = [], []
    for split, num_rows in (rows or {"train": 48, "val": 16, "test": 16}).items():
        labels = np.arange(num_rows) % 2 if fakes else np.zeros(num_rows, np.int64)
        faces = generator.integers(0, 200, (num_rows, crop_px, crop_px, 3), dtype=np.uint8)
        faces[labels == 1, :, :, 0] += 50
        crops = [
            CropRow(
                label=int(label),
                category=CATEGORIES[1 - label],
                video_id=f"{split}{place // 4}",
                target_id=f"{split}{place // 4}",
                source_id=f"{split}{place // 4}",
                frame_index=place,
                box=(0, 0, crop_px, crop_px),
            )
            for place, label in enumerate(labels)
        ]
        shards.append(encode_shard(faces, crops, split=split, categories=CATEGORIES))
        digest = hashlib.sha256(memoryview(shards[-1])).hexdigest()
        infos.append(
            ShardInfo(name=f"{split}.arrow", split=split, num_rows=num_rows, num_bytes=shards[-1].size, sha256=digest)
        )
    return shards, infos


def make_crops(*, crop_px: int = 64, rows: dict[str, int] | None = None, seed: int = 0) -> Crops:
    """Return the store of ``make_shards`` in memory."""
    shards, infos = make_shards(crop_px=crop_px, rows=rows, seed=seed)
    return Crops(parse_manifest(_manifest(crop_px, infos), "memory"), shards)


def write_store(
    folder: Path, *, crop_px: int = 64, rows: dict[str, int] | None = None, seed: int = 0, fakes: bool = True
) -> Path:
    """Write and verify the store of ``make_shards``, as data_store/build.py lays it out, and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    shards, infos = make_shards(crop_px=crop_px, rows=rows, seed=seed, fakes=fakes)
    for info, shard in zip(infos, shards, strict=True):
        (folder / info.name).write_bytes(shard)
    manifest = _manifest(crop_px, infos, fakes=fakes)
    (folder / parse_manifest(manifest, "memory").videos_name).touch()
    (folder / MANIFEST_NAME).write_bytes(manifest)
    assert verify(str(folder)).faults == []
    return folder


def _manifest(crop_px: int, infos: list[ShardInfo], *, fakes: bool = True) -> bytes:
    return manifest_bytes(
        {
            "crop_px": crop_px,
            "settings": {"seed": 0},
            "layout": "faceforensics",
            "split_kind": "identity",
            "guarantee": "identity",
            "categories": CATEGORIES,
            "counts": dict.fromkeys(SPLITS, {}) | {info.split: _counts(info.num_rows, fakes) for info in infos},
            "num_crops": sum(info.num_rows for info in infos),
            "summary": {},
            "libraries": [],
            "videos_sha256": hashlib.sha256(b"").hexdigest(),
            "shards": [asdict(info) for info in infos],
        }
    )


def _counts(num_rows: int, fakes: bool) -> dict[str, int]:
    """Crops by category of a split in which every other one, or none, is fake."""
    num_fakes = num_rows // 2 if fakes else 0
    pairs = zip(CATEGORIES, (num_fakes, num_rows - num_fakes), strict=True)
    return {category: count for category, count in pairs if count}

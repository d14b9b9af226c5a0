"""Small stores in memory, so that training is tested without Ray, videos or files."""

import numpy as np
import pytest

from data_store.manifest import Manifest, ShardInfo
from data_store.resident import Crops
from data_store.shards import CropRow, encode_shard

CATEGORIES = ("Deepfakes", "youtube")


def make_crops(*, crop_px: int = 64, rows: dict[str, int] | None = None, seed: int = 0) -> Crops:
    """Return a store of noise, half real and half fake; the fake ones are redder, so that there is something to learn.

    Args:
        crop_px: Side of the crops.
        rows: Crops by split.
        seed: Of the noise.
    """
    generator = np.random.default_rng(seed)
    shards, infos = [], []
    for split, num_rows in (rows or {"train": 48, "val": 16, "test": 16}).items():
        labels = np.arange(num_rows) % 2
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
        infos.append(ShardInfo(name=f"{split}.arrow", split=split, num_rows=num_rows, num_bytes=0, sha256=""))
    manifest = Manifest(
        store="memory",
        digest="0" * 64,
        crop_px=crop_px,
        settings={},
        layout="faceforensics",
        split_kind="identity",
        guarantee="identity",
        categories=CATEGORIES,
        counts={},
        num_crops=sum(info.num_rows for info in infos),
        summary={},
        libraries=(),
        videos_sha256="",
        shards=tuple(infos),
    )
    return Crops(manifest, shards)


@pytest.fixture
def crops() -> Crops:
    """Return a store of 48 train, 16 val and 16 test crops of 64 px."""
    return make_crops()

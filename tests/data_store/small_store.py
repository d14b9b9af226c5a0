"""A store of 32 tiny crops, each different, for the tests of who sees what of it."""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_store.manifest import manifest_bytes
from data_store.shards import CropRow, encode_shard

CROP_PX = 8
CATEGORIES = ("Deepfakes", "NeuralTextures", "youtube")
SIZES = {"train": 23, "val": 5, "test": 4}


def faces_of(split: str) -> npt.NDArray[np.uint8]:
    """(n, 8, 8, 3) uint8, each crop different."""
    generator = np.random.default_rng(list(SIZES).index(split))
    return generator.integers(0, 256, (SIZES[split], CROP_PX, CROP_PX, 3), dtype=np.uint8)


def rows_of(split: str) -> list[CropRow]:
    rows = []
    for index in range(SIZES[split]):
        category = CATEGORIES[index % 3]
        rows.append(
            CropRow(
                label=int(category != "youtube"),
                category=category,
                video_id=f"{index:03d}" if category == "youtube" else f"{index:03d}_{index + 1:03d}",
                target_id=f"{index:03d}",
                source_id=f"{index + 1:03d}",
                frame_index=index * 30,
                box=(1, 2, 3, 4),
            )
        )
    return rows


def write_store(folder: Path, rows_a_shard: int) -> str:
    """Write the same crops in shards of at most so many rows."""
    folder.mkdir(parents=True)
    shards = []
    for split, size in SIZES.items():
        faces, rows = faces_of(split), rows_of(split)
        for number, start in enumerate(range(0, size, rows_a_shard)):
            part = slice(start, start + rows_a_shard)
            data = encode_shard(faces[part], rows[part], split=split, categories=CATEGORIES).to_pybytes()
            name = f"{split}-{number:05d}.arrow"
            (folder / name).write_bytes(data)
            shards.append(
                {
                    "name": name,
                    "split": split,
                    "num_rows": len(rows[part]),
                    "num_bytes": len(data),
                    "sha256": hashlib.sha256(data).hexdigest(),
                }
            )
    values = {
        "crop_px": CROP_PX,
        "settings": {},
        "layout": "ffpp",
        "split_kind": "official",
        "guarantee": "identity",
        "categories": CATEGORIES,
        "counts": {},
        "num_crops": sum(SIZES.values()),
        "summary": {},
        "libraries": [],
        "videos_sha256": "",
        "shards": shards,
    }
    (folder / "store.json").write_bytes(manifest_bytes(values))
    return str(folder)

"""Shards are read back as written, without a copy, and any fault of a file is found and named."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data_store.errors import InputError
from data_store.manifest import MANIFEST_NAME, Manifest, manifest_bytes, read_manifest
from data_store.shards import COLUMNS, CropRow, check_shard, encode_shard, open_shard, schema, shard_faces
from tests.stores import write_store


@pytest.fixture
def store(tmp_path: Path) -> Manifest:
    return read_manifest(str(write_store(tmp_path / "store", crop_px=8)))


def row(number: int, category: str = "youtube") -> CropRow:
    return CropRow(label=0, category=category, video_id=f"{number:03d}", target_id="a", source_id="b",
                   frame_index=number, box=(1, 2, 3, 4))  # fmt: skip


def test_rows_come_back_as_written() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    data = encode_shard(faces, [row(0), row(7, "Deepfakes"), row(9)], split="val", categories=["Deepfakes", "youtube"])
    reader = pa.ipc.open_file(data)
    assert reader.num_record_batches == 1
    batch = reader.get_batch(0)
    assert batch.schema == schema(16)
    assert tuple(batch.schema.names) == COLUMNS
    np.testing.assert_array_equal(shard_faces(batch), faces)
    assert batch.drop_columns(["face"]).to_pylist()[1] == {
        "label": 0, "category": "Deepfakes", "video_id": "007", "target_id": "a", "source_id": "b",
        "frame_index": 7, "box": [1, 2, 3, 4], "split": "val",
    }  # fmt: skip


def test_every_shard_has_the_same_dictionary_of_categories() -> None:
    faces = np.zeros((1, 8, 8, 3), np.uint8)
    batches = [
        pa.ipc.open_file(encode_shard(faces, [row(0, name)], split="train", categories=["a", "b"])).get_batch(0)
        for name in "ab"
    ]
    table = pa.Table.from_batches(batches)
    assert {tuple(chunk.dictionary.to_pylist()) for chunk in table["category"].chunks} == {("a", "b")}


def test_equal_rows_give_equal_bytes() -> None:
    faces = np.zeros((2, 8, 8, 3), np.uint8)
    first, second = (encode_shard(faces, [row(0), row(1)], split="train", categories=["youtube"]) for _ in range(2))
    assert first.equals(second)


def test_pixels_are_a_read_only_view_of_the_file(store: Manifest) -> None:
    before = pa.total_allocated_bytes()
    faces = shard_faces(open_shard(store.store, store.shards[0]))
    assert pa.total_allocated_bytes() == before
    assert not faces.flags.writeable
    assert faces.shape == (48, 8, 8, 3)


def test_every_flipped_bit_is_found(store: Manifest) -> None:
    """All of one shard's bytes would take minutes; a thousand random places, one bit each, take seconds."""
    shard = store.shards[0]
    path = Path(store.store) / shard.name
    whole = bytearray(path.read_bytes())
    generator = np.random.default_rng(0)
    found = 0
    for place, bit in zip(generator.integers(0, len(whole), 1000), generator.integers(0, 8, 1000), strict=True):
        whole[place] ^= 1 << bit
        path.write_bytes(whole)
        try:
            check_shard(store.store, shard)
        except InputError as error:
            found += shard.name in str(error)
        whole[place] ^= 1 << bit
    assert found == 1000
    path.write_bytes(whole)
    check_shard(store.store, shard)


@pytest.mark.parametrize("verify", [False, True])
def test_a_truncated_shard_is_named(store: Manifest, verify: bool) -> None:
    shard = store.shards[1]
    path = Path(store.store) / shard.name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        InputError, match=rf"{shard.name} .*has {shard.num_bytes - 1} bytes in place of {shard.num_bytes}"
    ):
        open_shard(store.store, shard, verify=verify)


def test_a_missing_shard_is_named(store: Manifest) -> None:
    (Path(store.store) / store.shards[2].name).unlink()
    with pytest.raises(InputError, match=f"{store.shards[2].name} .*is missing"):
        open_shard(store.store, store.shards[2])


def test_swapped_shards_are_named(tmp_path: Path) -> None:
    """Two shards of the same length: only the digest tells them apart."""
    stores = [read_manifest(str(write_store(tmp_path / name, crop_px=8, seed=seed))) for seed, name in enumerate("ab")]
    ours, theirs = (Path(store.store) / store.shards[0].name for store in stores)
    assert ours.stat().st_size == theirs.stat().st_size
    ours.write_bytes(theirs.read_bytes())
    open_shard(stores[0].store, stores[0].shards[0])  # a sound file, but not this one
    with pytest.raises(InputError, match=f"{ours.name} .*has SHA-256"):
        open_shard(stores[0].store, stores[0].shards[0], verify=True)


def test_another_file_in_a_shards_place_is_named(store: Manifest) -> None:
    shard = store.shards[0]
    (Path(store.store) / shard.name).write_bytes(b"x" * shard.num_bytes)
    with pytest.raises(InputError, match=f"{shard.name} .*is no Arrow file"):
        open_shard(store.store, shard)


def test_every_flipped_bit_of_the_manifest_is_found(store: Manifest) -> None:
    path = Path(store.store) / MANIFEST_NAME
    whole = bytearray(path.read_bytes())
    generator = np.random.default_rng(0)
    for place, bit in zip(generator.integers(0, len(whole), 500), generator.integers(0, 8, 500), strict=True):
        whole[place] ^= 1 << bit
        path.write_bytes(whole)
        try:
            changed = read_manifest(store.store)
        except InputError:
            pass
        else:  # white space between the values: the content is the same, the identity is another
            assert changed.digest != store.digest
            assert changed.counts == store.counts
            assert changed.shards == store.shards
        whole[place] ^= 1 << bit


def test_a_manifest_of_another_schema_is_refused_with_a_remedy(store: Manifest) -> None:
    path = Path(store.store) / MANIFEST_NAME
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "schema_version": 0}))
    with pytest.raises(InputError, match=r"has schema 0; migrate it with: python data_store/build\.py"):
        read_manifest(store.store)
    path.write_text(json.dumps({**values, "schema_version": 99}))
    with pytest.raises(InputError, match="has schema 99; update this program"):
        read_manifest(store.store)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"schema_version": "1"}', '{"schema_version": 1}', "\xff"])
def test_a_damaged_manifest_is_named(store: Manifest, content: str) -> None:
    (Path(store.store) / MANIFEST_NAME).write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match="it is damaged"):
        read_manifest(store.store)


def test_no_store_is_named_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has none; make the store with: python data_store/build\.py"):
        read_manifest(str(tmp_path / "nothing"))


def test_the_digest_is_that_of_the_file(store: Manifest) -> None:
    import hashlib

    assert store.digest == hashlib.sha256((Path(store.store) / MANIFEST_NAME).read_bytes()).hexdigest()


def test_a_manifest_of_equal_values_has_equal_bytes(store: Manifest) -> None:
    values = json.loads((Path(store.store) / MANIFEST_NAME).read_text())
    del values["schema_version"], values["content_sha256"]
    assert manifest_bytes(values) == manifest_bytes(dict(reversed(values.items())))
    assert manifest_bytes(values) == (Path(store.store) / MANIFEST_NAME).read_bytes()


def test_a_manifest_is_read_without_heavy_imports(store: Manifest) -> None:
    code = (
        "import sys; from data_store.manifest import read_manifest; from data_store.verified import require_verified; "
        f"assert read_manifest({store.store!r}).num_crops == 80; "
        "assert not {'numpy', 'pyarrow', 'cv2', 'av', 'torch', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""The Arrow schema of a store's shards: write, open and check them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_store.errors import InputError
from data_store.folders import open_folder
from data_store.manifest import GUARANTEES, MANIFEST_NAME, SPLITS, Manifest, ShardInfo, read_manifest

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "COLUMNS", "GUARANTEES", "MANIFEST_NAME", "SPLITS", "CropRow", "Manifest", "ShardInfo",
    "check_shard", "encode_shard", "open_shard", "read_manifest", "schema", "shard_faces",
]  # fmt: skip

COLUMNS = (
    "face", "label", "category", "video_id", "target_id", "source_id", "frame_index", "box", "split",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CropRow:
    """One row of a shard but for its pixels."""

    label: int
    """0 real, 1 fake."""
    category: str
    """``youtube``, ``Deepfakes``, ..."""
    video_id: str
    """Unique within the category."""
    target_id: str
    """Identity whose video it is."""
    source_id: str
    """Identity whose face or expression was put in; the target itself for a real video."""
    frame_index: int
    """Frame number in the video, from 0."""
    box: tuple[int, int, int, int]
    """x, y, width, height of the detector's box in the frame."""


def schema(crop_px: int) -> "pa.Schema":
    """The schema of a shard.

    ::

        face         fixed_shape_tensor(uint8, (crop_px, crop_px, 3))   RGB
        label        int8                       0 real, 1 fake
        category     dictionary(int16, string)  the store's categories, the same in each shard
        video_id     string                     unique within its category
        target_id    string                     whose video it is
        source_id    string                     whose face was put in; "unknown" where the data set is silent
        frame_index  int32                      frame number in the video, from 0
        box          fixed_size_list(int32, 4)  x, y, width, height of the face in the frame
        split        dictionary(int8, string)   train, val, test; one value in a whole shard
    """
    import pyarrow as pa

    return pa.schema(
        [
            ("face", pa.fixed_shape_tensor(pa.uint8(), (crop_px, crop_px, 3))),
            ("label", pa.int8()),
            ("category", pa.dictionary(pa.int16(), pa.string())),
            ("video_id", pa.string()),
            ("target_id", pa.string()),
            ("source_id", pa.string()),
            ("frame_index", pa.int32()),
            ("box", pa.list_(pa.int32(), 4)),
            ("split", pa.dictionary(pa.int8(), pa.string())),
        ]
    )


def encode_shard(
    faces: NDArray[np.uint8], rows: Sequence[CropRow], *, split: str, categories: Sequence[str]
) -> "pa.Buffer":
    """Encode one shard as an uncompressed Arrow IPC file with one record batch; equal input gives equal bytes.

    Args:
        faces: ``(rows, crop_px, crop_px, 3)`` uint8 RGB, C-contiguous.
        rows: the other columns, in the same order.
        split: the split of all rows.
        categories: every category of the store.

    Returns:
        The bytes of the file: a 4-row shard is laid out as ::

            ARROW1 | schema | face 0 1 2 3 | label 0 1 2 3 | ... | split 0 1 2 3 | footer | ARROW1
    """
    import pyarrow as pa

    assert len(faces) == len(rows) > 0
    crop_px = faces.shape[1]
    kind = schema(crop_px)
    pixels = pa.FixedSizeListArray.from_arrays(pa.array(faces.reshape(-1)), crop_px * crop_px * 3)
    place = {category: index for index, category in enumerate(categories)}
    boxes = np.array([row.box for row in rows], np.int32).reshape(-1)
    columns = [
        pa.ExtensionArray.from_storage(kind.field("face").type, pixels),
        pa.array([row.label for row in rows], pa.int8()),
        _dictionary([place[row.category] for row in rows], pa.int16(), categories),
        pa.array([row.video_id for row in rows], pa.string()),
        pa.array([row.target_id for row in rows], pa.string()),
        pa.array([row.source_id for row in rows], pa.string()),
        pa.array([row.frame_index for row in rows], pa.int32()),
        pa.FixedSizeListArray.from_arrays(pa.array(boxes), 4),
        _dictionary([SPLITS.index(split)] * len(rows), pa.int8(), SPLITS),
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, kind) as writer:
        writer.write_batch(pa.record_batch(columns, schema=kind))
    return sink.getvalue()


def open_shard(store: str, shard: ShardInfo, *, verify: bool = False) -> "pa.RecordBatch":
    """Open a shard: memory-mapped and without a copy where the store is local.

    Args:
        store: the store's folder.
        shard: from the manifest.
        verify: also compare the SHA-256 of every byte.

    Raises:
        InputError: the shard is missing, truncated, swapped or damaged; names it.
    """
    import pyarrow as pa

    buffer = _mapped(store, shard)
    if verify:
        _compare_digest(store, shard, buffer)
    try:
        reader = pa.ipc.open_file(buffer)
        batch = reader.get_batch(0) if reader.num_record_batches == 1 else None
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(_mismatch(store, shard, f"is no Arrow file ({error})".splitlines()[0])) from error
    if batch is None or batch.num_rows != shard.num_rows or tuple(batch.schema.names) != COLUMNS:
        raise InputError(_mismatch(store, shard, "holds other rows or columns"))
    return batch


def shard_faces(batch: "pa.RecordBatch") -> NDArray[np.uint8]:
    """The pixels of a shard as a read-only view ``(rows, crop_px, crop_px, 3)`` uint8 RGB; nothing is copied."""
    faces: NDArray[np.uint8] = batch.column("face").to_numpy_ndarray()
    return faces


def check_shard(store: str, shard: ShardInfo) -> None:
    """Compare a shard's size and SHA-256 with the manifest.

    Raises:
        InputError: they differ; names the shard.
    """
    _compare_digest(store, shard, _mapped(store, shard))


def _mapped(store: str, shard: ShardInfo) -> "pa.Buffer":
    try:
        buffer = open_folder(store).map(shard.name)
    except FileNotFoundError:
        raise InputError(_mismatch(store, shard, "is missing")) from None
    except OSError as error:
        raise InputError(_mismatch(store, shard, f"cannot be read ({error.strerror or error})")) from error
    if buffer.size != shard.num_bytes:
        raise InputError(_mismatch(store, shard, f"has {buffer.size} bytes in place of {shard.num_bytes}"))
    return buffer


def _compare_digest(store: str, shard: ShardInfo, buffer: "pa.Buffer") -> None:
    digest = hashlib.sha256(memoryview(buffer)).hexdigest()
    if digest != shard.sha256:
        raise InputError(_mismatch(store, shard, f"has SHA-256 {digest[:12]} in place of {shard.sha256[:12]}"))


def _mismatch(store: str, shard: ShardInfo, fault: str) -> str:
    return (
        f"each shard must be as the manifest lists it, but {shard.name} of {store} {fault}; "
        "copy the shard again or build the store again"
    )


def _dictionary(indices: list[int], index_type: "pa.DataType", values: Sequence[str]) -> "pa.DictionaryArray":
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(indices, index_type), pa.array(values, pa.string()))

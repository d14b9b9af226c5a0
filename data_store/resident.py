"""A store's crops in memory, once for all trials of a machine: shared, never copied, read by gathering.

::

    shard file --mmap--> driver --put--> one Ray object a shard --attach--> read-only views in every trial
    shard file --mmap-----------------------------------------------------> the same, with residency "mmap"

A Ray object holds the bytes of one shard file, so a trial checks what it shares by the manifest's digests.
Nothing outside this module sees a view: ``gather`` copies rows into a buffer of the caller's, because a
tensor made on shared memory is writable whatever NumPy says, and one in-place operation would reach every
other trial.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import psutil

from data_store.errors import InputError
from data_store.folders import open_folder
from data_store.manifest import Manifest, ShardInfo, read_manifest
from data_store.shards import SPLITS, check_shard, shard_faces

if TYPE_CHECKING:
    import pyarrow as pa
    import ray
    from torch import Tensor

RESIDENCIES = ("object-store", "mmap")
"""Where trials find the crops: Ray's object store, or the page cache through a memory map of the files."""

_OBJECT_STORE_SHARE = 0.9  # the rest is for what trials return; past the whole, Ray spills to disk and crawls
_STREAM = 1  # high word of the Philox counter: keeps the order's draws apart from those of the augmentation


@dataclass(frozen=True, kw_only=True)
class ResidentRefs:
    """What a driver hands its trials: small, to be pickled; the objects live as long as the driver's copy.

    Attributes:
        manifest: The store's.
        residency: One of ``RESIDENCIES``.
        shards: One reference a shard, in the manifest's order; none for ``mmap``.
    """

    manifest: Manifest
    residency: str
    shards: "tuple[ray.ObjectRef[Any], ...]"


class SplitCrops:
    """The crops of one split, in the store's order: a crop's position is its index in every array here."""

    def __init__(self, crop_px: int, batches: "Sequence[pa.RecordBatch]") -> None:
        self.crop_px = crop_px
        self._batches = batches
        self._faces = [shard_faces(batch) for batch in batches]
        self._starts = np.cumsum([0, *(len(faces) for faces in self._faces)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """(n,) int64: 0 real, 1 fake; read-only."""
        return self._column("label", np.int64)

    @cached_property
    def categories(self) -> npt.NDArray[np.str_]:
        """(n,) str: ``youtube``, ``Deepfakes``, ...; read-only."""
        return self._column("category", np.str_)

    @cached_property
    def video_ids(self) -> npt.NDArray[np.str_]:
        """(n,) str: the video of each crop, unique within its category; read-only."""
        return self._column("video_id", np.str_)

    @cached_property
    def target_ids(self) -> npt.NDArray[np.str_]:
        """(n,) str: whose video each crop's is; read-only."""
        return self._column("target_id", np.str_)

    @cached_property
    def frame_indices(self) -> npt.NDArray[np.int64]:
        """(n,) int64: the frame number in the video, from 0; read-only."""
        return self._column("frame_index", np.int64)

    def gather(self, indices: "npt.ArrayLike | Tensor", out: "Tensor | None" = None) -> "Tensor":
        """Copy crops out of the store.

        Args:
            indices: (batch,) positions in the split, in any order, repeated or not.
            out: (batch, crop_px, crop_px, 3) uint8 on the CPU, contiguous: filled and returned. A new tensor
                where none is given.

        Returns:
            (batch, crop_px, crop_px, 3) uint8 RGB, the caller's own.

        Raises:
            IndexError: A position lies outside the split.
            ValueError: ``out`` has another shape, type or layout.
        """
        import torch

        positions = np.asarray(indices, dtype=np.int64)
        if positions.ndim != 1:
            raise ValueError(f"indices must be one row of positions, but have shape {positions.shape}; flatten them")
        if len(positions) and not (positions.min() >= 0 and positions.max() < len(self)):
            raise IndexError(
                f"positions must lie in [0, {len(self)}), but reach from {positions.min()} to "
                f"{positions.max()}; take them from epoch_order of this split"
            )
        shape = (len(positions), self.crop_px, self.crop_px, 3)
        if out is None:
            out = torch.empty(shape, dtype=torch.uint8)
        elif out.shape != shape or out.dtype != torch.uint8 or not out.is_contiguous() or out.is_cuda:
            raise ValueError(
                f"out must be {shape} torch.uint8, contiguous and on the CPU, but is {tuple(out.shape)} "
                f"{out.dtype} on {out.device}; pass a slice of a buffer of that shape"
            )
        copied = out.numpy()
        shards = np.searchsorted(self._starts, positions, side="right") - 1
        rows = positions - self._starts[shards]
        if len(positions) and (shards == shards[0]).all():
            np.take(self._faces[shards[0]], rows, axis=0, out=copied, mode="clip")  # "raise" copies twice
        else:
            for place, (shard, row) in enumerate(zip(shards.tolist(), rows.tolist(), strict=True)):
                copied[place] = self._faces[shard][row]
        return out

    def _column(self, name: str, kind: type[np.generic]) -> npt.NDArray[Any]:
        """Join one column of all shards into an array that nobody can change."""
        columns = [batch.column(name) for batch in self._batches]
        parts = [np.array(column.to_pylist(), kind) for column in columns]  # to_numpy would import pandas, for a second
        joined = np.concatenate(parts) if parts else np.empty(0, kind)
        joined.setflags(write=False)
        return joined


class Crops:
    """A store that is resident: its manifest and its splits."""

    def __init__(self, manifest: Manifest, shards: "Sequence[pa.Buffer]") -> None:
        self.manifest = manifest
        self._shards = shards
        self._splits: dict[str, SplitCrops] = {}

    def split(self, name: str) -> SplitCrops:
        """Return a split; one without crops has length 0.

        Raises:
            ValueError: There is no split of that name.
        """
        if name not in SPLITS:
            raise ValueError(f"a split must be one of {', '.join(SPLITS)}, but got {name!r}")
        if name not in self._splits:
            shards = zip(self.manifest.shards, self._shards, strict=True)
            batches = [_decode(buffer) for shard, buffer in shards if shard.split == name]
            self._splits[name] = SplitCrops(self.manifest.crop_px, batches)
        return self._splits[name]

    def verify(self) -> None:
        """Compare every byte that this process shares with the manifest's digests; each trial ends with it.

        Raises:
            RuntimeError: A shard changed since it was built; names it.
        """
        for shard, buffer in zip(self.manifest.shards, self._shards, strict=True):
            digest = _sha256(buffer)
            if digest != shard.sha256:
                raise RuntimeError(
                    f"crops shared by all trials must never change, but {shard.name} has SHA-256 {digest[:12]} "
                    f"in place of {shard.sha256[:12]}; a trial wrote to them: discard this launch's trials"
                )


def preflight(manifest: Manifest, *, residency: str, object_store_bytes: int | None = None) -> str:
    """Say what will become resident, and refuse what does not fit; reads nothing but the manifest.

    Args:
        manifest: The store's.
        residency: One of ``RESIDENCIES``.
        object_store_bytes: Size of the Ray object store; by default the size that Ray gives itself here.

    Returns:
        One line for the user: crops, bytes, and where they go.

    Raises:
        InputError: The store does not fit, or cannot be had this way; with the remedy.
    """
    needed = manifest.num_bytes
    what = f"{manifest.num_crops:,} crops of {manifest.crop_px} px, {_gigabytes(needed)}"
    if residency == "mmap":
        if open_folder(manifest.store).local is None:
            raise InputError(
                f"--residency mmap needs a store on a local disk, but got {manifest.store}; "
                "copy the store to this machine, or use --residency object-store"
            )
        free = psutil.virtual_memory().available
        speed = "from memory" if needed <= free else "from disk, slower"
        return f"{what}, mapped from {manifest.store} ({_gigabytes(free)} of memory free: read {speed})"
    size = default_object_store_bytes() if object_store_bytes is None else object_store_bytes
    shared = _shared_memory_bytes()
    room = f"the object store has {_gigabytes(size)}"
    room += f" (/dev/shm: {_gigabytes(shared)} free)" if shared is not None else ""
    if needed > size * _OBJECT_STORE_SHARE:
        raise InputError(
            f"the store must fit into {_OBJECT_STORE_SHARE:.0%} of Ray's object store, but {what} do not: {room}; "
            "use --residency mmap, or more memory (in a container: docker run --shm-size), or fewer frames a video"
        )
    return f"{what}, into Ray's object store: {room}"


def default_object_store_bytes() -> int:
    """Size of the object store that Ray gives itself on this machine: 30 % of memory, capped by /dev/shm."""
    memory = psutil.virtual_memory().total
    limit = Path("/sys/fs/cgroup/memory.max")  # of a container
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        memory = min(memory, int(text))
    shared = _shared_memory_bytes()
    return min(int(0.3 * memory), 200 * 10**9, *([] if shared is None else [int(0.95 * shared)]))


def _shared_memory_bytes() -> int | None:
    """Bytes free in /dev/shm; None where there is none."""
    shm = Path("/dev/shm")
    return psutil.disk_usage(str(shm)).free if shm.is_dir() else None


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:,.1f} MB"


def put(store: str, *, residency: str = "object-store") -> ResidentRefs:
    """Make a store resident for all trials; called once, by the driver.

    Every shard's SHA-256 is compared with the manifest on the way.

    Args:
        store: The store's folder.
        residency: One of ``RESIDENCIES``. ``object-store`` needs an initialised Ray with room for the store.

    Raises:
        InputError: The store or one of its shards is missing or damaged; names it.
    """
    manifest = read_manifest(store)
    if residency == "mmap":
        for shard in manifest.shards:
            check_shard(store, shard)
        return ResidentRefs(manifest=manifest, residency=residency, shards=())
    if residency != "object-store":
        raise ValueError(f"residency must be one of {', '.join(RESIDENCIES)}, but got {residency!r}")
    import ray

    # An array, not a record batch: Ray keeps it out of the pickle, and attaching copies nothing.
    shards = tuple(ray.put(np.frombuffer(_checked_bytes(store, shard), np.uint8)) for shard in manifest.shards)
    return ResidentRefs(manifest=manifest, residency=residency, shards=shards)


def attach(refs: ResidentRefs) -> Crops:
    """Attach to the crops that the driver put, in a trial: nothing is copied.

    Shards that lie on another node of the cluster are fetched into this node's object store, once.
    """
    if refs.residency == "mmap":
        return open_mmap(refs.manifest.store)
    import pyarrow as pa
    import ray

    arrays = ray.get(list(refs.shards))
    return Crops(refs.manifest, [pa.py_buffer(array) for array in arrays])


def open_mmap(store: str) -> Crops:
    """Open a store by memory-mapping its files, without Ray; pages are shared through the page cache.

    Raises:
        InputError: The store is missing, half-written or of another schema, or a shard is missing or cut.
    """
    manifest = read_manifest(store)
    return Crops(manifest, [_mapped(store, shard) for shard in manifest.shards])


def epoch_order(num_crops: int, *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the order in which an epoch visits a split: a permutation, by (seed, epoch) alone.

    Args:
        num_crops: Crops of the split.
        seed: The trial's data seed, at least 0.
        epoch: The epoch, at least 0.

    Returns:
        (num_crops,) int64 positions.
    """
    key, counter = np.array([seed, epoch], np.uint64), np.array([0, 0, 0, _STREAM], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter)).permutation(num_crops)


def batches(
    split: SplitCrops, order: npt.NDArray[np.int64], batch_size: int, prefetch: int = 1
) -> "Iterator[tuple[npt.NDArray[np.int64], Tensor]]":
    """Gather an order's crops batch by batch, the next one already while the last is in use.

    Args:
        split: Where the crops are.
        order: (n,) positions in the split.
        batch_size: Crops a batch; the last one may be smaller, nothing is dropped.
        prefetch: Batches that a background thread gathers ahead; 0 gathers when asked.

    Yields:
        (batch,) positions and (batch, crop_px, crop_px, 3) uint8 RGB crops. The crops lie in a buffer that is
        filled again once the next batch is asked for: clone what is to be kept.

    Raises:
        ValueError: ``batch_size`` is below 1 or ``prefetch`` below 0.
    """
    if batch_size < 1 or prefetch < 0:
        raise ValueError(f"batch_size must be at least 1 and prefetch at least 0, but got {batch_size} and {prefetch}")
    return _batches(split, np.asarray(order, np.int64), batch_size, prefetch)


def _batches(
    split: SplitCrops, order: npt.NDArray[np.int64], batch_size: int, prefetch: int
) -> "Iterator[tuple[npt.NDArray[np.int64], Tensor]]":
    import torch

    parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    shape = (min(batch_size, len(order)), split.crop_px, split.crop_px, 3)
    buffers = [torch.empty(shape, dtype=torch.uint8) for _ in range(min(prefetch + 1, len(parts)))]
    if prefetch == 0:
        for part in parts:
            yield part, split.gather(part, out=buffers[0][: len(part)])
        return
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="gather") as thread:
        ahead: deque[Future[Tensor]] = deque()
        try:
            for index, part in enumerate(parts[:prefetch]):
                ahead.append(thread.submit(split.gather, part, buffers[index][: len(part)]))
            for index, part in enumerate(parts):
                coming = index + prefetch
                crops = ahead.popleft().result()
                if coming < len(parts):
                    buffer = buffers[coming % len(buffers)]  # the one that the caller has just given back
                    ahead.append(thread.submit(split.gather, parts[coming], buffer[: len(parts[coming])]))
                yield part, crops
        finally:
            for future in ahead:
                future.cancel()


def _decode(buffer: "pa.Buffer") -> "pa.RecordBatch":
    """Open the bytes of a shard file as its one record batch, without a copy."""
    import pyarrow as pa

    return pa.ipc.open_file(buffer).get_batch(0)


def _mapped(store: str, shard: ShardInfo) -> "pa.Buffer":
    """The bytes of a shard file: memory-mapped where it is local."""
    try:
        buffer = open_folder(store).map(shard.name)
    except OSError:
        check_shard(store, shard)  # names what is wrong
        raise
    if buffer.size != shard.num_bytes:
        check_shard(store, shard)
    return buffer


def _checked_bytes(store: str, shard: ShardInfo) -> "pa.Buffer":
    """The bytes of a shard file, equal to the manifest's digest."""
    buffer = _mapped(store, shard)
    if _sha256(buffer) != shard.sha256:
        check_shard(store, shard)
        raise InputError(f"{shard.name} of {store} must not change while it is read, but it did; try again")
    return buffer


def _sha256(buffer: "pa.Buffer") -> str:
    return hashlib.sha256(memoryview(buffer)).hexdigest()

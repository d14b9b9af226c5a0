"""Crops in Ray's object store: every trial sees the driver's, and none can change them unnoticed."""

import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from data_store.resident import (
    ResidentRefs,
    attach,
    batches,
    default_object_store_bytes,
    epoch_order,
    put,
)
from tests.data_store.small_store import CROP_PX, SIZES, faces_of, write_store


@pytest.mark.ray
def test_the_default_size_is_the_one_that_ray_takes() -> None:
    from ray._common.utils import get_system_memory
    from ray._private.utils import resolve_object_store_memory

    wanted = resolve_object_store_memory(get_system_memory())
    assert abs(default_object_store_bytes() / wanted - 1) < 0.02


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_store(tmp_path_factory.mktemp("stores") / "several", rows_a_shard=7)


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    """A Ray of two CPUs on this machine."""
    import ray

    ray.init(
        num_cpus=2,
        object_store_memory=100 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
    )
    yield
    ray.shutdown()


def hostile_trial(refs: ResidentRefs) -> list[str]:
    """Try to change the shared crops by every ordinary way; returns the ways that were refused."""
    train = attach(refs).split("train")
    train.gather([1, 2, 3]).zero_()
    for _, batch in batches(train, np.arange(len(train)), 4):
        batch.mul_(0).sub_(1)
    train.gather(np.arange(23), out=torch.empty(23, CROP_PX, CROP_PX, 3, dtype=torch.uint8)).fill_(9)
    refused = []
    for name in dir(train):
        value = getattr(train, name)
        for array in value if isinstance(value, list) else [value]:
            if isinstance(array, np.ndarray) and array is not train._starts:
                try:
                    array[...] = array[0]
                except ValueError:
                    refused.append(name)
    return refused


@pytest.mark.ray
def test_a_trial_sees_the_drivers_crops_and_cannot_change_them(store: str, ray_cluster: None) -> None:
    import ray

    refs = put(store)
    assert len(refs.shards) == len(refs.manifest.shards) == 6
    remote = ray.remote(hostile_trial)
    refused = ray.get([remote.remote(refs) for _ in range(2)])
    for ways in refused:
        assert sorted(set(ways)) == ["_faces", "categories", "frame_indices", "labels", "target_ids", "video_ids"]
    shared = attach(refs)
    shared.verify()
    np.testing.assert_array_equal(shared.split("train").gather(np.arange(23)).numpy(), faces_of("train"))


@pytest.mark.ray
def test_verify_finds_what_a_writable_tensor_on_shared_memory_did(store: str, ray_cluster: None) -> None:
    """The guard guards: the one way left, a tensor made on a private view, is found at the trial's end."""
    refs = put(store)

    def vandal(refs: ResidentRefs) -> str:
        crops = attach(refs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch: the array is not writable
            torch.from_numpy(crops.split("train")._faces[2])[3, 0, 0, 0] ^= 1
        try:
            crops.verify()
        except RuntimeError as error:
            return str(error)
        return ""

    import ray

    assert "train-00002.arrow has SHA-256" in ray.get(ray.remote(vandal).remote(refs))
    with pytest.raises(RuntimeError, match=r"train-00002\.arrow"):
        attach(refs).verify()


@pytest.mark.ray
def test_attaching_copies_nothing(store: str, ray_cluster: None, tmp_path: Path) -> None:
    import ray

    refs = put(store)

    def addresses(refs: ResidentRefs) -> list[bool]:
        """Whether each split's pixels lie in the memory that Ray maps for all processes."""
        crops = attach(refs)
        maps = Path("/proc/self/maps").read_text().splitlines()
        spans = [
            [int(end, 16) for end in line.split()[0].split("-")] for line in maps if " rw-s" in line or "r--s" in line
        ]
        places = [view.ctypes.data for name in SIZES for view in crops.split(name)._faces]
        return [any(low <= place < high for low, high in spans) for place in places]

    assert ray.get(ray.remote(addresses).remote(refs)) == [True] * 6


def epoch_seen(refs: ResidentRefs) -> str:
    """Digest of everything that two epochs of a trial see, in order."""
    train = attach(refs).split("train")
    digest = hashlib.sha256()
    for epoch in (1, 2):
        for positions, batch in batches(train, epoch_order(len(train), seed=4, epoch=epoch), 5):
            digest.update(positions.tobytes() + batch.numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.ray
def test_every_trial_sees_the_same_crops_in_the_same_order(store: str, ray_cluster: None, tmp_path: Path) -> None:
    import ray

    remote = ray.remote(epoch_seen)
    one_shard = put(write_store(tmp_path / "one", rows_a_shard=100))
    mapped = put(store, residency="mmap")
    seen = ray.get([remote.remote(refs) for refs in [put(store)] * 3 + [one_shard, mapped]])
    assert seen == [epoch_seen(mapped)] * 5

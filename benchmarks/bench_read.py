"""Reading batches of 64 crops of 224 px in random order, beside the usual ways to store a data set of images."""

import statistics
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.measure import Bar, Row, interleaved, median_ratio, peer, row
from benchmarks.stores import write_store
from data_store.resident import SplitCrops, batches, epoch_order, open_mmap

PEERS = ("datasets", "torchvision", "webdataset")

CROP_PX = 224
NUM_CROPS = 2000
BATCH = 64
OUR_BATCHES = 30
PEER_BATCHES = 6
ROUNDS = 11


def rows() -> list[Row]:
    """Time a batch from each; every peer returns (64, ...) uint8 tensors of the same crops."""
    with tempfile.TemporaryDirectory(prefix="bench_read_") as temporary:
        folder = Path(temporary)
        train = open_mmap(write_store(folder / "store", NUM_CROPS, crop_px=CROP_PX)).split("train")
        crops = train.gather(np.arange(NUM_CROPS)).numpy()
        runs = {
            "ours": _ours(train),
            "memcpy": _memcpy(crops),
            "Hugging Face datasets": _datasets(crops, folder / "datasets"),
            "WebDataset, raw arrays": _webdataset(crops, folder / "raw", "npy"),
            "WebDataset, PNG": _webdataset(crops, folder / "png", "png"),
            "PNG folder, torchvision, 2 workers": _png_folder(crops, folder / "folder"),
        }
        sizes = {name: OUR_BATCHES if name in ("ours", "memcpy") else PEER_BATCHES for name in runs}
        seconds = interleaved({name: run.__next__ for name, run in runs.items()}, rounds=ROUNDS)
    per_batch = {name: [value / sizes[name] for value in values] for name, values in seconds.items()}
    detail = {name: f"{1e3 * statistics.median(values):.3g} ms" for name, values in per_batch.items()}
    bars = {
        "Hugging Face datasets": Bar(">=", 50),
        "WebDataset, raw arrays": Bar(">=", 5),
        "WebDataset, PNG": Bar(">=", 5),
        "PNG folder, torchvision, 2 workers": Bar(">=", 5),
    }
    table = [
        row(
            "read a batch of 64 crops: times faster",
            other,
            median_ratio(per_batch[other], per_batch["ours"]),
            bar,
            f"{detail['ours']} against {detail[other]}",
        )
        for other, bar in bars.items()
    ]
    ratio = median_ratio(per_batch["ours"], per_batch["memcpy"])
    shown = f"{detail['ours']} against {detail['memcpy']}"
    table.append(row("read a batch of 64 crops: times the time", "memcpy", ratio, Bar("<=", 2), shown))
    return table


def _ours(train: SplitCrops) -> Iterator[None]:
    """Each step reads ``OUR_BATCHES`` batches of a new epoch, as a trial does."""
    epoch = 0
    while True:
        epoch += 1
        for _, crops in islice(batches(train, epoch_order(len(train), seed=0, epoch=epoch), BATCH), OUR_BATCHES):
            assert len(crops) == BATCH
        yield


def _memcpy(crops: np.ndarray) -> Iterator[None]:
    """Copy as many bytes, from anywhere, into one buffer."""
    buffer = np.empty_like(crops[:BATCH])
    generator = np.random.default_rng(0)
    while True:
        for start in generator.integers(0, len(crops) - BATCH, OUR_BATCHES):
            np.copyto(buffer, crops[start : start + BATCH])
        yield


def _datasets(crops: np.ndarray, folder: Path) -> Iterator[None]:
    """An Arrow data set of fixed-shape arrays, memory-mapped, in torch format, at random positions."""
    datasets = peer("datasets")
    datasets.disable_progress_bars()
    features = datasets.Features({"face": datasets.Array3D(crops.shape[1:], "uint8"), "label": datasets.Value("int64")})
    shown = {"face": list(crops[:512]), "label": [0] * 512}
    datasets.Dataset.from_dict(shown, features=features).save_to_disk(str(folder))
    stored = datasets.load_from_disk(str(folder)).with_format("torch")
    generator = np.random.default_rng(0)
    while True:
        for _ in range(PEER_BATCHES):
            batch = stored[generator.permutation(512)[:BATCH].tolist()]["face"]
            assert tuple(batch.shape) == (BATCH, *crops.shape[1:])
        yield


def _webdataset(crops: np.ndarray, folder: Path, kind: str) -> Iterator[None]:
    """A tar file with a shuffle buffer of 256 samples."""
    webdataset = peer("webdataset")
    folder.mkdir()
    with webdataset.TarWriter(str(folder / "crops.tar")) as writer:
        for place, crop in enumerate(crops[:1024]):
            writer.write({"__key__": f"{place:06d}", kind: crop if kind == "npy" else _png(crop), "cls": 0})
    stored = webdataset.WebDataset(str(folder / "crops.tar"), shardshuffle=False).repeat().shuffle(256)
    decoded = stored.decode("torchrgb8") if kind == "png" else stored.decode()
    loader = iter(decoded.to_tuple(kind, "cls").batched(BATCH))
    while True:
        for _ in range(PEER_BATCHES):
            batch = next(loader)[0]
            assert len(batch) == BATCH
        yield


def _png_folder(crops: np.ndarray, folder: Path) -> Iterator[None]:
    """``ImageFolder`` with a DataLoader of two workers."""
    import torch
    from torchvision.datasets import ImageFolder
    from torchvision.transforms.v2 import PILToTensor

    (folder / "real").mkdir(parents=True)
    for place, crop in enumerate(crops[:1024]):
        (folder / "real" / f"{place:06d}.png").write_bytes(_png(crop))
    stored = ImageFolder(str(folder), transform=PILToTensor())
    sampler = torch.utils.data.RandomSampler(stored, replacement=True, num_samples=PEER_BATCHES * BATCH)
    # Persistent workers that have nothing to do between two steps, while others are timed.
    loader: Any = torch.utils.data.DataLoader(
        stored, batch_size=BATCH, num_workers=2, sampler=sampler, persistent_workers=True
    )
    while True:
        for crops_u8, _ in loader:
            assert len(crops_u8) == BATCH
        yield


def _png(crop: np.ndarray) -> bytes:
    """Encode an RGB crop as PNG."""
    data: bytes = cv2.imencode(".png", crop[..., ::-1])[1].tobytes()
    return data

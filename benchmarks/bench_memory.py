"""What four trials on one store add in private memory, beside float32 tensors in each process as the thesis had."""

import json
import logging
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measure import Bar, Row, row
from benchmarks.stores import write_store
from data_store.resident import ResidentRefs, attach, batches, epoch_order, open_mmap, put

PEERS = ("ray",)

CROP_PX = 224
NUM_CROPS = 10_000
"""1.5 GB: a quarter of what FaceForensics++ gives at 8 frames a video."""
PEER_CROPS = 1_000
BATCH = 32
TRIALS = 4


def rows() -> list[Row]:
    """Measure each residency, and the peer."""
    with tempfile.TemporaryDirectory(prefix="bench_memory_") as temporary:
        store = write_store(Path(temporary) / "store", NUM_CROPS, crop_px=CROP_PX)
        tiny = write_store(Path(temporary) / "tiny", 64, crop_px=CROP_PX)
        small = write_store(Path(temporary) / "small", PEER_CROPS, crop_px=CROP_PX)
        store_bytes = open_mmap(store).manifest.num_bytes
        added = _added_by_trials(store, tiny, store_bytes)
        peer_bytes = open_mmap(small).manifest.num_bytes
        copies = _added_by_copies(small) / peer_bytes
    table = [
        row(
            f"private memory of {TRIALS} trials: share of the store, {residency}",
            "the store's bytes",
            private / store_bytes,
            Bar("<=", 0.05),
            f"{private / 1e6:.0f} MB in all, batches of {BATCH} in flight, on a store of {store_bytes / 1e9:.2f} GB",
        )
        for residency, private in added.items()
    ]
    shown = f"{TRIALS} processes, store of {peer_bytes / 1e6:.0f} MB"
    table.append(
        row("private memory of 4 float32 copies: times the store", "the store's bytes", copies, Bar(">=", 15), shown)
    )
    return table


class _Trial:
    """A worker that reads every crop of the store once and stops with the last batches still in flight."""

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(1)
        self.held: list[Any] = []
        self.before = 0

    def load(self, refs: ResidentRefs) -> None:
        """Load every library by reading a store of a few crops one by one: no part of what a store costs."""
        train = attach(refs).split("train")
        assert sum(len(crops) for _, crops in batches(train, epoch_order(len(train), seed=0, epoch=1), 1))
        assert train.labels.size == len(train)
        self.before = psutil.Process().memory_full_info().uss

    def read(self, refs: ResidentRefs) -> None:
        """Read an epoch; keeps everything that a trial keeps."""
        train = attach(refs).split("train")
        iterator = batches(train, epoch_order(len(train), seed=0, epoch=1), BATCH)
        num_batches = -(-len(train) // BATCH)
        for _ in range(num_batches - 1):
            positions, _ = next(iterator)
            assert train.labels[positions].size == BATCH
        self.held = [train, iterator]

    def added(self) -> int:
        """Return the bytes of private memory since ``load``; asked once all trials have read."""
        return psutil.Process().memory_full_info().uss - self.before


def _added_by_trials(store: str, tiny: str, store_bytes: int) -> dict[str, int]:
    """Private bytes that four Ray actors add, by residency."""
    import ray

    ray.init(
        num_cpus=TRIALS,
        object_store_memory=int(1.2 * store_bytes),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        added = {}
        for residency in ("object-store", "mmap"):
            refs = put(store, residency=residency)
            worker: Any = ray.remote(_Trial)
            trials = [worker.remote() for _ in range(TRIALS)]
            ray.get([trial.load.remote(put(tiny, residency=residency)) for trial in trials])
            ray.get([trial.read.remote(refs) for trial in trials])
            added[residency] = sum(ray.get([trial.added.remote() for trial in trials]))
            for trial in trials:
                ray.kill(trial)
            del refs
        return added
    finally:
        ray.shutdown()


def _added_by_copies(store: str) -> int:
    """Private bytes of four processes that hold the crops as float32 tensors, as the thesis's loader does."""
    code = (
        "import sys, torch, psutil, numpy as np\n"
        "from data_store.resident import open_mmap\n"
        "before = psutil.Process().memory_full_info().uss\n"
        "train = open_mmap(sys.argv[1]).split('train')\n"
        "held = torch.empty(len(train), 3, train.crop_px, train.crop_px)\n"
        "for i in range(len(train)): held[i] = train.gather([i])[0].permute(2, 0, 1).float() / 255\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(psutil.Process().memory_full_info().uss - before, flush=True)\n"
    )
    command = [sys.executable, "-c", code, store]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(TRIALS)
    ]
    added = 0
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        output, _ = process.communicate("\n")
        added += int(json.loads(output))
    return added

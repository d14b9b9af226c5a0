"""Building a store: time beside a plain OpenCV loop and beside the thesis's way, and what faults leave behind.

On the real videos that ``DEEPFAKE_SAMPLES`` points to, else on drawn ones of their size. Ray and the peers' processes
are started before the clock, so that seven videos tell the cost of seven thousand; Ray's start is told beside it.
"""

import contextlib
import logging
import multiprocessing
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from benchmarks.measure import Bar, Row, interleaved, median_ratio, row
from data_store.build import build
from data_store.errors import InputError
from data_store.faces import HAAR_FILE, scaled_down
from data_store.frames import open_clip
from data_store.layouts import find_videos
from data_store.manifest import read_manifest
from data_store.settings import BuildSettings, FaceSettings
from data_store.shards import check_shard
from data_store.synthetic import SyntheticSettings, write

PEERS = ()
ROUNDS = 3
CROP_PX = 224
SETTINGS = BuildSettings(crop_px=CROP_PX)
TINY = BuildSettings(crop_px=64, faces=FaceSettings(detector="none"))
KILLS = 20
FLIPS = 1000
FEW, MANY = 100, 10_000
FEW_ROUNDS = 5
"""Builds of ``FEW`` videos, each about half a second, around the one of ``MANY``."""

Work = list[tuple[str, list[int]]]
"""(path, frame numbers) of each video."""


def rows() -> list[Row]:
    """Measure the build's bars."""
    with tempfile.TemporaryDirectory(prefix="bench_build_") as temporary:
        folder = Path(temporary)
        videos = _videos(folder / "videos")
        table = _speed(videos, folder)
        table.append(_flat_cost(videos, folder))
        table.append(_kills(videos, folder))
        table.append(_flips(folder / "kept"))
    return table


def opencv_loop(path: str, indices: list[int], longest_px: int) -> int:
    """What anybody would write: grab up to the last needed frame, one Haar pass on each needed one.

    Args:
        path: The video.
        indices: The needed frames, ascending.
        longest_px: The frame is scaled down to this longest side before it is searched; 0: it is not.
    """
    cv2.setNumThreads(1)
    cascade = cv2.CascadeClassifier(str(HAAR_FILE))
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    wanted, faces = set(indices), 0
    for index in range(indices[-1] + 1):
        capture.grab()
        if index in wanted:
            frame, _ = scaled_down(capture.retrieve()[1].astype(np.uint8, copy=False), longest_px)
            grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
            faces += len(cascade.detectMultiScale(grey, 1.3, 5)) > 0
    return faces


def thesis_way(work: Work, folder: Path) -> int:
    """One process, threads as OpenCV likes: every frame decoded, the full-size frame searched, one PNG a crop."""
    cv2.setNumThreads(-1)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cascade = cv2.CascadeClassifier(str(HAAR_FILE))
    written = 0
    for number, (path, indices) in enumerate(work):
        capture = cv2.VideoCapture(path)
        wanted = set(indices)
        index = -1
        while True:
            there, frame = capture.read()
            if not there:
                break
            index += 1
            if index not in wanted:
                continue
            boxes = cascade.detectMultiScale(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), 1.3, 5)
            if len(boxes):
                x, y, width, height = max(boxes, key=lambda box: box[2] * box[3])
                crop = cv2.resize(frame[y : y + height, x : x + width], (CROP_PX, CROP_PX))
                cv2.imwrite(str(folder / f"{number}_{index}.png"), crop)
                written += 1
    return written


def _speed(videos: Path, folder: Path) -> list[Row]:
    """Our build beside the plain loop, once searching full-size frames and once scaled down as ours, and the thesis."""
    work = _work(videos)
    paths, frames = zip(*work, strict=True)
    num_frames = sum(len(indices) for indices in frames)
    with _ray() as start_seconds, _two_processes() as pool:

        def ours() -> None:
            shutil.rmtree(folder / "store", ignore_errors=True)
            assert build(videos, str(folder / "store"), SETTINGS).summary["frames"] == num_frames

        def plain(longest_px: int) -> None:
            assert sum(pool.map(opencv_loop, paths, frames, [longest_px] * len(paths))) > 0.9 * num_frames

        def thesis() -> None:
            assert pool.submit(thesis_way, work, folder / "png").result() > 0.9 * num_frames

        runs = {
            "ours": ours,
            "full": lambda: plain(0),
            "scaled": lambda: plain(SETTINGS.faces.detect_px),
            "thesis": thesis,
        }
        seconds = interleaved(runs, rounds=ROUNDS)
    (folder / "store").rename(folder / "kept")
    shown = {name: f"{statistics.median(values):.3g} s" for name, values in seconds.items()}
    detail = (
        f"{len(work)} videos, {num_frames} frames: {shown['ours']} (and {start_seconds:.2g} s to start Ray) against"
    )
    return [
        row("build a store: times the time", "decoding and one Haar pass in OpenCV, two processes",
            median_ratio(seconds["ours"], seconds["full"]), Bar("<=", 1.5), f"{detail} {shown['full']}"),
        row("build a store: times the time", "decoding and one Haar pass at our 640 px in OpenCV, two processes",
            median_ratio(seconds["ours"], seconds["scaled"]), Bar("<=", 1.5), f"{detail} {shown['scaled']}"),
        row("build a store: times faster", "every frame, full-size Haar, PNGs, one process (the thesis)",
            median_ratio(seconds["thesis"], seconds["ours"]), Bar(">=", 3), f"{detail} {shown['thesis']}"),
    ]  # fmt: skip


def _two_processes() -> ProcessPoolExecutor:
    """The peers' processes, as nice as Ray's workers: else a busy machine would favour the peers."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(2, mp_context=context, initializer=os.nice, initargs=(15,))


@contextlib.contextmanager
def _ray() -> Iterator[float]:
    """A Ray of two CPUs whose workers have started, for builds to find; gives the seconds that its start took."""
    import ray

    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield time.perf_counter() - began
    finally:
        ray.shutdown()


def _flat_cost(videos: Path, folder: Path) -> Row:
    """Cost per video of 100 and of 10,000 links to one short video; the workers' start left out."""
    roots = {number: _linked(folder / f"linked {number}", videos, number) for number in (FEW, MANY)}
    seconds: dict[int, list[float]] = {FEW: [], MANY: []}
    with _ray():
        build(roots[FEW], str(folder / "warm store"), TINY)
        half = FEW_ROUNDS // 2
        for number in [FEW] * (FEW_ROUNDS - half) + [MANY] + [FEW] * half:
            began = time.perf_counter()
            manifest = build(roots[number], str(folder / "linked store"), TINY)
            seconds[number].append((time.perf_counter() - began) / number)
            assert manifest.summary["read"] == number
            shutil.rmtree(folder / "linked store")
    cost = {number: statistics.median(values) for number, values in seconds.items()}
    detail = ", ".join(f"{number} videos: {1e3 * each:.3g} ms each" for number, each in cost.items())
    return row("build: cost per video among 10,000", "cost per video among 100", cost[MANY] / cost[FEW],
               Bar("<=", 1.2), detail)  # fmt: skip


def _linked(root: Path, videos: Path, number: int) -> Path:
    """A data set of links to one short video: real ones, each with one fake of its neighbour."""
    source = root / "source.mp4"
    root.mkdir()
    _short(find_videos(videos).videos[0].path, source)
    real = root / "original_sequences/youtube/c23/videos"
    fake = root / "manipulated_sequences/Deepfakes/c23/videos"
    real.mkdir(parents=True)
    fake.mkdir(parents=True)
    for place in range(number // 2):
        partner = place ^ 1
        (real / f"{place:05d}.mp4").symlink_to(source)
        (fake / f"{place:05d}_{partner:05d}.mp4").symlink_to(source)
    return root


def _short(source: Path, target: Path) -> None:
    """The first 30 frames of a video, at 160 px."""
    import av

    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = writer.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for index, frame in enumerate(reader.decode(video=0)):
            if index == 30:
                break
            writer.mux(stream.encode(frame.reformat(160, 120, "yuv420p", dst_colorspace=None)))
        writer.mux(stream.encode(None))


def _kills(videos: Path, folder: Path) -> Row:
    """Kill builds at random moments of their life, run each again, and compare the stores byte by byte."""
    root = _linked(folder / "killed", videos, 60)
    whole = _files(_finish(root, folder / "whole"))
    began = time.perf_counter()
    _finish(root, folder / "timed")
    life = time.perf_counter() - began
    moments = random.Random(0)
    identical = cut_short = 0
    for number in range(KILLS):
        store = folder / f"killed store {number}"
        process = _start(root, store)
        time.sleep(moments.uniform(0.2, 1.0) * life)  # the first fifth is spent importing
        process.send_signal(signal.SIGKILL)
        cut_short += process.wait() == -signal.SIGKILL
        identical += _files(_finish(root, store)) == whole
        shutil.rmtree(store)
    detail = f"{identical} of {KILLS}, {cut_short} of them cut short of {life:.2g} s"
    return row("kill -9 at random moments, then the same command: identical stores", "undisturbed build",
               identical / KILLS, Bar(">=", 1), detail)  # fmt: skip


def _flips(store: Path) -> Row:
    """Flip one bit at random places of the largest shard, one at a time."""
    manifest = read_manifest(str(store))
    shard = max(manifest.shards, key=lambda item: item.num_bytes)
    places = random.Random(0)
    found = 0
    with (store / shard.name).open("r+b") as file:
        for _ in range(FLIPS):
            place, bit = places.randrange(shard.num_bytes), places.randrange(8)
            _flip(file.fileno(), place, bit)
            try:
                check_shard(manifest.store, shard)
            except InputError:
                found += 1
            _flip(file.fileno(), place, bit)
    check_shard(manifest.store, shard)
    return row("one flipped bit: shards refused", "flips", found / FLIPS, Bar(">=", 1), f"{found} of {FLIPS}")


def _flip(descriptor: int, place: int, bit: int) -> None:
    byte = os.pread(descriptor, 1, place)[0]
    os.pwrite(descriptor, bytes([byte ^ (1 << bit)]), place)


def _start(videos: Path, store: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "data_store/build.py", "--videos", str(videos), "--store", str(store)]
    flags = ["--detector", "none", "--crop-px", "64", "--workers", "0", "--shard-mb", "1"]
    return subprocess.Popen([*command, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _finish(videos: Path, store: Path) -> Path:
    assert _start(videos, store).wait() == 0
    return store


def _files(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.iterdir()) if not path.name.startswith(".")}


def _work(videos: Path) -> Work:
    work = []
    for ref in find_videos(videos).videos:
        sampling = SETTINGS.sampling(ref.category, ref.label)
        indices = sampling.frame_indices(open_clip(ref.path).num_frames, seed=SETTINGS.seed, key=ref.relative)
        work.append((str(ref.path), indices))
    return work


def _videos(folder: Path) -> Path:
    """The real videos, else seven drawn ones brought to the size and length of FaceForensics++'s."""
    samples = os.environ.get("DEEPFAKE_SAMPLES")
    if samples:
        return Path(samples) / "ffpp"
    write(folder / "small", SyntheticSettings(num_identities=6, num_frames=60))
    categories: dict[str, int] = {}
    for ref in find_videos(folder / "small").videos:
        categories[ref.category] = categories.get(ref.category, 0) + 1
        if categories[ref.category] <= (1 if ref.label else 2):
            _enlarged(ref.path, folder / "large" / ref.relative)
    return folder / "large"


def _enlarged(source: Path, target: Path) -> None:
    """A square video in the middle of 1280 x 720, played back and forth until it has 300 frames."""
    import av

    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(source)) as reader:
        frames = [frame.to_ndarray(format="rgb24") for frame in reader.decode(video=0)]
    cycle = [*range(len(frames)), *reversed(range(len(frames)))]
    with av.open(str(target), "w") as writer:
        stream = writer.add_stream("libx264", rate=25, options={"crf": "23"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number in range(300):
            frame = frames[cycle[number % len(cycle)]]
            canvas = cv2.resize(frame, (1280, 720), interpolation=cv2.INTER_AREA)
            canvas = cv2.blur(canvas, (99, 99))
            canvas[:, 280:1000] = cv2.resize(frame, (720, 720), interpolation=cv2.INTER_CUBIC)
            writer.mux(stream.encode(av.VideoFrame.from_ndarray(canvas, format="rgb24")))
        writer.mux(stream.encode(None))

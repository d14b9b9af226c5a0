"""Is this store whole, and do its splits leak? ``python data_store/verify.py STORE``.

Checks every byte of every shard, counts the rows again, proves that no two splits share a video, a target or a
source, looks for near-duplicate crops across splits, and tells what a naive split of the same videos would leak.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_store.errors import InputError, run_command
from data_store.folders import open_folder
from data_store.ledger import read_ledger
from data_store.listing import UNKNOWN
from data_store.manifest import SPLITS, Manifest, read_manifest
from data_store.options import terminal_progress
from data_store.phash import near_duplicates, perceptual_hash
from data_store.sampling import generator
from data_store.shards import open_shard, shard_faces
from data_store.verified import MARK_NAME

EXAMPLES = 5
"""Pairs of videos that look the same which a report names."""
EXAMPLE_PAIRS = 500
"""Pairs of crops among which it looks for them."""
Video = tuple[str, str]
"""(category, video_id)."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The columns of a whole store but for the pixels, one entry a crop."""

    splits: NDArray[np.int8]
    """Index into ``SPLITS``."""
    labels: NDArray[np.int64]
    """0 real, 1 fake."""
    videos: list[Video]
    """The video of each crop."""
    targets: list[str]
    """The target of each crop."""
    sources: list[str]
    """The source of each crop."""
    hashes: NDArray[np.uint64]
    """Perceptual hash of each crop."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What verification found."""

    store_digest: str
    """Digest of the manifest that was verified."""
    guarantee: str
    """What the store claims."""
    faults: list[str]
    """What is wrong; empty for a sound store."""
    shared: dict[str, int]
    """Videos, targets, sources and identities (either) that are in more than one split."""
    near_duplicates: int
    """Pairs of crops in different splits that look the same."""
    near_duplicate_examples: list[str]
    """A few of them."""
    naive: dict[str, float]
    """What naive splits of the same videos would leak, as shares of their test crops."""


def verify(store: str, progress: Callable[[int, int], None] | None = None) -> Report:
    """Verify a store and leave the mark that :func:`data_store.verified.require_verified` asks for.

    Args:
        store: the store's folder.
        progress: told after each shard.

    Raises:
        InputError: there is no store, or the folder is not writable. Faults of a store are in the report.
    """
    manifest = read_manifest(store)
    faults: list[str] = []
    rows = _read(manifest, faults, progress)
    try:
        read_ledger(manifest)
    except InputError as error:
        faults.append(str(error))
    shared = shared_across_splits(rows)
    faults.extend(_broken_promises(manifest, rows, shared))
    num_pairs, pairs = near_duplicates(rows.hashes, rows.splits, num_examples=EXAMPLE_PAIRS)
    examples = dict.fromkeys(_example(rows, pair) for pair in pairs)  # many crops of two videos are one example
    report = Report(
        store_digest=manifest.digest,
        guarantee=manifest.guarantee,
        faults=faults,
        shared={name: len(found) for name, found in shared.items()},
        near_duplicates=num_pairs,
        near_duplicate_examples=list(examples)[:EXAMPLES],
        naive=naive_leak(rows, seed=int(manifest.settings["seed"])),
    )
    try:
        open_folder(store).write(MARK_NAME, (json.dumps(asdict(report), indent=1) + "\n").encode())
    except OSError as error:
        raise InputError(
            f"verification writes {MARK_NAME} into the store, but {store} is not writable ({error.strerror or error}); "
            "make it writable"
        ) from error
    return report


def shared_across_splits(rows: Rows) -> dict[str, list[str]]:
    """What is in more than one split, by kind: videos, targets, sources, and identities in either role."""
    kinds: dict[str, dict[str, set[int]]] = {
        name: defaultdict(set) for name in ("videos", "targets", "sources", "identities")
    }
    columns = zip(rows.splits.tolist(), rows.videos, rows.targets, rows.sources, strict=True)
    for split, video, target, source in columns:
        kinds["videos"][" ".join(video)].add(split)
        kinds["targets"][target].add(split)
        kinds["sources"][source].add(split)
        kinds["identities"][target].add(split)
        kinds["identities"][source].add(split)
    return {
        kind: sorted(name for name, splits in places.items() if len(splits) > 1 and name != UNKNOWN)
        for kind, places in kinds.items()
    }


def naive_leak(rows: Rows, *, seed: int) -> dict[str, float]:
    """What naive splits of the same crops would leak, simulated with the store's seed.

    Returns:
        ``frame``: dealing crops at random (70/15/15), the share of test crops whose video has crops in train.
        ``target``: dealing videos at random by their target (70/15/15), the share of fake test crops whose source
        is in train too; absent where no source is known.
    """
    count = len(rows.videos)
    if count == 0:
        return {}
    dealt = generator(seed, "naive frames").random(count)
    in_train = {video for video, place in zip(rows.videos, dealt, strict=True) if place < 0.7}
    tested = [video for video, place in zip(rows.videos, dealt, strict=True) if place >= 0.85]
    leak = {"frame": sum(video in in_train for video in tested) / len(tested)} if tested else {}
    targets = sorted(set(rows.targets))
    places = dict(zip(targets, generator(seed, "naive targets").random(len(targets)), strict=True))
    crops = zip(rows.labels.tolist(), rows.targets, rows.sources, strict=True)
    fakes = [source for label, target, source in crops if label and places[target] >= 0.85 and source in places]
    if fakes:
        leak["target"] = sum(places[source] < 0.7 for source in fakes) / len(fakes)
    return leak


def report_lines(report: Report, manifest: Manifest) -> list[str]:
    """The report as lines to read."""
    lines = [
        f"shards    {len(manifest.shards)} shards, {manifest.num_crops} crops, {manifest.num_bytes / 1e6:.1f} MB read",
        f"split     {manifest.split_kind}, guarantee: {report.guarantee}",
        "shared    between splits: " + ", ".join(f"{count} {name}" for name, count in report.shared.items()),
        f"similar   {report.near_duplicates} pairs of near-duplicate crops in different splits",
    ]
    lines.extend(f"          {example}" for example in report.near_duplicate_examples)
    if "frame" in report.naive:
        lines.append(f"naive     split by frame: {report.naive['frame']:.0%} of test crops have their video in train")
    if "target" in report.naive:
        share = report.naive["target"]
        lines.append(f"naive     split by target: {share:.0%} of fake test crops have their source's video in train")
    return lines


def _read(manifest: Manifest, faults: list[str], progress: Callable[[int, int], None] | None) -> Rows:
    """Check and read shard after shard; what cannot be read is a fault."""
    cv2.setNumThreads(1)
    splits: list[int] = []
    labels: list[int] = []
    videos: list[Video] = []
    targets: list[str] = []
    sources: list[str] = []
    hashes: list[int] = []
    counts: dict[str, dict[str, int]] = {split: defaultdict(int) for split in SPLITS}
    for done, shard in enumerate(manifest.shards, start=1):
        try:
            batch = open_shard(manifest.store, shard, verify=True)
        except InputError as error:
            faults.append(str(error))
            continue
        names = ("split", "label", "category", "video_id", "target_id", "source_id")
        columns = {name: batch.column(name).to_pylist() for name in names}
        if set(columns["split"]) != {shard.split}:
            faults.append(f"{shard.name} must hold rows of {shard.split} alone, but holds {set(columns['split'])}")
        for category in columns["category"]:
            counts[shard.split][category] += 1
        splits.extend(SPLITS.index(split) for split in columns["split"])
        labels.extend(columns["label"])
        videos.extend(zip(columns["category"], columns["video_id"], strict=True))
        targets.extend(columns["target_id"])
        sources.extend(columns["source_id"])
        hashes.extend(perceptual_hash(face) for face in shard_faces(batch))
        if progress is not None:
            progress(done, len(manifest.shards))
    if not faults and {split: dict(held) for split, held in counts.items()} != manifest.counts:
        faults.append("the manifest's counts must be those of the shards, but differ")
    return Rows(
        splits=np.array(splits, np.int8),
        labels=np.array(labels, np.int64),
        videos=videos,
        targets=targets,
        sources=sources,
        hashes=np.array(hashes, np.uint64),
    )


def _broken_promises(manifest: Manifest, rows: Rows, shared: dict[str, list[str]]) -> list[str]:
    """Where the splits break the guarantee that the store claims."""
    faults = []
    if manifest.guarantee != "none" and shared["videos"]:
        faults.append(f"no video may be in two splits, but {len(shared['videos'])} are (such as {shared['videos'][0]})")
    if manifest.guarantee == "identity" or manifest.split_kind == "identity":
        names = shared["identities"]
        if names:
            faults.append(f"no identity may be in two splits, but {len(names)} are (such as {names[0]})")
    if manifest.guarantee == "identity" and UNKNOWN in rows.sources:
        number = rows.sources.count(UNKNOWN)
        faults.append(f"guarantee identity needs every donor known, but {number} crops have an unknown one")
    return faults


def _example(rows: Rows, pair: tuple[int, int]) -> str:
    first, second = (f"{SPLITS[rows.splits[place]]} {' '.join(rows.videos[place])}" for place in pair)
    return f"{first} ~ {second}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, verify, report; 0 for a sound store, 1 for one with faults."""
    flags = argparse.ArgumentParser(
        prog="python data_store/verify.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("store", metavar="STORE", help="the store's folder, or e.g. s3://bucket/faces")
    options = flags.parse_args(arguments)
    with terminal_progress("shards") as progress:
        report = verify(options.store, progress)
    for line in report_lines(report, read_manifest(options.store)):
        sys.stdout.write(f"{line}\n")
    for fault in report.faults:
        sys.stdout.write(f"FAULT     {fault}\n")
    sys.stdout.write("unsound: do not use this store\n" if report.faults else "sound\n")
    return 1 if report.faults else 0


if __name__ == "__main__":
    run_command(main)

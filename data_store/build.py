"""Videos to a store of face crops: ``python data_store/build.py --videos DIR --store DIR``.

In parallel on Ray. A build that was interrupted goes on where it was when the same command is run again, and ends
with the same bytes; run on a data set that has grown since, it reads the new videos only.
"""

import contextlib
import hashlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from data_store.assembly import CropKey, crop_key, crops_in, shard_job, write_shard
from data_store.contact_sheet import check_name, write_sheet
from data_store.earlier import OURS, earlier_store, known_entries
from data_store.errors import InputError, run_command
from data_store.extraction import Outcome, VideoRecord, extract
from data_store.faces import make_detector
from data_store.folders import Folder, open_folder
from data_store.guards import only_build, unwritable, writing
from data_store.layouts import Listing, find_videos
from data_store.ledger import Entry, encode, entry, entry_left_out, read_ledger, summarise
from data_store.manifest import MANIFEST_NAME, SCRATCH, Manifest, ShardInfo, manifest_bytes, read_manifest, videos_name
from data_store.options import parser, settings_from, summary_lines, terminal_progress
from data_store.plan import PlannedShard, count_crops, plan_shards
from data_store.settings import BuildSettings, FaceSettings, thesis_settings
from data_store.splits import Assignment, assign
from data_store.verified import require_verified
from data_store.verify import verify

__all__ = ["BuildSettings", "FaceSettings", "build", "thesis_settings"]

UNREADABLE_SHARE = 0.05
"""Share of unreadable videos above which a build stops."""
TASKS_PER_CPU = 4
OBJECT_STORE_BYTES = 200_000_000
"""Pixels travel by files: only small results go through the object store."""

Result = TypeVar("Result")
Progress = Callable[[int, int], None]
"""Called with the videos done and all videos."""
Places = dict[CropKey, tuple[ShardInfo, int]]


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One build: what is asked for."""

    listing: Listing
    settings: BuildSettings
    assignment: Assignment
    store: str
    scratch: Folder
    workers: int | None
    allow_unreadable: bool
    progress: Progress | None


def build(
    videos: Path,
    store: str,
    settings: BuildSettings,
    progress: Progress | None = None,
    *,
    allow_unreadable: bool = False,
    workers: int | None = None,
) -> Manifest:
    """Build a store, finish an interrupted build, or add what is new in the data set.

    Args:
        videos: the data set's folder.
        store: the store's folder, local or any ``pyarrow.fs`` address.
        settings: all that decides what the store holds.
        progress: told after each video.
        allow_unreadable: go on where more than 5 % of the videos cannot be read.
        workers: CPUs to use; ``None``: all, or those of a Ray that runs already; 0: this process, without Ray.

    Returns:
        The manifest of the finished store.

    Raises:
        InputError: whatever the user can mend: the videos, the settings, the folder.
    """
    if workers is not None and workers < 0:
        raise InputError(f"workers must be at least 0, but got {workers}; leave it out to use all CPUs")
    folder = open_folder(store)
    listing = find_videos(videos, settings.layout, compression=settings.compression)
    assignment = assign(listing, settings.split, fractions=settings.fractions, seed=settings.seed)
    settings = resolved(settings, listing, assignment)
    make_detector(settings.faces)  # a wrong name is told now, not by a worker
    earlier_store(folder, settings)  # a folder of other things is refused before a lock is put into it
    with writing(folder):
        folder.make()
    with only_build(folder):
        old = earlier_store(folder, settings)
        known = {} if old is None else known_entries(old, listing, assignment)
        everything_known = len(known) == len(listing.videos)
        if old is not None and everything_known and list(known.values()) == read_ledger(old):
            _verify(old)
            return old
        scratch = folder.below(f"{SCRATCH}/{settings.extraction_digest()[:16]}")
        job = _Job(
            listing=listing,
            settings=settings,
            assignment=assignment,
            store=store,
            scratch=scratch,
            workers=workers,
            allow_unreadable=allow_unreadable,
            progress=progress,
        )
        with writing(folder):
            scratch.make()
        with _ray(workers):
            return _build(job, folder, known, old)


def resolved(settings: BuildSettings, listing: Listing, assignment: Assignment) -> BuildSettings:
    """The settings with each ``auto`` replaced by what it stands for here, as they are recorded."""
    detector = settings.faces.detector
    if detector == "auto":
        detector = "none" if listing.ready_crops else "haar"
    return replace(
        settings,
        layout=listing.layout,
        compression=listing.compression,
        split=assignment.kind,
        faces=replace(settings.faces, detector=detector),
    )


def _build(job: _Job, folder: Folder, known: dict[str, Entry], old: Manifest | None) -> Manifest:
    places = {} if old is None or not any(item.record for item in known.values()) else crops_in(old)
    entries = _read(job, known)
    shards = _planned(job, entries)
    lacking = _lacking(job, shards, entries, known, places)
    if lacking:  # crops that a cap had dropped from the old store, and that a changed video lets in again
        entries = _read(job, {relative: item for relative, item in known.items() if relative not in lacking})
        shards = _planned(job, entries)
    return _write(job, folder, entries, shards, places, old)


def _read(job: _Job, known: dict[str, Entry]) -> dict[str, Entry]:
    """Extract every video that is not known; gives the entries of all, by relative path."""
    dropped = job.assignment.dropped
    entries = dict(known)
    entries.update(
        {
            ref.relative: entry_left_out(ref, dropped[ref.relative])
            for ref in job.listing.videos
            if ref.relative in dropped
        }
    )
    todo = [ref for ref in job.listing.videos if ref.relative not in entries]
    total, done = len(job.listing.videos), len(entries)
    limit = UNREADABLE_SHARE * total
    unreadable = {item.relative: item.unreadable for item in entries.values() if item.unreadable is not None}
    arguments = [(ref, job.settings, job.scratch.address) for ref in todo]
    for place, outcome in _each_result(extract, arguments, job.workers, _crashed):
        ref = todo[place]
        if outcome.unwritable is not None:
            raise unwritable(job.store, outcome.unwritable)
        if outcome.unreadable is not None:
            unreadable[ref.relative] = outcome.unreadable
        entries[ref.relative] = entry(ref, outcome, job.assignment.split_of.get(ref.relative))
        done += 1
        if job.progress is not None:
            job.progress(done, total)
        if len(unreadable) > limit and not job.allow_unreadable:
            raise _too_many_unreadable(unreadable, done, total)
    return {ref.relative: entries[ref.relative] for ref in job.listing.videos}


def _planned(job: _Job, entries: dict[str, Entry]) -> list[PlannedShard]:
    shards = plan_shards(job.listing.videos, _records(entries), job.assignment, job.settings)
    if not shards:
        summary = summarise(list(entries.values()))
        raise InputError(
            f"a store needs at least one face, but {summary['frames']} sampled frames of {summary['read']} videos "
            "hold none; try another --detector, a smaller --smallest-face-px or a larger --detect-px"
        )
    return shards


def _lacking(
    job: _Job, shards: list[PlannedShard], entries: dict[str, Entry], known: dict[str, Entry], places: Places
) -> set[str]:
    """Videos that were not read again though the old store holds not all of the crops that are wanted of them."""
    lacking = set()
    for row in (row for shard in shards for row in shard.rows):
        ref = job.listing.videos[row.video]
        record = entries[ref.relative].record
        if ref.relative in known and record is not None and crop_key(ref, record, row.crop) not in places:
            lacking.add(ref.relative)
    return lacking


def _write(
    job: _Job,
    folder: Folder,
    entries: dict[str, Entry],
    shards: list[PlannedShard],
    places: Places,
    old: Manifest | None,
) -> Manifest:
    """Write the shards, then the record of videos, then, last and atomically, the manifest; then clean up."""
    videos = job.listing.videos
    categories = tuple(sorted({ref.category for ref in videos}))
    records = _records(entries)
    jobs = [
        (
            shard_job(
                shard,
                videos,
                records,
                places,
                store=job.store,
                scratch=job.scratch.address,
                crop_px=job.settings.crop_px,
                categories=categories,
            ),
        )
        for shard in shards
    ]
    written: dict[int, ShardInfo] = {}
    for place, result in _each_result(write_shard, jobs, job.workers, str):
        if isinstance(result, str):
            raise unwritable(job.store, result)
        written[place] = result
    ledger = encode(list(entries.values()))
    names = (
        "av",
        "opencv-python-headless",
        "pyarrow",
        *(("dlib-bin",) if job.settings.faces.detector == "dlib" else ()),
    )
    libraries = {f"{name} {version(name)}" for name in names}
    ledger_sha256 = hashlib.sha256(ledger).hexdigest()
    values = {
        "crop_px": job.settings.crop_px,
        "settings": job.settings.as_dict(),
        "layout": job.settings.layout,
        "split_kind": job.assignment.kind,
        "guarantee": job.assignment.guarantee,
        "categories": categories,
        "counts": count_crops(shards, videos),
        "num_crops": sum(len(shard.rows) for shard in shards),
        "summary": {**summarise(list(entries.values())), "ignored": dict(sorted(job.listing.ignored.items()))},
        "libraries": sorted(libraries | set(old.libraries if old is not None else ())),
        "videos_sha256": ledger_sha256,
        "shards": [asdict(written[place]) for place in range(len(shards))],
    }
    with writing(folder):
        folder.write(videos_name(ledger_sha256), ledger)
        folder.write(MANIFEST_NAME, manifest_bytes(values))
    manifest = read_manifest(job.store)
    listed = {shard.name for shard in manifest.shards} | {manifest.videos_name}
    for name in folder.names():
        if OURS.fullmatch(name) and name not in listed:
            folder.delete(name)
    folder.below(SCRATCH).delete_all()
    _verify(manifest)
    return manifest


def _verify(manifest: Manifest) -> None:
    """Verify the finished store, unless that was done, so that a sweep may use it."""
    try:
        require_verified(manifest)
    except InputError:
        verify(manifest.store)
        require_verified(manifest)


def _records(entries: dict[str, Entry]) -> dict[str, VideoRecord]:
    return {relative: item.record for relative, item in entries.items() if item.record is not None}


def _too_many_unreadable(unreadable: dict[str, str], done: int, total: int) -> InputError:
    name = min(unreadable)
    return InputError(
        f"at most {UNREADABLE_SHARE:.0%} of the videos may be unreadable, but of {total} videos, {done} of them tried, "
        f"{len(unreadable)} are (such as {name}: {unreadable[name]}); mend them or pass --allow-unreadable"
    )


def _crashed(reason: str) -> Outcome:
    return Outcome(unreadable=f"reading it ended its process ({reason})")


@contextlib.contextmanager
def _ray(workers: int | None) -> Iterator[None]:
    """A Ray to work on: the one that runs, or a quiet one for the time of the build."""
    if workers == 0:
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(
            address="local",
            num_cpus=workers,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    try:
        yield
    finally:
        ray.shutdown()


def _each_result(
    function: Callable[..., Result],
    arguments: Sequence[tuple[Any, ...]],
    workers: int | None,
    crashed: Callable[[str], Result],
) -> Iterator[tuple[int, Result]]:
    """Call a function for each tuple of arguments, side by side; yields (index, result) as they come.

    Only a few calls a CPU are handed out at a time, so that cost and memory stay flat however many there are.
    """
    if workers == 0:
        for index, values in enumerate(arguments):
            yield index, function(*values)
        return
    if not arguments:
        return
    import ray

    remote = ray.remote(num_cpus=1, max_retries=1)(function)
    window = TASKS_PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 1)))
    index_of: dict[Any, int] = {}
    following = 0
    while index_of or following < len(arguments):
        while following < len(arguments) and len(index_of) < window:
            index_of[remote.remote(*arguments[following])] = following
            following += 1
        ready, _ = ray.wait(list(index_of), num_returns=1)
        for reference in ready:
            index = index_of.pop(reference)
            try:
                yield index, ray.get(reference)
            except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
                yield index, crashed(type(error).__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, build, say what the store holds."""
    options = parser(__doc__).parse_args(arguments)
    settings = settings_from(options)
    if options.preview is not None:
        check_name(Path(options.preview))
    with terminal_progress("videos") as progress:
        manifest = build(
            Path(options.videos),
            options.store,
            settings,
            progress,
            allow_unreadable=options.allow_unreadable,
            workers=options.workers,
        )
    for line in summary_lines(manifest, read_ledger(manifest)):
        sys.stdout.write(f"{line}\n")
    if options.preview is not None:
        write_sheet(manifest, Path(options.preview))
        sys.stdout.write(f"preview   {options.preview}\n")
    return 0


if __name__ == "__main__":
    run_command(main)

"""Planned rows into shard files: pixels are gathered from scratch files and from the shards of an older store."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_store.extraction import VideoRecord, read_scratch
from data_store.folders import open_folder
from data_store.listing import VideoRef
from data_store.manifest import Manifest, ShardInfo
from data_store.plan import PlannedRow, PlannedShard
from data_store.shards import CropRow, encode_shard, open_shard, shard_faces

CropKey = tuple[str, str, int, int, int, int, int]
"""(category, video_id, frame, x, y, width, height): one crop in a store."""


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """All that a worker needs to write one shard."""

    store: str
    """Address of the store's folder."""
    scratch: str
    """Address of the scratch folder."""
    crop_px: int
    """Side of the crops in pixels."""
    categories: tuple[str, ...]
    """Every category of the store."""
    shard: PlannedShard
    """The rows."""
    videos: Mapping[int, tuple[VideoRef, VideoRecord]]
    """The videos of the rows."""
    old: Mapping[PlannedRow, tuple[ShardInfo, int]]
    """(shard, row) of the crops that an older state of the store holds."""


def shard_job(
    plan: PlannedShard,
    videos: Sequence[VideoRef],
    records: Mapping[str, VideoRecord],
    old: Mapping[CropKey, tuple[ShardInfo, int]],
    *,
    store: str,
    scratch: str,
    crop_px: int,
    categories: tuple[str, ...],
) -> ShardJob:
    """Gather what one shard's worker needs, and nothing of the other shards."""
    places = {row.video for row in plan.rows}
    mine = {place: (videos[place], records[videos[place].relative]) for place in places}
    kept = {}
    for row in plan.rows:
        place = old.get(crop_key(*mine[row.video], row.crop))
        if place is not None:
            kept[row] = place
    return ShardJob(
        store=store, scratch=scratch, crop_px=crop_px, categories=categories, shard=plan, videos=mine, old=kept
    )


def write_shard(job: ShardJob) -> ShardInfo | str:
    """Write one shard and give its entry for the manifest, or the reason why it cannot be written.

    The file's name carries its digest, so that a new state of a store never overwrites a shard of the old one.
    """
    faces, rows = _gather(job)
    try:
        data = encode_shard(faces, rows, split=job.shard.split, categories=job.categories)
        digest = hashlib.sha256(memoryview(data)).hexdigest()
        name = f"{job.shard.split}-{job.shard.number:05d}-{digest[:12]}.arrow"
        open_folder(job.store).write(name, data)
    except OSError as error:
        return error.strerror or str(error)
    return ShardInfo(name=name, split=job.shard.split, num_rows=len(rows), num_bytes=data.size, sha256=digest)


def crop_key(ref: VideoRef, record: VideoRecord, crop: int) -> CropKey:
    """The key of a video's crop."""
    return (ref.category, ref.video_id, *record.crops[crop])


def crops_in(manifest: Manifest) -> dict[CropKey, tuple[ShardInfo, int]]:
    """Where a store holds each of its crops; reads all columns but the pixels."""
    places: dict[CropKey, tuple[ShardInfo, int]] = {}
    for shard in manifest.shards:
        batch = open_shard(manifest.store, shard, verify=True)
        names = ("category", "video_id", "frame_index", "box")
        columns = [batch.column(name).to_pylist() for name in names]
        for row, (category, video_id, frame, box) in enumerate(zip(*columns, strict=True)):
            places[(category, video_id, frame, *box)] = (shard, row)
    return places


def _gather(job: ShardJob) -> tuple[NDArray[np.uint8], list[CropRow]]:
    side = job.crop_px
    faces = np.empty((len(job.shard.rows), side, side, 3), np.uint8)
    scratch = open_folder(job.scratch)
    old: dict[str, NDArray[np.uint8]] = {}
    rows = []
    loaded, crops = -1, np.empty((0, side, side, 3), np.uint8)
    for place, row in enumerate(job.shard.rows):
        ref, record = job.videos[row.video]
        if row in job.old:
            shard, number = job.old[row]
            if shard.name not in old:
                old[shard.name] = shard_faces(open_shard(job.store, shard))
            faces[place] = old[shard.name][number]
        else:
            if loaded != row.video:  # rows are sorted by video: each scratch file is read once
                entry = read_scratch(scratch, ref, record.fingerprint)
                assert entry is not None, f"scratch file of {ref.relative} vanished"
                loaded, crops = row.video, entry[1]
            faces[place] = crops[row.crop]
        frame, *box = record.crops[row.crop]
        rows.append(
            CropRow(
                label=ref.label,
                category=ref.category,
                video_id=ref.video_id,
                target_id=ref.target_id,
                source_id=ref.source_id,
                frame_index=frame,
                box=(box[0], box[1], box[2], box[3]),
            )
        )
    return faces, rows

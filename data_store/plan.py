"""From the faces of all videos to the rows of each shard: caps, splits and order, as pure functions."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data_store.extraction import VideoRecord
from data_store.listing import VideoRef
from data_store.manifest import SPLITS
from data_store.sampling import rank
from data_store.settings import BuildSettings
from data_store.splits import Assignment, deal_crops


@dataclass(frozen=True, kw_only=True)
class PlannedRow:
    """One crop's place: which video, which of its crops, which split."""

    video: int
    """Index into the videos."""
    crop: int
    """Index into the crops of the video's record."""
    split: str
    """The split it goes to."""


@dataclass(frozen=True, kw_only=True)
class PlannedShard:
    """The rows of one shard, in order."""

    split: str
    """The one split of its rows."""
    number: int
    """Counted from 0 within the split."""
    rows: tuple[PlannedRow, ...]
    """Sorted by the videos' relative paths, then by frame."""


def plan_shards(
    videos: Sequence[VideoRef],
    records: Mapping[str, VideoRecord],
    assignment: Assignment,
    settings: BuildSettings,
) -> list[PlannedShard]:
    """Choose the crops that the store keeps and put them in order.

    The order of rows is that of (split, relative path, frame, place of the face), whatever order the videos were
    read in. A split's rows are spread evenly over its shards.

    Args:
        videos: sorted by relative path.
        records: of each video that was read, by relative path.
        assignment: the splits of the videos.
        settings: caps, fractions, seed, shard size.
    """
    kept = _capped(videos, records, settings)
    if assignment.kind == "frame":
        keys: dict[str, list[str]] = defaultdict(list)
        for video, crop in kept:
            keys[videos[video].category].append(_key(videos[video], records, crop))
        dealt = deal_crops(keys, settings.fractions, settings.seed)
        rows = [
            PlannedRow(video=video, crop=crop, split=dealt[_key(videos[video], records, crop)]) for video, crop in kept
        ]
    else:
        split_of = assignment.split_of
        rows = [PlannedRow(video=video, crop=crop, split=split_of[videos[video].relative]) for video, crop in kept]
    rows_per_shard = max(1, settings.shard_mb * 1_000_000 // (settings.crop_px**2 * 3))
    shards = []
    for split in SPLITS:
        members = [row for row in rows if row.split == split]
        num_shards = -(-len(members) // rows_per_shard)
        edges = [number * len(members) // num_shards for number in range(num_shards + 1)] if num_shards else []
        for number in range(num_shards):
            part = tuple(members[edges[number] : edges[number + 1]])
            shards.append(PlannedShard(split=split, number=number, rows=part))
    return shards


def count_crops(shards: Sequence[PlannedShard], videos: Sequence[VideoRef]) -> dict[str, dict[str, int]]:
    """Crops by split and category; every split is there, even an empty one."""
    counts: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    for shard in shards:
        counts[shard.split].update(videos[row.video].category for row in shard.rows)
    return {split: dict(sorted(counter.items())) for split, counter in counts.items()}


def _capped(
    videos: Sequence[VideoRef], records: Mapping[str, VideoRecord], settings: BuildSettings
) -> list[tuple[int, int]]:
    """(video, crop) of each crop within the caps: of a capped group those with the lowest ranks."""
    caps = dict(settings.category_caps)
    groups: dict[str, list[tuple[int, int]]] = defaultdict(list)
    limits: dict[str, int | None] = {}
    for place, ref in enumerate(videos):
        if ref.relative not in records:
            continue
        own = ref.category in caps or ref.label == 1
        group = f"category {ref.category}" if own else "real"
        limits[group] = caps.get(ref.category, settings.cap_fake if ref.label else settings.cap_real)
        groups[group].extend((place, crop) for crop in range(len(records[ref.relative].crops)))
    kept: list[tuple[int, int]] = []
    for group, members in groups.items():
        limit = limits[group]
        if limit is not None and len(members) > limit:
            members = sorted(
                members, key=lambda member: rank(settings.seed, f"cap {_key(videos[member[0]], records, member[1])}")
            )[:limit]
        kept.extend(members)
    return sorted(kept)


def _key(ref: VideoRef, records: Mapping[str, VideoRecord], crop: int) -> str:
    """Identity of a crop: the video, the frame and the face's box."""
    return f"{ref.relative} {records[ref.relative].crops[crop]}"

"""The record of every video of a store, one JSON object a line: what was read, what was missed, and why."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from data_store.errors import InputError
from data_store.extraction import Outcome, VideoRecord, record_from
from data_store.folders import open_folder
from data_store.listing import VideoRef
from data_store.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What became of one video. A video is read, or unreadable, or left out."""

    relative: str
    """Path below the data set's root."""
    category: str
    """As in :class:`VideoRef`."""
    video_id: str
    """As in :class:`VideoRef`."""
    label: int
    """As in :class:`VideoRef`."""
    target_id: str
    """As in :class:`VideoRef`."""
    source_id: str
    """As in :class:`VideoRef`."""
    split: str | None
    """Its split; ``None`` where it is left out or its frames are dealt one by one."""
    record: VideoRecord | None
    """What was read of it."""
    unreadable: str | None
    """Why it could not be read."""
    unreadable_fingerprint: str | None
    """Fingerprint of the file that could not be read; ``None`` where even that failed."""
    left_out: str | None
    """Why no split takes it."""


def entry(ref: VideoRef, outcome: Outcome, split: str | None) -> Entry:
    """The entry of a video that was tried."""
    return _entry(ref, split, outcome.record, outcome.unreadable, outcome.fingerprint, None)


def entry_left_out(ref: VideoRef, reason: str) -> Entry:
    """The entry of a video that no split takes."""
    return _entry(ref, None, None, None, None, reason)


def encode(entries: Sequence[Entry]) -> bytes:
    """The bytes of the record of videos; equal entries give equal bytes."""
    lines = []
    for item in entries:
        values = dict(vars(item))
        values["record"] = None if item.record is None else dict(vars(item.record))
        lines.append(json.dumps(values, sort_keys=True, ensure_ascii=False) + "\n")
    return "".join(lines).encode()


def read_ledger(manifest: Manifest) -> list[Entry]:
    """Read a store's record of videos.

    Raises:
        InputError: it is missing or damaged.
    """
    remedy = "copy the store again or build it again"
    try:
        data = open_folder(manifest.store).read(manifest.videos_name)
    except OSError as error:
        raise InputError(
            f"a store needs its {manifest.videos_name}, but {manifest.store} has none; {remedy}"
        ) from error
    if hashlib.sha256(data).hexdigest() != manifest.videos_sha256:
        raise InputError(f"{manifest.store}/{manifest.videos_name} must be as it was written, but is damaged; {remedy}")
    return [_parse(json.loads(line)) for line in data.decode().splitlines()]


def summarise(entries: Sequence[Entry]) -> dict[str, Any]:
    """Count videos, frames, faces and misses for the manifest."""
    records = [item.record for item in entries if item.record is not None]
    misses: Counter[str] = Counter()
    for record in records:
        misses.update({reason: len(frames) for reason, frames in record.misses.items()})
    return {
        "videos": len(entries),
        "read": len(records),
        "without_face": sum(not record.crops for record in records),
        "unreadable": sum(item.unreadable is not None for item in entries),
        "left_out": dict(sorted(Counter(item.left_out for item in entries if item.left_out).items())),
        "frames": sum(record.num_sampled for record in records),
        "faces": sum(len(record.crops) for record in records),
        "misses": dict(sorted(misses.items())),
    }


def unchanged(old: Mapping[str, Entry], ref: VideoRef, mark: str, split: str | None) -> Entry | None:
    """The old entry of a video that was tried before and is still the same file, with its split of today."""
    known = old.get(ref.relative)
    if known is None or known.left_out is not None:
        return None
    before = known.unreadable_fingerprint if known.record is None else known.record.fingerprint
    return replace(known, split=split) if before == mark else None


def _entry(
    ref: VideoRef,
    split: str | None,
    record: VideoRecord | None,
    unreadable: str | None,
    mark: str | None,
    left_out: str | None,
) -> Entry:
    return Entry(
        relative=ref.relative,
        category=ref.category,
        video_id=ref.video_id,
        label=ref.label,
        target_id=ref.target_id,
        source_id=ref.source_id,
        split=split,
        record=record,
        unreadable=unreadable,
        unreadable_fingerprint=mark if unreadable is not None else None,
        left_out=left_out,
    )


def _parse(values: dict[str, Any]) -> Entry:
    record = values.pop("record")
    return Entry(record=None if record is None else record_from(record), **values)

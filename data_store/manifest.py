"""``store.json``: what a store holds. Light to import, so that a command can look before it loads anything heavy."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_store.errors import InputError
from data_store.folders import Folder, open_folder

SCHEMA_VERSION = 1
MANIFEST_NAME = "store.json"
SCRATCH = ".build"
"""Folder of a build that has not finished, inside the store's."""
SPLITS = ("train", "val", "test")
GUARANTEES = ("identity", "video", "none", "unknown")
_KEYS = frozenset(
    (
        *("schema_version", "crop_px", "settings", "layout", "split_kind", "guarantee", "categories", "counts"),
        *("num_crops", "summary", "libraries", "videos_sha256", "shards", "content_sha256"),
    )
)


@dataclass(frozen=True, kw_only=True)
class ShardInfo:
    """One shard file, as the manifest lists it."""

    name: str
    """File name in the store's folder."""
    split: str
    """The one split that all its rows belong to."""
    num_rows: int
    """Crops in it."""
    num_bytes: int
    """Bytes of the file."""
    sha256: str
    """Digest of the whole file, in hex."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a store holds, read from its ``store.json``."""

    store: str
    """Address of the store's folder."""
    digest: str
    """The store's identity: SHA-256 of the bytes of ``store.json``, in hex."""
    crop_px: int
    """Side of the crops in pixels."""
    settings: Mapping[str, Any]
    """Every build setting, with ``auto`` values resolved."""
    layout: str
    """Name of the layout that the videos were read from."""
    split_kind: str
    """``official``, ``identity`` or ``frame``."""
    guarantee: str
    """What no two splits share: ``identity``, ``video``, ``none``, or ``unknown`` (not all people are known)."""
    categories: tuple[str, ...]
    """Every category, sorted; the dictionary of the shards' ``category`` column."""
    counts: Mapping[str, Mapping[str, int]]
    """Crops by split and category."""
    num_crops: int
    """Crops in all splits."""
    summary: Mapping[str, Any]
    """Videos, frames, faces, misses by reason, videos left out by reason."""
    libraries: Sequence[str]
    """Versions of the libraries that decoded and cropped."""
    videos_sha256: str
    """Digest of the file :attr:`videos_name`."""
    shards: tuple[ShardInfo, ...]
    """The shard files, in order: train, val, test."""

    @property
    def videos_name(self) -> str:
        """The file that records, one JSON object a line, what became of each video."""
        return videos_name(self.videos_sha256)

    @property
    def num_bytes(self) -> int:
        """Bytes of all shards."""
        return sum(shard.num_bytes for shard in self.shards)


def read_manifest(store: str) -> Manifest:
    """Read a store's manifest; no shard is opened.

    Args:
        store: the store's folder, local or any ``pyarrow.fs`` address.

    Raises:
        InputError: there is no store, it is half-written, damaged or of another schema.
    """
    folder = open_folder(store)
    try:
        data = folder.read(MANIFEST_NAME)
    except FileNotFoundError:
        raise InputError(_no_manifest(folder)) from None
    except OSError as error:
        raise InputError(f"{store} must be a readable store, but: {error.strerror or error}; check the path") from error
    return parse_manifest(data, store)


def parse_manifest(data: bytes, store: str) -> Manifest:
    """Turn the bytes of a ``store.json`` into a :class:`Manifest`; raises as :func:`read_manifest` does."""
    damaged = (
        f"{store}/{MANIFEST_NAME} must be as it was written, but it is damaged ({{}}); copy or build the store again"
    )
    try:
        values = json.loads(data)
    except ValueError:
        raise InputError(damaged.format("not JSON")) from None
    if not isinstance(values, dict) or not isinstance(values.get("schema_version"), int):
        raise InputError(damaged.format("no schema version"))
    version = values["schema_version"]
    if version != SCHEMA_VERSION:
        remedy = (
            f"migrate it with: python data_store/build.py --videos DIR --store {store.rstrip('/')}-{SCHEMA_VERSION}"
            if version < SCHEMA_VERSION
            else "update this program"
        )
        raise InputError(f"a store of schema {SCHEMA_VERSION} is needed, but {store} has schema {version}; {remedy}")
    if set(values) != _KEYS:
        raise InputError(damaged.format(f"keys: {', '.join(sorted(set(values) ^ _KEYS))}"))
    if values.pop("content_sha256") != _content_digest(values):
        raise InputError(damaged.format("its checksum does not match"))
    del values["schema_version"]
    shards = tuple(ShardInfo(**shard) for shard in values.pop("shards"))
    categories = tuple(values.pop("categories"))
    counts = values.pop("counts")
    counts = {split: counts[split] for split in SPLITS if split in counts}
    digest = hashlib.sha256(data).hexdigest()
    return Manifest(store=store, digest=digest, shards=shards, categories=categories, counts=counts, **values)


def videos_name(sha256: str) -> str:
    """Name of the record of videos; it carries its digest, so that a new state never overwrites an old one's."""
    return f"videos-{sha256[:12]}.jsonl"


def manifest_bytes(values: Mapping[str, Any]) -> bytes:
    """The bytes of a ``store.json``: JSON, keys sorted, with the schema version and a checksum of the content."""
    content = {**values, "schema_version": SCHEMA_VERSION}
    digest = _content_digest({key: value for key, value in content.items() if key != "schema_version"})
    content["content_sha256"] = digest
    assert set(content) == _KEYS
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def _content_digest(values: Mapping[str, Any]) -> str:
    values = {key: value for key, value in values.items() if key != "schema_version"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _no_manifest(folder: Folder) -> str:
    if SCRATCH in folder.entries():
        return (
            f"a store needs its {MANIFEST_NAME}, but {folder.address} is half-written; "
            "run the same python data_store/build.py command again to finish it"
        )
    return (
        f"a store needs its {MANIFEST_NAME}, but {folder.address} has none; "
        "make the store with: python data_store/build.py --videos DIR --store DIR"
    )

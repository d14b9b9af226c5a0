"""What an earlier build left in a store's folder, and what of it can be used again."""

import contextlib
import re

from data_store.errors import InputError
from data_store.extraction import fingerprint
from data_store.folders import Folder
from data_store.ledger import Entry, entry_left_out, read_ledger, unchanged
from data_store.listing import Listing
from data_store.manifest import MANIFEST_NAME, Manifest, read_manifest
from data_store.settings import BuildSettings
from data_store.splits import Assignment

OURS = re.compile(r"(train|val|test)-[0-9]{5}-[0-9a-f]{12}\.arrow|videos-[0-9a-f]{12}\.jsonl")
"""Names of the files that a build writes, but for the manifest."""


def known_entries(old: Manifest, listing: Listing, assignment: Assignment) -> dict[str, Entry]:
    """Entries of the videos that need not be read again, with the splits of today.

    Raises:
        InputError: videos of the earlier store are not in the data set any more.
    """
    before = {item.relative: item for item in read_ledger(old)}
    gone = sorted(set(before) - {ref.relative for ref in listing.videos})
    if gone:
        raise InputError(
            f"a store grows with its data set, but {len(gone)} of its videos are gone (first: {gone[0]}); "
            "restore them or build a new store in another folder"
        )
    known = {}
    for ref in listing.videos:
        reason = assignment.dropped.get(ref.relative)
        if reason is not None:
            known[ref.relative] = entry_left_out(ref, reason)
        elif ref.relative in before:
            with contextlib.suppress(OSError):
                same = unchanged(before, ref, fingerprint(ref.path), assignment.split_of.get(ref.relative))
                if same is not None:
                    known[ref.relative] = same
    return known


def earlier_store(folder: Folder, settings: BuildSettings) -> Manifest | None:
    """The finished store that a folder holds already, or ``None``.

    Raises:
        InputError: it was built with other settings, or the folder holds other things.
    """
    names = folder.entries()
    if MANIFEST_NAME not in names:
        strange = [name for name in names if not OURS.fullmatch(name) and not name.startswith(".")]
        if strange:
            raise InputError(
                f"a store's folder must be new, empty or a store, but {folder.address} holds {strange[0]}; "
                "choose another --store"
            )
        return None
    old = read_manifest(folder.address)
    ours = settings.as_dict()
    changed = sorted(name for name in ours if ours[name] != old.settings.get(name))
    if changed:
        name = changed[0]
        raise InputError(
            f"a store has one set of settings, but {folder.address} was built with {name} = {old.settings.get(name)} "
            f"and {ours[name]} is asked for; choose another --store, or the old settings"
        )
    return old

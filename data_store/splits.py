"""Which split each video belongs to: the data set's own, identity-disjoint, or the thesis's split by frame."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from data_store.errors import InputError
from data_store.listing import UNKNOWN, Listing, VideoRef
from data_store.manifest import SPLITS
from data_store.sampling import rank

LARGE_COMPONENT = 0.10
"""Share of all videos above which a component of linked identities is not kept in one piece."""
FEWEST_TARGETS = 3
"""Targets of a kind from which a validation split takes one, however small its share."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What became of each video."""

    kind: str
    """``official``, ``identity`` or ``frame``."""
    guarantee: str
    """``identity``, ``video``, ``none`` or ``unknown``."""
    split_of: Mapping[str, str]
    """Split by the video's relative path; empty with ``frame``, which deals crops."""
    dropped: Mapping[str, str]
    """Reason by relative path of each video that is left out."""


def assign(listing: Listing, kind: str, *, fractions: Sequence[float], seed: int) -> Assignment:
    """Assign every video to a split or drop it with a reason.

    Args:
        listing: the videos and the data set's own split.
        kind: ``official``, ``identity``, ``frame`` or ``auto`` (official where there is one, else identity).
        fractions: shares of train, val and test, where the data set does not fix them.
        seed: seed of the shuffles.

    Raises:
        InputError: ``official`` is asked for and the data set has no split.
    """
    if kind == "auto":
        kind = "official" if listing.official is not None else "identity"
    if kind == "official":
        return _official(listing, fractions, seed)
    if kind == "frame":
        return Assignment(kind="frame", guarantee="none", split_of={}, dropped={})
    return _by_identity(listing, fractions, seed)


def _official(listing: Listing, fractions: Sequence[float], seed: int) -> Assignment:
    if listing.official is None:
        raise InputError(
            f"split official needs the data set's own split, but {listing.missing_split}; "
            "add it or use --split identity"
        )
    split_of: dict[str, str] = {}
    dropped: dict[str, str] = {}
    for ref in listing.videos:
        split = listing.official.get(ref.relative)
        if split is None:
            dropped[ref.relative] = "in no official split"
        else:
            split_of[ref.relative] = split
    if "val" not in listing.official.values():
        _carve_val(listing.videos, split_of, fractions, seed)
    return Assignment(kind="official", guarantee=listing.guarantee, split_of=split_of, dropped=dropped)


def _carve_val(videos: Sequence[VideoRef], split_of: dict[str, str], fractions: Sequence[float], seed: int) -> None:
    """Data sets without a validation split: take one from train, by target, so that no video is torn apart.

    Of targets that are in the same categories the same share is taken, at least one of three: a validation split
    without fakes, or without real videos, would choose nothing.
    """
    categories: dict[str, set[str]] = defaultdict(set)
    for ref in videos:
        if split_of.get(ref.relative) == "train":
            categories[ref.target_id].add(ref.category)
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for target, names in categories.items():
        alike[tuple(sorted(names))].append(target)
    share = fractions[1] / max(fractions[0] + fractions[1], 1e-9)
    chosen: set[str] = set()
    for targets in alike.values():
        targets.sort(key=lambda target: rank(seed, f"val {target}"))
        fewest = 1 if share > 0 and len(targets) >= FEWEST_TARGETS else 0
        chosen.update(targets[: max(fewest, round(len(targets) * share))])
    for ref in videos:
        if split_of.get(ref.relative) == "train" and ref.target_id in chosen:
            split_of[ref.relative] = "val"


def _by_identity(listing: Listing, fractions: Sequence[float], seed: int) -> Assignment:
    """Deal identities to splits; a fake whose target and source fall apart is dropped.

    Identities that fakes link form components. Small components (FaceForensics++'s pairs) stay whole, so that
    nothing is dropped; a large one (Celeb-DF's) is dealt identity by identity.
    """
    videos = listing.videos
    weight: Counter[str] = Counter()
    for ref in videos:
        weight.update(identities(ref))
    limit = LARGE_COMPONENT * max(len(videos), 1)
    units: list[tuple[str, ...]] = []
    for component in components(videos):
        size = sum(weight[identity] for identity in component)
        small = size <= limit or len(component) <= 2
        units.extend([tuple(component)] if small else [(identity,) for identity in component])
    split_by_identity = _deal(units, videos, fractions, seed)
    split_of: dict[str, str] = {}
    dropped: dict[str, str] = {}
    for ref in videos:
        splits = {split_by_identity[identity] for identity in identities(ref)}
        if len(splits) == 1:
            split_of[ref.relative] = splits.pop()
        else:
            dropped[ref.relative] = "its target and its source are in different splits"
    unknown = not listing.names_people or any(UNKNOWN in (ref.target_id, ref.source_id) for ref in videos)
    return Assignment(
        kind="identity", guarantee="unknown" if unknown else "identity", split_of=split_of, dropped=dropped
    )


def _deal(
    units: Sequence[tuple[str, ...]], videos: Sequence[VideoRef], fractions: Sequence[float], seed: int
) -> dict[str, str]:
    """Deal units of identities to the splits: largest first, each to the split that its categories lack most."""
    holds: dict[str, Counter[str]] = defaultdict(Counter)
    for ref in videos:
        for identity in identities(ref):
            holds[identity][ref.category] += 1
    total: Counter[str] = Counter()
    for counter in holds.values():
        total.update(counter)
    contents = {unit: sum((holds[identity] for identity in unit), Counter[str]()) for unit in units}
    filled: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    split_by_identity: dict[str, str] = {}
    order = sorted(units, key=lambda unit: (-contents[unit].total(), rank(seed, f"identity {unit[0]}")))
    for unit in order:

        def lack(split: str, unit: tuple[str, ...] = unit) -> float:
            share = fractions[SPLITS.index(split)]
            if share == 0.0:
                return float("-inf")
            return sum(
                count * (share - filled[split][category] / total[category]) / share
                for category, count in contents[unit].items()
            )

        best = max(SPLITS, key=lambda split: (lack(split), -SPLITS.index(split)))
        filled[best].update(contents[unit])
        split_by_identity.update(dict.fromkeys(unit, best))
    return split_by_identity


def identities(ref: VideoRef) -> list[str]:
    """The identities seen in a video, target first, unknown donors left out."""
    return [name for name in dict.fromkeys((ref.target_id, ref.source_id)) if name != UNKNOWN] or [ref.relative]


def components(videos: Iterable[VideoRef]) -> list[list[str]]:
    """Groups of identities that videos link, each sorted, in order of their first identity (union-find)."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for ref in videos:
        names = identities(ref)
        for name in names:
            parent[root(name)] = root(names[0])
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(parent):
        groups[root(name)].append(name)
    return sorted(groups.values())


def deal_crops(keys: Mapping[str, Sequence[str]], fractions: Sequence[float], seed: int) -> dict[str, str]:
    """The thesis's split: deal single crops to the splits, category by category (stratified).

    Args:
        keys: crop keys by category.
        fractions: shares of train, val and test.
        seed: seed of the shuffle.

    Returns:
        Split by crop key. Frames of one video land in several splits: this split leaks.
    """
    split_of: dict[str, str] = {}
    for crops in keys.values():
        order = sorted(crops, key=lambda key: rank(seed, f"frame {key}"))
        first = round(len(order) * fractions[0])
        second = first + round(len(order) * fractions[1])
        for place, key in enumerate(order):
            split_of[key] = "train" if place < first else "val" if place < second else "test"
    return split_of

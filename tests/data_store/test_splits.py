"""Splits keep apart what they claim to keep apart, and say what they leave out."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_store.errors import InputError
from data_store.listing import UNKNOWN, Listing, VideoRef
from data_store.manifest import SPLITS
from data_store.splits import assign, components, deal_crops, identities

FRACTIONS = (0.70, 0.15, 0.15)


def video(category: str, target: str, source: str | None = None) -> VideoRef:
    name = target if source is None else f"{target}_{source}"
    return VideoRef(
        path=Path(f"/{category}/{name}"),
        relative=f"{category}/{name}.mp4",
        video_id=name,
        category=category,
        label=int(source is not None),
        target_id=target,
        source_id=target if source is None else source,
    )


def listing(videos: list[VideoRef], official: dict[str, str] | None = None, guarantee: str = "identity") -> Listing:
    ordered = tuple(sorted(videos, key=lambda ref: ref.relative))
    return Listing(layout="test", videos=ordered, official=official, guarantee=guarantee, missing_split="it has none")


def pairs(number: int, categories: int = 5) -> list[VideoRef]:
    """FaceForensics++ in small: identities in pairs, each faked with the other."""
    videos = []
    for first in range(0, number, 2):
        for target, source in ((first, first + 1), (first + 1, first)):
            videos.append(video("youtube", f"{target:03d}"))
            videos.extend(video(f"fake{kind}", f"{target:03d}", f"{source:03d}") for kind in range(categories))
    return videos


def chained(number: int, fakes: int, seed: int = 0) -> list[VideoRef]:
    """Celeb-DF in small: fakes between random identities, which chain all of them together."""
    generator = np.random.default_rng(seed)
    videos = [video("real", f"id{number}") for number in range(number)]
    chosen = {tuple(generator.choice(number, 2, replace=False).tolist()) for _ in range(fakes)}
    return videos + [video("fake", f"id{target}", f"id{source}") for target, source in sorted(chosen)]


def test_identity_splits_pairs_without_loss_and_in_proportion() -> None:
    videos = pairs(1000)
    result = assign(listing(videos), "identity", fractions=FRACTIONS, seed=0)
    assert result.dropped == {}
    assert (result.kind, result.guarantee) == ("identity", "identity")
    for category in ("youtube", "fake0", "fake4"):
        counts = Counter(result.split_of[ref.relative] for ref in videos if ref.category == category)
        assert counts == {"train": 700, "val": 150, "test": 150}


def test_identity_is_stratified_by_category() -> None:
    """A rare category, of few identities, is spread over the splits too."""
    videos = pairs(200, categories=1) + [video("rare", f"{2 * n:03d}", f"{2 * n + 1:03d}") for n in range(20)]
    result = assign(listing(videos), "identity", fractions=FRACTIONS, seed=0)
    counts = Counter(result.split_of[ref.relative] for ref in videos if ref.category == "rare")
    assert counts == {"train": 14, "val": 3, "test": 3}


def test_a_chain_of_identities_is_cut_and_the_crossing_fakes_are_listed() -> None:
    videos = chained(59, 600)
    assert len(components(videos)) == 1
    result = assign(listing(videos), "identity", fractions=FRACTIONS, seed=0)
    split_by_identity = {ref.target_id: result.split_of[ref.relative] for ref in videos if ref.label == 0}
    crossing = {ref.relative for ref in videos if split_by_identity[ref.target_id] != split_by_identity[ref.source_id]}
    assert set(result.dropped) == crossing
    assert crossing
    assert set(result.dropped.values()) == {"its target and its source are in different splits"}
    assert Counter(split_by_identity.values())["train"] in range(36, 46)


def test_a_donor_that_is_unknown_makes_the_guarantee_unknown() -> None:
    videos = [*pairs(20), video("dfdc", "900", UNKNOWN)]
    result = assign(listing(videos), "identity", fractions=FRACTIONS, seed=0)
    assert result.guarantee == "unknown"
    assert "dfdc/900_unknown.mp4" in result.split_of


def test_videos_that_name_no_people_make_the_guarantee_unknown() -> None:
    """Real videos alone, of a layout whose targets are files: no donor is unknown, and still nobody is known."""
    nameless = replace(listing([video("real", f"clip{number}") for number in range(20)]), names_people=False)
    assert assign(nameless, "identity", fractions=FRACTIONS, seed=0).guarantee == "unknown"


@settings(max_examples=60, deadline=None)
@given(
    edges=st.lists(st.tuples(st.integers(0, 12), st.one_of(st.integers(0, 12), st.none())), max_size=60),
    seed=st.integers(0, 99),
)
def test_no_identity_is_in_two_splits(edges: list[tuple[int, int | None]], seed: int) -> None:
    videos = list({
        ref.relative: ref
        for target, source in edges
        for ref in [video("c", str(target), None if source is None else str(source))]
    }.values())  # fmt: skip
    result = assign(listing(videos), "identity", fractions=FRACTIONS, seed=seed)
    places: dict[str, set[str]] = {}
    for ref in videos:
        assert (ref.relative in result.split_of) != (ref.relative in result.dropped)
        for name in identities(ref) if ref.relative in result.split_of else []:
            places.setdefault(name, set()).add(result.split_of[ref.relative])
    assert all(len(splits) == 1 for splits in places.values())
    assert {ref.relative for ref in videos if ref.label == 0} <= set(result.split_of)


def test_the_assignment_depends_on_the_seed_and_on_nothing_else() -> None:
    videos = pairs(60)
    first = assign(listing(videos), "identity", fractions=FRACTIONS, seed=0)
    assert first == assign(listing(videos[::-1]), "identity", fractions=FRACTIONS, seed=0)
    assert first.split_of != assign(listing(videos), "identity", fractions=FRACTIONS, seed=1).split_of


def test_a_share_of_nothing_gets_nothing() -> None:
    result = assign(listing(pairs(20)), "identity", fractions=(1.0, 0.0, 0.0), seed=0)
    assert set(result.split_of.values()) == {"train"}


def test_official_is_taken_as_it_is_and_the_rest_is_left_out() -> None:
    videos = [video("a", "1"), video("a", "2"), video("a", "3"), video("a", "4")]
    official = {"a/1.mp4": "train", "a/2.mp4": "val", "a/3.mp4": "test"}
    result = assign(listing(videos, official), "official", fractions=FRACTIONS, seed=0)
    assert result.split_of == official
    assert result.dropped == {"a/4.mp4": "in no official split"}
    assert result.guarantee == "identity"


def test_a_missing_official_validation_split_is_taken_from_train_by_target() -> None:
    videos = [ref for number in range(100) for ref in (video("real", f"{number}"), video("fake", f"{number}", "x"))]
    official = {ref.relative: "test" if int(ref.target_id) < 20 else "train" for ref in videos}
    result = assign(listing(videos, official, "video"), "official", fractions=FRACTIONS, seed=0)
    assert result.guarantee == "video"
    assert Counter(result.split_of.values()) == {"train": 132, "val": 28, "test": 40}  # 14 of 80 targets
    for number in range(100):
        assert result.split_of[f"real/{number}.mp4"] == result.split_of[f"fake/{number}_x.mp4"]


def test_a_validation_split_from_train_has_every_kind_of_video() -> None:
    reals, fakes = range(4), range(50)
    videos = [
        *(video("real", f"r{number}") for number in reals),
        *(video("fake", f"f{number}", "x") for number in fakes),
    ]
    official = {ref.relative: "test" if ref.target_id in ("r0", "f0") else "train" for ref in videos}
    for seed in range(20):
        split_of = assign(listing(videos, official, "none"), "official", fractions=FRACTIONS, seed=seed).split_of
        held = Counter(name.split("/")[0] for name, split in split_of.items() if split == "val")
        assert held == {"real": 1, "fake": 9}  # 49 fakes * 0.15 / 0.85
    none = assign(listing(videos, official, "none"), "official", fractions=(0.85, 0.0, 0.15), seed=0).split_of
    assert "val" not in none.values()


def test_auto_prefers_the_official_split() -> None:
    videos = pairs(4)
    assert assign(listing(videos), "auto", fractions=FRACTIONS, seed=0).kind == "identity"
    official = dict.fromkeys((ref.relative for ref in videos), "val")
    assert assign(listing(videos, official), "auto", fractions=FRACTIONS, seed=0).kind == "official"


def test_official_without_one_is_refused() -> None:
    with pytest.raises(InputError, match="but it has none; add it or use --split identity"):
        assign(listing(pairs(4)), "official", fractions=FRACTIONS, seed=0)


def test_frame_deals_crops_by_category_in_the_thesis_proportions() -> None:
    keys = {"youtube": [f"y{n}" for n in range(10_000)], "Deepfakes": [f"d{n}" for n in range(3_000)]}
    split_of = deal_crops(keys, FRACTIONS, seed=0)
    for category, expected in (("youtube", (7000, 1500, 1500)), ("Deepfakes", (2100, 450, 450))):
        counts = Counter(split_of[key] for key in keys[category])
        assert tuple(counts[split] for split in SPLITS) == expected
    assert split_of == deal_crops({name: crops[::-1] for name, crops in keys.items()}, FRACTIONS, seed=0)


def test_frame_claims_nothing() -> None:
    result = assign(listing(pairs(4)), "frame", fractions=FRACTIONS, seed=0)
    assert (result.guarantee, result.split_of, result.dropped) == ("none", {}, {})

"""Caps, splits and order are pure functions of the videos, the faces found in them and the settings."""

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from data_store.extraction import VideoRecord
from data_store.listing import VideoRef
from data_store.manifest import SPLITS
from data_store.plan import PlannedShard, count_crops, plan_shards
from data_store.settings import BuildSettings, thesis_settings
from data_store.splits import Assignment


def videos_of(*counts: tuple[str, int, int]) -> tuple[list[VideoRef], dict[str, VideoRecord]]:
    """Videos with so many crops each: (category, videos, crops)."""
    refs, records = [], {}
    for category, num_videos, num_crops in counts:
        for number in range(num_videos):
            name = f"{category}/{number:05d}.mp4"
            refs.append(VideoRef(path=Path(name), relative=name, video_id=f"{number:05d}", category=category,
                                 label=int(category != "youtube"), target_id="a", source_id="a"))  # fmt: skip
            crops = tuple((frame, 0, 0, 9, 9) for frame in range(num_crops))
            records[name] = VideoRecord(fingerprint="", num_frames=99, num_sampled=num_crops, crops=crops)
    return sorted(refs, key=lambda ref: ref.relative), records


def assigned(refs: list[VideoRef], kind: str = "official") -> Assignment:
    split_of = {ref.relative: SPLITS[place % 3] for place, ref in enumerate(refs)}
    return Assignment(kind=kind, guarantee="none", split_of={} if kind == "frame" else split_of, dropped={})


def crops_of(shards: list[PlannedShard]) -> list[tuple[int, int]]:
    return [(row.video, row.crop) for shard in shards for row in shard.rows]


def test_the_thesis_takes_ten_thousand_real_and_three_thousand_of_each_fake() -> None:
    refs, records = videos_of(("youtube", 600, 20), ("Deepfakes", 400, 10), ("FaceSwap", 350, 10), ("rare", 20, 10))
    shards = plan_shards(refs, records, assigned(refs, "frame"), thesis_settings())
    assert count_crops(shards, refs) == {
        "train": {"Deepfakes": 2100, "FaceSwap": 2100, "rare": 140, "youtube": 7000},
        "val": {"Deepfakes": 450, "FaceSwap": 450, "rare": 30, "youtube": 1500},
        "test": {"Deepfakes": 450, "FaceSwap": 450, "rare": 30, "youtube": 1500},
    }


def test_the_real_cap_is_over_all_real_categories() -> None:
    refs, records = videos_of(("youtube", 10, 10))
    actors, more = videos_of(("actors", 10, 10))
    actors = [VideoRef(**{**vars(ref), "label": 0}) for ref in actors]
    both = sorted(refs + actors, key=lambda ref: ref.relative)
    shards = plan_shards(both, records | more, assigned(both), BuildSettings(cap_real=100))
    counts = Counter(both[video].category for video, _ in crops_of(shards))
    assert counts.total() == 100
    assert min(counts.values()) > 25


def test_a_capped_sample_is_drawn_from_all_videos() -> None:
    refs, records = videos_of(("Deepfakes", 100, 10))
    shards = plan_shards(refs, records, assigned(refs), BuildSettings(cap_fake=500))
    assert len({video for video, _ in crops_of(shards)}) > 95
    other = plan_shards(refs, records, assigned(refs), BuildSettings(cap_fake=500, seed=1))
    assert set(crops_of(shards)) != set(crops_of(other))


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    shard_mb=st.integers(1, 3),
    crop_px=st.sampled_from([64, 256]),
)
def test_every_crop_is_in_one_place_in_order_and_shards_are_even(sizes: list[int], shard_mb: int, crop_px: int) -> None:
    refs, records = videos_of(*((f"c{place:02d}", 1, size) for place, size in enumerate(sizes)))
    shards = plan_shards(refs, records, assigned(refs), BuildSettings(shard_mb=shard_mb, crop_px=crop_px))
    assert sorted(crops_of(shards)) == [(place, crop) for place, size in enumerate(sizes) for crop in range(size)]
    for split in SPLITS:
        mine = [shard for shard in shards if shard.split == split]
        rows = crops_of(mine)
        assert rows == sorted(rows)
        assert [shard.number for shard in mine] == list(range(len(mine)))
        lengths = [len(shard.rows) for shard in mine]
        if lengths:
            assert max(lengths) - min(lengths) <= 1
            assert max(lengths) * crop_px**2 * 3 <= shard_mb * 1_000_000


def test_videos_that_were_not_read_have_no_rows() -> None:
    refs, records = videos_of(("youtube", 4, 2))
    del records["youtube/00002.mp4"]
    assert {video for video, _ in crops_of(plan_shards(refs, records, assigned(refs), BuildSettings()))} == {0, 1, 3}

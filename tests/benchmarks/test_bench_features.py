"""The benchmark of real features: how it deals frames, and what its rows say."""

from benchmarks.bench_features import compared, dealt_by_time
from tests.stores import make_crops


def test_of_each_video_the_earlier_half_trains_and_the_later_half_tests() -> None:
    crops = make_crops(rows={"train": 24, "val": 8, "test": 8})
    dealt = dealt_by_time(crops)
    dealt.verify()
    train, test = dealt.split("train"), dealt.split("test")
    assert (len(train), len(test), len(dealt.split("val"))) == (20, 20, 0)
    videos = set(zip(train.categories.tolist(), train.video_ids.tolist(), strict=True))
    assert len(videos) == 20
    for category, video in videos:
        first, second = (
            part.frame_indices[(part.categories == category) & (part.video_ids == video)] for part in (train, test)
        )
        assert len(first) == len(second) == 1
        assert first.max() < second.min()
    at, before = int((test.video_ids == "val0").argmax()), crops.split("val")
    same = int((before.frame_indices == test.frame_indices[at]).argmax())
    assert (test.gather([at]).numpy() == before.gather([same]).numpy()).all()
    assert test.labels[at] == before.labels[same]


def test_rows_hold_means_and_spreads_of_both_starts_as_found() -> None:
    found = {"imagenet": [(0.9, 0.8), (0.8, 0.6)], "random": [(0.6, 0.75), (0.4, 0.65)]}
    auc, accuracy = compared(found, "2 frames")
    assert (auc["ratio"], auc["pass"]) == (1.7, True)
    assert auc["detail"] == "0.850 (sd 0.071) against 0.500 (sd 0.141), 2 frames"
    assert (accuracy["ratio"], accuracy["pass"]) == (1, True)
    (worse, _) = compared({"imagenet": found["random"], "random": found["imagenet"]}, "")
    assert not worse["pass"]

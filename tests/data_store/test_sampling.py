"""Sampling rules: the frames they choose, and that they are pure functions of seed and video."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_store.errors import InputError
from data_store.sampling import Sampling, parse_sampling, rank

rules = st.builds(Sampling, rule=st.sampled_from(["every", "random", "even"]), amount=st.integers(1, 400))


@given(rule=rules, num_frames=st.integers(1, 2000), seed=st.integers(0, 2**31))
def test_frames_are_distinct_ascending_and_inside(rule: Sampling, num_frames: int, seed: int) -> None:
    frames = rule.frame_indices(num_frames, seed=seed, key="a.mp4")
    assert frames == sorted(set(frames))
    assert frames
    assert frames[0] >= 0
    assert frames[-1] < num_frames
    if rule.rule != "every":
        assert len(frames) == min(rule.amount, num_frames)


def test_every_takes_each_nth_frame_from_the_first() -> None:
    assert parse_sampling("every:30").frame_indices(91, seed=0, key="") == [0, 30, 60, 90]


def test_even_covers_the_whole_video() -> None:
    assert parse_sampling("even:4").frame_indices(400, seed=0, key="") == [50, 150, 250, 350]
    assert parse_sampling("even:1").frame_indices(9, seed=0, key="") == [4]


def test_random_depends_on_seed_and_video_alone() -> None:
    rule = parse_sampling("random:10")
    first = rule.frame_indices(300, seed=0, key="a")
    assert first == rule.frame_indices(300, seed=0, key="a")
    assert first != rule.frame_indices(300, seed=1, key="a")
    assert first != rule.frame_indices(300, seed=0, key="b")


def test_random_draws_all_frames_alike() -> None:
    rule = parse_sampling("random:10")
    hits = [0] * 50
    for video in range(2000):
        for frame in rule.frame_indices(50, seed=0, key=str(video)):
            hits[frame] += 1
    assert all(300 < hit < 500 for hit in hits), hits  # 400 expected, standard deviation 18


def test_a_shorter_video_gives_every_frame() -> None:
    assert parse_sampling("random:10").frame_indices(3, seed=0, key="") == [0, 1, 2]


@pytest.mark.parametrize("text", ["every30", "every:", "every:0", "each:3", "random:-1", "even:2.5", ""])
def test_a_wrong_rule_is_named(text: str) -> None:
    with pytest.raises(InputError, match="sampling rule"):
        parse_sampling(text)


def test_a_rule_reads_back() -> None:
    assert str(parse_sampling("random:10")) == "random:10"


def test_the_lowest_ranks_of_a_growing_set_only_ever_lose_members() -> None:
    small = sorted(map(str, range(100)), key=lambda key: rank(0, key))[:10]
    large = sorted(map(str, range(200)), key=lambda key: rank(0, key))[:10]
    assert set(large) & set(map(str, range(100))) <= set(small)

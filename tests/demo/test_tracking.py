import numpy as np
import pytest

from data_store.faces import Box
from demo.tracking import COAST_S, Place, Sighting, Tracker, is_cut, overlap, thumbnail

SIDE = 40


def scene(x: int, y: int, *, seed: int = 0) -> np.ndarray:
    """(120, 200) uint8: a textured square with its left top corner at (x, y), on a smooth ground."""
    generator = np.random.default_rng(seed)
    face = np.kron(generator.integers(0, 255, (8, 8)), np.ones((5, 5))).astype(np.uint8)
    frame = np.full((120, 200), 90, np.uint8)
    frame[:] = np.linspace(60, 120, 200, dtype=np.uint8)
    frame[y : y + SIDE, x : x + SIDE] = face
    return frame


def sighting(x: int, y: int, side: int = SIDE) -> Sighting:
    return Sighting(box=Box(x, y, side, side))


def start(tracker: Tracker, x: int, y: int) -> None:
    tracker.look(scene(x, y), [sighting(x, y)], 0.0, cut=False)
    tracker.begin(scene(x, y))


def test_a_moving_face_is_followed_to_the_pixel_and_counts_from_its_second_detection() -> None:
    tracker = Tracker(1.0)
    start(tracker, 50, 40)
    for step in range(1, 5):
        tracker.follow(scene(50 + 3 * step, 40 + step))
    before, owners = tracker.look(scene(65, 45), [sighting(65, 45)], 0.2, cut=False)
    (track,) = before
    assert owners == [track]
    assert track.number == 1
    assert len(track.path) == 6
    for step, place in enumerate(track.path):
        assert place is not None
        assert place.x == pytest.approx(70 + 3 * step, abs=1.0)
        assert place.y == pytest.approx(60 + step, abs=1.0)


def test_the_detectors_jitter_is_damped_and_spread_over_the_frames() -> None:
    tracker = Tracker(1.0)
    start(tracker, 50, 40)
    for _ in range(3):
        tracker.follow(scene(50, 40))
    (track,), _ = tracker.look(scene(50, 40), [sighting(53, 40, SIDE + 4)], 0.2, cut=False)
    xs = [place.x for place in track.path if place is not None]
    steps = np.diff(xs)
    assert 0 < xs[-1] - 70 < 5  # the detector says 5 px to the right: some of it is taken
    assert steps == pytest.approx([steps[0]] * 4, abs=0.05)
    assert SIDE < track.place.width < SIDE + 4


def test_a_face_that_the_detector_misses_is_followed_a_while_and_then_ends() -> None:
    tracker = Tracker(1.0)
    start(tracker, 50, 40)
    tracker.look(scene(50, 40), [sighting(50, 40)], 0.2, cut=False)
    tracker.begin(scene(50, 40))
    tracker.look(scene(56, 40), [], 0.4, cut=False)
    tracker.begin(scene(56, 40))
    (track,) = tracker.tracks
    assert track.place.x == pytest.approx(76, abs=1.0)
    tracker.look(scene(56, 40), [], 0.3 + COAST_S, cut=False)
    assert tracker.tracks == []


def test_a_face_that_vanishes_is_not_drawn_where_nothing_is() -> None:
    tracker = Tracker(1.0)
    start(tracker, 50, 40)
    tracker.look(scene(50, 40), [sighting(50, 40)], 0.2, cut=False)
    tracker.begin(scene(50, 40))
    ground = np.broadcast_to(np.linspace(60, 120, 200, dtype=np.uint8), (120, 200)).copy()
    tracker.follow(ground)
    assert tracker.tracks[0].path[-1] is None
    tracker.look(ground, [], 0.4, cut=False)
    assert tracker.tracks == []


def test_one_lone_detection_is_no_face() -> None:
    tracker = Tracker(1.0)
    start(tracker, 50, 40)
    tracker.look(scene(50, 40), [], 0.2, cut=False)
    assert (tracker.tracks, tracker.num_faces, tracker.single) == ([], 0, 1)


def test_two_faces_keep_their_numbers_when_the_detector_swaps_their_order() -> None:
    tracker = Tracker(1.0)
    for when, order in ((0.0, (20, 120)), (0.2, (120, 20)), (0.4, (20, 120))):
        tracker.look(scene(20, 40), [sighting(x, 40) for x in order], when, cut=False)
        tracker.begin(scene(20, 40))
    assert {track.number: round(track.place.x) for track in tracker.tracks} in ({1: 40, 2: 140}, {2: 40, 1: 140})
    assert tracker.num_faces == 2


@pytest.mark.parametrize(("x", "number"), [(52, 1), (120, None)], ids=["same place", "elsewhere"])
def test_across_a_cut_only_the_same_place_is_the_same_face(x: int, number: int | None) -> None:
    tracker = Tracker(1.0)
    start(tracker, 50, 40)
    tracker.look(scene(50, 40), [sighting(50, 40)], 0.2, cut=False)
    tracker.begin(scene(50, 40))
    before, _ = tracker.look(scene(x, 40, seed=1), [sighting(x, 40)], 0.4, cut=True)
    assert len(before[0].path) == 1  # the frames before the cut keep what was known before it
    assert [track.number for track in tracker.tracks] == [number]


def test_a_cut_is_told_from_movement() -> None:
    here, moved = thumbnail(scene(50, 40)), thumbnail(scene(60, 44))
    assert not is_cut(here, moved)
    assert is_cut(here, thumbnail(np.full((120, 200), 200, np.uint8)))


def test_overlap_is_intersection_over_union() -> None:
    a = Place(10, 10, 20, 20)
    assert overlap(a, a) == 1.0
    assert overlap(a, Place(20, 10, 20, 20)) == pytest.approx(1 / 3)
    assert overlap(a, Place(40, 10, 20, 20)) == 0.0

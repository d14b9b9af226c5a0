"""Perceptual hashes: small changes move few bits, other pictures many; the search is exact."""

import cv2
import numpy as np
import numpy.typing as npt

from data_store.phash import MAX_BITS, near_duplicates, perceptual_hash


def picture(seed: int, side: int = 96) -> npt.NDArray[np.uint8]:
    """Smooth noise: a picture with low frequencies."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def distance(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> int:
    return (perceptual_hash(first) ^ perceptual_hash(second)).bit_count()


def test_a_resized_a_brighter_and_a_recompressed_picture_hash_alike() -> None:
    distances = []
    for seed in range(30):
        original = picture(seed)
        small = cv2.resize(original, (64, 64), interpolation=cv2.INTER_AREA)
        brighter = cv2.convertScaleAbs(original, alpha=0.9, beta=12)
        packed = cv2.imdecode(cv2.imencode(".jpg", original, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
        distances += [distance(original, np.asarray(changed, np.uint8)) for changed in (small, brighter, packed)]
    assert np.median(distances) <= MAX_BITS
    assert max(distances) <= 10  # no two other pictures come as close


def test_other_pictures_hash_apart() -> None:
    distances = [distance(picture(a), picture(b)) for a in range(10) for b in range(a)]
    assert min(distances) > 10
    assert 25 < np.mean(distances) < 39


def test_the_search_finds_exactly_the_close_pairs_of_different_groups() -> None:
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 2**64, 400, np.uint64)
    for place in range(0, 300, 3):  # plant neighbours at every distance up to 6
        bits = generator.choice(64, size=place % 7, replace=False)
        hashes[place + 1] = hashes[place] ^ np.uint64(sum(1 << int(bit) for bit in bits))
    groups = generator.integers(0, 3, 400).astype(np.int8)
    differ = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    expected = [
        (a, b) for a in range(400) for b in range(a + 1, 400) if differ[a, b] <= MAX_BITS and groups[a] != groups[b]
    ]
    assert len(expected) > 20
    count, examples = near_duplicates(hashes, groups, num_examples=1000)
    assert count == len(expected)
    assert examples == expected


def test_many_copies_of_one_picture_are_counted_without_comparing_each() -> None:
    """Half of the crops are one picture: 2.5 billion pairs."""
    hashes = np.random.default_rng(0).integers(0, 2**64, 200_000, np.uint64)
    hashes[::2] = 7
    groups = (np.arange(200_000) % 4 // 2).astype(np.int8)
    count, examples = near_duplicates(hashes, groups)
    assert count == 50_000 * 50_000
    assert examples == [(0, 2)]


def test_no_crops_give_no_pairs() -> None:
    assert near_duplicates(np.empty(0, np.uint64), np.empty(0, np.int8)) == (0, [])

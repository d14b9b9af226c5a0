"""Perceptual hashes of crops, and near-duplicates across splits."""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

HASH_PX = 32
MAX_BITS = 3
"""Crops whose 64-bit hashes differ in at most so many bits look the same to the eye."""


def perceptual_hash(crop: NDArray[np.uint8]) -> int:
    """The 64-bit DCT hash of a crop (pHash; Zauner 2010).

    Args:
        crop: ``(side, side, 3)`` uint8 RGB.

    Returns:
        One bit for each of the 8 x 8 lowest frequencies: is its coefficient above their median? The first, the
        mean brightness, does not count towards the median.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (HASH_PX, HASH_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, :8].reshape(-1)
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_duplicates(
    hashes: NDArray[np.uint64], groups: NDArray[np.int8], *, num_examples: int = 5
) -> tuple[int, list[tuple[int, int]]]:
    """Find the pairs of crops in different groups whose hashes differ in at most three bits.

    Exact: two such hashes agree in at least one of their four 16-bit quarters, so only crops that share a quarter
    are compared. Crops with equal hashes are compared once, so that many copies of one picture cost nothing.

    Args:
        hashes: ``(crops,)``.
        groups: ``(crops,)``, the split of each.
        num_examples: pairs to show.

    Returns:
        The number of pairs, and the first few as indices of crops.
    """
    if len(hashes) == 0:
        return 0, []
    order = np.lexsort((groups, hashes))
    new = (np.diff(hashes[order]) != 0) | (np.diff(groups[order]) != 0)
    starts = np.append(0, np.flatnonzero(new) + 1)
    first = order[starts]  # the first crop of each (hash, group), and how many there are of it
    weight = np.diff(np.append(starts, len(order)))
    count = 0
    examples: list[tuple[int, int]] = []
    for quarter in range(4):
        for left, right in _close_pairs(hashes[first], groups[first], quarter):
            count += int((weight[left] * weight[right]).sum())
            pairs = np.sort(np.stack([first[left], first[right]], axis=1), axis=1).tolist()
            examples = sorted([*examples, *((int(a), int(b)) for a, b in pairs)])[:num_examples]
    return count, examples


def _close_pairs(
    hashes: NDArray[np.uint64], groups: NDArray[np.int8], quarter: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Close pairs that share one quarter and none before it.

    Sorted by the quarter, its sharers stand side by side: each is compared with its next neighbour, then with the
    one after that, and so on while any pair still shares the quarter.
    """
    part = _quarter(hashes, quarter)
    order = np.argsort(part, kind="stable")
    part = part[order]
    places = np.arange(len(order))
    distance = 1
    while len(places):
        places = places[places + distance < len(order)]
        places = places[part[places] == part[places + distance]]
        left, right = order[places], order[places + distance]
        differ = hashes[left] ^ hashes[right]
        close = (np.bitwise_count(differ) <= MAX_BITS) & (groups[left] != groups[right])
        for earlier in range(quarter):
            close &= _quarter(differ, earlier) != 0
        if close.any():
            yield left[close], right[close]
        distance += 1


def _quarter(hashes: NDArray[np.uint64], quarter: int) -> NDArray[np.uint64]:
    return (hashes >> np.uint64(16 * quarter)) & np.uint64(0xFFFF)

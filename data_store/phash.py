"""Perceptual hashes of crops, and near-duplicates across splits."""

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


def near_duplicates(hashes: NDArray[np.uint64], groups: NDArray[np.int8]) -> NDArray[np.int64]:
    """Pairs of crops in different groups whose hashes differ in at most three bits.

    Exact: two such hashes agree in at least one of their four 16-bit quarters, so only crops that share a quarter
    are compared.

    Args:
        hashes: ``(crops,)``.
        groups: ``(crops,)``, the split of each.

    Returns:
        ``(pairs, 2)`` indices, the smaller first, sorted.
    """
    found: list[NDArray[np.int64]] = []
    for quarter in range(4):
        part = (hashes >> np.uint64(16 * quarter)) & np.uint64(0xFFFF)
        order = np.argsort(part, kind="stable")
        edges = np.flatnonzero(np.diff(part[order])) + 1
        for bucket in np.split(order, edges):
            if len(bucket) > 1 and groups[bucket].min() != groups[bucket].max():
                found.extend(_close_pairs(bucket, hashes, groups))
    if not found:
        return np.empty((0, 2), np.int64)
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _close_pairs(
    bucket: NDArray[np.int64], hashes: NDArray[np.uint64], groups: NDArray[np.int8]
) -> list[NDArray[np.int64]]:
    """Close pairs within one bucket, group against group, a block of rows at a time."""
    found = []
    names = np.unique(groups[bucket])
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            left, right = bucket[groups[bucket] == first], bucket[groups[bucket] == second]
            step = max(1, 4_000_000 // len(right))
            for start in range(0, len(left), step):
                block = left[start : start + step]
                bits = np.bitwise_count(hashes[block][:, None] ^ hashes[right][None, :])
                rows, columns = np.nonzero(bits <= MAX_BITS)
                found.append(np.stack([block[rows], right[columns]], axis=1))
    return found

"""Which frames of a video are read: a rule such as ``every:30``, turned into frame numbers."""

import hashlib
from dataclasses import dataclass

import numpy as np

from data_store.errors import InputError

RULES = ("every", "random", "even")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """A sampling rule: ``every:30``, ``random:10`` or ``even:10``."""

    rule: str
    """``every`` (each n-th frame from frame 0), ``random`` (n at random, without replacement) or ``even``
    (n spread over the whole video, each in the middle of its n-th part)."""
    amount: int
    """The n of the rule, in frames."""

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise InputError(
                f"a sampling rule is one of {', '.join(RULES)}, but got {self.rule!r}; write e.g. every:30"
            )
        if self.amount < 1:
            raise InputError(
                f"a sampling rule needs a number of at least 1, but got {self.amount}; write e.g. every:30"
            )

    def __str__(self) -> str:
        return f"{self.rule}:{self.amount}"

    def frame_indices(self, num_frames: int, *, seed: int, key: str) -> list[int]:
        """Choose the frames to read from a video.

        Args:
            num_frames: frames in the video, at least 1.
            seed: the build's seed; only ``random`` uses it.
            key: identity of the video, so that each video draws frames of its own whatever else is built.

        Returns:
            Distinct frame numbers in ascending order, all below ``num_frames``; every frame where the video is
            shorter than the rule asks for.
        """
        if self.rule == "every":
            return list(range(0, num_frames, self.amount))
        if self.amount >= num_frames:
            return list(range(num_frames))
        if self.rule == "even":
            return [(2 * part + 1) * num_frames // (2 * self.amount) for part in range(self.amount)]
        chosen = generator(seed, key).choice(num_frames, size=self.amount, replace=False)
        return sorted(int(index) for index in chosen)


def parse_sampling(text: str) -> Sampling:
    """Read ``every:30``, ``random:10`` or ``even:10``.

    Raises:
        InputError: the text is none of these.
    """
    rule, colon, amount = text.partition(":")
    if not colon or not amount.isascii() or not amount.isdigit():
        raise InputError(f"a sampling rule is written RULE:NUMBER, but got {text!r}; write e.g. every:30 or random:10")
    return Sampling(rule=rule, amount=int(amount))


def generator(seed: int, key: str) -> np.random.Generator:
    """A generator that is a pure function of the seed and a key (Philox keyed by their SHA-256)."""
    digest = hashlib.sha256(f"{seed}\n{key}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def rank(seed: int, key: str) -> str:
    """A place in a random order, as a string to sort by: a pure function of the seed and a key.

    The ``n`` lowest ranks of a set are a random sample of it that changes little when the set grows: what such a
    sample dropped once stays dropped.
    """
    return hashlib.sha256(f"{seed}\n{key}".encode()).hexdigest()

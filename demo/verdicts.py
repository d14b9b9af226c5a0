"""From scores to words: calibrated probabilities, a verdict per face and one for the video, never a guess."""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.calibration import Calibration

AUTHENTIC, DEEPFAKE, UNCERTAIN, NO_FACE, TOO_SMALL = "authentic", "deepfake", "uncertain", "no face", "too small"
AUTHENTIC_BELOW = 0.35
"""Probability of a fake below which a face is called authentic."""
DEEPFAKE_ABOVE = 0.65
"""Above which it is called a deepfake; between the two it is uncertain."""
FEWEST_FRAMES = 4
"""Scored frames that a verdict must rest on: fewer leave it uncertain."""
SCREEN_SHARE = 0.25
"""Of the scores of the face seen most: a face with fewer does not decide about the video."""
WINDOW_S = 1.0
"""A frame's label shows the mean of a face's scores this long before and after."""


def named(probability: float) -> str:
    """The verdict that a probability of being fake is called."""
    if probability < AUTHENTIC_BELOW:
        return AUTHENTIC
    return DEEPFAKE if probability > DEEPFAKE_ABOVE else UNCERTAIN


@dataclass(kw_only=True)
class Face:
    """One face of the video, as far as it was seen."""

    number: int
    """From 1, in order of appearance."""
    calibration: Calibration
    """What turns its logits into probabilities."""
    times_s: list[float] = field(default_factory=list)
    """Of the scored frames, ascending."""
    logits: list[float] = field(default_factory=list)
    """One a scored frame."""
    first_s: float = math.inf
    """When it is first seen."""
    last_s: float = 0.0
    """When it is last seen."""

    def seen(self, time_s: float) -> None:
        """Note that it is in a frame."""
        self.first_s, self.last_s = min(self.first_s, time_s), max(self.last_s, time_s)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Of being fake, one a scored frame."""
        return self.calibration.probability(np.array(self.logits))

    @property
    def probability(self) -> float | None:
        """Mean over the scored frames, None where there are none."""
        return float(self.probabilities.mean()) if self.logits else None

    @property
    def verdict(self) -> str:
        """What to call it."""
        if not self.logits:
            return TOO_SMALL
        probability = self.probability
        assert probability is not None
        return named(probability) if len(self.logits) >= FEWEST_FRAMES else UNCERTAIN

    def around(self, time_s: float) -> float | None:
        """Mean probability of the scores around a time, None where there is none so near."""
        low = bisect.bisect_left(self.times_s, time_s - WINDOW_S)
        high = bisect.bisect_right(self.times_s, time_s + WINDOW_S)
        if low == high:
            return None
        return float(self.calibration.probability(np.array(self.logits[low:high])).mean())

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "face": self.number,
            "verdict": self.verdict,
            "probability": self.probability,
            "frames_scored": len(self.logits),
            "first_s": round(self.first_s, 3),
            "last_s": round(self.last_s, 3),
            "scores": [
                {"time_s": round(time_s, 3), "logit": logit, "probability": float(probability)}
                for time_s, logit, probability in zip(self.times_s, self.logits, self.probabilities, strict=True)
            ],
        }


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is said about the video."""

    verdict: str
    """One of the five words."""
    probability: float | None
    """Of being fake; None where nothing could be judged."""
    frames_scored: int
    """Frames that it rests on."""
    face: int | None
    """The face that decides."""
    reason: str
    """Why, in a sentence."""

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "verdict": self.verdict,
            "probability": self.probability,
            "frames_scored": self.frames_scored,
            "face": self.face,
            "reason": self.reason,
        }


def of_video(faces: Sequence[Face], *, smallest_px: int) -> Verdict:
    """Judge a video by its most suspicious face among those that are seen long enough to matter.

    Args:
        faces: all that were confirmed.
        smallest_px: side of the smallest face that can be judged in this video.
    """
    judged = [face for face in faces if face.logits]
    if not judged:
        if faces:
            reason = f"every face is smaller than the {smallest_px} px that this model can be asked about"
            return Verdict(verdict=TOO_SMALL, probability=None, frames_scored=0, face=None, reason=reason)
        reason = "no face was found: there is nothing to judge"
        return Verdict(verdict=NO_FACE, probability=None, frames_scored=0, face=None, reason=reason)
    most = max(len(face.logits) for face in judged)
    long_enough = [face for face in judged if len(face.logits) >= SCREEN_SHARE * most]
    worst = max(long_enough, key=lambda face: (face.probability, -face.number))
    probability, frames = worst.probability, len(worst.logits)
    assert probability is not None
    which = f"face {worst.number}" if len(faces) > 1 else "the face"
    if frames < FEWEST_FRAMES:
        reason = f"{which} is seen in {frames} scored frames only; {FEWEST_FRAMES} are needed"
    elif worst.verdict == UNCERTAIN:
        reason = f"{which} is neither clearly authentic nor clearly fake"
    elif worst.verdict == DEEPFAKE:
        reason = f"{which} looks manipulated"
    else:
        reason = f"{which} looks untouched" if len(faces) == 1 else "no face looks manipulated"
    return Verdict(
        verdict=worst.verdict, probability=probability, frames_scored=frames, face=worst.number, reason=reason
    )

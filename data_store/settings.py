"""Every setting of a store: which frames, which faces, which splits, which pixels."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from data_store.errors import InputError
from data_store.sampling import Sampling, parse_sampling

FACE_CHOICES = ("largest", "all")
SPLIT_KINDS = ("auto", "official", "identity", "frame")


@dataclass(frozen=True, kw_only=True)
class FaceSettings:
    """How faces are found in a frame and cut out of it. The defaults are the thesis's stricter Haar cascade."""

    detector: str = "auto"
    """Name in ``faces.DETECTORS``, or ``auto``: ``haar`` for videos, ``none`` for folders of ready face crops."""
    scale_factor: float = 1.3
    """Haar: step between two scales of the search; larger is faster and stricter."""
    min_neighbours: int = 5
    """Haar: overlapping hits that make a face; larger is stricter."""
    detect_px: int = 640
    """Longest side in pixels of the frame that the detector sees; the crop is cut from the full frame. 0: full."""
    smallest_face_px: int = 48
    """Faces with a smaller side, in pixels of the full frame, are passed over."""
    faces: str = "largest"
    """``largest``: at most one face a frame; ``all``: each face that is found."""
    margin: float = 0.0
    """Added to the side of the face box: 0.3 cuts a square 1.3 times as wide as the face."""
    min_sharpness: float = 0.0
    """Crops whose variance of the Laplacian (at 128 px, grey levels squared) is lower are passed over. 0: none."""

    def __post_init__(self) -> None:
        if not 1.0 < self.scale_factor <= 3.0:
            raise InputError(f"scale_factor must lie above 1 and be at most 3, but got {self.scale_factor}; use 1.3")
        if self.min_neighbours < 0:
            raise InputError(f"min_neighbours must be at least 0, but got {self.min_neighbours}; use 5")
        if self.detect_px != 0 and self.detect_px < 64:
            raise InputError(f"detect_px must be 0 (full size) or at least 64, but got {self.detect_px}; use 640")
        if self.smallest_face_px < 1:
            raise InputError(f"smallest_face_px must be at least 1, but got {self.smallest_face_px}; use 48")
        if self.faces not in FACE_CHOICES:
            raise InputError(f"faces must be one of {', '.join(FACE_CHOICES)}, but got {self.faces!r}")
        if not 0.0 <= self.margin <= 2.0:
            raise InputError(f"margin must lie between 0 and 2, but got {self.margin}; use 0 or 0.3")
        if self.min_sharpness < 0.0:
            raise InputError(f"min_sharpness must be at least 0, but got {self.min_sharpness}; use 0 for no filter")


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """All that decides what a store holds; recorded in it. The defaults sample as the thesis does, at 224 px."""

    layout: str = "auto"
    """Name in ``layouts.LAYOUTS``, or ``auto`` to recognise it."""
    compression: str | None = None
    """FaceForensics++ only: ``raw``, ``c23`` or ``c40``; ``None`` takes the only one that is there."""
    real: str = "every:30"
    """Sampling rule of real videos."""
    fake: str = "random:10"
    """Sampling rule of fake videos."""
    category_sampling: tuple[tuple[str, str], ...] = ()
    """(category, rule) pairs that override ``real`` and ``fake``."""
    cap_real: int | None = None
    """At most so many crops of real videos in all, drawn at random by the seed; ``None``: no cap."""
    cap_fake: int | None = None
    """At most so many crops of each fake category."""
    category_caps: tuple[tuple[str, int], ...] = ()
    """(category, cap) pairs; such a category leaves the two caps above."""
    faces: FaceSettings = field(default_factory=FaceSettings)
    """How faces are found and cut."""
    split: str = "auto"
    """``official`` (the data set's own), ``identity`` (no identity in two splits), ``frame`` (the thesis's, which
    leaks), or ``auto``: official where the data set has one, else identity."""
    fractions: tuple[float, float, float] = (0.70, 0.15, 0.15)
    """Shares of train, val and test where the data set does not fix them."""
    crop_px: int = 224
    """Side of the stored crops in pixels."""
    shard_mb: int = 128
    """Bytes of pixels in a full shard, in 10^6 bytes."""
    seed: int = 0
    """Seed of every random choice: frames, caps, splits."""

    def __post_init__(self) -> None:
        for text in (self.real, self.fake, *(rule for _, rule in self.category_sampling)):
            parse_sampling(text)
        for cap in (self.cap_real, self.cap_fake, *(cap for _, cap in self.category_caps)):
            if cap is not None and cap < 1:
                raise InputError(f"a cap must be at least 1 crop, but got {cap}; leave it out for no cap")
        if self.split not in SPLIT_KINDS:
            raise InputError(f"split must be one of {', '.join(SPLIT_KINDS)}, but got {self.split!r}")
        if len(self.fractions) != 3 or min(self.fractions) < 0 or abs(sum(self.fractions) - 1.0) > 1e-6:
            raise InputError(
                f"fractions must be three shares that sum to 1, but got {self.fractions}; use 0.7 0.15 0.15"
            )
        if not 8 <= self.crop_px <= 1024 or self.crop_px % 8:
            raise InputError(f"crop_px must lie between 8 and 1024 and divide by 8, but got {self.crop_px}; use 224")
        if self.seed < 0:
            raise InputError(f"seed must be at least 0, but got {self.seed}; use 0")
        if not 1 <= self.shard_mb <= 1024:
            raise InputError(f"shard_mb must lie between 1 and 1024, but got {self.shard_mb}; use 128")

    def sampling(self, category: str, label: int) -> Sampling:
        """The sampling rule of a category."""
        return parse_sampling(dict(self.category_sampling).get(category, self.fake if label else self.real))

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON values, nested like the dataclasses."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values

    def extraction_digest(self) -> str:
        """Identity of what a video's crops depend on besides the video: sampling, faces, size and seed."""
        names = ("real", "fake", "category_sampling", "faces", "crop_px", "seed")
        values = self.as_dict()
        text = json.dumps({name: values[name] for name in names}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def thesis_settings() -> BuildSettings:
    """The thesis's data: 10,000 real crops, 3,000 of each fake category, split by frame into 70/15/15."""
    return BuildSettings(split="frame", cap_real=10_000, cap_fake=3_000)

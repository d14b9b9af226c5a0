"""Cast the people of the built-in data set: what they look like, how they are lit and filmed.

Everything drawn is a pure function of (seed, identity, frame): Philox generators keyed by them, no process state.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

SKINS = ((250, 222, 200), (238, 200, 172), (224, 180, 146), (196, 148, 112), (158, 112, 82), (116, 78, 56))
HAIRS = (
    (30, 24, 22),
    (58, 40, 30),
    (98, 66, 42),
    (130, 94, 56),
    (158, 126, 80),
    (128, 60, 36),
    (100, 98, 96),
)
IRISES = ((70, 46, 30), (104, 72, 40), (84, 104, 70), (86, 116, 146), (110, 124, 132))


GOLDEN = 0.6180339887


class Stream(IntEnum):
    """What a generator draws; two streams of one identity are independent."""

    LOOK = 0
    SCENE = 1
    MOTION = 2
    GRAIN = 3
    FAKE = 4


def generator(seed: int, stream: Stream, identity: int, other: int = 0) -> np.random.Generator:
    """Return a generator that depends on its arguments alone."""
    return np.random.Generator(np.random.Philox(key=[seed, stream << 56 | identity << 28 | other]))


@dataclass(frozen=True, kw_only=True)
class Light:
    """Where the light comes from and how soft it is."""

    x: float
    """Sideways component of the direction to the light; positive is the viewer's right."""
    y: float
    """Downward component; negative is from above."""
    ambient: float
    """Share of the light that comes from everywhere, in [0, 1]."""
    gain: tuple[float, float, float]
    """Brightness of red, green and blue."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What makes one person's head differ from another's; lengths in face units."""

    skin: tuple[float, float, float]
    hair: tuple[float, float, float]
    iris: tuple[float, float, float]
    width: float
    height: float
    jaw: float
    eye_dx: float
    eye_v: float
    eye_width: float
    eye_height: float
    brow_v: float
    brow_thickness: float
    brow_arch: float
    brow_tilt: float
    nose_length: float
    nose_width: float
    mouth_v: float
    mouth_width: float
    lip_thickness: float
    lip_red: float
    smile: float
    hairline: float
    hair_volume: float
    hair_length: float
    parting: float
    beard: float
    texture_seed: int


@dataclass(frozen=True, kw_only=True)
class Person:
    """One identity: how it looks, how it is lit, where it is filmed."""

    identity: int
    look: Look
    light: Light
    scale: float
    """Head size: frame pixels per canvas pixel at a frame of 256 px."""
    softness_px: float
    """Blur of the camera's lens (standard deviation)."""
    grain: float
    """Sensor noise (standard deviation, 8-bit steps)."""


def random_look(rng: np.random.Generator, spread: float) -> Look:
    """Draw a person; `spread` in [0, 1) places the skin tone, so that a few people already cover all tones."""
    tone = spread * (len(SKINS) - 1)
    lighter, share = int(tone), tone - int(tone)
    skin = np.array(SKINS[lighter]) * (1 - share) + np.array(SKINS[lighter + 1]) * share
    skin = skin * rng.uniform(0.96, 1.04, 3)
    hair = np.array(HAIRS[rng.integers(2 if tone > 3 else len(HAIRS))]) * rng.uniform(0.8, 1.2)
    iris = np.array(IRISES[rng.integers(2 if tone > 2.5 else len(IRISES))]) * rng.uniform(0.85, 1.15)
    long_hair = rng.random() < 0.45

    def within(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    return Look(
        skin=(float(skin[0]), float(skin[1]), float(skin[2])),
        hair=(float(hair[0]), float(hair[1]), float(hair[2])),
        iris=(float(iris[0]), float(iris[1]), float(iris[2])),
        width=within(0.86, 0.98),
        height=within(1.16, 1.30),
        jaw=within(0.16, 0.36),
        eye_dx=within(0.38, 0.43),
        eye_v=within(-0.14, -0.08),
        eye_width=within(0.18, 0.215),
        eye_height=within(0.085, 0.12),
        brow_v=within(-0.40, -0.33),
        brow_thickness=within(0.035, 0.075),
        brow_arch=within(0.02, 0.07),
        brow_tilt=within(-0.015, 0.03),
        nose_length=within(0.32, 0.42),
        nose_width=within(0.20, 0.27),
        mouth_v=within(0.68, 0.76),
        mouth_width=within(0.32, 0.42),
        lip_thickness=within(0.07, 0.12),
        lip_red=within(0.15, 0.9) if long_hair else within(0.05, 0.4),
        smile=within(0.0, 0.06),
        hairline=within(-0.98, -0.74),
        hair_volume=within(0.10, 0.26) if long_hair else within(0.02, 0.18),
        hair_length=within(0.9, 1.7) if long_hair else within(-0.4, 0.1),
        parting=within(-0.6, 0.6),
        beard=0.0 if long_hair or rng.random() < 0.5 else within(0.15, 0.6),
        texture_seed=int(rng.integers(2**31)),
    )


def cast_person(seed: int, identity: int) -> Person:
    """Draw an identity; skin tone and side of the light follow a golden-ratio sequence, so each split has all."""
    rng = generator(seed, Stream.LOOK, identity)
    start = generator(seed, Stream.LOOK, (1 << 28) - 1).random(2)
    spread, side = (float((s + identity * k) % 1.0) for s, k in zip(start, (GOLDEN, GOLDEN**2), strict=True))
    warm = rng.uniform(-0.07, 0.07)
    level = rng.uniform(0.88, 1.06)
    light = Light(
        x=1.5 * (side - 0.5),
        y=float(rng.uniform(-0.6, -0.1)),
        ambient=float(rng.uniform(0.40, 0.62)),
        gain=(float(level * (1 + warm)), float(level), float(level * (1 - warm))),
    )
    return Person(
        identity=identity,
        look=random_look(rng, spread),
        light=light,
        scale=float(rng.uniform(0.86, 0.97)),
        softness_px=float(rng.uniform(0.3, 0.6)),
        grain=float(rng.uniform(5.5, 7.5)),
    )

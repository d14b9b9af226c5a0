"""Film the people of the built-in data set: casting, motion, background, body, camera.

All pixels are a pure function of (seed, identity, frame): Philox generators keyed by them, no process state.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from data_store.synthetic_faces import (
    CANVAS_PX,
    EYE_STATES,
    MOUTH_STATES,
    ORIGIN,
    UNIT_PX,
    Array,
    Head,
    Light,
    Look,
    blurred,
    draw_head,
    expression,
    grid,
    random_look,
    smoothstep,
)

Image = npt.NDArray[np.uint8]
REAL = "youtube"
GOLDEN = 0.6180339887
_LOOK, _SCENE, _MOTION, _GRAIN, _FAKE = range(5)


def generator(seed: int, stream: int, identity: int, other: int = 0) -> np.random.Generator:
    """A generator that depends on its arguments alone."""
    return np.random.Generator(np.random.Philox(key=[seed, stream << 56 | identity << 28 | other]))


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


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Where the head is in one frame and what it does."""

    x: float
    y: float
    roll: float
    yaw: float
    pitch: float
    scale: float
    eye_state: int
    mouth_state: int


def cast_person(seed: int, identity: int) -> Person:
    """Draw an identity; skin tone and side of the light follow a golden-ratio sequence, so each split has all."""
    rng = generator(seed, _LOOK, identity)
    start = generator(seed, _LOOK, (1 << 28) - 1).random(2)
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
        scale=float(rng.uniform(0.80, 0.94)),
        softness_px=float(rng.uniform(0.3, 0.75)),
        grain=float(rng.uniform(3.5, 6.5)),
    )


def _waves(
    rng: np.random.Generator, num_frames: int, amplitude: float, periods: tuple[float, float]
) -> Array:
    """A smooth track: three sines of random period (frames) and phase."""
    time = np.arange(num_frames)[:, None]
    period, phase = rng.uniform(*periods, 3), rng.uniform(0, 2 * np.pi, 3)
    weight = rng.uniform(0.4, 1.0, 3)
    track = (weight * np.sin(2 * np.pi * time / period + phase)).sum(axis=1) / weight.sum()
    return np.asarray(amplitude * track, np.float32)


def motion(seed: int, identity: int, num_frames: int) -> list[Pose]:
    """How the person moves, blinks and talks, one pose a frame."""
    rng = generator(seed, _MOTION, identity)
    x, y = _waves(rng, num_frames, 9.0, (40, 110)), _waves(rng, num_frames, 5.0, (30, 90))
    roll, scale = _waves(rng, num_frames, 0.10, (35, 100)), _waves(rng, num_frames, 0.03, (50, 120))
    yaw, pitch = _waves(rng, num_frames, 9.0, (30, 90)), _waves(rng, num_frames, 5.0, (25, 80))
    talk = _waves(rng, num_frames, 1.0, (7, 16)) * rng.uniform(0.5, 1.1) + rng.uniform(0.0, 0.3)
    mouth = np.clip(talk * (MOUTH_STATES - 1), 0, MOUTH_STATES - 1).round().astype(int)
    eyes = np.zeros(num_frames, int)
    blink = int(rng.integers(2, 30))
    while blink < num_frames:
        for offset, state in enumerate((2, EYE_STATES - 1, EYE_STATES - 1, 3, 1)):
            if blink + offset < num_frames:
                eyes[blink + offset] = state
        blink += int(rng.integers(35, 75))
    return [
        Pose(
            x=float(x[t]),
            y=float(y[t]),
            roll=float(roll[t]),
            yaw=float(yaw[t]),
            pitch=float(pitch[t]),
            scale=float(1 + scale[t]),
            eye_state=int(eyes[t]),
            mouth_state=int(mouth[t]),
        )
        for t in range(num_frames)
    ]


MARGIN_PX = 16


def _background(rng: np.random.Generator, size_px: int) -> Array:
    """A blurred room: a wall, some furniture, a texture; (size + 2 margins) squared."""
    side = size_px + 2 * MARGIN_PX
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    wall = rng.uniform(50, 200, 3) * 0.6 + rng.uniform(50, 200) * 0.4
    slope = rng.uniform(-0.35, 0.35, 2)
    image = wall * (1.0 + slope[0] * (x - 0.5) + slope[1] * (y - 0.5))[..., None]
    canvas = np.clip(image, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(3, 9))):
        colour = tuple(
            float(c) for c in np.clip(wall * rng.uniform(0.35, 1.5) + rng.uniform(-40, 40, 3), 5, 250)
        )
        left, top = (int(c) for c in rng.integers(-side // 4, side, 2))
        width, height = (int(c) for c in rng.integers(side // 10, side // 2, 2))
        if rng.random() < 0.75:
            cv2.rectangle(canvas, (left, top), (left + width, top + height), colour, -1)
        else:
            cv2.circle(canvas, (left, top), width // 2, colour, -1)
    soft = blurred(canvas.astype(np.float32), float(rng.uniform(1.5, 6.0)))
    texture = blurred(rng.standard_normal((side, side), np.float32), float(rng.uniform(0.8, 3.0)))
    return np.asarray(soft + (texture / texture.std() * rng.uniform(1.0, 4.0))[..., None], np.float32)


def _body(rng: np.random.Generator, person: Person, size_px: int) -> Array:
    """Neck and clothes, premultiplied RGBA, as large as the background."""
    side = size_px + 2 * MARGIN_PX
    unit = UNIT_PX * person.scale * size_px / CANVAS_PX
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    u, v = (columns - side / 2) / unit, (rows - MARGIN_PX - _centre_y(size_px)) / unit
    colour = rng.uniform(20, 220, 3) * 0.7 + rng.uniform(20, 220) * 0.3
    folds = blurred(rng.standard_normal((side, side), np.float32), 7.0, 16.0)
    folds = 1.0 + 0.10 * folds / folds.std() + 0.18 * person.light.x * np.clip(u, -1.5, 1.5)
    shoulder = 1.52 + 0.30 * np.abs(u / 1.1) ** 2.0
    clothes = smoothstep(-0.03, 0.03, v - shoulder) * smoothstep(
        -0.02, 0.04, v - 1.92 + 1.1 * np.abs(u) ** 1.5
    )
    neck_width = 0.50 + 0.25 * smoothstep(1.45, 1.8, v)
    neck = smoothstep(0.03, -0.03, np.abs(u) - neck_width) * smoothstep(0.6, 0.8, v)
    skin = np.asarray(person.look.skin, np.float32) * np.asarray(person.light.gain, np.float32)
    shade = (0.80 + 0.35 * person.light.x * u) * (
        1.0 - 0.45 * np.exp(-(((v - 1.15) / 0.35) ** 2))
    ) - 0.2 * np.abs(u) ** 2
    chest = np.maximum(neck, smoothstep(0.0, 0.03, v - shoulder))
    rgb = skin * np.clip(shade, 0.2, 1.1)[..., None] * chest[..., None]
    rgb = rgb * (1.0 - clothes[..., None]) + colour * folds[..., None] * clothes[..., None]
    cover = np.maximum(chest, clothes)
    return np.dstack([np.clip(rgb, 0, 255), cover]).astype(np.float32)


def _centre_y(size_px: int) -> float:
    return 0.47 * size_px


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One frame of the target while it is made: what the manipulations may look at."""

    frame: Array
    """(size, size, 3): the frame without sensor noise."""
    real: Image
    """(size, size, 3): the frame as the camera saw it."""
    maps: tuple[Array, Array]
    """For every frame pixel its place on the head's canvas (x, y)."""
    pose: Pose
    source_pose: Pose
    """What the source does in its own video at this time."""
    index: int


@dataclass(frozen=True, kw_only=True)
class Cast:
    """The heads that one fake needs, drawn once."""

    target: Head
    source: Head
    """The source as itself, in its own light, without hair."""
    relit: Head
    """The source's features in the target's skin and light, without hair."""
    face_mask: Array
    """(CANVAS_PX, CANVAS_PX): the target's inner face, brows to chin."""
    mouth_mask: Array
    """(CANVAS_PX, CANVAS_PX): the target's mouth."""
    facets: Array
    """(CANVAS_PX, CANVAS_PX): brightness of a coarse mesh's triangles, around 1."""


def draw_cast(seed: int, target: Person, source: Person) -> Cast:
    """Draw what the fakes of `target` with `source` share."""
    head = draw_head(target.look, target.light)
    u, v = grid()
    look = target.look
    skin = 0.25 * np.asarray(source.look.skin) + 0.75 * np.asarray(look.skin)
    blend = replace(source.look, skin=(float(skin[0]), float(skin[1]), float(skin[2])))
    inner = (np.abs(u) / (look.width * 0.80)) ** 2.4 + (np.abs(v - 0.32) / (look.height - 0.36)) ** 2.4
    mouth = (np.abs(u) / (look.mouth_width + 0.16)) ** 2 + (np.abs(v - look.mouth_v - 0.05) / 0.27) ** 2
    rng = generator(seed, _FAKE, target.identity, source.identity)
    cells = rng.normal(1.0, 0.09, (2, 14, 14)).astype(np.float32)
    step = CANVAS_PX / 14
    columns, rows = np.meshgrid(np.arange(CANVAS_PX) / step, np.arange(CANVAS_PX) / step)
    upper = (columns % 1.0 + rows % 1.0) > 1.0
    facets = np.where(
        upper,
        cells[0][rows.astype(int), columns.astype(int)],
        cells[1][rows.astype(int), columns.astype(int)],
    )
    return Cast(
        target=head,
        source=draw_head(source.look, source.light, hair=False),
        relit=draw_head(blend, target.light, hair=False),
        face_mask=np.asarray(smoothstep(1.03, 0.97, inner) * head.skin_mask, np.float32),
        mouth_mask=np.asarray(smoothstep(1.0, 0.55, mouth), np.float32),
        facets=blurred(np.asarray(facets, np.float32), 0.6),
    )


def _maps(person: Person, head: Head, pose: Pose, size_px: int) -> tuple[Array, Array]:
    """Canvas coordinates of every frame pixel: shift, roll, scale, and parallax for yaw and pitch."""
    ratio = size_px / CANVAS_PX
    zoom = person.scale * pose.scale * ratio
    cos, sin = np.cos(pose.roll) / zoom, np.sin(pose.roll) / zoom
    x = np.arange(size_px, dtype=np.float32) - size_px / 2 - pose.x * ratio
    y = np.arange(size_px, dtype=np.float32)[:, None] - _centre_y(size_px) - pose.y * ratio
    canvas_x = np.asarray(cos * x + sin * y + ORIGIN[0], np.float32)
    canvas_y = np.asarray(-sin * x + cos * y + ORIGIN[1], np.float32)
    depth = cv2.remap(head.depth, canvas_x, canvas_y, cv2.INTER_LINEAR)
    return np.asarray(canvas_x - pose.yaw * depth, np.float32), np.asarray(
        canvas_y - pose.pitch * depth, np.float32
    )


def _lay(image: Array, layer: Array) -> Array:
    """A premultiplied RGBA layer over an image."""
    return np.asarray(image * (1.0 - layer[..., 3:]) + layer[..., :3], np.float32)


def film(
    seed: int, target: Person, source: Person, head: Head, num_frames: int, size_px: int
) -> Iterator[Shot]:
    """Film the target; the source's poses ride along for the manipulations that take over its expression."""
    rng = generator(seed, _SCENE, target.identity)
    background = _background(rng, size_px)
    body = _body(rng, target, size_px)
    drift_x, drift_y = _waves(rng, num_frames, 5.0, (60, 160)), _waves(rng, num_frames, 3.0, (60, 160))
    flicker = 1.0 + _waves(rng, num_frames, 0.012, (4, 20))
    grain_rng = generator(seed, _GRAIN, target.identity)
    side = size_px + 2 * MARGIN_PX
    fine = grain_rng.standard_normal((side, side, 3), np.float32) * 0.6 + grain_rng.standard_normal(
        (side, side, 1), np.float32
    )
    grain = blurred(fine, 0.6)
    grain = grain * np.float32(target.grain / grain.std())
    offsets = grain_rng.integers(0, 2 * MARGIN_PX + 1, (num_frames, 2))
    poses = zip(
        motion(seed, target.identity, num_frames), motion(seed, source.identity, num_frames), strict=True
    )
    inset = slice(MARGIN_PX, MARGIN_PX + size_px)
    for t, (pose, source_pose) in enumerate(poses):
        move = np.array([[1, 0, drift_x[t]], [0, 1, drift_y[t]]], np.float32)
        wall = cv2.warpAffine(background, move, (side, side), flags=cv2.INTER_LINEAR)[inset, inset]
        sway = np.array([[1, 0, 0.5 * pose.x - MARGIN_PX], [0, 1, 0.6 * pose.y - MARGIN_PX]], np.float32)
        torso = cv2.warpAffine(
            body, sway, (size_px, size_px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        maps = _maps(target, head, pose, size_px)
        canvas = expression(head, pose.eye_state, pose.mouth_state)
        person = cv2.remap(canvas, *maps, cv2.INTER_LINEAR)
        clean = _lay(
            _lay(np.asarray(wall, np.float32), np.asarray(torso, np.float32)), np.asarray(person, np.float32)
        )
        clean = blurred(np.clip(clean * flicker[t], 0, 255), target.softness_px)
        top, left = offsets[t]
        noisy = clean + grain[top : top + size_px, left : left + size_px] * (1.0 if t % 2 else -1.0)
        real = np.clip(noisy + 0.5, 0, 255).astype(np.uint8)
        yield Shot(frame=clean, real=real, maps=maps, pose=pose, source_pose=source_pose, index=t)

"""Film the people of the built-in data set: motion, background, body, camera."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

from data_store.synthetic_faces import (
    CANVAS_PX,
    EYE_STATES,
    MOUTH_STATES,
    ORIGIN,
    UNIT_PX,
    Array,
    Head,
    blurred,
    expression,
    smoothstep,
)
from data_store.synthetic_looks import Person, Stream, generator

Image = npt.NDArray[np.uint8]


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
    grin: float
    """How far the mouth's corners are pulled, -1 to 1; seen only by those who take the expression over."""


def _waves(rng: np.random.Generator, num_frames: int, amplitude: float, periods: tuple[float, float]) -> Array:
    """A smooth track: three sines of random period (frames) and phase."""
    time = np.arange(num_frames)[:, None]
    period, phase = rng.uniform(*periods, 3), rng.uniform(0, 2 * np.pi, 3)
    weight = rng.uniform(0.4, 1.0, 3)
    track = (weight * np.sin(2 * np.pi * time / period + phase)).sum(axis=1) / weight.sum()
    return np.asarray(amplitude * track, np.float32)


def motion(seed: int, identity: int, num_frames: int) -> list[Pose]:
    """How the person moves, blinks and talks, one pose a frame."""
    rng = generator(seed, Stream.MOTION, identity)
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
    grin = _waves(rng, num_frames, 1.3, (12, 40))
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
            grin=float(grin[t]),
        )
        for t in range(num_frames)
    ]


MARGIN_PX = 16


def _background(rng: np.random.Generator, size_px: int) -> Array:
    """A blurred room: a wall, some furniture, a texture; (size + 2 margins) squared."""
    side = size_px + 2 * MARGIN_PX
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    wall = rng.uniform(50, 200, 3) * 0.4 + rng.uniform(50, 200) * 0.6
    slope = rng.uniform(-0.35, 0.35, 2)
    image = wall * (1.0 + slope[0] * (x - 0.5) + slope[1] * (y - 0.5))[..., None]
    canvas = np.clip(image, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(3, 9))):
        colour = tuple(float(c) for c in np.clip(wall * rng.uniform(0.35, 1.5) + rng.uniform(-30, 30, 3), 5, 250))
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
    colour = rng.uniform(20, 220, 3) * 0.5 + rng.uniform(20, 220) * 0.5
    folds = blurred(rng.standard_normal((side, side), np.float32), 7.0, 16.0)
    folds = 1.0 + 0.10 * folds / folds.std() + 0.18 * person.light.x * np.clip(u, -1.5, 1.5)
    shoulder = 1.52 + 0.30 * np.abs(u / 1.1) ** 2.0
    clothes = smoothstep(-0.03, 0.03, v - shoulder) * smoothstep(-0.02, 0.04, v - 1.92 + 1.1 * np.abs(u) ** 1.5)
    neck_width = 0.50 + 0.25 * smoothstep(1.45, 1.8, v)
    neck = smoothstep(0.03, -0.03, np.abs(u) - neck_width) * smoothstep(0.6, 0.8, v)
    skin = np.asarray(person.look.skin, np.float32) * np.asarray(person.light.gain, np.float32)
    chin_shadow = 1.0 - 0.45 * np.exp(-(((v - 1.15) / 0.35) ** 2))
    shade = (0.80 + 0.35 * person.light.x * u) * chin_shadow - 0.2 * u**2
    chest = np.maximum(neck, smoothstep(0.0, 0.03, v - shoulder))
    rgb = skin * np.clip(shade, 0.2, 1.1)[..., None] * chest[..., None]
    rgb = rgb * (1.0 - clothes[..., None]) + colour * folds[..., None] * clothes[..., None]
    cover = np.maximum(chest, clothes)
    return np.dstack([np.clip(rgb, 0, 255), cover]).astype(np.float32)


def _centre_y(size_px: int) -> float:
    """Row on which the heads turn."""
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
    scale: float
    """Frame pixels to a pixel of a 256 px frame: widths of blurs and seams grow with the frame."""


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
    return np.asarray(canvas_x - pose.yaw * depth, np.float32), np.asarray(canvas_y - pose.pitch * depth, np.float32)


def _lay(image: MatLike, layer: MatLike) -> Array:
    """A premultiplied RGBA layer over an image."""
    return np.asarray(image * (1.0 - layer[..., 3:]) + layer[..., :3], np.float32)


def _grain(person: Person, seed: int, size_px: int) -> Array:
    """Sensor noise a little larger than a frame, mostly in brightness; each frame shows another part of it."""
    rng = generator(seed, Stream.GRAIN, person.identity)
    side = size_px + 2 * MARGIN_PX
    fine = 0.6 * rng.standard_normal((side, side, 3), np.float32) + rng.standard_normal((side, side, 1), np.float32)
    soft = blurred(fine, size_px / CANVAS_PX)
    return np.asarray(soft * (person.grain / soft.std()), np.float32)


def film(seed: int, target: Person, source: Person, head: Head, num_frames: int, size_px: int) -> Iterator[Shot]:
    """Film the target; the source's poses ride along for the manipulations that take over its expression."""
    rng = generator(seed, Stream.SCENE, target.identity)
    background = _background(rng, size_px)
    body = _body(rng, target, size_px)
    drift_x, drift_y = _waves(rng, num_frames, 5.0, (60, 160)), _waves(rng, num_frames, 3.0, (60, 160))
    flicker = 1.0 + _waves(rng, num_frames, 0.012, (4, 20))
    offsets = rng.integers(0, 2 * MARGIN_PX + 1, (num_frames, 2))
    grain = _grain(target, seed, size_px)
    poses = zip(motion(seed, target.identity, num_frames), motion(seed, source.identity, num_frames), strict=True)
    scale = size_px / CANVAS_PX
    frame_size = (size_px, size_px)
    for t, (pose, source_pose) in enumerate(poses):
        drift = np.array([[1, 0, drift_x[t] - MARGIN_PX], [0, 1, drift_y[t] - MARGIN_PX]], np.float32)
        wall = cv2.warpAffine(background, drift, frame_size)
        sway_x, sway_y = 0.5 * pose.x * scale - MARGIN_PX, 0.6 * pose.y * scale - MARGIN_PX
        torso = cv2.warpAffine(body, np.array([[1, 0, sway_x], [0, 1, sway_y]], np.float32), frame_size)
        maps = _maps(target, head, pose, size_px)
        person = cv2.remap(expression(head, pose.eye_state, pose.mouth_state), *maps, cv2.INTER_LINEAR)
        scene = _lay(_lay(wall, torso), person)
        clean = blurred(np.clip(scene * flicker[t], 0, 255), target.softness_px * scale)
        top, left = offsets[t]
        noise = grain[top : top + size_px, left : left + size_px]
        real = np.clip(clean + noise * (1.0 if t % 2 else -1.0) + 0.5, 0, 255).astype(np.uint8)
        yield Shot(frame=clean, real=real, maps=maps, pose=pose, source_pose=source_pose, index=t, scale=scale)

"""Draw the heads of the built-in data set: shading, skin, hair, eyes that blink, a mouth that talks.

A head is drawn once on a square canvas of `CANVAS_PX` (light falls on a height map of the face, so noses throw
shadows and cheeks are round) and then warped into every frame. Face coordinates `(u, v)` have their origin
between the eyes and the nose's root, `v` points down, and one unit is half the width of an average face.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from data_store.synthetic_looks import Light, Look

Array = npt.NDArray[np.float32]
"""Pixels in flight: float32 in [0, 255], RGB, or a mask in [0, 1]."""

Floats = npt.NDArray[np.floating]
"""Arithmetic in between, of either precision."""

CANVAS_PX = 256
UNIT_PX = 60.0
ORIGIN = (128.0, 130.0)
EYE_STATES = 5
"""0 is wide open, the last is shut."""
MOUTH_STATES = 8
"""0 is shut, the last is wide open."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """A drawn head: everything a frame needs to show any expression of it."""

    base: Array
    """(CANVAS_PX, CANVAS_PX, 4): RGB premultiplied by the fourth channel, the coverage in [0, 1]."""
    eyes: tuple[Array, ...]
    """One RGB patch per eye state, at `EYE_ROWS`, `EYE_COLUMNS`."""
    lower: tuple[Array, ...]
    """The rows from `LOWER_ROW` down, one per mouth state, with the jaw dropped."""
    depth: Array
    """(CANVAS_PX, CANVAS_PX): how far a point is in front of the neck, 0 to 1; turning shifts by it."""
    skin_mask: Array
    """(CANVAS_PX, CANVAS_PX): 1 on the face, 0 on hair and background."""


def row(v: float) -> int:
    """Canvas row of a face coordinate."""
    return round(ORIGIN[1] + v * UNIT_PX)


EYE_ROWS = slice(row(-0.50), row(0.20))
EYE_COLUMNS = slice(round(ORIGIN[0] - 0.86 * UNIT_PX), round(ORIGIN[0] + 0.86 * UNIT_PX))
LOWER_ROW = row(0.48)


@lru_cache(maxsize=1)
def grid() -> tuple[Array, Array]:
    """Face coordinates `(u, v)` of every canvas pixel."""
    axis = np.arange(CANVAS_PX, dtype=np.float32)
    u, v = np.meshgrid((axis - ORIGIN[0]) / UNIT_PX, (axis - ORIGIN[1]) / UNIT_PX)
    return u.astype(np.float32), v.astype(np.float32)


def smoothstep(low: float, high: float, x: Floats) -> Array:
    """0 below `low`, 1 above `high` (or the other way round), smooth between."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)


def blob(u: Floats, v: Floats, at: tuple[float, float], size: tuple[float, float]) -> Array:
    """A Gaussian bump of height 1."""
    return np.asarray(np.exp(-(((u - at[0]) / size[0]) ** 2) - ((v - at[1]) / size[1]) ** 2), np.float32)


def blurred(image: Floats, sigma_x: float, sigma_y: float | None = None) -> Array:
    """Gaussian blur in pixels."""
    return np.asarray(
        cv2.GaussianBlur(image, (0, 0), sigma_x, sigmaY=sigma_x if sigma_y is None else sigma_y), np.float32
    )


def _mix(image: Floats, colour: Floats | tuple[float, ...], alpha: Floats) -> Array:
    """Lay `colour` over `image` with coverage `alpha` (height, width)."""
    target = np.asarray(colour, np.float32)
    return np.asarray(image + (target - image) * alpha[..., None], np.float32)


def _outline(look: Look, u: Array, v: Array) -> Array:
    """Below 1 inside the face, above 1 outside (a superellipse whose lower half narrows to the jaw)."""
    half = look.width * (1.0 - look.jaw * smoothstep(0.1, 1.35, v))
    centre = 0.05
    tall = np.where(v < centre, 1.12, look.height - centre).astype(np.float32)
    return np.asarray(np.abs(u / half) ** 2.3 + np.abs((v - centre) / tall) ** 2.3, np.float32)


def _height_map(look: Look, u: Array, v: Array, outline: Array) -> Array:
    """The face as a relief, in face units towards the viewer."""
    z = 0.62 * np.sqrt(np.maximum(0.0, 1.05 - outline))
    tip = look.eye_v + 0.06 + look.nose_length
    side = np.abs(u)
    ridge = np.exp(-((u / 0.085) ** 2)) * smoothstep(-0.30, tip, v) * smoothstep(tip + 0.13, tip, v)
    z += 0.20 * ridge
    z += 0.10 * blob(side, v, (0.0, tip), (0.12, 0.10))
    z += 0.07 * blob(side, v, (look.nose_width * 0.72, tip + 0.03), (0.075, 0.07))
    z -= 0.10 * blob(side, v, (look.eye_dx, look.eye_v - 0.02), (0.24, 0.12))
    z += 0.05 * blob(side, v, (look.eye_dx, look.eye_v + 0.01), (0.17, 0.085))
    z += 0.05 * blob(side, v, (look.eye_dx - 0.04, look.brow_v), (0.30, 0.09))
    z += 0.07 * blob(side, v, (0.55, 0.22), (0.24, 0.20))
    z += 0.045 * blob(u, v, (0.0, look.mouth_v - 0.05), (0.30, 0.07))
    z += 0.055 * blob(u, v, (0.0, look.mouth_v + 0.08), (0.26, 0.07))
    z -= 0.04 * blob(u, v, (0.0, look.mouth_v + 0.21), (0.22, 0.06))
    z += 0.08 * blob(u, v, (0.0, look.height - 0.17), (0.22, 0.14))
    return blurred(np.asarray(z, np.float32), 1.2)


def _shading(z: Array, light: Light) -> tuple[Array, Array]:
    """Diffuse and specular light on a relief (Lambert and Blinn-Phong)."""
    dz_du = cv2.Sobel(z, cv2.CV_32F, 1, 0, ksize=3) * (UNIT_PX / 8.0)
    dz_dv = cv2.Sobel(z, cv2.CV_32F, 0, 1, ksize=3) * (UNIT_PX / 8.0)
    length = np.sqrt(dz_du**2 + dz_dv**2 + 1.0)
    towards = np.array([light.x, light.y, 1.0]) / np.sqrt(light.x**2 + light.y**2 + 1.0)
    lambert = np.clip((-dz_du * towards[0] - dz_dv * towards[1] + towards[2]) / length, 0.0, 1.0)
    half = towards + np.array([0.0, 0.0, 1.0])
    half = half / np.sqrt((half**2).sum())
    gloss = np.clip((-dz_du * half[0] - dz_dv * half[1] + half[2]) / length, 0.0, 1.0) ** 24
    diffuse = light.ambient + (1.0 - light.ambient) * lambert / max(float(towards[2]), 0.5)
    return np.asarray(diffuse, np.float32), np.asarray(gloss, np.float32)


def _noise(rng: np.random.Generator, sigma_x: float, sigma_y: float) -> Array:
    """Smooth noise of unit deviation on the canvas."""
    field = blurred(rng.standard_normal((CANVAS_PX, CANVAS_PX), np.float32), sigma_x, sigma_y)
    return np.asarray(field / field.std(), np.float32)


def _skin(look: Look, u: Array, v: Array, rng: np.random.Generator) -> Array:
    """The face's own colour, before light falls on it."""
    blotches = 1.0 + 0.010 * _noise(rng, 3.0, 3.0) + 0.02 * _noise(rng, 14, 14)
    skin: Floats = np.asarray(look.skin, np.float32) * blotches[..., None]
    side = np.abs(u)
    tip = look.eye_v + 0.06 + look.nose_length
    flush = 0.5 * blob(side, v, (0.58, 0.32), (0.26, 0.20)) + 0.4 * blob(u, v, (0.0, tip), (0.18, 0.12))
    skin = skin * (1.0 - flush[..., None] * np.array([0.0, 0.11, 0.11], np.float32))
    shadow = 0.27 * blob(side, v, (look.eye_dx, look.eye_v), (0.28, 0.15))
    shadow += 0.16 * blob(side, v, (look.eye_dx * 0.62, look.eye_v - 0.03), (0.10, 0.16))
    shadow += 0.13 * blob(side, v, (look.nose_width * 0.95, tip + 0.03), (0.05, 0.09))
    shadow += 0.55 * blob(side, v, (look.nose_width * 0.48, tip + 0.085), (0.055, 0.026))
    shadow += 0.10 * blob(u, v, (0.0, tip + 0.13), (0.2, 0.035))
    fold = np.abs(side - (look.nose_width + 0.06 + 0.42 * (v - tip))) / 0.03
    shadow += 0.07 * np.exp(-(fold**2)) * smoothstep(tip - 0.02, tip + 0.1, v) * smoothstep(look.mouth_v, tip + 0.2, v)
    skin = skin * (1.0 - shadow[..., None])
    cheek = smoothstep(0.52, 0.85, side + 0.45 * (v - 0.35))
    beard = np.maximum(cheek * smoothstep(0.1, 0.5, v), smoothstep(tip + 0.12, tip + 0.2, v))
    grain = np.clip(0.75 + 0.25 * _noise(rng, 0.7, 1.2), 0.0, 1.0)
    return _mix(np.asarray(skin, np.float32), np.asarray(look.hair, np.float32) * 0.8, look.beard * beard * grain)


def _hair_masks(look: Look, u: Array, v: Array, wisps: Array) -> tuple[Array, Array]:
    """Coverage of the hair behind the head and of the hair over the forehead."""
    volume = look.hair_volume
    sides = (np.abs(u) / (look.width + 0.06 + volume)) ** 2.2
    crown = np.where(v < -0.28, (np.abs(v + 0.28) / (1.12 + volume)) ** 2.2, 0.0)
    cap = smoothstep(1.04, 0.96, sides + crown + 0.025 * wisps)
    back = cap * smoothstep(look.hair_length + 0.18, look.hair_length - 0.1, v + 0.05 * wisps)
    line = look.hairline + 0.55 * np.abs(u) ** 2.4 - 0.16 * np.exp(-(((u - look.parting) / 0.22) ** 2))
    return back, cap * smoothstep(0.04, -0.04, v - line + 0.035 * wisps)


def _eye_patch(look: Look, skin: Array, shade: Array, u: Array, v: Array, shut: float) -> Array:
    """Both eyes at one openness over the patch's skin: lids, sclera, iris, pupil, highlight, lashes."""
    image = skin
    dim = 0.62 + 0.38 * max(look.skin) / 255.0
    for side in (-1.0, 1.0):
        x = (u - side * look.eye_dx) / look.eye_width
        y = (v - look.eye_v) / look.eye_width
        ratio = look.eye_height / look.eye_width
        arc = np.clip(1.0 - x**2, 0.0, 1.0)
        bottom = 0.62 * ratio * arc - 0.05 * side * x
        top = bottom - 1.7 * ratio * np.sqrt(arc) * (1.0 - shut)
        soft = 0.10
        inside = (
            smoothstep(-soft, soft, y - top) * smoothstep(-soft, soft, bottom - y) * smoothstep(1.06, 0.94, np.abs(x))
        )
        inside = inside * min(1.0, 4.0 * (1.0 - shut))
        white = np.array([232.0, 226.0, 220.0], np.float32) * np.clip(shade, 0.35, 1.05) * dim
        image = _mix(image, white * (1.0 - 0.35 * blob(x, y - top, (0.0, 0.0), (2.0, 0.25)))[..., None], inside)
        radius = np.sqrt(x**2 + (y + 0.12) ** 2)
        iris = np.asarray(look.iris, np.float32) * (0.75 + 0.6 * smoothstep(0.2, 0.42, radius))[..., None]
        image = _mix(image, iris, smoothstep(0.50, 0.42, radius) * inside)
        image = _mix(image, (24.0, 16.0, 14.0), 0.6 * np.exp(-(((radius - 0.46) / 0.06) ** 2)) * inside)
        image = _mix(image, (10.0, 8.0, 8.0), smoothstep(0.24, 0.17, radius) * inside)
        image = _mix(image, (255.0, 255.0, 255.0), 0.95 * blob(x, y, (-0.14, -0.26), (0.10, 0.10)) * inside)
        wide = smoothstep(1.15, 0.95, np.abs(x))
        lashes = np.exp(-(((y - top + 0.03) / 0.085) ** 2)) * wide
        image = _mix(image, (26.0, 18.0, 16.0), 0.85 * lashes)
        crease = np.exp(-(((y - top + 0.30 - 0.15 * shut) / 0.08) ** 2)) * wide * (1.0 - 0.6 * shut)
        image = _mix(image, image * 0.62, 0.6 * crease)
        image = _mix(image, image * 0.7, 0.5 * np.exp(-(((y - bottom - 0.05) / 0.07) ** 2)) * wide)
    return image


def _mouth(look: Look, image: Array, shade: Array, u: Array, v: Array, gap: float) -> Array:
    """A mouth opened by `gap` (face units) over the skin: lips, teeth, the dark inside."""
    x = u / (look.mouth_width * (1.0 - 0.5 * gap))
    arc = np.clip(1.0 - x**2, 0.0, 1.0)
    line = look.mouth_v - look.smile * x**2
    y = v - line
    upper_edge = -gap * 0.25 * arc
    lower_edge = gap * 0.75 * np.sqrt(arc)
    bow = look.lip_thickness * (0.85 * np.sqrt(arc) - 0.22 * np.exp(-((x / 0.16) ** 2)))
    soft = 0.016
    wide = smoothstep(1.03, 0.95, np.abs(x))
    skin = np.asarray(look.skin, np.float32)
    red = np.array([176.0, 70.0, 74.0], np.float32)
    lips = (
        skin * np.array([0.86, 0.66, 0.66], np.float32) * (1 - look.lip_red) + red * look.lip_red * skin[0] / 220.0
    ) * shade
    upper = smoothstep(-soft, soft, y - (upper_edge - bow)) * smoothstep(-soft, soft, upper_edge - y) * wide
    full = look.lip_thickness * 1.25 * np.sqrt(arc)
    lower = smoothstep(-soft, soft, y - lower_edge) * smoothstep(-soft, soft, lower_edge + full - y) * wide
    image = _mix(image, lips * 0.82, upper)
    gleam = 0.20 * blob(x, y - lower_edge, (0.1, 0.5 * look.lip_thickness), (0.4, 0.03))
    image = _mix(image, lips * (1.0 + gleam)[..., None], lower)
    inside = smoothstep(-soft, soft, y - upper_edge) * smoothstep(-soft, soft, lower_edge - y) * wide
    image = _mix(image, (52.0, 20.0, 20.0), inside * min(1.0, gap / 0.03))
    teeth = inside * smoothstep(0.09, 0.06, y - upper_edge) * smoothstep(0.85, 0.6, np.abs(x))
    image = _mix(
        image,
        np.array([222.0, 214.0, 200.0], np.float32) * np.clip(shade, 0.4, 1.0),
        teeth * min(1.0, gap / 0.08),
    )
    image = _mix(image, (40.0, 16.0, 16.0), 0.75 * np.exp(-((y / 0.014) ** 2)) * wide * max(0.0, 1.0 - gap / 0.05))
    corners = blob(np.abs(x), y, (1.0, 0.0), (0.09, 0.03))
    image = _mix(image, image * 0.55, 0.7 * corners)
    return _mix(
        image,
        image * 0.8,
        0.6 * blob(u, y - lower_edge, (0.0, look.lip_thickness * 1.25 + 0.05), (0.22, 0.035)),
    )


def _jaw_states(look: Look, base: Array, shade: Array) -> Iterator[Array]:
    """The lower face at every mouth state: the jaw dropped, then the mouth drawn."""
    u, v = grid()
    u_low, v_low = u[LOWER_ROW:], v[LOWER_ROW:]
    columns, rows = np.meshgrid(
        np.arange(CANVAS_PX, dtype=np.float32), np.arange(LOWER_ROW, CANVAS_PX, dtype=np.float32)
    )
    reach = smoothstep(look.mouth_v, look.mouth_v + 0.35, v_low) * smoothstep(1.25, 0.8, np.abs(u_low))
    near = slice(row(look.mouth_v - 0.2) - LOWER_ROW, row(look.mouth_v + 0.55) - LOWER_ROW)
    middle = slice(round(ORIGIN[0] - 0.5 * UNIT_PX), round(ORIGIN[0] + 0.5 * UNIT_PX))
    for state in range(MOUTH_STATES):
        gap = 0.26 * state / (MOUTH_STATES - 1)
        lower = np.asarray(cv2.remap(base, columns, rows - 0.45 * gap * UNIT_PX * reach, cv2.INTER_LINEAR), np.float32)
        patch = (near, middle)
        light = shade[LOWER_ROW:][patch][..., None]
        lower[patch][..., :3] = _mouth(look, lower[patch][..., :3], light, u_low[patch], v_low[patch], gap)
        yield lower


def _face(look: Look, light: Light, outline: Array, shine: tuple[Array, Array], rng: np.random.Generator) -> Array:
    """Skin and brows under the light, without eyes and mouth."""
    u, v = grid()
    diffuse, gloss = shine
    gain = np.asarray(light.gain, np.float32)
    rounding = 1.0 - 0.25 * smoothstep(0.72, 1.0, outline)
    lit = _skin(look, u, v, rng) * (diffuse * rounding)[..., None] * gain + 26.0 * gloss[..., None] * gain
    x = (np.abs(u) - look.eye_dx + 0.02) / 0.27
    line = look.brow_v - look.brow_arch * (1.0 - (x - 0.1) ** 2) + look.brow_tilt * x
    thickness = np.maximum(look.brow_thickness * smoothstep(1.25, -0.6, x), 0.012)
    brows = np.exp(-(((v - line) / thickness) ** 2)) * smoothstep(1.15, 0.9, np.abs(x))
    hairs = np.clip(brows * (0.9 + 0.15 * _noise(rng, 1.2, 0.6)), 0.0, 0.92)
    dark = 0.75 - 0.3 * max(look.hair) / 255.0
    return _mix(lit, np.asarray(look.hair, np.float32) * gain * dark, hairs)


def _hair_layers(look: Look, light: Light, diffuse: Array, rng: np.random.Generator) -> list[tuple[Array, Array]]:
    """Colour and coverage of the hair behind the head, and of the hair over the forehead."""
    u, v = grid()
    strands = 1.0 + 0.16 * _noise(rng, 0.8, 7.0) + 0.10 * _noise(rng, 3.0, 12.0)
    colour = np.asarray(look.hair, np.float32) * np.asarray(light.gain, np.float32) * strands[..., None]
    back, front = _hair_masks(look, u, v, _noise(rng, 1.3, 5.0))
    sheen = 1.0 + 0.22 * np.exp(-(((v + 1.05 + 0.25 * u * light.x) / 0.16) ** 2))
    dark = colour * (0.92 - 0.3 * smoothstep(-1.6, 0.2, v))[..., None]
    bright = colour * (sheen * (0.75 + 0.25 * diffuse))[..., None]
    return [(np.asarray(dark, np.float32), back), (np.asarray(bright, np.float32), front)]


def draw_head(look: Look, light: Light, *, hair: bool = True) -> Head:
    """Draw one head under one light; without hair it serves as a donor face."""
    u, v = grid()
    skin_rng, hair_rng = (np.random.Generator(np.random.Philox(key=[look.texture_seed, k])) for k in (0, 1))
    outline = _outline(look, u, v)
    covered = smoothstep(1.03, 0.97, outline)
    relief = _height_map(look, u, v, outline)
    diffuse, gloss = _shading(relief, light)
    gain = np.asarray(light.gain, np.float32)
    ears = smoothstep(1.08, 0.92, ((np.abs(u) - look.width) / 0.13) ** 2 + ((v - 0.08) / 0.27) ** 2)
    hollow = 0.86 - 0.35 * blob(np.abs(u), v, (look.width + 0.03, 0.08), (0.05, 0.15))
    layers = [(np.asarray(look.skin, np.float32) * gain * hollow[..., None], ears)]
    layers += [(_face(look, light, outline, (diffuse, gloss), skin_rng), covered)]
    visible = covered
    if hair:
        back, front = _hair_layers(look, light, diffuse, hair_rng)
        layers.insert(1 if look.hair_length > 0.5 else 0, back)  # long hair falls over the ears
        layers.append(front)
        visible = covered * (1.0 - front[1])
    rgb, cover = np.zeros((CANVAS_PX, CANVAS_PX, 3), np.float32), np.zeros_like(u)
    for colour, alpha in layers:
        rgb = _mix(rgb, colour, alpha)
        cover = cover + (1.0 - cover) * alpha
    base = np.dstack([np.clip(rgb, 0, 255) * cover[..., None], cover]).astype(np.float32)
    patch = (EYE_ROWS, EYE_COLUMNS)
    shade = (diffuse[..., None] * gain).astype(np.float32)
    shuts = np.linspace(0.0, 1.0, EYE_STATES)
    eyes = tuple(_eye_patch(look, base[patch][..., :3], shade[patch], u[patch], v[patch], float(s)) for s in shuts)
    ball = np.sqrt(np.maximum(0.0, 1.0 - (u / 1.35) ** 2 - ((v + 0.05) / 1.75) ** 2))
    return Head(
        base=base,
        eyes=tuple(np.clip(eye, 0, 255) for eye in eyes),
        lower=tuple(np.clip(state, 0, 255) for state in _jaw_states(look, base, diffuse)),
        depth=blurred(np.asarray(0.8 * ball + 0.5 * relief * covered, np.float32), 2.0),
        skin_mask=visible,
    )


def expression(head: Head, eye_state: int, mouth_state: int) -> Array:
    """The head's canvas, (CANVAS_PX, CANVAS_PX, 4) premultiplied, with these eyes and this mouth."""
    canvas = np.concatenate([head.base[:LOWER_ROW], head.lower[mouth_state]])
    canvas[EYE_ROWS, EYE_COLUMNS, :3] = head.eyes[eye_state]
    return canvas

"""The five manipulations of the built-in data set, each on the face region of the target's own frame.

* Deepfakes (2018): an autoencoder's low-resolution output of the source's face, warped back, softly blended.
* FaceSwap (Kowalski, 2016): the source's face as a textured model, pasted with a hard seam in the wrong colour.
* FaceShifter (Li et al., 2020): the source's face in the target's light, blended well; too smooth, a mixed identity.
* Face2Face (Thies et al., 2016): the target's own face on a coarse mesh that takes over the source's expression.
* NeuralTextures (Thies et al., 2019): only the mouth is rendered anew, by a network that leaves its grid behind.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import cv2
import numpy as np

from data_store.synthetic_faces import (
    CANVAS_PX,
    Array,
    Floats,
    Head,
    blob,
    blurred,
    draw_head,
    expression,
    grid,
    smoothstep,
)
from data_store.synthetic_looks import Look, Person, Stream, generator
from data_store.synthetic_scenes import Image, Shot

Box = tuple[slice, slice]


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
    tint: tuple[float, float, float]
    """The wrong colour of a pasted face: gains of red, green and blue."""
    facets: Array
    """(CANVAS_PX, CANVAS_PX): brightness of a coarse mesh's triangles, around 1."""
    pull: Array
    """(CANVAS_PX, CANVAS_PX, 2): how a grin moves canvas points, x and y."""


def _with_skin_of(look: Look, other: Look, share: float) -> Look:
    """A look whose skin is moved by `share` towards another's."""
    skin = (1.0 - share) * np.asarray(look.skin) + share * np.asarray(other.skin)
    return replace(look, skin=(float(skin[0]), float(skin[1]), float(skin[2])))


def _facets(rng: np.random.Generator) -> Array:
    """The triangles of a coarse mesh, each a little too bright or too dark."""
    cells = rng.normal(1.0, 0.06, (2, 14, 14))
    axis = np.arange(CANVAS_PX) * 14 / CANVAS_PX
    columns, rows = np.meshgrid(axis, axis)
    half = (columns % 1.0 + rows % 1.0 > 1.0).astype(int)
    return blurred(np.asarray(cells[half, rows.astype(int), columns.astype(int)], np.float32), 0.6)


def draw_cast(seed: int, target: Person, source: Person, head: Head) -> Cast:
    """Draw what the fakes of `target`, whose head is `head`, with `source` share."""
    u, v = grid()
    look = target.look
    relit, pasted = (_with_skin_of(source.look, look, share) for share in (0.75, 0.65))
    inner = (np.abs(u) / (look.width * 0.82)) ** 2.8 + (np.abs(v - 0.27) / (look.height - 0.32)) ** 2.8
    mouth = (np.abs(u) / (look.mouth_width + 0.20)) ** 2 + (np.abs(v - look.mouth_v - 0.05) / 0.27) ** 2
    rng = generator(seed, Stream.FAKE, target.identity, source.identity)
    warm = 0.10 * float(rng.choice([-1.0, 1.0]))
    tint = 1.02 * (1.0 + rng.uniform(-0.03, 0.03, 3) + np.array([warm, 0.0, -warm]))
    lips = blob(u, v, (0.0, look.mouth_v), (0.5, 0.3))
    return Cast(
        target=head,
        source=draw_head(pasted, replace(source.light, ambient=0.5), hair=False),
        relit=draw_head(relit, target.light, hair=False),
        face_mask=smoothstep(1.03, 0.97, inner) * head.skin_mask,
        mouth_mask=smoothstep(1.0, 0.6, mouth),
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        facets=_facets(rng),
        pull=np.dstack([-8.0 * u * lips, 10.0 * u**2 * lips]).astype(np.float32),
    )


def _region(mask: Array, maps: tuple[Array, Array], pad_px: int = 4) -> tuple[Box, Array]:
    """The frame box that holds a canvas mask, and the mask in it."""
    warped = np.asarray(cv2.remap(mask, *maps, cv2.INTER_LINEAR), np.float32)
    left, top, width, height = cv2.boundingRect((warped > 0).astype(np.uint8))
    box = (
        slice(max(0, top - pad_px), top + height + pad_px),
        slice(max(0, left - pad_px), left + width + pad_px),
    )
    return box, warped[box]


def _render(head: Head, shot: Shot, box: Box, *, mouth_state: int, shift: Floats | None = None) -> Array:
    """A head over the frame, in the target's pose, in the frame box; `shift` (..., 2) moves canvas points."""
    x, y = shot.maps[0][box], shot.maps[1][box]
    if shift is not None:
        x, y = np.asarray(x + shift[..., 0], np.float32), np.asarray(y + shift[..., 1], np.float32)
    layer = cv2.remap(expression(head, shot.pose.eye_state, mouth_state), x, y, cv2.INTER_LINEAR)
    return np.asarray(layer[..., :3] + shot.frame[box] * (1.0 - layer[..., 3:]), np.float32)


def _blend(shot: Shot, box: Box, face: Floats, mask: Array) -> Image:
    """The real frame with `face` where the mask says so; elsewhere bit for bit the real frame."""
    image = shot.real.copy()
    under = image[box].astype(np.float32)
    image[box] = np.clip(under + (face - under) * mask[..., None] + 0.5, 0, 255).astype(np.uint8)
    return image


def _matched(face: Floats, under: Array, mask: Array, share: float) -> Array:
    """Scale the face's mean colour towards that of what it covers."""
    weight = mask[..., None]
    ratio = (under * weight).sum(axis=(0, 1)) / np.maximum((face * weight).sum(axis=(0, 1)), 1.0)
    return np.asarray(face * (1.0 + share * (np.clip(ratio, 0.3, 3.0) - 1.0)), np.float32)


def _coarse(image: Floats, factor: float) -> Array:
    """Lose the detail below `factor` pixels."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def deepfakes(cast: Cast, shot: Shot) -> Image:
    """Re-synthesise the whole face at low resolution and blend it softly."""
    box, mask = _region(cast.face_mask, shot.maps)
    face = _render(cast.relit, shot, box, mouth_state=shot.pose.mouth_state)
    face = _matched(face, shot.frame[box], mask, 0.8)
    return _blend(shot, box, _coarse(face, 4.5 * shot.scale), np.minimum(blurred(mask, 3.0 * shot.scale), mask))


def face_swap(cast: Cast, shot: Shot) -> Image:
    """Paste the source's face: a hard seam, the wrong colour, a wrong light, a trembling fit."""
    box, mask = _region(cast.face_mask, shot.maps)
    tremble = np.array([2.0 * np.sin(1.7 * shot.index), 1.5 * np.cos(2.3 * shot.index)])
    face = _render(cast.source, shot, box, mouth_state=shot.pose.mouth_state, shift=tremble)
    face = _matched(face, shot.frame[box], mask, 0.95) * np.asarray(cast.tint, np.float32)
    inside = (mask > 0.5).astype(np.float32)
    edge = blurred(inside, 1.5 * shot.scale)
    seam = np.clip(4.0 * edge * (1.0 - edge), 0.0, 1.0)[..., None]
    return _blend(shot, box, blurred(face, 1.4 * shot.scale) * (1.0 - 0.25 * seam), inside)


def face_shifter(cast: Cast, shot: Shot) -> Image:
    """Swap cleanly, in the target's light: waxy skin and a trace of both identities."""
    box, mask = _region(cast.face_mask, shot.maps)
    face = _render(cast.relit, shot, box, mouth_state=shot.pose.mouth_state)
    face = 0.75 * _matched(face, shot.frame[box], mask, 1.0) + 0.25 * shot.frame[box]
    return _blend(shot, box, blurred(face, 1.5 * shot.scale), np.minimum(blurred(mask, 2.5 * shot.scale), mask))


def face2face(cast: Cast, shot: Shot) -> Image:
    """Render the target's face again from a coarse mesh, with the source's mouth and grin."""
    box, mask = _region(cast.face_mask, shot.maps)
    pull = cv2.remap(cast.pull, shot.maps[0][box], shot.maps[1][box], cv2.INTER_LINEAR)
    shift = shot.source_pose.grin * pull
    face = _render(cast.target, shot, box, mouth_state=shot.source_pose.mouth_state, shift=shift)
    facets = cv2.remap(cast.facets, shot.maps[0][box], shot.maps[1][box], cv2.INTER_LINEAR)
    face = _matched(blurred(face, 1.8 * shot.scale) * facets[..., None], shot.frame[box], mask, 1.0)
    return _blend(shot, box, face, np.minimum(blurred(mask, shot.scale), mask))


def neural_textures(cast: Cast, shot: Shot) -> Image:
    """Render the mouth alone by a network: soft, with the source's expression and the grid of its upsampling."""
    box, mask = _region(cast.mouth_mask, shot.maps)
    face = _render(cast.target, shot, box, mouth_state=shot.source_pose.mouth_state)
    face = blurred(_matched(face, shot.frame[box], mask, 1.0), 1.6 * shot.scale)
    rows, columns = np.indices(mask.shape)
    lattice = np.where((rows // 2 + columns // 2) % 2, 3.5, -3.5)
    return _blend(shot, box, face + lattice[..., None], mask)


MANIPULATIONS: Mapping[str, Callable[[Cast, Shot], Image]] = MappingProxyType(
    {
        "Deepfakes": deepfakes,
        "Face2Face": face2face,
        "FaceShifter": face_shifter,
        "FaceSwap": face_swap,
        "NeuralTextures": neural_textures,
    }
)

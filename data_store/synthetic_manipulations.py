"""The five manipulations of the built-in data set, each on the face region of the target's own frame.

* Deepfakes (2018): an autoencoder's low-resolution output of the source's face, warped back, softly blended.
* FaceSwap (Kowalski, 2016): the source's face as a textured model, pasted with a hard seam in the wrong colour.
* FaceShifter (Li et al., 2020): the source's face in the target's light, blended well; too smooth, a mixed identity.
* Face2Face (Thies et al., 2016): the target's own face on a coarse mesh that takes over the source's expression.
* NeuralTextures (Thies et al., 2019): only the mouth is rendered anew, by a network that leaves its grid behind.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np

from data_store.synthetic_faces import Array, Head, blurred, expression
from data_store.synthetic_scenes import Cast, Image, Shot

Box = tuple[slice, slice]


def _region(mask: Array, maps: tuple[Array, Array], pad_px: int = 4) -> tuple[Box, Array]:
    """The frame box that holds a canvas mask, and the mask in it."""
    warped = np.asarray(cv2.remap(mask, *maps, cv2.INTER_LINEAR), np.float32)
    left, top, width, height = cv2.boundingRect((warped > 0).astype(np.uint8))
    box = (
        slice(max(0, top - pad_px), top + height + pad_px),
        slice(max(0, left - pad_px), left + width + pad_px),
    )
    return box, warped[box]


def _render(
    head: Head, shot: Shot, box: Box, *, mouth_state: int, shift: tuple[float, float] = (0.0, 0.0)
) -> Array:
    """A head's colours in the frame box, in the target's pose."""
    canvas = expression(head, shot.pose.eye_state, mouth_state)
    x, y = shot.maps[0][box] + np.float32(shift[0]), shot.maps[1][box] + np.float32(shift[1])
    layer = np.asarray(cv2.remap(canvas, x, y, cv2.INTER_LINEAR), np.float32)
    return layer[..., :3] / np.maximum(layer[..., 3:], 0.05)


def _blend(shot: Shot, box: Box, face: Array, mask: Array) -> Image:
    """The real frame with `face` where the mask says so; elsewhere bit for bit the real frame."""
    image = shot.real.copy()
    under = image[box].astype(np.float32)
    image[box] = np.clip(under + (face - under) * mask[..., None] + 0.5, 0, 255).astype(np.uint8)
    return image


def _matched(face: Array, under: Array, mask: Array, share: float) -> Array:
    """Move the face's mean colour towards what it covers."""
    weight = mask[..., None] / max(float(mask.sum()), 1.0)
    return face + share * ((under - face) * weight).sum(axis=(0, 1))


def _coarse(image: Array, factor: float) -> Array:
    """Lose the detail below `factor` pixels."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def deepfakes(cast: Cast, shot: Shot) -> Image:
    """The whole face re-synthesised at low resolution and blended softly."""
    box, mask = _region(cast.face_mask, shot.maps)
    face = _render(cast.relit, shot, box, mouth_state=shot.pose.mouth_state)
    face = _matched(face, shot.frame[box], mask, 0.8)
    return _blend(shot, box, _coarse(face, 4.5), np.minimum(blurred(mask, 3.0), mask))


def face_swap(cast: Cast, shot: Shot) -> Image:
    """The source's face pasted: a hard seam, the wrong colour, a wrong light, a trembling fit."""
    box, mask = _region(cast.face_mask, shot.maps)
    tremble = (2.0 * np.sin(1.7 * shot.index), 1.5 * np.cos(2.3 * shot.index))
    face = _render(cast.source, shot, box, mouth_state=shot.pose.mouth_state, shift=tremble)
    face = _matched(face, shot.frame[box], mask, 0.5)
    return _blend(shot, box, face, (mask > 0.5).astype(np.float32))


def face_shifter(cast: Cast, shot: Shot) -> Image:
    """A clean swap in the target's light: waxy skin and a trace of both identities."""
    box, mask = _region(cast.face_mask, shot.maps)
    face = _render(cast.relit, shot, box, mouth_state=shot.pose.mouth_state)
    face = 0.75 * _matched(face, shot.frame[box], mask, 1.0) + 0.25 * shot.frame[box]
    return _blend(shot, box, blurred(face, 1.2), np.minimum(blurred(mask, 2.5), mask))


def face2face(cast: Cast, shot: Shot) -> Image:
    """The target's face re-rendered from a coarse mesh with the source's mouth."""
    box, mask = _region(cast.face_mask, shot.maps)
    face = _render(cast.target, shot, box, mouth_state=shot.source_pose.mouth_state)
    facets = cv2.remap(cast.facets, shot.maps[0][box], shot.maps[1][box], cv2.INTER_LINEAR)
    face = _matched(face * np.asarray(facets, np.float32)[..., None], shot.frame[box], mask, 1.0)
    return _blend(shot, box, face, np.minimum(blurred(mask, 1.0), mask))


def neural_textures(cast: Cast, shot: Shot) -> Image:
    """The mouth alone, rendered by a network: soft, slightly off in colour, with the grid of its upsampling."""
    box, mask = _region(cast.mouth_mask, shot.maps)
    face = _render(cast.target, shot, box, mouth_state=shot.source_pose.mouth_state)
    face = blurred(_matched(face, shot.frame[box], mask, 1.0), 1.8)
    rows, columns = np.indices(mask.shape)
    lattice = np.where((rows // 2 + columns // 2) % 2, 1.0, -1.0)
    return _blend(shot, box, np.asarray(face + 5.0 * lattice[..., None], np.float32), mask)


MANIPULATIONS: Mapping[str, Callable[[Cast, Shot], Image]] = MappingProxyType(
    {
        "Deepfakes": deepfakes,
        "Face2Face": face2face,
        "FaceShifter": face_shifter,
        "FaceSwap": face_swap,
        "NeuralTextures": neural_textures,
    }
)

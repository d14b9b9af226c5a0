"""Finding faces in a frame and cutting square crops out of it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from data_store.errors import InputError
from data_store.settings import FaceSettings

SHARPNESS_PX = 128
HAAR_FILE = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"


class Box(NamedTuple):
    """A rectangle in a frame, in pixels."""

    x: int
    y: int
    width: int
    height: int


class Face(NamedTuple):
    """A face that was cut out."""

    box: Box
    """The detector's box in the full frame."""
    crop: NDArray[np.uint8]
    """``(crop_px, crop_px, 3)`` uint8 RGB."""


Detector = Callable[[NDArray[np.uint8]], list[Box]]
"""Takes a frame ``(height, width, 3)`` uint8 BGR, gives the boxes of its faces in that frame."""


def whole_frame(settings: FaceSettings) -> Detector:
    """The detector ``none``, for ready face crops: the face is the whole image."""
    del settings

    def detect(frame: NDArray[np.uint8]) -> list[Box]:
        height, width = frame.shape[:2]
        return [Box(0, 0, width, height)]

    return detect


def haar(settings: FaceSettings) -> Detector:
    """OpenCV's frontal Haar cascade (Viola and Jones 2001) on the frame scaled down to ``detect_px``."""
    search = haar_between(settings)

    def detect(frame: NDArray[np.uint8]) -> list[Box]:
        return search(frame, settings.smallest_face_px, None)

    return detect


def haar_between(settings: FaceSettings) -> Callable[[NDArray[np.uint8], int, int | None], list[Box]]:
    """The cascade for faces of a range of sizes: a frame, the smallest and the largest side in its pixels.

    The cascade's steps of size do not depend on the range, so a face whose hits all lie within it gets the box that a
    search of every size gives it; the small sizes cost most.
    """
    cascade = cv2.CascadeClassifier(str(HAAR_FILE))

    def search(frame: NDArray[np.uint8], smallest_px: int, largest_px: int | None) -> list[Box]:
        small, scale = scaled_down(frame, settings.detect_px)
        smallest = max(1, int(smallest_px * scale))
        largest = 0 if largest_px is None else max(smallest, round(largest_px * scale))  # 0: the whole frame
        hits = cascade.detectMultiScale(
            cv2.cvtColor(small, cv2.COLOR_BGR2GRAY),
            scaleFactor=settings.scale_factor,
            minNeighbors=settings.min_neighbours,
            minSize=(smallest, smallest),
            maxSize=(largest, largest),
        )
        return [Box(*(round(float(value) / scale) for value in hit)) for hit in hits]

    return search


def dlib_hog(settings: FaceSettings) -> Detector:
    """Dlib's frontal face detector (HOG and a linear classifier, King 2015), which FaceForensics++'s authors used.

    Twice as fast as the cascade, with fewer false faces, but blind to faces below 80 px in the scaled frame: raise
    ``detect_px`` where people are far away.
    """
    import dlib

    search = dlib.get_frontal_face_detector()

    def detect(frame: NDArray[np.uint8]) -> list[Box]:
        small, scale = scaled_down(frame, settings.detect_px)
        hits = search(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), 0)
        edges = ((hit.left(), hit.top(), hit.width(), hit.height()) for hit in hits)
        return [Box(*(round(value / scale) for value in edge)) for edge in edges]

    return detect


DETECTORS: dict[str, Callable[[FaceSettings], Detector]] = {"haar": haar, "dlib": dlib_hog, "none": whole_frame}


def make_detector(settings: FaceSettings) -> Detector:
    """Make the detector that the settings name; ``auto`` is ``haar``.

    Raises:
        InputError: there is none of that name.
    """
    name = "haar" if settings.detector == "auto" else settings.detector
    if name not in DETECTORS:
        known = ", ".join(sorted(DETECTORS))
        raise InputError(f"detector must be one of {known}, but got {settings.detector!r}")
    return DETECTORS[name](settings)


def scaled_down(frame: NDArray[np.uint8], longest_px: int) -> tuple[NDArray[np.uint8], float]:
    """Scale a frame down until its longest side is ``longest_px`` (0: leave it); gives the frame and the scale."""
    height, width = frame.shape[:2]
    scale = longest_px / max(height, width)
    if longest_px == 0 or scale >= 1.0:
        return frame, 1.0
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False), scale


def find_faces(
    frame: NDArray[np.uint8], detector: Detector, settings: FaceSettings, crop_px: int
) -> tuple[list[Face], str | None]:
    """Find the faces of a frame and cut them out.

    Args:
        frame: ``(height, width, 3)`` uint8 BGR.
        detector: from :func:`make_detector`.
        settings: which of the faces to keep, and how wide to cut.
        crop_px: side of the crops.

    Returns:
        The faces, largest first (ties: leftmost, then topmost), and, where there are none, the reason.
    """
    boxes = [box for box in detector(frame) if min(box.width, box.height) >= settings.smallest_face_px]
    if settings.detector == "none":
        boxes = detector(frame)
    if not boxes:
        return [], "no face"
    boxes.sort(key=lambda box: (-box.width * box.height, box.x, box.y))
    if settings.faces == "largest":
        boxes = boxes[:1]
    faces = []
    for box in boxes:
        square = cut_square(frame, box, settings.margin)
        if settings.min_sharpness > 0.0 and sharpness(square) < settings.min_sharpness:
            continue
        faces.append(Face(box, resize_crop(square, crop_px)))
    return faces, None if faces else "blurred"


def cut_square(frame: NDArray[np.uint8], box: Box, margin: float) -> NDArray[np.uint8]:
    """Cut the square around a box, ``1 + margin`` times its longer side, moved inside the frame where it sticks out.

    A square larger than the frame's shorter side is cut at that size. Gives a view, ``(side, side, 3)``.
    """
    height, width = frame.shape[:2]
    side = min(round(max(box.width, box.height) * (1.0 + margin)), height, width)
    side = max(side, 1)
    left = min(max(round(box.x + box.width / 2 - side / 2), 0), width - side)
    top = min(max(round(box.y + box.height / 2 - side / 2), 0), height - side)
    return frame[top : top + side, left : left + side]


def resize_crop(square: NDArray[np.uint8], crop_px: int) -> NDArray[np.uint8]:
    """Resize a BGR square to ``(crop_px, crop_px, 3)`` RGB: area means when it shrinks, else bilinear."""
    interpolation = cv2.INTER_AREA if square.shape[0] >= crop_px else cv2.INTER_LINEAR
    resized = cv2.resize(square, (crop_px, crop_px), interpolation=interpolation)
    return cv2.cvtColor(resized, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def sharpness(square: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian of the grey crop at 128 px (Pech-Pacheco et al. 2000); blurred crops score low."""
    small = cv2.resize(square, (SHARPNESS_PX, SHARPNESS_PX), interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), cv2.CV_64F).var())

"""Faces in key frames, found and cut exactly as the store does, with less searching where nothing new is expected."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_store.faces import Box, Detector, Face, find_faces, haar_between, make_detector
from data_store.settings import FaceSettings
from demo.tracking import Place

Frame = NDArray[np.uint8]
FULL_S = 2.0
"""Seconds from one search for faces of every size to the next."""
TINY_S = 0.5
"""Seconds from one search for faces too small to judge to the next, where there is no other."""
SMALLER, LARGER = 0.6, 2.3
"""Between two of these, a face has from so many to so many times the side that the faces in sight have."""
HAAR_WINDOW_PX = 24
"""Side of the smallest face that the cascade can find in the frame it sees."""
SMALL_DETECT_PX = 1280
"""Longest side of the frame in which faces too small to judge are looked for."""


class FaceFinder:
    """The store's detector and crop, for one video."""

    def __init__(self, settings: FaceSettings, crop_px: int, *, exhaustive: bool = False) -> None:
        """Load the detector.

        Args:
            settings: the store's; every face is kept, not the largest alone.
            crop_px: side of the crops.
            exhaustive: search for every size in every frame.
        """
        # A store of ready crops has no detector; in a video one is needed.
        detector = "haar" if settings.detector in ("auto", "none") else settings.detector
        self._settings = dataclasses.replace(settings, faces="all", detector=detector)
        self._crop_px = crop_px
        self._exhaustive = exhaustive or detector != "haar"
        self._everything = make_detector(self._settings)
        self._between = haar_between(self._settings)
        tiny = dataclasses.replace(self._settings, detect_px=SMALL_DETECT_PX, smallest_face_px=HAAR_WINDOW_PX)
        self._tiny = haar_between(tiny)
        self._full_s = self._tiny_s = -FULL_S
        self._tiny_again = False
        self.num_limited = 0
        """Searches that a range of sizes was enough for."""

    def smallest_px(self, width: int, height: int) -> int:
        """Side in pixels of the smallest face that can be judged in frames of a size."""
        longest = self._settings.detect_px or max(width, height)
        shrunk = max(1.0, max(width, height) / longest)
        window = HAAR_WINDOW_PX if self._settings.detector == "haar" else 80  # dlib's own
        return max(self._settings.smallest_face_px, round(window * shrunk))

    def find(self, frame: Frame, time_s: float, known: Sequence[Place], expected: int) -> tuple[list[Face], list[Box]]:
        """Find the faces of a key frame.

        Args:
            frame: ``(height, width, 3)`` uint8 BGR, the full frame.
            time_s: its time.
            known: the faces in sight.
            expected: how many of them the detector found in the last key frame.

        Returns:
            The faces that can be judged, largest first, and, where there are none, the boxes of smaller ones.
        """
        full = self._exhaustive or not known or time_s - self._full_s >= FULL_S or time_s < self._full_s
        if not full:
            sides = [max(place.width, place.height) for place in known]
            low = max(self._settings.smallest_face_px, int(SMALLER * min(sides)))
            high = round(LARGER * max(sides))
            faces = self._cut(frame, lambda pixels: self._between(pixels, low, high))
            if len(faces) >= expected:
                self.num_limited += 1
                return faces, []
        self._full_s = time_s
        faces = self._cut(frame, self._everything)
        return faces, [] if faces else self._smaller(frame, time_s)

    def _cut(self, frame: Frame, detector: Detector) -> list[Face]:
        return find_faces(frame, detector, self._settings, self._crop_px)[0]

    def _smaller(self, frame: Frame, time_s: float) -> list[Box]:
        if 0 <= time_s - self._tiny_s < TINY_S and not self._tiny_again:
            return []
        largest = self.smallest_px(frame.shape[1], frame.shape[0]) - 1
        boxes = [box for box in self._tiny(frame, HAAR_WINDOW_PX, None) if max(box.width, box.height) <= largest]
        # What was found is looked for in the next key frame too, which confirms it or not; then not for a while.
        self._tiny_again = bool(boxes) and not self._tiny_again
        self._tiny_s = time_s
        return boxes

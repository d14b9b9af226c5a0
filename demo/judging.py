"""The faces that were found and followed, judged: their scores kept, and what is to be drawn on each frame said."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from demo.drawing import LOOKING, Mark
from demo.footage import Picture
from demo.tracking import Place, Track
from demo.verdicts import TOO_SMALL, Face, named
from demo.watching import Followed, Found, Stretch, Watched

PORTRAIT_PX = 112


@dataclass(frozen=True, kw_only=True)
class Marked:
    """A frame and what is to be drawn on it."""

    picture: Picture
    """The frame."""
    marks: tuple[Mark, ...]
    """One a face."""
    key: bool
    """The detector looked at it."""
    numbered: bool
    """The marks name their faces: more than one was seen so far."""


class Judge:
    """Judges the faces of one video."""

    def __init__(self, model: Watched) -> None:
        """Start before the first frame.

        Args:
            model: what judges.
        """
        self._model = model
        self._unconfirmed: dict[Track, list[tuple[float, float, NDArray[np.uint8]]]] = {}
        self._largest: dict[int, int] = {}
        self.faces: dict[int, Face] = {}
        """By number, confirmed ones alone."""
        self.portraits: dict[int, NDArray[np.uint8]] = {}
        """Of each face its largest crop, ``(112, 112, 3)`` uint8 RGB."""

    def take(self, stretch: Stretch) -> Iterator[Marked]:
        """Score the faces of the next stretch's key frame; then mark the frames before it."""
        scored = [(found, found.face) for found in stretch.found if found.face is not None]
        if scored:
            logits = self._model.scorer.score(np.stack([face.crop for _, face in scored])).tolist()
            for (found, face), logit in zip(scored, logits, strict=True):
                self._keep(found, stretch.time_s, logit, face.crop, face.box.width)
        for found in stretch.found:
            if found.face is None and found.owner.number is not None:
                self._face(found.owner.number)
        self._unconfirmed = {track: kept for track, kept in self._unconfirmed.items() if track in stretch.in_sight}
        for step, picture in enumerate(stretch.pictures):
            places = ((one, one.path[step] if step < len(one.path) else None) for one in stretch.followed)
            marks = self.marks(places, picture.time_s)
            yield Marked(picture=picture, marks=marks, key=step == 0, numbered=stretch.several)

    def marks(self, places: Iterable[tuple[Followed, Place | None]], time_s: float) -> tuple[Mark, ...]:
        """Say what is to be drawn on a frame.

        Args:
            places: the faces and where they are; None where one is out of sight.
            time_s: the frame's.
        """
        marks = []
        for one, place in places:
            if place is None or one.number is None:
                continue
            face = self._face(one.number)
            face.seen(time_s)
            chance = None if one.small else face.around(time_s)
            word = TOO_SMALL if one.small else LOOKING if chance is None else named(chance)
            left, top, width, height = place.corners()
            marks.append(
                Mark(
                    face=one.number, left=left, top=top, width=width, height=height, verdict=word, probability=chance
                )
            )  # fmt: skip
        return tuple(marks)

    def _keep(self, found: Found, time_s: float, logit: float, crop: NDArray[np.uint8], side: int) -> None:
        """Add a score to its face; that of a face not yet confirmed waits until it is."""
        owner = found.owner
        scores = [*self._unconfirmed.pop(owner.track, []), (time_s, logit, crop)]
        if owner.number is None:
            self._unconfirmed[owner.track] = scores
            return
        face = self._face(owner.number)
        for when, value, _ in scores:
            face.times_s.append(when)
            face.logits.append(value)
        if side > self._largest.get(owner.number, 0):
            self._largest[owner.number] = side
            size = (PORTRAIT_PX, PORTRAIT_PX)
            self.portraits[owner.number] = cv2.resize(crop, size, interpolation=cv2.INTER_AREA).astype(np.uint8)

    def _face(self, number: int) -> Face:
        if number not in self.faces:
            self.faces[number] = Face(number=number, calibration=self._model.calibration)
        return self.faces[number]

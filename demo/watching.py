"""Frame after frame in, the same frames with what is to be drawn on each out; scores and faces are kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from analysis.calibration import Calibration
from data_store.settings import FaceSettings
from demo.drawing import LOOKING, Mark
from demo.finding import FaceFinder
from demo.footage import Picture
from demo.scoring import Scorer
from demo.tracking import Place, Sighting, Track, Tracker, is_cut, thumbnail
from demo.verdicts import TOO_SMALL, Face, named

SCORES_PER_S = 7.0
"""Key frames a second: detected and scored. No divisor of 24, 25 or 30: every second or fifth frame would often be the
same kind of frame to the video's encoder, B or P, and the mean over such frames is off."""
PORTRAIT_PX = 112


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A model and how faces are brought to it."""

    scorer: Scorer
    """The model."""
    faces: FaceSettings = field(default_factory=FaceSettings)
    """How the store that it was trained on found and cut faces."""
    crop_px: int = 224
    """Side of that store's crops."""
    calibration: Calibration = field(default_factory=Calibration)
    """From its logits to probabilities."""


@dataclass(frozen=True, kw_only=True)
class Marked:
    """A frame and what is to be drawn on it."""

    picture: Picture
    """The frame."""
    marks: tuple[Mark, ...]
    """One a face."""
    key: bool
    """The detector looked at it."""


class Watch:
    """Watches one video."""

    def __init__(self, model: Watched, *, scale: float, per_s: float = SCORES_PER_S, every_frame: bool = False) -> None:
        """Start before the first frame.

        Args:
            model: what judges the faces.
            scale: pixels of the marked video in one of the full frame.
            per_s: key frames a second.
            every_frame: detect and score every frame, searching for every size: slow, the yardstick.
        """
        self._model = model
        self._finder = FaceFinder(model.faces, model.crop_px, exhaustive=every_frame)
        self._tracker = Tracker(scale)
        self._apart_s = 0.0 if every_frame else 1.0 / per_s
        self._due_s = 0.0
        self._pending: list[Picture] = []
        self._thumbnail: NDArray[np.int16] | None = None
        self._cut = False
        self._unconfirmed: dict[Track, list[tuple[float, float, NDArray[np.uint8]]]] = {}
        self._expected = 0
        self._largest: dict[int, int] = {}
        self.faces: dict[int, Face] = {}
        """By number, confirmed ones alone."""
        self.portraits: dict[int, NDArray[np.uint8]] = {}
        """Of each face its largest crop, ``(112, 112, 3)`` uint8 RGB."""
        self.num_frames = self.num_keys = self.num_damaged = self.num_without = 0

    @property
    def finder(self) -> FaceFinder:
        """The detector."""
        return self._finder

    @property
    def several(self) -> bool:
        """Whether more than one face was seen so far: they are numbered then."""
        return self._tracker.num_faces > 1

    def take(self, picture: Picture) -> list[Marked]:
        """Take in the next frame.

        Returns:
            The frames that can be drawn now: those since the last key frame, or none.
        """
        self.num_frames += 1
        grey = picture.planes[0]
        now = thumbnail(grey)
        self._cut = self._cut or (self._thumbnail is not None and is_cut(self._thumbnail, now))
        self._thumbnail = now
        pixels = picture.pixels if self._is_key(picture) else None
        if pixels is None:
            self.num_damaged += bool(picture.stored.is_corrupt)
            self._pending.append(picture)
            if not self._cut:  # after a cut whose first frame is damaged there is nothing to follow
                self._tracker.follow(grey)
            return []
        return self._look(picture, pixels)

    def end(self) -> list[Marked]:
        """Return the frames that are left."""
        self._tracker.end()
        left, self._pending = list(self._mark(self._tracker.tracks)), []
        return left

    def now(self, time_s: float) -> tuple[Mark, ...]:
        """What is known of the last frame taken, before the next one comes: for a live picture."""
        return self._marks([(track, track.place) for track in self._tracker.tracks], time_s)

    def _is_key(self, picture: Picture) -> bool:
        if not self._pending or self._cut:
            return True
        return picture.time_s >= self._due_s - 1e-3

    def _look(self, picture: Picture, pixels: NDArray[np.uint8]) -> list[Marked]:
        self.num_keys += 1
        late_s = picture.time_s - self._due_s
        on_time = not self._cut and 0 <= late_s < self._apart_s
        self._due_s = (self._due_s if on_time else picture.time_s) + self._apart_s
        known = [] if self._cut else [track.place for track in self._tracker.tracks if not track.small]
        found, smaller = self._finder.find(pixels, picture.time_s, known, 0 if self._cut else self._expected)
        self.num_without += not found
        self._expected = len(found)
        sightings = [Sighting(box=face.box) for face in found] + [Sighting(box=box, small=True) for box in smaller]
        before, owners = self._tracker.look(picture.planes[0], sightings, picture.time_s, cut=self._cut)
        crops = [face.crop for face in found]
        logits = self._model.scorer.score(np.stack(crops)).tolist() if crops else []
        for owner, crop, logit, face in zip(owners, crops, logits, found, strict=False):
            assert owner is not None
            self._keep(owner, picture.time_s, logit, crop, face.box.width)
        for owner in owners[len(found) :]:
            if owner is not None and owner.number is not None:
                self._face(owner.number)
        self._unconfirmed = {track: kept for track, kept in self._unconfirmed.items() if track in self._tracker.tracks}
        done = list(self._mark(before))
        self._pending, self._cut = [picture], False
        self._tracker.begin(picture.planes[0])
        return done

    def _keep(self, track: Track, time_s: float, logit: float, crop: NDArray[np.uint8], side: int) -> None:
        """Add a score to its face; that of a face not yet confirmed waits until it is."""
        scores = [*self._unconfirmed.pop(track, []), (time_s, logit, crop)]
        if track.number is None:
            self._unconfirmed[track] = scores
            return
        face = self._face(track.number)
        for when, value, _ in scores:
            face.times_s.append(when)
            face.logits.append(value)
        if side > self._largest.get(track.number, 0):
            self._largest[track.number] = side
            size = (PORTRAIT_PX, PORTRAIT_PX)
            self.portraits[track.number] = cv2.resize(crop, size, interpolation=cv2.INTER_AREA).astype(np.uint8)

    def _face(self, number: int) -> Face:
        if number not in self.faces:
            self.faces[number] = Face(number=number, calibration=self._model.calibration)
        return self.faces[number]

    def _mark(self, tracks: list[Track]) -> Iterator[Marked]:
        """Pair the pending frames with the places of the faces in them."""
        for step, picture in enumerate(self._pending):
            places = [(track, track.path[step] if step < len(track.path) else None) for track in tracks]
            yield Marked(picture=picture, marks=self._marks(places, picture.time_s), key=step == 0)

    def _marks(self, places: Sequence[tuple[Track, Place | None]], time_s: float) -> tuple[Mark, ...]:
        marks = []
        for track, place in places:
            if place is None or track.number is None:
                continue
            face = self._face(track.number)
            face.seen(time_s)
            chance = None if track.small else face.around(time_s)
            word = TOO_SMALL if track.small else LOOKING if chance is None else named(chance)
            left, top, width, height = place.corners()
            marks.append(
                Mark(
                    face=track.number, left=left, top=top, width=width, height=height, verdict=word, probability=chance
                )
            )  # fmt: skip
        return tuple(marks)

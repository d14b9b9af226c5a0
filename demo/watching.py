"""Frame after frame in, the faces of the frames between two key frames out: found, cut, followed, not yet judged."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analysis.calibration import Calibration
from data_store.faces import Face
from data_store.settings import FaceSettings
from demo.finding import FaceFinder
from demo.footage import Picture
from demo.scoring import Scorer
from demo.tracking import Place, Sighting, Track, Tracker, is_cut, thumbnail

SCORES_PER_S = 7.0
"""Key frames a second: detected and scored. No divisor of 24, 25 or 30: every second or fifth frame would often be the
same kind of frame to the video's encoder, B or P, and the mean over such frames is off."""


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
class Followed:
    """A face, as it stood at one moment: the track goes on changing while this is judged."""

    track: Track
    """Whose state this is; only to tell faces apart."""
    number: int | None
    """None as long as no second detection confirmed the face."""
    small: bool
    """Too small to be judged."""
    path: tuple[Place | None, ...] = ()
    """One place a frame; None once out of sight."""

    @classmethod
    def of(cls, track: Track) -> "Followed":
        """A track as it stands."""
        return cls(track=track, number=track.number, small=track.small, path=tuple(track.path))


@dataclass(frozen=True, kw_only=True)
class Found:
    """A face that the detector found in a key frame."""

    owner: Followed
    """Whose it is."""
    face: Face | None
    """Its box and crop; None where it is too small to be judged."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """What a key frame told, and the frames before it, which can be drawn now."""

    pictures: tuple[Picture, ...]
    """Since the last key frame, itself first; empty at the video's first frame."""
    followed: tuple[Followed, ...]
    """The faces in these."""
    time_s: float
    """Of the key frame that ended them; at the video's end of its last frame."""
    found: tuple[Found, ...]
    """In that key frame."""
    in_sight: frozenset[Track]
    """From it on."""
    several: bool
    """More than one face was seen so far."""


class Watch:
    """Watches one video."""

    def __init__(self, model: Watched, *, scale: float, per_s: float = SCORES_PER_S, every_frame: bool = False) -> None:
        """Start before the first frame.

        Args:
            model: what will judge the faces.
            scale: pixels of the marked video in one of the full frame.
            per_s: key frames a second.
            every_frame: detect and score every frame, searching for every size: slow, the yardstick.
        """
        self._finder = FaceFinder(model.faces, model.crop_px, exhaustive=every_frame)
        self._tracker = Tracker(scale)
        self._apart_s = 0.0 if every_frame else 1.0 / per_s
        self._due_s = self._time_s = 0.0
        self._pending: list[Picture] = []
        self._thumbnail: NDArray[np.int16] | None = None
        self._cut = False
        self._expected = 0
        self.num_frames = self.num_keys = self.num_damaged = self.num_without = 0

    @property
    def finder(self) -> FaceFinder:
        """The detector."""
        return self._finder

    def take(self, picture: Picture) -> Stretch | None:
        """Take in the next frame.

        Returns:
            At a key frame what it told; else None.
        """
        self.num_frames += 1
        self._time_s = picture.time_s
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
            return None
        return self._look(picture, pixels)

    def end(self) -> Stretch:
        """Return the frames that are left."""
        self._tracker.end()
        return self._stretch(self._tracker.tracks, ())

    def now(self) -> tuple[tuple[Followed, Place], ...]:
        """The faces in the last frame taken and their places, before the next one comes: for a live picture."""
        return tuple((Followed.of(track), track.place) for track in self._tracker.tracks)

    def _is_key(self, picture: Picture) -> bool:
        if not self._pending or self._cut:
            return True
        return picture.time_s >= self._due_s - 1e-3

    def _look(self, picture: Picture, pixels: NDArray[np.uint8]) -> Stretch:
        self.num_keys += 1
        late_s = picture.time_s - self._due_s
        on_time = not self._cut and 0 <= late_s < self._apart_s
        self._due_s = (self._due_s if on_time else picture.time_s) + self._apart_s
        known = [] if self._cut else [track.place for track in self._tracker.tracks if not track.small]
        faces, smaller = self._finder.find(pixels, picture.time_s, known, 0 if self._cut else self._expected)
        self.num_without += not faces
        self._expected = len(faces)
        sightings = [Sighting(box=face.box) for face in faces] + [Sighting(box=box, small=True) for box in smaller]
        before, owners = self._tracker.look(picture.planes[0], sightings, picture.time_s, cut=self._cut)
        found = tuple(
            Found(owner=Followed.of(owner), face=face)
            for owner, face in zip(owners, [*faces, *[None] * len(smaller)], strict=True)
        )
        done = self._stretch(before, found)
        self._pending, self._cut = [picture], False
        self._tracker.begin(picture.planes[0])
        return done

    def _stretch(self, tracks: Sequence[Track], found: tuple[Found, ...]) -> Stretch:
        return Stretch(
            pictures=tuple(self._pending),
            followed=tuple(Followed.of(track) for track in tracks),
            time_s=self._time_s,
            found=found,
            in_sight=frozenset(self._tracker.tracks),
            several=self._tracker.num_faces > 1,
        )

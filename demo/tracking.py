"""Faces followed between the frames in which the detector looks: cheap, smooth, and ended when in doubt.

The detector looks at a few *key* frames a second. In between, a small grey picture of each face is searched for
around its last place (normalised cross-correlation); the next key frame's detection then corrects path and size,
and the correction is spread over the frames that led there, so a box glides and does not jump.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from data_store.faces import Box

Grey = NDArray[np.uint8]

FACE_CELLS = 32
"""Side of a face's grey picture."""
SEARCH_SHARE = 0.35
"""How far from its last place a face is searched for, in sides of its box."""
SURE = 0.6
"""Correlation below which a face is not where the search says."""
PLACE_GAIN = 0.6
"""Share of the detector's correction that is taken: it jitters, the search does not."""
SIZE_GAIN = 0.35
"""The same of the size."""
JUMP = 0.3
"""A correction of more than this share of the side is a movement, and taken whole."""
SAME_FACE = 0.25
"""Overlap (intersection over union) from which a detection is a known face."""
SAME_PLACE = 0.5
"""The same across a cut, where nothing but the place tells."""
COAST_S = 1.0
"""How long a face is followed that the detector does not find."""
CUT = 28.0
"""Mean change of the grey levels of a frame's thumbnail from which it starts a new shot."""
THUMBNAIL = (32, 18)


class Place(NamedTuple):
    """A face's box in a frame, in pixels of the full frame."""

    x: float
    """Of the centre."""
    y: float
    """Of the centre."""
    width: float
    height: float

    @classmethod
    def of(cls, box: Box) -> Self:
        """The place of a detector's box."""
        return cls(box.x + box.width / 2, box.y + box.height / 2, float(box.width), float(box.height))

    def corners(self) -> tuple[float, float, float, float]:
        """Left, top, width, height."""
        return self.x - self.width / 2, self.y - self.height / 2, self.width, self.height


def overlap(a: Place, b: Place) -> float:
    """Intersection over union of two boxes."""
    across = min(a.x + a.width / 2, b.x + b.width / 2) - max(a.x - a.width / 2, b.x - b.width / 2)
    down = min(a.y + a.height / 2, b.y + b.height / 2) - max(a.y - a.height / 2, b.y - b.height / 2)
    if across <= 0 or down <= 0:
        return 0.0
    common = across * down
    return common / (a.width * a.height + b.width * b.height - common)


def thumbnail(grey: Grey) -> NDArray[np.int16]:
    """A frame's grey levels at 32 x 18, to tell a cut."""
    rows, columns = grey.shape
    step = max(1, columns // 320)  # every n-th pixel is enough of a frame for its mean levels
    small = cv2.resize(grey[: rows // step * step : step, ::step], THUMBNAIL, interpolation=cv2.INTER_AREA)
    return small.astype(np.int16)


def is_cut(before: NDArray[np.int16], after: NDArray[np.int16]) -> bool:
    """Whether a new shot begins between two frames' thumbnails."""
    return float(np.abs(after - before).mean()) > CUT


@dataclass(kw_only=True, eq=False)
class Track:
    """One face while it is in sight."""

    place: Place
    """In the last frame seen."""
    small: bool
    """Too small to be judged."""
    seen_s: float
    """Time of the last detection."""
    number: int | None = None
    """From 1, in order of appearance; None until a second detection confirms the face."""
    detections: int = 1
    """Key frames in which the detector found it."""
    path: list[Place | None] = field(default_factory=list)
    """Since the last key frame, itself first: one place a frame; None once out of sight."""
    _cells: NDArray[np.uint8] | None = field(default=None, repr=False)

    def start_path(self, grey: Grey, scale: float) -> None:
        """Take the face's picture at a key frame, to search for in the frames that follow."""
        self.path = [self.place]
        self._cells = _cells(grey, self.place, scale)

    def follow(self, grey: Grey, scale: float) -> None:
        """Search the next frame for the face.

        Args:
            grey: the frame's luma at the marked video's size.
            scale: its pixels in one of the full frame.
        """
        here = self.path[-1]
        if here is not None:
            here = _searched(grey, here, self._cells, scale)
        self.path.append(here)
        if here is not None:
            self.place = here

    def correct(self, found: Place) -> None:
        """Bring the path to what the detector found in its last frame, and spread the correction over it."""
        steps = len(self.path) - 1
        start = self.path[0]
        assert start is not None
        if steps == 0 or any(place is None for place in self.path):  # lost on the way: straight from old to new
            self.place = _blend(self.place, found, steps > 0)
            self.path = [_between(start, self.place, i / max(steps, 1)) for i in range(steps + 1)]
            return
        end = self.path[-1]
        assert end is not None
        self.place = _blend(end, found, whole=False)
        off = [now - then for now, then in zip(self.place, end, strict=True)]
        self.path = [
            Place(*(value + change * i / steps for value, change in zip(place, off, strict=True)))
            for i, place in enumerate(self.path)
            if place is not None
        ]


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """A face that the detector found in a key frame."""

    box: Box
    """The detector's, in the full frame."""
    small: bool = False
    """Too small to be judged."""


class Tracker:
    """The faces in sight, from key frame to key frame."""

    def __init__(self, scale: float) -> None:
        """Start with no face.

        Args:
            scale: pixels of the grey frames in one of the full frame.
        """
        self.tracks: list[Track] = []
        self.num_faces = 0
        self.single = 0
        """Detections that no second one confirmed: hardly ever faces, never shown."""
        self._scale = scale

    def follow(self, grey: Grey) -> None:
        """Follow every face into a frame between key frames."""
        for track in self.tracks:
            track.follow(grey, self._scale)

    def look(
        self, grey: Grey, sightings: Sequence[Sighting], time_s: float, *, cut: bool
    ) -> tuple[list[Track], list[Track]]:
        """Take in a key frame.

        Args:
            grey: its luma, at the marked video's size.
            sightings: what the detector found.
            time_s: its time.
            cut: it starts a new shot.

        Returns:
            The tracks whose ``path`` now covers the frames since the last key frame and this one (those that ended
            too), and for each sighting the track that it belongs to.
        """
        if not cut:
            self.follow(grey)
        matches = _matched(self.tracks, sightings, SAME_PLACE if cut else SAME_FACE)
        owners: list[Track | None] = [None] * len(sightings)
        kept = []
        for track, which in zip(self.tracks, matches, strict=True):
            if which is not None:
                owners[which] = track
                self._found(track, sightings[which], time_s, cut=cut)
                kept.append(track)
            elif not cut and track.path[-1] is not None and self._confirmed(track, time_s):
                kept.append(track)
            elif track.number is None:
                self.single += 1
        before = self.tracks
        new = []
        everyone = []
        for owner, sighting in zip(owners, sightings, strict=True):
            if owner is None:
                owner = Track(place=Place.of(sighting.box), small=sighting.small, seen_s=time_s)
                new.append(owner)
            everyone.append(owner)
        self.tracks = kept + new
        return before, everyone

    def begin(self, grey: Grey) -> None:
        """Start the paths of all faces at a key frame, after what led there was taken."""
        for track in self.tracks:
            track.start_path(grey, self._scale)

    def end(self) -> None:
        """Count what was never confirmed, after the last frame."""
        self.single += sum(track.number is None for track in self.tracks)

    def _found(self, track: Track, sighting: Sighting, time_s: float, *, cut: bool) -> None:
        if cut:
            track.place = Place.of(sighting.box)
        else:
            track.correct(Place.of(sighting.box))
        track.seen_s = time_s
        track.detections += 1
        track.small = sighting.small
        if track.number is None:
            self.num_faces += 1
            track.number = self.num_faces

    def _confirmed(self, track: Track, time_s: float) -> bool:
        return track.number is not None and time_s - track.seen_s <= COAST_S


def _matched(tracks: Sequence[Track], sightings: Sequence[Sighting], least: float) -> list[int | None]:
    """For each track the sighting that is its face: the largest overlaps first."""
    places = [Place.of(sighting.box) for sighting in sightings]
    pairs = sorted(
        ((overlap(track.place, place), t, s) for t, track in enumerate(tracks) for s, place in enumerate(places)),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    matches: list[int | None] = [None] * len(tracks)
    taken: set[int] = set()
    for share, t, s in pairs:
        if share >= least and matches[t] is None and s not in taken:
            matches[t] = s
            taken.add(s)
    return matches


def _blend(tracked: Place, found: Place, whole: bool) -> Place:
    """Between where the search says the face is and where the detector does."""
    side = max(found.width, found.height)
    if whole or max(abs(found.x - tracked.x), abs(found.y - tracked.y), abs(found.width - tracked.width)) > JUMP * side:
        return found
    gains = (PLACE_GAIN, PLACE_GAIN, SIZE_GAIN, SIZE_GAIN)
    return Place(*(old + gain * (new - old) for old, new, gain in zip(tracked, found, gains, strict=True)))


def _between(a: Place, b: Place, share: float) -> Place:
    return Place(*(x + share * (y - x) for x, y in zip(a, b, strict=True)))


def _window(grey: Grey, place: Place, scale: float, reach: float) -> tuple[Grey, float, float] | None:
    """The part of a frame around a face, and its left and top edge; None where it lies outside."""
    half_x = (0.5 + reach) * place.width * scale
    half_y = (0.5 + reach) * place.height * scale
    left, top = max(0, round(place.x * scale - half_x)), max(0, round(place.y * scale - half_y))
    right, bottom = round(place.x * scale + half_x), round(place.y * scale + half_y)
    part = grey[top:bottom, left:right]
    return (part, left, top) if min(part.shape) >= 4 else None


def _shrink(part: Grey, cell: float) -> tuple[Grey, float, float]:
    """A part of a frame in cells of about so many pixels, and how many cells a pixel is across and down."""
    size = (max(1, round(part.shape[1] / cell)), max(1, round(part.shape[0] / cell)))
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return small, size[0] / part.shape[1], size[1] / part.shape[0]


def _cell_px(place: Place, scale: float) -> float:
    return max(place.width, place.height) * scale / FACE_CELLS


def _cells(grey: Grey, place: Place, scale: float) -> Grey | None:
    window = _window(grey, place, scale, 0.0)
    return None if window is None else _shrink(window[0], _cell_px(place, scale))[0]


def _searched(grey: Grey, place: Place, cells: Grey | None, scale: float) -> Place | None:
    """Where the face is in this frame, None where it is not to be found around its last place."""
    window = _window(grey, place, scale, SEARCH_SHARE)
    if window is None or cells is None:
        return None
    part, left, top = window
    small, across, down = _shrink(part, _cell_px(place, scale))
    if small.shape[0] < cells.shape[0] or small.shape[1] < cells.shape[1]:
        return None
    scores = cv2.matchTemplate(small, cells, cv2.TM_CCOEFF_NORMED)
    _, best, _, (column, row) = cv2.minMaxLoc(scores)
    if not best >= SURE:
        return None
    x = column + _peak(scores[row, max(0, column - 1) : column + 2]) + cells.shape[1] / 2
    y = row + _peak(scores[max(0, row - 1) : row + 2, column]) + cells.shape[0] / 2
    return place._replace(x=(left + x / across) / scale, y=(top + y / down) / scale)


def _peak(values: Iterable[float]) -> float:
    """Where between three neighbours, the middle one the largest, the top of their parabola lies; 0 at an edge."""
    three = [float(value) for value in values]
    if len(three) < 3:
        return 0.0
    bend = three[0] - 2 * three[1] + three[2]
    return 0.0 if bend >= 0 else 0.5 * (three[0] - three[2]) / bend

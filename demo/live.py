"""The webcam: pictures come one by one, boxes and scores go back."""

import threading
import time
from collections import OrderedDict
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np

from data_store.errors import InputError
from demo.footage import Picture, pixels_of
from demo.judging import Judge
from demo.verdicts import of_video
from demo.watching import Watch, Watched

MOST_SESSIONS = 2
IDLE_S = 15.0
LARGEST_SIDE_PX = 1920
LARGEST_BYTES = 2_000_000
"""Of one picture."""


class LiveSessions:
    """Who is in front of which camera."""

    def __init__(self) -> None:
        """Start with no one."""
        self._sessions: OrderedDict[tuple[str, str], _Session] = OrderedDict()
        self._lock = threading.Lock()

    def look(self, key: str, model_key: str, model: Watched, data: bytes) -> dict[str, Any]:
        """Take a session's next picture.

        Args:
            key: the session's, made up by the page.
            model_key: names the model; another one starts afresh.
            model: what judges the faces.
            data: a JPEG.

        Returns:
            ``marks`` with boxes in shares of width and height, and the verdict so far.

        Raises:
            InputError: it is no picture, or too many cameras are on.
        """
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        if picture is None or max(picture.shape) > LARGEST_SIDE_PX or min(picture.shape[:2]) < 16:
            raise InputError(f"a picture must be a JPEG of 16 to {LARGEST_SIDE_PX} px, but got {len(data)} other bytes")
        now = time.monotonic()
        with self._lock:
            for old in [name for name, other in self._sessions.items() if now - other.last_s > IDLE_S]:
                del self._sessions[old]
            session = self._sessions.get((key, model_key))
            if session is None:
                if len(self._sessions) >= MOST_SESSIONS:
                    raise InputError(
                        f"at most {MOST_SESSIONS} cameras are watched at once, but {len(self._sessions)} are on; turn "
                        "one off"
                    )
                session = self._sessions[key, model_key] = _Session(model, now)
            session.last_s = now
        with session.lock:
            return session.look(picture.astype(np.uint8, copy=False), now)


class _Session:
    def __init__(self, model: Watched, now_s: float) -> None:
        self.lock = threading.Lock()
        self.last_s = self._began_s = now_s
        self._watch = Watch(model, scale=1.0, per_s=1000.0)
        self._judge = Judge(model)
        self._index = 0

    def look(self, picture: np.ndarray, now_s: float) -> dict[str, Any]:
        height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="bgr24")
        planes = pixels_of(frame.reformat(format="yuv420p"), width, height)
        time_s = now_s - self._began_s
        pts = round(time_s * 1000)
        frame.pts, frame.time_base = pts, Fraction(1, 1000)
        told = self._watch.take(Picture(index=self._index, pts=pts, time_s=time_s, planes=planes, stored=frame))
        if told is not None:
            for _ in self._judge.take(told):
                pass  # frames that were shown already
        self._index += 1
        marks = [
            {
                "face": mark.face,
                "box": [mark.left / width, mark.top / height, mark.width / width, mark.height / height],
                "verdict": mark.verdict,
                "probability": mark.probability,
                "label": mark.label,
            }
            for mark in self._judge.marks(self._watch.now(), time_s)
        ]
        smallest = self._watch.finder.smallest_px(width, height)
        verdict = of_video(list(self._judge.faces.values()), smallest_px=smallest)
        return {"marks": marks, "verdict": verdict.as_dict()}

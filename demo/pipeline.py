"""From a video to a marked one, in four threads with short queues between them: memory does not grow with length.

    decode  --frames-->  detect, follow  --stretches-->  score, mark  --marked frames-->  draw, encode, sound

All four spend their time in C code that lets go of Python's lock, so two cores are kept busy.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from data_store.errors import InputError
from data_store.frames import UnreadableError, reason_of
from demo.drawing import draw
from demo.footage import Footage, pictures, refuse_long
from demo.frame_records import FrameRecords
from demo.judging import Judge, Marked
from demo.recording import Recording
from demo.verdicts import Face, Verdict, of_video
from demo.watching import Stretch, Watch, Watched

QUEUE_BYTES = 48_000_000
"""Of decoded frames that wait for the detector, and of marked ones that wait for the encoder."""
LONGEST_QUEUE = 16
PATIENCE_S = 0.1

Item = TypeVar("Item")


class StoppedError(Exception):
    """The work was called off."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the work is."""

    frames: int
    """Written."""
    of: int | None
    """Frames in all, about; None where the container does not say."""
    fps: float
    """Frames a second so far."""

    @property
    def share(self) -> float | None:
        """From 0 to 1; None where the length is not known."""
        return None if self.of is None else min(1.0, self.frames / self.of)


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """What came out."""

    verdict: Verdict
    """On the video."""
    faces: tuple[Face, ...]
    """Every confirmed face, in order of appearance."""
    portraits: dict[int, NDArray[np.uint8]]
    """Of each judged face its largest crop, ``(112, 112, 3)`` uint8 RGB."""
    num_frames: int
    """In the marked video."""
    num_keys: int
    """Frames that the detector looked at."""
    num_without: int
    """Of these, how many held no face to judge."""
    duration_s: float
    """Of the marked video."""
    seconds: float
    """That the work took."""
    sound: str
    """What became of the sound."""
    notes: tuple[str, ...]
    """What the user should know: damage, an early end."""


def annotate(
    footage: Footage,
    model: Watched,
    out: Path,
    *,
    json_out: Path | None = None,
    description: dict[str, Any] | None = None,
    max_minutes: float,
    per_s: float | None = None,
    every_frame: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> Annotation:
    """Mark a video.

    Args:
        footage: from :func:`demo.footage.open_footage`.
        model: what judges the faces.
        out: the marked video; whole or not at all.
        json_out: boxes and scores of every frame; whole or not at all.
        description: what the JSON says of video and model.
        max_minutes: where a video ends that lies about its length.
        per_s: frames a second that are detected and scored; None for the default.
        every_frame: detect and score every frame.
        progress: called about five times a second, from another thread.
        stop: set it to call the work off.

    Raises:
        InputError: the folder cannot be written, no frame can be decoded, or the video is longer than it says.
        StoppedError: ``stop`` was set.
    """
    cv2.setNumThreads(1)  # as the store's builder: the same boxes; and the cores have enough to do
    rate = {} if per_s is None else {"per_s": per_s}
    watch = Watch(model, scale=footage.scale, every_frame=every_frame, **rate)
    work = _Work(footage, watch, Judge(model), max_minutes, progress)
    part = out.with_name(f".{out.stem}.part.mp4")
    records = FrameRecords(json_out) if json_out else None
    began = time.perf_counter()
    try:
        with _writing(out):
            work.run(part, records, stop or threading.Event())
            result = work.result(time.perf_counter() - began)
            if records:
                records.write(described(result, footage, model, description or {}))
            part.replace(out)
        return result
    finally:
        part.unlink(missing_ok=True)
        if records:
            records.close()


def described(result: Annotation, footage: Footage, model: Watched, more: dict[str, Any]) -> dict[str, Any]:
    """What the JSON and the page say, without the frames."""
    return {
        **more,
        "video": {
            "width": footage.width,
            "height": footage.height,
            "frames": result.num_frames,
            "fps": round(float(footage.fps), 3),
            "duration_s": round(result.duration_s, 3),
        },
        "verdict": result.verdict.as_dict(),
        "calibration": {**model.calibration.as_dict(), "fitted": model.calibration.fitted},
        "runtime": model.scorer.runtime,
        "frames_detected": result.num_keys,
        "frames_without_face": result.num_without,
        "sound": result.sound,
        "notes": list(result.notes),
        "faces": [face.as_dict() for face in result.faces],
    }


class _Pipe(Generic[Item]):
    """A short queue between two threads that ends when the work is called off."""

    def __init__(self, length: int, stop: threading.Event) -> None:
        self._queue: queue.Queue[Item | None] = queue.Queue(length)
        self._stop = stop

    def put(self, item: Item | None) -> None:
        """Put an item in, None after the last one."""
        while True:
            if self._stop.is_set():
                raise StoppedError
            try:
                return self._queue.put(item, timeout=PATIENCE_S)
            except queue.Full:
                pass

    def __iter__(self) -> Iterator[Item]:
        while True:
            if self._stop.is_set():
                raise StoppedError
            try:
                item = self._queue.get(timeout=PATIENCE_S)
            except queue.Empty:
                continue
            if item is None:
                return
            yield item


class _Work:
    """The four threads, and what they leave behind."""

    def __init__(
        self, footage: Footage, watch: Watch, judge: Judge, max_minutes: float, progress: Callable[[Progress], None]
    ) -> None:
        self._footage, self._watch, self._judge = footage, watch, judge
        self._max_minutes, self._progress = max_minutes, progress
        self._failures: list[BaseException] = []
        self._notes: list[str] = []
        self._written = 0
        self._end_s = 0.0
        self._sound = "no sound"

    def run(self, part: Path, records: FrameRecords | None, stop: threading.Event) -> None:
        """Work until the video ends, something fails or the work is called off."""
        halt = threading.Event()  # ours, so that a failure ends the other threads and not the caller's other work
        frame_bytes = self._footage.width * self._footage.height * 3 // 2
        length = max(2, min(LONGEST_QUEUE, QUEUE_BYTES // frame_bytes))
        decoded: _Pipe[Any] = _Pipe(length, halt)
        told: _Pipe[Stretch] = _Pipe(1, halt)  # of several frames each
        marked: _Pipe[Marked] = _Pipe(length, halt)
        jobs = (
            lambda: self._decode(decoded),
            lambda: self._look(decoded, told),
            lambda: self._mark(told, marked),
            lambda: self._write(marked, part, records),
        )
        threads = [threading.Thread(target=self._guarded, args=(job, halt), daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                if stop.is_set():
                    halt.set()
                for thread in threads:
                    thread.join(PATIENCE_S)
        finally:  # Ctrl-C: the file must not be written to after it was removed
            halt.set()
            for thread in threads:
                thread.join()
        if self._failures:
            raise self._failures[0]
        if stop.is_set():
            raise StoppedError

    def result(self, seconds: float) -> Annotation:
        """Sum up."""
        watch = self._watch
        faces = tuple(self._judge.faces[number] for number in sorted(self._judge.faces))
        smallest = watch.finder.smallest_px(self._footage.width, self._footage.height)
        if watch.num_damaged:
            self._notes.append(f"{watch.num_damaged} damaged frames were not judged")
        return Annotation(
            verdict=of_video(faces, smallest_px=smallest),
            faces=faces,
            portraits=self._judge.portraits,
            num_frames=self._written,
            num_keys=watch.num_keys,
            num_without=watch.num_without,
            duration_s=self._end_s,
            seconds=seconds,
            sound=self._sound,
            notes=tuple(self._notes),
        )

    def _guarded(self, job: Callable[[], None], halt: threading.Event) -> None:
        try:
            job()
        except StoppedError:
            pass
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread, whatever it is
            self._failures.append(error)
            halt.set()

    def _decode(self, decoded: _Pipe[Any]) -> None:
        count = 0
        try:
            for picture in pictures(self._footage):
                refuse_long(self._footage.path, picture.time_s, self._max_minutes)
                decoded.put(picture)
                count += 1
        except UnreadableError as error:
            if count == 0:
                raise InputError(
                    f"a video must be readable, but {self._footage.path.name} is not ({error}); export it again"
                ) from error
            self._notes.append(f"the file is damaged: {error}; the verdict rests on the part before")
        decoded.put(None)

    def _look(self, decoded: _Pipe[Any], told: _Pipe[Stretch]) -> None:
        for picture in decoded:
            stretch = self._watch.take(picture)
            if stretch is not None:
                told.put(stretch)
        told.put(self._watch.end())
        told.put(None)

    def _mark(self, told: _Pipe[Stretch], marked: _Pipe[Marked]) -> None:
        for stretch in told:
            for done in self._judge.take(stretch):
                marked.put(done)
        marked.put(None)

    def _write(self, marked: _Pipe[Marked], part: Path, records: FrameRecords | None) -> None:
        recording = Recording(part, self._footage)
        began = shown = time.perf_counter()
        try:
            for done in marked:
                picture = done.picture
                frame, planes = recording.blank(picture.planes)
                draw(planes, done.marks, self._footage.scale, numbered=done.numbered)
                recording.add(frame, picture.pts)
                if records:
                    records.add(done)
                self._written += 1
                self._end_s = picture.time_s + float(1 / self._footage.fps)
                now = time.perf_counter()
                if now - shown > 0.2:
                    shown = now
                    self._report(now - began)
            recording.close()
        except BaseException:
            recording.abandon()
            raise
        self._sound = recording.sound
        self._report(time.perf_counter() - began)

    def _report(self, seconds: float) -> None:
        fps = self._written / max(seconds, 1e-6)
        self._progress(Progress(frames=self._written, of=self._footage.num_frames, fps=fps))


class _writing:
    """Turn a failed write into the user's error."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def __enter__(self) -> None:
        if not self._out.parent.is_dir():
            raise InputError(f"--out must lie in a folder that exists, but {self._out.parent} does not; make it first")

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, av.error.FFmpegError)) and not isinstance(error, InputError):
            raise InputError(
                f"the marked video must be writable, but writing {self._out} fails ({reason_of(error)}); make room or "
                "choose another --out"
            ) from error

"""The marked video: H.264 that every browser plays, the frames' own times, and the sound as it was."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.frame import VideoFrame

from data_store.frames import reason_of
from demo.footage import SAFE, Footage, Planes, pixels_of

PRESET, QUALITY = "superfast", "23"
CHEAPER = "bframes=0:subme=0"
"""No B-frames and no search between pixels: a fifth less work for a marked frame, for a third more bytes."""
COPIED = ("aac", "mp3", "opus", "flac")
"""Sound that MP4 holds and browsers play as it is; other sound becomes AAC."""
AAC_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000)


class Recording:
    """An MP4 file that frames are added to, one after the other."""

    def __init__(self, path: Path, footage: Footage) -> None:
        """Open the file.

        Args:
            path: where to, ending in .mp4.
            footage: whose size, times and sound it takes over.
        """
        self._footage = footage
        # The index goes to the front, so that a browser plays before it has everything.
        self._file: OutputContainer = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._video: Any = self._file.add_stream("libx264", rate=footage.fps)
        self._video.width, self._video.height = footage.shown_width, footage.shown_height
        self._video.pix_fmt = "yuv420p"
        self._video.time_base = footage.time_base
        self._video.codec_context.time_base = footage.time_base
        self._video.codec_context.sample_aspect_ratio = footage.aspect
        self._video.options = {"preset": PRESET, "crf": QUALITY, "threads": "2", "x264-params": CHEAPER}
        self._sound = Soundtrack(footage, self._file)

    @property
    def sound(self) -> str:
        """What became of the sound, in words."""
        return self._sound.text

    def blank(self, planes: Planes) -> tuple[VideoFrame, Planes]:
        """A frame of its own with the same pixels, and its planes, writable."""
        width, height = self._footage.shown_width, self._footage.shown_height
        frame = VideoFrame(width, height, "yuv420p")
        own = pixels_of(frame, width, height)
        for target, source in zip(own, planes, strict=True):
            np.copyto(target, source)
        return frame, own

    def add(self, frame: VideoFrame, pts: int) -> None:
        """Encode a frame, and the sound up to it."""
        frame.pts, frame.time_base = pts, self._footage.time_base
        for packet in self._video.encode(frame):
            self._file.mux(packet)
        self._sound.write_until(float(pts * self._footage.time_base))

    def close(self) -> None:
        """Write what is left, and the index."""
        for packet in self._video.encode(None):
            self._file.mux(packet)
        self._sound.write_until(None)
        self.abandon()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._sound.close()
        self._file.close()


class Soundtrack:
    """The source's first sound stream, read a second time beside the frames and written up to where they are."""

    def __init__(self, footage: Footage, file: OutputContainer) -> None:
        """Find the sound and add a stream for it.

        Args:
            footage: the source.
            file: the marked video.
        """
        self.text = "no sound"
        self._source: InputContainer | None = None
        self._file = file
        source = av.open(str(footage.path), options=SAFE)
        if not source.streams.audio:
            source.close()
            return
        self._source = source
        stream: Any = source.streams.audio[0]
        self._shift_s = footage.start_pts * footage.time_base  # the first frame is at 0: the sound moves with it
        self._copied = stream.codec_context.name in COPIED or stream.codec_context.codec.canonical_name in COPIED
        if self._copied:
            self._stream: Any = file.add_stream_from_template(stream)
            self.text = f"sound copied ({stream.codec_context.name})"
        else:
            rate = min(AAC_RATES, key=lambda known: abs(known - stream.codec_context.sample_rate))
            self._stream = file.add_stream("aac", rate=rate, layout=_layout(stream))
            self.text = f"sound turned from {stream.codec_context.name} into AAC"
        self._packets = self._read(source, stream)
        self._waiting: tuple[float, Any] | None = None

    def write_until(self, time_s: float | None) -> None:
        """Write the sound up to a time of the video; None for all the rest."""
        while self._source is not None:
            if self._waiting is None:
                self._waiting = next(self._packets, None)
                if self._waiting is None:
                    self.close()
                    return
            when, packet = self._waiting
            if time_s is not None and when > time_s:
                return
            self._waiting = None
            self._file.mux(packet)

    def close(self) -> None:
        """Let go of the source."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def _read(self, source: InputContainer, stream: Any) -> Iterator[tuple[float, Any]]:  # noqa: ANN401 - PyAV has no types
        """Packets for the file and their times; damaged sound ends there, and says so."""
        try:
            yield from self._copy(source, stream) if self._copied else self._transcode(source, stream)
        except (av.error.FFmpegError, ValueError) as error:
            self.text += f", up to where it is damaged ({reason_of(error)})"

    def _copy(self, source: InputContainer, stream: Any) -> Iterator[tuple[float, Any]]:  # noqa: ANN401
        base = stream.time_base
        shift = round(self._shift_s / base)
        last = None
        for packet in source.demux(stream):
            if packet.dts is None or not packet.size:
                continue
            packet.pts = (packet.dts if packet.pts is None else packet.pts) - shift
            packet.dts -= shift
            if last is not None and packet.dts <= last:
                continue
            last = packet.dts
            packet.stream = self._stream
            yield float(packet.dts * base), packet

    def _transcode(self, source: InputContainer, stream: Any) -> Iterator[tuple[float, Any]]:  # noqa: ANN401
        codec = self._stream.codec_context
        resampler = av.AudioResampler(format=codec.format, layout=codec.layout, rate=codec.sample_rate)
        base = Fraction(1, codec.sample_rate)
        next_pts: int | None = None
        for decoded in source.decode(stream):
            for frame in resampler.resample(decoded):
                if next_pts is None:
                    start = 0 if decoded.pts is None else decoded.pts * decoded.time_base - self._shift_s
                    next_pts = round(start / base)
                frame.pts, frame.time_base = next_pts, base
                next_pts += frame.samples
                for packet in self._stream.encode(frame):
                    yield self._time_s(packet), packet
        for frame in resampler.resample(None):
            frame.pts, frame.time_base = next_pts, base
            next_pts = (next_pts or 0) + frame.samples
            for packet in self._stream.encode(frame):
                yield self._time_s(packet), packet
        for packet in self._stream.encode(None):
            yield self._time_s(packet), packet

    def _time_s(self, packet: Any) -> float:  # noqa: ANN401
        return float((packet.dts or 0) * packet.time_base)


def _layout(stream: Any) -> str:  # noqa: ANN401
    """Mono stays mono; everything else is stereo, which every browser plays."""
    return "mono" if stream.codec_context.channels == 1 else "stereo"

"""Videos for tests: a drawn face, with sound, turned, at uneven times, cut short, or hardly a video at all."""

import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import InputContainer

from data_store.synthetic import SyntheticSettings, frames

Image = npt.NDArray[np.uint8]


def faces(num_frames: int, *, category: str = "youtube", size_px: int = 256, target: str = "000") -> Iterator[Image]:
    """Yield (size_px, size_px, 3) uint8 RGB frames of a drawn person."""
    settings = SyntheticSettings(num_identities=6, num_frames=num_frames, size_px=size_px)
    return frames(settings, category, target, "001")


def empty(num_frames: int, *, width: int = 256, height: int = 256) -> Iterator[Image]:
    """Yield frames in which no one is: a grey ramp that drifts."""
    ramp = np.linspace(40, 200, width, dtype=np.uint8)
    for index in range(num_frames):
        yield np.repeat(np.broadcast_to(np.roll(ramp, index), (height, width))[..., None], 3, axis=2).copy()


def write(
    path: Path,
    pictures: Iterable[Image],
    *,
    fps: int = 25,
    times: Sequence[int] | None = None,
    sound: str | None = None,
    container: str | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
) -> Path:
    """Write a video.

    Args:
        path: where to.
        pictures: RGB frames.
        fps: frames a second, when ``times`` is not given.
        times: of each frame, in milliseconds.
        sound: an encoder's name for a tone beside it.
        container: FFmpeg's name of the format; by the file's ending when None.
        codec: video encoder.
        pix_fmt: pixel format.
    """
    with av.open(str(path), "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=fps)
        stream.pix_fmt = pix_fmt
        if codec == "libx264":
            stream.options = {"preset": "ultrafast", "crf": "20"}
        base = Fraction(1, 1000) if times else Fraction(1, fps)
        stream.codec_context.time_base = base
        tone: Any = file.add_stream(sound, rate=48_000, layout="mono") if sound else None
        count = 0
        for index, picture in enumerate(pictures):
            if index == 0:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = times[index] if times else index, base
            file.mux(stream.encode(frame))
            count += 1
        file.mux(stream.encode(None))
        if tone is not None:
            for packet in _tone(tone, count / fps):
                file.mux(packet)
    return path


def _tone(stream: AudioStream, seconds: float) -> Iterator[Any]:
    codec = stream.codec_context
    size = codec.frame_size or 1024
    resampler = av.AudioResampler(format=codec.format, layout="mono", rate=48_000, frame_size=size)
    wave = np.sin(2 * np.pi * 440 * np.arange(int(seconds * 48_000)) / 48_000).astype(np.float32)
    source = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
    source.sample_rate, source.pts, source.time_base = 48_000, 0, Fraction(1, 48_000)
    for frame in [*resampler.resample(source), *resampler.resample(None)]:
        yield from stream.encode(frame)
    yield from stream.encode(None)


def turned(source: Path, path: Path, degrees: int) -> Path:
    """Copy an MP4 with a rotation beside its stream, as phones write it: the matrix in its track header."""
    data = bytearray(source.read_bytes())
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    matrix = [cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30]
    start = data.index(b"tkhd") + 4
    at = start + 4 + (20 if data[start] == 0 else 32) + 16
    data[at : at + 36] = b"".join((value & 0xFFFFFFFF).to_bytes(4, "big") for value in matrix)
    path.write_bytes(data)
    return path


def decoded(path: Path) -> list[tuple[float, Image]]:
    """Time in seconds and RGB pixels of every frame."""
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return [(float(frame.time or 0.0), np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)) for frame in frames]


def sound_seconds(path: Path) -> tuple[str, float]:
    """Codec of a file's sound, and how long it plays."""
    with av.open(str(path)) as container:
        stream: Any = container.streams.audio[0]
        return stream.codec_context.name, sum(frame.samples / frame.sample_rate for frame in container.decode(stream))


def jpeg(picture: Image) -> bytes:
    """An RGB picture as JPEG."""
    buffer = io.BytesIO()
    buffer.write(cv2.imencode(".jpg", picture[..., ::-1])[1].tobytes())
    return buffer.getvalue()


def shrunk(picture: Image, side: int) -> Image:
    """A picture at another size, smaller."""
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8)


def enlarged(picture: Image, side: int) -> Image:
    """A picture at another size, larger."""
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def opened(path: Path) -> InputContainer:
    """The file's container, for a with statement."""
    return av.open(str(path))


def sound_alone(source: Path, path: Path) -> Path:
    """Copy a file's sound, and nothing else."""
    with av.open(str(source)) as container, av.open(str(path), "w") as file:
        stream: Any = file.add_stream_from_template(container.streams.audio[0])
        for packet in container.demux(container.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                file.mux(packet)
    return path


def write_no_frames(path: Path) -> Path:
    """Write a video stream without a frame."""
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        file.mux(stream.encode(None))
        file.start_encoding()
    return path


def first_frames(source: Path, path: Path, num_frames: int) -> Path:
    """Copy a video's first packets, not decoding them."""
    with av.open(str(source)) as container, av.open(str(path), "w") as file:
        stream: Any = file.add_stream_from_template(container.streams.video[0])
        for packet in itertools.islice(container.demux(container.streams.video[0]), num_frames):
            packet.stream = stream
            file.mux(packet)
    return path

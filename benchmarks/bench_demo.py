"""The demo from video to marked video, beside the thesis's way: full-resolution Haar and a PyTorch forward per frame.

Both decode, detect, classify, draw and encode; ours also follows faces, and scores seven frames a second. The
videos are ``DEEPFAKE_SAMPLES`` where that is set, else faces drawn by code.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from benchmarks.measure import Bar, Row, interleaved, median_ratio, peak_rss_mb, row
from data_store.faces import Box, cut_square, find_faces, make_detector, resize_crop
from data_store.frames import open_clip, read_frames
from data_store.settings import FaceSettings
from data_store.synthetic import SyntheticSettings, frames
from demo.footage import open_footage
from demo.pipeline import Annotation, annotate
from demo.scoring import model_input, open_scorer
from demo.tracking import Place, overlap
from demo.watching import Watched

ARCHITECTURE, RESOLUTION_PX = "Lite0", 224
FULL_HD_FPS, THESIS_FPS = 40, 7.3
"""Frames a second that are due at 1080p, on a machine on which the thesis's way marks so many at 720p."""
ROUNDS = 5
THESIS_FRAMES = 40
"""Of the video, for the thesis's way: its cost is the same in every frame."""
LONG_MINUTES, SHORT_MINUTES = 30, 2
LONG_SIZE = (640, 360)
CROPS_OF_EACH = 8
MINUTES = 240.0


def rows() -> list[Row]:
    """Measure speed, boxes, verdicts and memory."""
    with tempfile.TemporaryDirectory(prefix="bench_demo_") as temporary:
        folder = Path(temporary)
        sources = _sources(folder)
        model = _model(folder / "model", sources)
        watched = Watched(scorer=open_scorer(model))
        with _threads():
            table = _speed(folder, model, watched, sources)
        return table + _accuracy(folder, watched, sources) + _memory(folder, model, sources[0])


def _speed(folder: Path, model: Path, watched: Watched, sources: list[Path]) -> list[Row]:
    hd, full_hd = folder / "720p.mp4", folder / "1080p.mp4"
    _scaled(sources[0], hd, 1280, 720)
    _scaled(sources[-1], full_hd, 1920, 1080)
    thesis = _ThesisWay(model)
    counts: dict[str, int] = {}

    def ours(video: Path) -> Callable[[], None]:
        def run() -> None:
            counts[video.name] = _annotate(video, folder / "out.mp4", watched).num_frames

        return run

    def theirs(video: Path) -> Callable[[], None]:
        return lambda: thesis.mark(video, folder / "theirs.mp4", THESIS_FRAMES)

    seconds = interleaved(
        {"720p": ours(hd), "720p, thesis": theirs(hd), "1080p": ours(full_hd), "1080p, thesis": theirs(full_hd)},
        rounds=ROUNDS,
    )
    per_frame = {
        name: [value / (THESIS_FRAMES if "thesis" in name else counts[f"{name}.mp4"]) for value in values]
        for name, values in seconds.items()
    }
    fps = {name: 1 / float(np.median(values)) for name, values in per_frame.items()}
    peer = "full-size Haar + PyTorch in every frame"
    table = [
        row(
            f"mark a {size} video, {ARCHITECTURE} at {RESOLUTION_PX} px: times faster",
            peer,
            median_ratio(per_frame[f"{size}, thesis"], per_frame[size]),
            bar,
            f"{fps[size]:.0f} against {fps[f'{size}, thesis']:.1f} frames/s",
        )
        for size, bar in (("720p", Bar(">=", 12)), ("1080p", Bar(">=", 5)))
    ]
    ratio = median_ratio(per_frame["720p, thesis"], per_frame["1080p"])
    table.append(
        row(
            "mark a 1080p video: times the frames/s of 720p",
            f"{peer}, at 720p",
            ratio,
            Bar(">=", round(FULL_HD_FPS / THESIS_FPS, 2)),
            f"{fps['1080p']:.0f} frames/s; {ratio * THESIS_FPS:.0f} where the peer marks {THESIS_FPS} a second, and "
            f"{FULL_HD_FPS} are due",
        )
    )
    return table


def _accuracy(folder: Path, watched: Watched, sources: list[Path]) -> list[Row]:
    """Hold boxes and verdicts of every source against the store's detector and the model in every frame."""
    shares, gaps, spread, missed = [], [], [], 0
    for video in sources:
        every = _every_frame(video, watched)
        record = folder / "record.json"
        quick = _annotate(video, folder / "out.mp4", watched, record)
        boxes = _boxes(record)
        overlaps = [max((overlap(box, one) for one in boxes[at]), default=0.0) for at, (box, _) in every.items()]
        missed += sum(share == 0.0 for share in overlaps)
        shares.append(float(np.mean(overlaps)))
        chances = watched.calibration.probability(np.array([logit for _, logit in every.values()]))
        assert quick.verdict.probability is not None
        spread.append(float(chances.std()))
        gaps.append(abs(quick.verdict.probability - float(chances.mean())))
    kind = "sample videos" if "DEEPFAKE_SAMPLES" in os.environ else "drawn videos"
    lowest = f"lowest of {len(sources)} {kind} {min(shares):.3f}; {missed} frames without an overlap"
    widest = f"mean {np.mean(gaps):.4f} over {len(sources)} {kind}; deviation within a video {np.mean(spread):.3f}"
    return [
        row("boxes: mean IoU", "the store's detector in every frame", float(np.mean(shares)), Bar(">=", 0.75), lowest),
        row("verdict: largest gap in probability", "every frame scored", max(gaps), Bar("<=", 0.02), widest),
    ]


def _memory(folder: Path, model: Path, source: Path) -> list[Row]:
    """Peak memory of a process that marks a long video, beside one that marks a short one."""
    peaks = {}
    for minutes in (SHORT_MINUTES, LONG_MINUTES):
        video = folder / f"{minutes}.mp4"
        _looped(source, video, minutes)
        code = (
            "import sys; from pathlib import Path; from benchmarks.bench_demo import peak_mb;"
            "print(peak_mb(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])))"
        )
        command = [sys.executable, "-c", code, str(model), str(video), str(folder / "long-out.mp4")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
        peaks[minutes] = float(done.stdout.split()[-1])
        video.unlink()
    detail = f"{peaks[LONG_MINUTES]:.0f} MB against {peaks[SHORT_MINUTES]:.0f} MB at {LONG_SIZE[0]} x {LONG_SIZE[1]}"
    size = f"{LONG_MINUTES} minutes, {LONG_MINUTES * 60 * 25:,} frames"
    return [
        row(f"peak memory: {size}, GB", "none", peaks[LONG_MINUTES] / 1000, Bar("<=", 1), detail),
        row(
            f"peak memory: {LONG_MINUTES} minutes, times", f"{SHORT_MINUTES} minutes",
            peaks[LONG_MINUTES] / peaks[SHORT_MINUTES], Bar("<=", 1.15), detail,
        ),
    ]  # fmt: skip


def peak_mb(model: Path, video: Path, out: Path) -> float:
    """Mark a video in this process and return the most memory that it ever held, in 10^6 bytes."""
    _annotate(video, out, Watched(scorer=open_scorer(model)), out.with_suffix(".json"))
    return peak_rss_mb()


def _annotate(video: Path, out: Path, watched: Watched, record: Path | None = None) -> Annotation:
    footage = open_footage(video, max_minutes=MINUTES)
    return annotate(footage, watched, out, json_out=record, max_minutes=MINUTES)


class _ThesisWay:
    """One process, every frame: decode, Haar on the full frame, the largest face through PyTorch, draw, encode."""

    def __init__(self, model: Path) -> None:
        self._detect = make_detector(FaceSettings(detect_px=0))
        self._scorer = open_scorer(model, runtime="torch")

    def mark(self, video: Path, out: Path, num_frames: int) -> None:
        with av.open(str(video)) as source, av.open(str(out), "w") as file:
            size: Any = source.streams.video[0]
            stream: Any = file.add_stream("libx264", rate=25)
            stream.options = {"preset": "superfast", "crf": "23"}
            stream.width, stream.height, stream.pix_fmt = size.width, size.height, "yuv420p"
            for index, frame in enumerate(source.decode(video=0)):
                if index == num_frames:
                    break
                pixels = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
                for box in sorted(self._detect(pixels), key=lambda box: -box.width * box.height)[:1]:
                    crop = resize_crop(cut_square(pixels, box, 0.0), RESOLUTION_PX)
                    fake = bool(self._scorer.score(crop[None])[0] > 0)
                    corner = (box.x + box.width, box.y + box.height)
                    cv2.rectangle(pixels, (box.x, box.y), corner, (0, 0, 255) if fake else (0, 255, 0), 4)
                    cv2.putText(pixels, "fake" if fake else "real", (box.x, box.y - 8), 0, 1.0, (255, 255, 255), 2)
                file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="bgr24")))
            file.mux(stream.encode(None))


def _every_frame(video: Path, watched: Watched) -> dict[int, tuple[Place, float]]:
    """Box and logit of the largest face of every frame that has one, exactly as a store of every frame has it."""
    clip = open_clip(video)
    detector = make_detector(watched.faces)
    found: dict[int, tuple[Place, float]] = {}
    for index, frame in read_frames(clip, range(clip.num_frames)):
        faces = [] if frame is None else find_faces(frame, detector, watched.faces, watched.crop_px)[0]
        if faces:
            logit = float(watched.scorer.score(faces[0].crop[None])[0])
            found[index] = (Place.of(faces[0].box), logit)
    assert found, video
    return found


def _boxes(record: Path) -> dict[int, list[Place]]:
    import json

    return {
        frame["frame"]: [Place.of(Box(*face["box"])) for face in frame["faces"]]
        for frame in json.loads(record.read_text())["frames"]
    }


def _model(folder: Path, sources: list[Path]) -> Path:
    """A network with a trained backbone where there is one, and a head that is in doubt about these very faces.

    Its logits over some crops of every video have mean 0 and deviation 2: where most probabilities lie between 0.1 and
    0.9, a gap between two ways to sample frames shows. A saturated model would hide it.
    """
    import torch

    from trainables.architectures import build, head
    from trainables.artifacts import recipe_for, save_model
    from trainables.onnx_files import export_onnx

    torch.manual_seed(0)
    model = build(ARCHITECTURE).eval()
    if "DEEPFAKE_SAMPLES" in os.environ:
        from safetensors.torch import load_file

        for file in (Path(os.environ["DEEPFAKE_SAMPLES"]) / "weights").glob("*lite0*.safetensors"):
            model.load_state_dict(load_file(file), strict=False)
    recipe = recipe_for(ARCHITECTURE, RESOLUTION_PX)
    crops = np.stack([crop for video in sources for crop in _some_crops(video)])
    with torch.inference_mode():
        logits = model(torch.from_numpy(model_input(crops, recipe)))
        layer, gain = head(model), 2.0 / logits.std()
        layer.bias.sub_(logits.mean()).mul_(gain)
        layer.weight.mul_(gain)
    save_model(folder, model, recipe)
    export_onnx(folder)
    return folder


def _some_crops(video: Path) -> list[np.ndarray]:
    clip = open_clip(video)
    settings = FaceSettings()
    detector = make_detector(settings)
    at = np.linspace(0, clip.num_frames - 1, CROPS_OF_EACH).astype(int).tolist()
    frames_ = [frame for _, frame in read_frames(clip, at) if frame is not None]
    found = [find_faces(frame, detector, settings, RESOLUTION_PX)[0] for frame in frames_]
    return [faces[0].crop for faces in found if faces]


def _sources(folder: Path) -> list[Path]:
    """The sample videos, a 720p one first and the 1080p one last; else drawn ones."""
    if "DEEPFAKE_SAMPLES" in os.environ:
        found = sorted((Path(os.environ["DEEPFAKE_SAMPLES"]) / "ffpp").rglob("*.mp4"))
        assert found, "DEEPFAKE_SAMPLES holds no video"
        return sorted(found, key=lambda path: (_height(path) != 720, _height(path)))
    settings = SyntheticSettings(num_identities=6, num_frames=200, size_px=512)
    drawn = []
    for number, category in enumerate(("youtube", "Deepfakes", "FaceSwap")):
        path = folder / f"drawn-{number}.mp4"
        _write(path, frames(settings, category, f"00{number}", f"00{number + 1}"), 512, 512)
        drawn.append(path)
    return drawn


def _height(path: Path) -> int:
    with av.open(str(path)) as container:
        return container.streams.video[0].height


def _scaled(source: Path, path: Path, width: int, height: int) -> None:
    """Write a video at another size, in the pixel format that cameras and phones use."""
    with av.open(str(source)) as container:
        pictures = (
            np.asarray(frame.reformat(width, height, "rgb24").to_ndarray(), np.uint8)
            for frame in container.decode(video=0)
        )
        _write(path, pictures, width, height)


def _write(path: Path, pictures: Iterator[np.ndarray], width: int, height: int) -> None:
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "23"}
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))


def _looped(source: Path, path: Path, minutes: int) -> None:
    """Repeat a video's packets until it lasts so long: nothing is encoded twice."""
    once = path.with_name("once.mp4")
    _scaled(source, once, *LONG_SIZE)
    frames_left, shown = minutes * 60 * 25, 0
    with av.open(str(path), "w") as file:
        stream: Any = None
        while frames_left > 0:
            with av.open(str(once)) as container:
                video = container.streams.video[0]
                stream = stream or file.add_stream_from_template(video)
                base = video.time_base or Fraction(1, 12_800)
                step = round(1 / (25 * base))
                count = 0
                for packet in container.demux(video):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + shown * step, packet.dts + shown * step
                    packet.stream = stream
                    file.mux(packet)
                    count += 1
            shown, frames_left = shown + count, frames_left - count


@contextmanager
def _threads() -> Iterator[None]:
    """The thesis's way gets every core for its detector and its network, as ours does for everything."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

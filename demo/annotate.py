"""Mark the faces of a video: a green box where a face is authentic, a red one where it is a deepfake.

    python demo/annotate.py VIDEO --model RUN_ID|DIR --out OUT.mp4
    python demo/annotate.py VIDEO --model exports/lite0 --out OUT.mp4 --json OUT.json

Faces are found and cut as the model's store did it, followed between the frames that are scored (seven a second),
and judged by the mean of their calibrated probabilities. The marked video is H.264 with the sound kept.
"""

import argparse
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from analysis.addresses import TRACKING_HELP
from data_store.errors import InputError, run_command
from demo.choosing import open_model
from demo.drawing import label
from demo.footage import SHOWN_PX, open_footage
from demo.pipeline import Annotation, Progress, annotate
from demo.scoring import PRECISIONS, RUNTIMES
from demo.watching import SCORES_PER_S

MAX_MINUTES = 30.0
MOST_FACES_SHOWN = 12


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description="Mark the faces of a video as authentic or deepfake.")
    options.add_argument("video", type=Path, metavar="VIDEO", help="any video that FFmpeg reads")
    options.add_argument("--model", required=True, metavar="RUN_ID|DIR", help="a run's id, or a model's folder")
    options.add_argument("--out", required=True, type=Path, metavar="OUT.mp4", help="the marked video")
    options.add_argument("--json", type=Path, metavar="FILE", help="boxes and scores of every frame")
    options.add_argument("--runtime", default="onnx", choices=RUNTIMES, help="what runs the model (default: onnx)")
    options.add_argument("--precision", default="float", choices=PRECISIONS, help="int8: model.int8.onnx")
    options.add_argument(
        "--per-second", type=float, default=SCORES_PER_S, metavar="N",
        help=f"frames a second that are detected and scored (default: {SCORES_PER_S:g})",
    )  # fmt: skip
    options.add_argument("--every-frame", action="store_true", help="detect and score every frame: slow")
    options.add_argument(
        "--max-minutes", type=float, default=MAX_MINUTES, metavar="N",
        help=f"longest video that is taken (default: {MAX_MINUTES:g})",
    )  # fmt: skip
    options.add_argument(
        "--shown-px", type=int, default=SHOWN_PX, metavar="N",
        help=f"longest side of the marked video (default: {SHOWN_PX}; 0: the source's own)",
    )  # fmt: skip
    options.add_argument("--tracking-uri", help=TRACKING_HELP)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Mark a video and say what came out."""
    options = parser().parse_args(arguments)
    check(options)
    footage = open_footage(options.video, max_minutes=options.max_minutes, shown_px=options.shown_px)
    model = open_model(
        options.model, tracking_uri=options.tracking_uri, runtime=options.runtime, precision=options.precision
    )
    sys.stdout.write(f"model    {model.name}: {model.detail}\n")
    sys.stdout.write("".join(f"note     {note}\n" for note in model.notes))
    sys.stdout.write(f"         probabilities {model.watched.calibration.text}\n")
    stop = threading.Event()
    result = annotate(
        footage,
        model.watched,
        options.out,
        json_out=options.json,
        description={"file": options.video.name, "model": {"name": model.name, "detail": model.detail}},
        max_minutes=options.max_minutes,
        per_s=options.per_second,
        every_frame=options.every_frame,
        progress=_show if sys.stderr.isatty() else lambda _: None,
        stop=stop,
    )
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    sys.stdout.write(summary(result))
    sys.stdout.write(f"wrote    {options.out}\n")
    if options.json:
        sys.stdout.write(f"wrote    {options.json}\n")
    return 0


def check(options: argparse.Namespace) -> None:
    """Check the command line's values.

    Raises:
        InputError: one is out of its range, or the source would be written over.
    """
    if options.out.suffix.lower() != ".mp4":
        raise InputError(f"--out must end in .mp4, but got {options.out}; the marked video is an MP4")
    for name, path in (("--out", options.out), ("--json", options.json)):
        if path is not None and path.resolve() == options.video.resolve():
            raise InputError(f"{name} must not be the video itself, but both are {options.video}; name another file")
    if not 0.2 <= options.per_second <= 120:
        raise InputError(f"--per-second must lie from 0.2 to 120, but got {options.per_second:g}; leave it out")
    if options.max_minutes <= 0:
        raise InputError(f"--max-minutes must be above 0, but got {options.max_minutes:g}; use {MAX_MINUTES:g}")
    if options.shown_px != 0 and options.shown_px < 128:
        raise InputError(f"--shown-px must be 0 or at least 128, but got {options.shown_px}; use {SHOWN_PX}")


def summary(result: Annotation) -> str:
    """What came out, for a terminal."""
    verdict = result.verdict
    text = label(verdict.verdict, verdict.probability)
    rests = f", on {verdict.frames_scored} scored frames" if verdict.frames_scored else ""
    lines = [f"verdict  {text}{rests}: {verdict.reason}"]
    if len(result.faces) > 1:
        for face in result.faces[:MOST_FACES_SHOWN]:
            words = label(face.verdict, face.probability)
            lines.append(
                f"face {face.number:<4}{words}, on {len(face.logits)} scored frames, {face.first_s:.1f} to "
                f"{face.last_s:.1f} s"
            )
        if len(result.faces) > MOST_FACES_SHOWN:
            lines.append(f"         and {len(result.faces) - MOST_FACES_SHOWN} more faces; --json lists them all")
    lines += [f"note     {note}" for note in result.notes]
    lines.append(
        f"video    {result.num_frames} frames in {result.seconds:.1f} s ({result.num_frames / result.seconds:.0f} "
        f"frames/s); {result.num_keys} detected and scored, {result.num_without} without a face; {result.sound}"
    )
    return "\n".join(lines) + "\n"


def _show(progress: Progress) -> None:
    share = f"{100 * progress.share:3.0f} %" if progress.share is not None else f"{progress.frames} frames"
    sys.stderr.write(f"\r\033[Kmarking  {share}  {progress.fps:.0f} frames/s")
    sys.stderr.flush()


if __name__ == "__main__":
    run_command(main)

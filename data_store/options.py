"""The command line of ``build.py``: flags to settings, progress and summary to the terminal."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from data_store.errors import InputError
from data_store.layouts import LAYOUTS
from data_store.ledger import Entry
from data_store.manifest import Manifest
from data_store.settings import FACE_CHOICES, SPLIT_KINDS, BuildSettings, FaceSettings, thesis_settings

LISTED = 10
"""Unreadable videos that the summary names; the store's record names all."""
STEPS = 10
"""Lines of progress where the output is no terminal."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """The flags; every default is the settings' own."""
    own, faces = BuildSettings(), FaceSettings()
    flags = argparse.ArgumentParser(
        prog="python data_store/build.py",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_argument("--videos", required=True, metavar="DIR", help="the data set's folder")
    flags.add_argument("--store", required=True, metavar="DIR", help="the store's folder, or e.g. s3://bucket/faces")
    flags.add_argument(
        "--thesis", action="store_true", help="at most 10,000 real crops and 3,000 of each fake, split by frame (leaks)"
    )
    flags.add_argument("--preview", metavar="FILE.png", help="also write a contact sheet of the crops")
    flags.add_argument(
        "--allow-unreadable", action="store_true", help="go on where more than 5 %% of the videos cannot be read"
    )
    flags.add_argument("--workers", type=int, metavar="N", help="CPUs to use (default: all; 0: no Ray)")
    what = flags.add_argument_group("what is read")
    what.add_argument("--layout", help=f"auto or one of {', '.join(LAYOUTS)} (default: auto)")
    what.add_argument("--compression", metavar="C", help="FaceForensics++: raw, c23 or c40")
    what.add_argument(
        "--real", metavar="RULE", help=f"frames of real videos: every:N, random:N or even:N (default: {own.real})"
    )
    what.add_argument("--fake", metavar="RULE", help=f"frames of fake videos (default: {own.fake})")
    what.add_argument(
        "--sample", action="append", metavar="CATEGORY=RULE", help="frames of one category; may be repeated"
    )
    what.add_argument(
        "--cap",
        action="append",
        metavar="CATEGORY=N",
        help="most crops of one category, or of real, or of each fake; may be repeated",
    )
    face = flags.add_argument_group("faces")
    face.add_argument("--detector", help="auto, none or a detector of data_store/faces.py (default: auto)")
    face.add_argument(
        "--scale-factor", type=float, metavar="X", help=f"Haar: step between scales (default: {faces.scale_factor})"
    )
    face.add_argument(
        "--min-neighbours", type=int, metavar="N", help=f"Haar: hits that make a face (default: {faces.min_neighbours})"
    )
    face.add_argument(
        "--detect-px",
        type=int,
        metavar="PX",
        help=f"longest side that is searched, 0 for full size (default: {faces.detect_px})",
    )
    face.add_argument(
        "--smallest-face-px",
        type=int,
        metavar="PX",
        help=f"pass over smaller faces (default: {faces.smallest_face_px})",
    )
    face.add_argument("--faces", choices=FACE_CHOICES, help=f"which faces of a frame (default: {faces.faces})")
    face.add_argument(
        "--margin",
        type=float,
        metavar="X",
        help=f"widen the crop: 0.3 is 1.3 times the face (default: {faces.margin:g})",
    )
    face.add_argument(
        "--min-sharpness",
        type=float,
        metavar="X",
        help="pass over blurred crops below this variance of the Laplacian (default: 0, keep all)",
    )
    out = flags.add_argument_group("the store")
    out.add_argument(
        "--split", choices=SPLIT_KINDS, help=f"default: {own.split} (official where there is one, else identity)"
    )
    out.add_argument(
        "--fractions",
        type=float,
        nargs=3,
        metavar=("TRAIN", "VAL", "TEST"),
        help="shares where the data set fixes none (default: 0.7 0.15 0.15)",
    )
    out.add_argument("--crop-px", type=int, metavar="PX", help=f"side of the crops (default: {own.crop_px})")
    out.add_argument("--shard-mb", type=int, metavar="MB", help=f"size of a shard (default: {own.shard_mb})")
    out.add_argument("--seed", type=int, metavar="N", help=f"seed of every random choice (default: {own.seed})")
    return flags


def settings_from(options: argparse.Namespace) -> BuildSettings:
    """The settings that the flags stand for; flags that were not given keep the defaults."""
    base = thesis_settings() if options.thesis else BuildSettings()
    given = {name: value for name, value in vars(options).items() if value is not None}
    face_names = {
        "detector",
        "scale_factor",
        "min_neighbours",
        "detect_px",
        "smallest_face_px",
        "faces",
        "margin",
        "min_sharpness",
    }
    own_names = {"layout", "compression", "real", "fake", "split", "crop_px", "shard_mb", "seed"}
    if "sample" in given:
        base = replace(base, category_sampling=tuple(sorted(_assignment(text) for text in given["sample"])))
    for text in given.get("cap", ()):
        name, number = _assignment(text)
        if not number.isascii() or not number.isdigit():
            raise InputError(f"a cap is written CATEGORY=NUMBER, but got {text!r}; write e.g. --cap fake=3000")
        if name in ("real", "fake"):
            base = replace(base, cap_real=int(number)) if name == "real" else replace(base, cap_fake=int(number))
        else:
            base = replace(base, category_caps=tuple(sorted({**dict(base.category_caps), name: int(number)}.items())))
    if "fractions" in given:
        base = replace(base, fractions=tuple(given["fractions"]))
    faces = replace(base.faces, **{name: given[name] for name in face_names & given.keys()})
    return replace(base, faces=faces, **{name: given[name] for name in own_names & given.keys()})


@contextlib.contextmanager
def terminal_progress(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal, at most ten quiet lines otherwise; both on the standard error output."""
    if not sys.stderr.isatty():
        said = -1

        def say(done: int, total: int) -> None:
            nonlocal said
            if done * STEPS // total > said:
                said = done * STEPS // total
                sys.stderr.write(f"{done} of {total} {unit}\n")
                sys.stderr.flush()

        yield say
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(unit, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def summary_lines(manifest: Manifest, entries: Sequence[Entry]) -> list[str]:
    """What a store holds and what was left out of it, and why."""
    summary = manifest.summary
    misses = ", ".join(f"{count} {reason}" for reason, count in summary["misses"].items())
    lines = [
        f"videos    {summary['videos']} found ({manifest.layout}), {summary['read']} read, "
        f"{summary['unreadable']} unreadable, {sum(summary['left_out'].values())} left out, "
        f"{summary['without_face']} without a face",
        f"frames    {summary['frames']} sampled; misses: {misses or 'none'}",
        f"faces     {summary['faces']} found, {manifest.num_crops} kept at {manifest.crop_px} px",
        f"split     {manifest.split_kind}, guarantee: {manifest.guarantee}",
    ]
    for split, counts in manifest.counts.items():
        held = ", ".join(f"{category} {count}" for category, count in counts.items())
        lines.append(f"  {split:<7} {sum(counts.values())} crops" + (f" ({held})" if held else ""))
    label_of = {item.category: item.label for item in entries}
    for split, counts in manifest.counts.items():
        missing = {0: "real", 1: "fake"}.keys() - {label_of[category] for category in counts}
        lines.extend(
            f"careful   {split} holds no {'fake' if label else 'real'} crop: it can neither train nor judge a detector"
            for label in sorted(missing)
        )
    ignored = summary.get("ignored", {})
    lines.extend(f"ignored   {count} files: {reason}" for reason, count in ignored.items())
    lines.extend(f"left out  {count} videos: {reason}" for reason, count in summary["left_out"].items())
    unreadable = [item for item in entries if item.unreadable is not None]
    lines.extend(f"unreadable  {item.relative}: {item.unreadable}" for item in unreadable[:LISTED])
    if len(unreadable) > LISTED:
        lines.append(f"unreadable  ... and {len(unreadable) - LISTED} more, listed in {manifest.videos_name}")
    lines.append(
        f"store     {manifest.store}: {manifest.num_bytes / 1e6:.1f} MB in {len(manifest.shards)} shards, "
        f"digest {manifest.digest[:12]}"
    )
    return lines


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise InputError(f"this flag is written CATEGORY=VALUE, but got {text!r}; write e.g. --sample youtube=every:15")
    return name, value

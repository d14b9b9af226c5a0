"""Bootstrap over source videos: how sure a score is, and how sure a place on the front is.

Crops of one source video resemble one another, so videos are drawn, not crops: a draw gives each source
video a weight (how often it was drawn, multinomial) and every trial is scored under the *same* weights, so
that two trials are compared on the same videos. A fake belongs to the video that it was made from.
"""

import contextlib
import math
import os
import re
import shutil
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analysis import redrawn
from analysis.addresses import project_root
from analysis.redrawn import FloatArray
from analysis.runs import CACHE, Trial

LEVEL = 0.95
REPLICATES = 1000
PREDICTIONS = "predictions.arrow"
UNKNOWN = "unknown"
"""What a store says of a video that may be anybody's."""
SWAPPED = re.compile(r"^(?:(\d+)_\d+|(id\d+)_id\d+(_\d+))$")
SCORES = redrawn.SCORES
"""Scores that have an interval, beside the accuracies by category; others are drawn as points."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What one trial said about the crops of one split."""

    source: NDArray[np.str_]
    """(num_crops,) the source video that each crop comes from."""
    category: NDArray[np.str_]
    """(num_crops,) youtube, Deepfakes, ..."""
    video_id: NDArray[np.str_]
    """(num_crops,) unique within its category."""
    label: NDArray[np.int64]
    """(num_crops,) 0 real, 1 fake."""
    logit: FloatArray
    """(num_crops,) above 0 is called fake."""

    @property
    def genuine(self) -> frozenset[str]:
        """The categories of real crops."""
        return frozenset(self.category[self.label == 0].tolist())


def read_predictions(trial: Trial, tracking_uri: str, split: str = "val") -> Predictions | None:
    """Return a trial's predictions on one split, None when the run carries none.

    Those of a run on a server are fetched once and kept with the other caches: a finished run's do not change.

    Args:
        trial: the trial.
        tracking_uri: MLflow's address, for artifacts that are not on this machine.
        split: `val` or `test`.
    """
    folder = local_artifacts(trial.artifact_uri)
    if folder is None:
        folder = project_root() / CACHE / PREDICTIONS / trial.run_id
        if not (folder / PREDICTIONS).is_file():
            _download(trial.run_id, tracking_uri, folder)
    return _parse(folder / PREDICTIONS, split) if (folder / PREDICTIONS).is_file() else None


def _download(run_id: str, tracking_uri: str, folder: Path) -> None:
    """Keep a run's predictions in a folder, whole or not at all; a run without them leaves nothing."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    with TemporaryDirectory() as scratch, contextlib.suppress(MlflowException, OSError):
        fetched = MlflowClient(tracking_uri=tracking_uri).download_artifacts(run_id, PREDICTIONS, scratch)
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{PREDICTIONS}.{os.getpid()}.part"
        shutil.copyfile(fetched, part)
        part.replace(folder / PREDICTIONS)


def source_of(video_ids: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return the source video of each video, read from its name where its name tells.

    FaceForensics++ `000_003` was made from `000`, Celeb-DF `id0_id1_0002` from `id0_0002`; every other video is
    its own source. Only where predictions do not say it themselves, in a column `target_id`.
    """
    names, inverse = np.unique(video_ids, return_inverse=True)
    made_from = [SWAPPED.sub(r"\1\2\3", name) for name in names.tolist()]
    return np.array(made_from, dtype=np.str_)[inverse]


def has_interval(score: str) -> bool:
    """Tell whether a score can be bootstrapped from predictions."""
    return score in SCORES or score.startswith("accuracy_")


def draw_weights(num_sources: int, *, replicates: int = REPLICATES, seed: int = 0) -> FloatArray:
    """Return (replicates, num_sources) float64: how often each source video was drawn."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(num_sources, np.full(num_sources, 1 / num_sources), size=replicates).astype(np.float64)


def replicate_scores(
    predictions: Sequence[Predictions], score: str, *, replicates: int = REPLICATES, seed: int = 0
) -> FloatArray:
    """Return (num_trials, replicates) scores under shared draws of source videos.

    Args:
        predictions: one entry a trial, all of the same store and split.
        score: one of `SCORES`, or `accuracy_<category>`; `video_` scores are of mean probabilities by video.
        replicates: number of draws.
        seed: of the draws.
    """
    sources = np.unique(np.concatenate([entry.source for entry in predictions]))
    weights = draw_weights(len(sources), replicates=replicates, seed=seed)
    rows = []
    for entry in predictions:
        keep = slice(None) if score in SCORES else entry.category == score.removeprefix("accuracy_")
        column = np.searchsorted(sources, entry.source[keep])
        level = redrawn.crops(column, entry.label[keep], entry.logit[keep])
        if score.startswith(redrawn.VIDEO):
            level = redrawn.videos(level, entry.category[keep], entry.video_id[keep])
        name = score.removeprefix(redrawn.VIDEO) if score in SCORES else "accuracy"
        rows.append(redrawn.scores(level, name, weights))
    return np.stack(rows)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """How sure a score is."""

    low: float
    """Lower end; `nan` where it is undefined."""
    high: float
    """Upper end."""
    undefined: str | None = None
    """Why there is none."""


def interval_of(entry: Predictions, score: str, *, replicates: int = REPLICATES) -> Interval:
    """Return the 95 % interval of one trial's score over its source videos, or why it has none.

    Draws in which the score is undefined, because only one class was drawn, are left out.
    """
    reason = _undefined(entry, score)
    if reason is not None:
        return Interval(low=math.nan, high=math.nan, undefined=reason)
    low, high = interval(replicate_scores([entry], score, replicates=replicates)[0])
    return Interval(low=low, high=high)


def _undefined(entry: Predictions, score: str) -> str | None:
    if not has_interval(score):
        return f"{score} has none"
    keep = np.ones(len(entry.label), bool)
    if score not in SCORES:
        keep = entry.category == score.removeprefix("accuracy_")
    if not keep.any():
        return "the split has no such crops"
    if score.removeprefix(redrawn.VIDEO) in redrawn.RANKS and len(np.unique(entry.label)) < 2:
        return "it needs real and fake crops, and the split has one class only"
    if len(np.unique(entry.source[keep])) < 2:
        return "all crops come from one source video, so there is nothing to draw from"
    return None


def interval(scores: FloatArray, level: float = LEVEL) -> tuple[float, float]:
    """Return the percentile interval of one trial's (replicates,) scores, `nan` where no draw has one."""
    if np.isnan(scores).all():
        return math.nan, math.nan
    tail = (1 - level) / 2
    return float(np.nanquantile(scores, tail)), float(np.nanquantile(scores, 1 - tail))


def shared_draws(scores: FloatArray) -> FloatArray:
    """Return the draws in which every trial has a score; of one without a category's videos, it has none.

    Args:
        scores: (num_trials, replicates), nan where a score is undefined.

    Returns:
        (num_trials, at most replicates).
    """
    return scores[:, ~np.isnan(scores).any(axis=0)]


def front_probability(costs: FloatArray, scores: FloatArray, *, maximise: bool) -> FloatArray:
    """Return each trial's share of draws in which no other trial dominates it.

    Args:
        costs: (num_trials, num_costs) costs, which do not vary between draws, minimised.
        scores: (num_trials, replicates) scores under shared draws.
        maximise: True when a larger score is better.

    Returns:
        (num_trials,) in [0, 1]; nan where no draw gives every trial a score.
    """
    good = shared_draws(scores if maximise else -scores)
    if not good.size:
        return np.full(len(costs), np.nan)
    share = np.empty(len(costs))
    for index in range(len(costs)):
        as_cheap = (costs <= costs[index]).all(axis=1)
        cheaper = as_cheap & (costs < costs[index]).any(axis=1)
        # One that costs less dominates at an equal score, one that costs the same only at a better score.
        beaten = (good[cheaper] >= good[index]).any(axis=0) | (good[as_cheap] > good[index]).any(axis=0)
        share[index] = 1.0 - beaten.mean()
    return share


def local_artifacts(artifact_uri: str) -> Path | None:
    """Return the folder of an artifact address on this machine, None for a remote one."""
    parts = urllib.parse.urlsplit(artifact_uri)
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    return Path(artifact_uri) if parts.scheme == "" else None


def _parse(path: Path, split: str) -> Predictions | None:
    """Read the rows of one split from an Arrow IPC file; None when it has none or cannot be read."""
    try:
        with pa.OSFile(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
        names = {name: _strings(table.column(name)) for name in ("video_id", "category", "split")}
        keep = names["split"] == split
        label = np.asarray(table.column("label").to_numpy(), dtype=np.int64)[keep]
        logit = np.asarray(table.column("logit").to_numpy(), dtype=np.float64)[keep]
    except (pa.ArrowInvalid, KeyError, OSError):
        return None
    if not keep.any() or not np.isfinite(logit).all():
        return None
    video_id = names["video_id"][keep]
    source = source_of(video_id)
    if "target_id" in table.column_names:
        target = _strings(table.column("target_id"))[keep]
        source = np.where(target == UNKNOWN, source, target)
    return Predictions(
        source=source,
        category=names["category"][keep],
        video_id=video_id,
        label=label,
        logit=logit,
    )


def _strings(column: pa.ChunkedArray) -> NDArray[np.str_]:
    """Return a string (or dictionary) column as a numpy array of text."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    return np.array(column.to_pylist(), dtype=np.str_)

"""The interactive Pareto page: one HTML file that works offline, its record embedded as JSON."""

import html
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.comparison import CHANCE, SURE, Comparison
from analysis.objectives import COSTS, LARGEST, NOISE_KEYS, NOISE_NOTE, Objective, describe_score
from analysis.published import published, published_models
from analysis.runs import Trial
from analysis.scene import COLOURS
from trainables import metric_keys as keys

HERE = Path(__file__).resolve().parent
SHAPES = ("circle", "square", "triangle", "diamond", "down", "hexagon")


def write_page(
    file: Path,
    comparisons: Sequence[Comparison],
    subtitles: Sequence[str],
    *,
    title: str,
    link: str,
    probabilities: Sequence[Mapping[str, Mapping[str, float]]],
    notes: Sequence[str] = (),
) -> None:
    """Write the page.

    Args:
        file: where to.
        comparisons: one entry a store and split, drawn apart.
        subtitles: a line under the title for each comparison.
        title: the page's heading.
        link: address of MLflow's UI, without its `#/...` part.
        probabilities: for each comparison, `cost` or `cost|cost` -> run id -> probability to be on the
            front.
        notes: sentences on what the trials leave out.
    """
    record = _record(comparisons, subtitles, title, link, probabilities) | {"notes": notes}
    # "<" is escaped so that a run's name can never end the script element.
    data = json.dumps(record, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    parts = {
        "TITLE": html.escape(title),
        "CSS": (HERE / "page.css").read_text(encoding="utf-8"),
        "JS": "".join((HERE / name).read_text(encoding="utf-8") for name in ("page.js", "page_tables.js")),
        "DATA": data,
    }
    page = (HERE / "page.html").read_text(encoding="utf-8")
    pieces = []
    for piece in page.split("{{"):
        name, closed, rest = piece.partition("}}")
        pieces.append(parts[name] + rest if closed and name in parts else piece)
    file.write_text("".join(pieces), encoding="utf-8")


def _record(
    comparisons: Sequence[Comparison],
    subtitles: Sequence[str],
    title: str,
    link: str,
    probabilities: Sequence[Mapping[str, Mapping[str, float]]],
) -> dict[str, Any]:
    """Return what the page shows, by columns: a number costs its digits and nothing else."""
    placed = [(k, point) for k, comparison in enumerate(comparisons) for point in comparison.points]
    trials = [point.trial for _, point in placed]
    axes = _axes(trials)
    shown = {key for axis in axes for key in (axis["key"], axis["upper"], axis["test"], axis["noise"]) if key}
    order = sorted(range(len(trials)), key=lambda i: trials[i].ended or math.inf)
    rank = {index: position for position, index in enumerate(order)}
    y = comparisons[0].y
    return {
        "title": title,
        "link": link,
        "x": comparisons[0].x.name,
        "y": y.name,
        "z": comparisons[0].z.name if comparisons[0].z else "",
        "source": published()["source"].split(",")[0],
        "published": [
            {"name": model.name, "accuracy": model.accuracy, "costs": dict(model.costs)} for model in published_models()
        ],
        "sure": SURE,
        "noisy": keys.NOISY,
        "noise": NOISE_NOTE,
        "chance": CHANCE,
        "colours": COLOURS,
        "shapes": SHAPES,
        "architectures": sorted({trial.architecture for trial in trials}),
        "axes": axes,
        "data": [
            {"name": comparison.data.text, "subtitle": subtitle, "notes": comparison.notes}
            for comparison, subtitle in zip(comparisons, subtitles, strict=True)
        ],
        "trials": {
            "id": [trial.run_id for trial in trials],
            "name": [trial.name for trial in trials],
            "data": [k for k, _ in placed],
            "sweep": [trial.sweep for trial in trials],
            "experiment": [trial.experiment_id for trial in trials],
            "architecture": [trial.architecture for trial in trials],
            "role": [trial.role for trial in trials],
            "ended": [trial.date for trial in trials],
            "order": [rank[index] for index in range(len(trials))],
        },
        "metrics": {key: _column(trials, key) for key in sorted(shown)},
        "params": _params(trials),
        "intervals": {y.name: [[_short(end) for end in p.y_interval] if p.y_interval else None for _, p in placed]},
        "probability": {
            name: [_short(probabilities[k].get(name, {}).get(point.trial.run_id)) for k, point in placed]
            for name in dict.fromkeys(name for by_cost in probabilities for name in by_cost)
        },
    }


def _axes(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return the costs and validation scores that at least one trial has recorded."""
    recorded: set[str] = set().union(*(trial.metrics for trial in trials))
    scores = sorted(key.removeprefix("val_") for key in recorded if key.startswith("val_"))
    first = [name for name in ("accuracy", "auc", "video_accuracy", "video_auc") if name in scores]
    described: list[tuple[Objective, bool]] = [
        (objective, True) for objective in COSTS.values() if objective.key in recorded
    ]
    described += [(describe_score(name), False) for name in dict.fromkeys((*first, *scores))]
    return [
        {
            "name": axis.name,
            "key": axis.key,
            "label": axis.label,
            "short": axis.short,
            "unit": axis.unit,
            "maximise": axis.maximise,
            "scale": axis.scale,
            "decimals": axis.decimals,
            "upper": axis.upper_key if axis.upper_key in recorded else None,
            "noise": noise if (noise := NOISE_KEYS.get(axis.key)) in recorded else None,
            "test": test.key if (test := axis.test()) and test.key in recorded else None,
            "cost": is_cost,
        }
        for axis, is_cost in described
    ]


def _params(trials: Sequence[Trial]) -> dict[str, dict[str, Any]]:
    """Return each parameter as its distinct values and, per trial, which one (-1: not set)."""
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(set().union(*(trial.params for trial in trials))):
        column = [trial.params.get(name) for trial in trials]
        values = sorted({value for value in column if value is not None})
        at: dict[str | None, int] = {None: -1} | {value: position for position, value in enumerate(values)}
        found[name] = {"values": values, "at": [at[value] for value in column]}
    return found


def _column(trials: Sequence[Trial], key: str) -> list[float | None]:
    """Return a metric of every trial with few digits, None where it has no finite value."""
    values = np.array([trial.metrics.get(key, math.nan) for trial in trials], dtype=np.float64)
    good = np.abs(values) < LARGEST
    rounded = np.where(np.abs(values) < 1000, np.round(values, 6), np.round(values, 2)).tolist()
    return rounded if good.all() else [value if ok else None for value, ok in zip(rounded, good, strict=True)]


def _short(value: float | None) -> float | None:
    """Return a share or a score with few digits."""
    return None if value is None else round(value, 6)

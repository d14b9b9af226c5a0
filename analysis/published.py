"""The figures of report SCSE23-0504 (NTU, 2024), kept as data in `published.json` to stand beside ours.

They are test accuracies on a random split of *frames* of its own sample of FaceForensics++, with latencies of
another CPU: shown beside our points, never compared with them on a front.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parent / "published.json"


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """One model of the thesis that has both an accuracy and its costs."""

    name: str
    """`Lite0 + KD, 35 % pruned`."""
    accuracy: float
    """Test accuracy, a fraction."""
    costs: Mapping[str, float]
    """Cost by the name of its axis: `size_mb`, `parameters`, `latency_batch32_ratio` (to the thesis's own B0)."""


@cache
def published() -> dict[str, Any]:
    """Return the file's content; do not change it."""
    content: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def model_name(model: str, ratio: float, *, kd: bool) -> str:
    """Return how a row of the thesis is called here: `Lite0 + KD, 35 % pruned`."""
    return model + (" + KD" if kd else "") + (f", {100 * ratio:.0f} % pruned" if ratio else "")


def published_models() -> tuple[PublishedModel, ...]:
    """Return every model that the thesis gives costs for, each once."""
    summary, ratios = published()["summary"], published()["prune_ratio"]
    baseline = float(summary[0]["inference_s"])
    rows = [
        *(row for row in summary if row["prune_ratio"] == 0),
        *({**row, "model": "Lite0", "prune_ratio": row["ratio"]} for row in ratios),
    ]
    return tuple(
        PublishedModel(
            name=model_name(row["model"], row["prune_ratio"], kd=row["kd"]),
            accuracy=float(row["accuracy"]),
            costs={
                "size_mb": float(row["size_mb"]),
                "parameters": float(row["parameters"]),
                "latency_batch32_ratio": float(row["inference_s"]) / baseline,  # of 32 images
            },
        )
        for row in rows
    )

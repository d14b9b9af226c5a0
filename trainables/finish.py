"""The end of a trial: best weights, one pass over validation and test, the model and its predictions on disk."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from data_store.resident import Crops, SplitCrops
from trainables import metric_keys as keys
from trainables.artifact_files import WEIGHTS_FILE, ModelRecipe, content_digest
from trainables.artifacts import save_model
from trainables.attempts import MODEL_FOLDER, PREDICTIONS_FILE
from trainables.evaluation import EVALUATION_BATCH, evaluate, evaluated_at_once, evaluated_positions
from trainables.fit import Fit, restore_best
from trainables.footprint import graph_of, num_denormals, num_parameters, state_dict_mb, work
from trainables.metrics import Scores, score
from trainables.pruning import pruned_shares
from trainables.quantisation import evaluate_onnx, quantise
from trainables.recipes import Pruning, TrialConfig

CONSTANT = 1e-6
"""Logits that lie closer together than this are one logit."""
NOTICEABLE = 0.01
"""By how much of all channels pruning may fall short of its ratio before that is an alarm."""

PREDICTIONS_SCHEMA = pa.schema(
    [
        ("crop", pa.int64()),  # position in the split
        ("video_id", pa.string()),
        ("target_id", pa.string()),  # whose video it is: what intervals are drawn over
        ("category", pa.dictionary(pa.int8(), pa.string())),
        ("split", pa.dictionary(pa.int8(), pa.string())),
        ("label", pa.int8()),
        ("logit", pa.float32()),
    ]
)


def finish(fit: Fit, config: TrialConfig, recipe: ModelRecipe, crops: Crops, folder: Path) -> dict[str, Any]:
    """Write the trial's model and predictions below ``folder`` and return what is recorded of it.

    The test split is read here and nowhere else, once, with the weights that validation chose.

    Returns:
        ``metrics``: final values by key; ``undefined``: reasons by key; ``graph``: digest, architecture and
        resolution; ``model``: content digest of the saved model; ``origin``: where its weights started, in words;
        ``alarm``: what ``collapse`` says of the validation split, and ``shortfall`` of the pruning; or None.

    Raises:
        RuntimeError: The crops that all trials share are not those of the store any more; nothing is written.
    """
    crops.verify()
    restore_best(fit)
    recipe = replace(recipe, pruning=fit.pruning, quantisation=config.quantisation)
    model_folder = folder / MODEL_FOLDER
    save_model(model_folder, fit.network, recipe)
    shipped = model_folder / WEIGHTS_FILE
    if config.quantisation != "none":
        shipped = quantise(model_folder, recipe, crops.split("val"), fit.ranges)
    metrics: dict[str, float] = {}
    undefined: dict[str, str] = {}
    tables, logits = [], {}
    for split in ("val", "test"):
        logits[split] = _logits(fit, config, recipe, crops.split(split), shipped)
        table, scores = _scored(config, split, crops.split(split), logits[split])
        tables.append(table)
        metrics |= scores.values
        undefined |= scores.undefined
    _write_predictions(folder / PREDICTIONS_FILE, tables)
    collapsed, floored = collapse(logits["val"]), None
    done = work(fit.network, recipe.resolution_px)
    metrics |= {
        keys.PARAMETERS: num_parameters(fit.network),
        keys.MACS: done.macs,
        keys.TRAFFIC_MB: done.traffic_bytes / 1e6,
        keys.OPERATIONS: done.num_operations,
        keys.DENORMALS: num_denormals(fit.network),
        keys.SIZE_MB: shipped.stat().st_size / 1e6,
        keys.COLLAPSED: float(collapsed is not None),
        keys.EPOCHS: fit.epoch,
        keys.BEST_EPOCH: fit.best_epoch,
        keys.SECONDS: sum(record[keys.EPOCH_SECONDS] for record in fit.history),
    }
    if config.device == "cuda":
        metrics[keys.PEAK_MEMORY_MB] = torch.cuda.max_memory_reserved() / 1e6
    if config.pruning is not None:
        gone, most = pruned_shares(fit.network, config.pruning, fit.start_pruning, fit.pruning)
        metrics |= {keys.PRUNED_SHARE: gone, keys.PRUNED_SHARE_LIMIT: most}
        floored = shortfall(config.pruning, gone, most)
    if config.quantisation == "none":
        metrics[keys.STATE_DICT_MB] = state_dict_mb(fit.model)
    graph = graph_of(recipe)
    return {
        "metrics": metrics,
        "undefined": undefined,
        "graph": {
            "digest": graph.digest,
            "architecture": graph.architecture,
            "resolution_px": graph.resolution_px,
        },
        "model": content_digest(model_folder),
        "origin": fit.origin,
        "alarm": "; ".join(filter(None, (collapsed, floored))) or None,
    }


def collapse(logits: np.ndarray) -> str | None:
    """Say what is wrong with a detector that gives every crop the same verdict; None where nothing is.

    A network that lost too many channels, or too many bits, ends there; on a split of real and fake crops its
    accuracy is that of a coin, which a table does not tell from a hard data set.
    """
    if not np.isfinite(logits).all():
        return "collapsed: some logits are not finite"
    if np.ptp(logits) < CONSTANT:
        return f"collapsed: every crop gets the logit {logits[0]:.4g}"
    if len({*(logits > 0).tolist()}) < 2:
        return f"collapsed: every crop is called {'fake' if logits[0] > 0 else 'real'}"
    return None


def shortfall(settings: Pruning, gone: float, most: float) -> str | None:
    """Say that floors kept a model from losing the channels that its ratio asks for; None where they did not.

    It is then the model of every higher ratio, too, whatever the trials are called.

    Args:
        settings: The ratio, and of what it is a share.
        gone: Share of the channels that went.
        most: Largest share that the floors allow.
    """
    if settings.by != "channels" or gone < most or settings.ratio - gone <= NOTICEABLE:
        return None
    return f"pruned by {gone:.1%} of its channels, not {settings.ratio:.1%}: every layer is at its floor"


def _logits(fit: Fit, config: TrialConfig, recipe: ModelRecipe, crops: SplitCrops, shipped: Path) -> np.ndarray:
    """Return the logits of what is shipped: the model, or its int8 file."""
    limit = config.recipe.max_steps_per_epoch
    if config.quantisation != "none":
        return evaluate_onnx(shipped, recipe, crops, num_threads=config.num_threads, max_batches=limit)
    at_once = evaluated_at_once(config)
    return evaluate(fit.model, recipe, crops, device=config.device, max_batches=limit, at_once=at_once)


def _scored(config: TrialConfig, split: str, crops: SplitCrops, logits: np.ndarray) -> tuple[pa.Table, Scores]:
    limit = config.recipe.max_steps_per_epoch
    at = evaluated_positions(len(crops), batch_size=EVALUATION_BATCH, max_batches=limit)
    labels, categories, videos = (
        crops.labels[at],
        np.asarray(crops.categories)[at],
        np.asarray(crops.video_ids)[at],
    )
    table = pa.table(
        [
            pa.array(at, pa.int64()),
            pa.array(videos.tolist(), pa.string()),
            pa.array(crops.target_ids[at].tolist(), pa.string()),
            pa.array(categories.tolist(), pa.string())
            .dictionary_encode()
            .cast(PREDICTIONS_SCHEMA.field("category").type),
            pa.array([split] * len(at), pa.string()).dictionary_encode().cast(PREDICTIONS_SCHEMA.field("split").type),
            pa.array(labels, pa.int8()),
            pa.array(logits, pa.float32()),
        ],
        schema=PREDICTIONS_SCHEMA,
    )
    return table, score(split, logits, labels, categories, videos)


def _write_predictions(file: Path, tables: list[pa.Table]) -> None:
    table = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, PREDICTIONS_SCHEMA) as writer:
        writer.write_table(table)

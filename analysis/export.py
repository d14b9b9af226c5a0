"""A chosen model as a folder of its own: recipe, weights, ONNX where the run has it, and a model card."""

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from analysis import intervals
from analysis.choice import Choice, Limit
from analysis.deployment import deployment_of
from analysis.objectives import COSTS, NOISE_NOTE, describe_score, noise_mark
from analysis.runs import Trial
from data_store.errors import InputError
from trainables.artifact_files import (
    INT8_FILE,
    ONNX_FILE,
    RECIPE_FILE,
    WEIGHTS_FILE,
    ModelRecipe,
    content_digest,
    read_recipe,
)

MODEL = "model"
CARD = "README.md"
OPTIONAL = (ONNX_FILE, INT8_FILE)


def export(
    choice: Choice, limits: Sequence[Limit], folder: Path, *, tracking_uri: str, description: str
) -> tuple[list[Path], list[str]]:
    """Write the chosen model into a folder that is missing or empty.

    Returns:
        The files that were written, and a note for each format that the run does not hold and for what is not known
        of its store.

    Raises:
        InputError: the folder holds something, the run holds no model, or the model is not the recorded one.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"--export must name a new or empty folder, but {folder} holds something; name another")
    with TemporaryDirectory() as scratch:
        source = model_folder(choice.best, tracking_uri, Path(scratch))
        recorded = choice.best.tags.get("model")
        if recorded and content_digest(source) != recorded:
            raise InputError(
                f"the model must be the one that was measured ({recorded[:8]}), but {source} holds "
                f"{content_digest(source)[:8]}; its files were changed after the run, train it again"
            )
        part = folder.with_name(f".{folder.name}.part")
        try:
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(source, part)
            deployment = deployment_of(choice.best, tracking_uri)
            deployment.write(part)
            (part / CARD).write_text(card(choice, limits, part, tracking_uri, description), encoding="utf-8")
            part.replace(folder)  # whole or not at all
        except OSError as error:
            raise InputError(
                f"--export must be a folder that can be written, but {folder} is not: {error.strerror}"
            ) from error
    absent = [f"{name} is not among this run's files" for name in OPTIONAL if not (folder / name).is_file()]
    return sorted(folder.iterdir()), [*absent, *deployment.notes]


def card(choice: Choice, limits: Sequence[Limit], folder: Path, tracking_uri: str, description: str) -> str:
    """Return the model card as Markdown: what it is, how it scores, on what, and what it must not be trusted with."""
    trial, recipe = choice.best, read_recipe(folder)
    kept = [f"- {limit.flag} {limit.bound:g}: {limit.text(trial)}" for limit in limits] or ["- none"]
    files = [file.name for file in sorted(folder.iterdir()) if file.name != CARD]
    costs = [cost for cost in COSTS.values() if cost.key in trial.metrics]
    tags = trial.tags
    return "\n".join(
        [
            f"# Deepfake detector: {trial.name} ({recipe.architecture})",
            "",
            f"One face crop in, one logit out: above 0 means {recipe.labels[1]}, below {recipe.labels[0]}.",
            "",
            "## Input",
            "",
            f"RGB face crop, {recipe.resolution_px} x {recipe.resolution_px} px, values in [0, 1], then minus "
            f"{list(recipe.mean)} and divided by {list(recipe.std)}. The crop is the square around the largest face.",
            "",
            "## Scores",
            "",
            *_scores(trial, tracking_uri),
            "",
            "Intervals: 95 %, bootstrap over source videos. The model was chosen on validation; test was read once.",
            "",
            "## Cost",
            "",
            "| quantity | value |",
            "| :-- | --: |",
            *(f"| {c.label} | {c.text(trial)} |" for c in costs),
            *(["", f"{NOISE_NOTE}."] if any(noise_mark(trial, c.key) for c in costs) else []),
            "",
            "## How it was chosen",
            "",
            *kept,
            "",
            "```text",
            description.rstrip(),
            "```",
            "",
            "## Where it comes from",
            "",
            f"- run `{trial.run_id}` of sweep `{trial.sweep}`, {trial.date}, code revision "
            f"`{tags.get('revision', 'unknown')[:12]}`",
            f"- {trial.data.text}; the split guarantees: {tags.get('guarantee', 'unknown')}",
            f"- files: {', '.join(f'`{name}`' for name in files)}; content digest `{content_digest(folder)[:16]}`",
            "",
            "## Limits",
            "",
            "It has seen the manipulations and the compression of its training data only; others, newer generators and",
            "strong compression can lower its scores without notice. It judges single frames. Do not use a verdict",
            "about a person as the only evidence.",
            "",
            "## Load it",
            "",
            *loading(recipe),
            "",
        ]
    )


def loading(recipe: ModelRecipe) -> list[str]:
    """Return how the measured model is loaded in its folder, as Markdown: a quantised one is its int8 file."""
    if recipe.quantisation == "none":
        return [
            "```python",
            "from pathlib import Path",
            "from trainables.artifacts import load_model",
            "",
            'model, recipe = load_model(Path("."))',
            "```",
        ]
    shape = f"(1, 3, {recipe.resolution_px}, {recipe.resolution_px})"
    return [
        f"Scores, size and latency above are those of `{INT8_FILE}`; `{WEIGHTS_FILE}` holds the float weights that it",
        "was made from.",
        "",
        "```python",
        "import numpy as np",
        "import onnxruntime",
        "",
        f'session = onnxruntime.InferenceSession("{INT8_FILE}", providers=["CPUExecutionProvider"])',
        f"images = np.zeros({shape}, np.float32)  # normalised as under Input",
        '(logits,) = session.run(["logits"], {"images": images})',
        "```",
    ]


def _scores(trial: Trial, tracking_uri: str) -> list[str]:
    """Return the table of scores on both splits, with intervals where predictions allow."""
    names = [key.removeprefix("val_") for key in trial.metrics if key.startswith("val_")]
    first = [name for name in ("accuracy", "auc", "video_accuracy", "video_auc", "eer", "log_loss") if name in names]
    names = [*first, *sorted(name for name in names if name not in first)]
    lines = ["| score | validation | test |", "| :-- | --: | --: |"]
    entries = {split: intervals.read_predictions(trial, tracking_uri, split) for split in ("val", "test")}
    for name in names:
        score, cells = describe_score(name), []
        for split, entry in entries.items():
            text = score.show(trial.metrics.get(f"{split}_{name}", float("nan")))
            ends = intervals.interval_of(entry, name) if entry is not None else None
            if ends is not None and ends.undefined is None:
                text += f" [{score.show(ends.low, unit=False)}, {score.show(ends.high, unit=False)}]"
            cells.append(text)
        lines.append(f"| {score.short.removeprefix('val ')} | {cells[0]} | {cells[1]} |")
    return lines


def model_folder(trial: Trial, tracking_uri: str, scratch: Path) -> Path:
    """Return the folder of a trial's model on this machine.

    Args:
        trial: a finished trial.
        tracking_uri: MLflow's address, for artifacts that are not on this machine.
        scratch: folder that they are fetched into; what is there already is not fetched again.

    Raises:
        InputError: the run holds no model.
    """
    local = intervals.local_artifacts(trial.artifact_uri)
    if local is None:
        local = scratch
        if not _is_model(scratch / MODEL):
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException

            with contextlib.suppress(MlflowException, OSError):
                scratch.mkdir(parents=True, exist_ok=True)
                MlflowClient(tracking_uri).download_artifacts(trial.run_id, MODEL, str(scratch))
    folder = local / MODEL
    if not _is_model(folder):
        raise InputError(
            f"a run must hold {MODEL}/{RECIPE_FILE} and {MODEL}/{WEIGHTS_FILE} to be used, but {trial.name} "
            f"({trial.run_id}) does not; run its sweep again"
        )
    return folder


def _is_model(folder: Path) -> bool:
    return (folder / RECIPE_FILE).is_file() and (folder / WEIGHTS_FILE).is_file()

"""Which model: a folder, a run in MLflow, or one of those worth offering on a page."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis import fronts
from analysis.addresses import default_tracking_uri, project_root
from analysis.comparison import by_data
from analysis.deployment import Deployment, deployment_of, read_deployment
from analysis.export import model_folder
from analysis.runs import CACHE, Trial, read_runs, read_trial
from data_store.errors import InputError
from demo.scoring import FILES, open_scorer
from demo.watching import Watched
from trainables import metric_keys as keys
from trainables.artifact_files import RECIPE_FILE, read_recipe

TRAIN_FIRST = "python sweeps/kd_alpha.py"
"""The command that trains models when there is none."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A model that a page offers."""

    key: str
    """What names it: a run's id, or `folder:` and the folder's name."""
    name: str
    """Short: `alpha=0.25`, the folder's name."""
    detail: str
    """Architecture, input side, size, validation accuracy."""
    group: str
    """The sweep's data, or the folder of models."""
    size_mb: float
    """Bytes of its weights, 10^6."""
    accuracy: float | None
    """On validation crops; None where it is not recorded."""
    smoke: bool
    """From a smoke run: trained for a step or two, its verdicts mean nothing."""
    folder: Path | None
    """Of an exported model."""


@dataclass(frozen=True, kw_only=True)
class ChosenModel:
    """A model that is ready, and what to say about it."""

    name: str
    """As the user named it, or the run's name."""
    detail: str
    """Architecture and input side."""
    watched: Watched
    """The model."""
    notes: tuple[str, ...]
    """What the user should know."""


def open_model(
    name: str, *, tracking_uri: str | None = None, runtime: str = "onnx", precision: str = "float"
) -> ChosenModel:
    """Open the model that a user names.

    Args:
        name: a folder that holds a model, or a run's id.
        tracking_uri: MLflow's address, for a run; the project's own when None.
        runtime: `onnx` or `torch`.
        precision: `float` or `int8`.

    Raises:
        InputError: there is no such folder or run, or it holds no model.
    """
    folder = Path(name)
    if folder.is_dir():
        inner = folder / "model"
        if not (folder / RECIPE_FILE).is_file() and (inner / RECIPE_FILE).is_file():
            folder = inner
        return _ready(folder.resolve().name, folder, read_deployment(folder), runtime, precision)
    if len(name) != 32 or set(name) - set("0123456789abcdef"):
        raise InputError(
            f"--model must be a model's folder or a run's id, but {name!r} is neither; name a folder that holds "
            f"{RECIPE_FILE}, copy an id from `make ui`, or train one first: {TRAIN_FIRST}"
        )
    uri = tracking_uri or default_tracking_uri()
    trial = read_trial(name, uri)
    folder = model_folder(trial, uri, project_root() / CACHE / "models" / trial.run_id)
    return _ready(trial.name, folder, deployment_of(trial, uri), runtime, precision)


def offers(models: Path | None, tracking_uri: str | None = None) -> tuple[list[Offer], str]:
    """List the models worth offering: every exported one, and of each data set in MLflow those on the Pareto front.

    The front is that of validation accuracy against size.

    Args:
        models: folder of exported models, each in a folder of its own; None for none.
        tracking_uri: MLflow's address; the project's own when None.

    Returns:
        The models, best accuracy first within each group, and what is missing: why MLflow offers none, and
        which folders hold no model that can be read; empty where nothing is.
    """
    found, broken = ([], []) if models is None else _exported(models)
    uri = tracking_uri or default_tracking_uri()
    try:
        trials = read_runs(uri, cache=project_root() / CACHE).trials
    except InputError as error:
        return found, "; ".join([*broken, str(error)])
    for group in by_data(trials):
        found += _front(group)
    return found, "; ".join(broken)


def _front(trials: tuple[Trial, ...]) -> list[Offer]:
    size_key, score_key = keys.SIZE_MB, keys.scored("val", keys.ACCURACY)
    complete = [
        trial for trial in trials if np.isfinite([trial.metrics.get(k, np.nan) for k in (size_key, score_key)]).all()
    ]
    if not complete:
        return []
    sizes = np.array([trial.metrics[size_key] for trial in complete])
    scores = np.array([trial.metrics[score_key] for trial in complete])
    on_front = fronts.non_dominated(fronts.costs((sizes, False), (scores, True)))
    chosen = [trial for trial, on in zip(complete, on_front, strict=True) if on]
    chosen.sort(key=lambda trial: (-trial.metrics[score_key], trial.metrics[size_key]))
    offered = {trial.metrics[size_key]: trial for trial in reversed(chosen)}  # equal in both: one is enough
    return [_recorded(trial) for trial in reversed(offered.values())]


def _recorded(trial: Trial) -> Offer:
    size, accuracy = trial.metrics[keys.SIZE_MB], trial.metrics[keys.scored("val", keys.ACCURACY)]
    pixels = trial.params.get("resolution_px", "?")
    return Offer(
        key=trial.run_id,
        name=trial.name,
        detail=f"{trial.architecture}, {pixels} px, {size:.1f} MB, validation accuracy {100 * accuracy:.1f} %",
        group=f"{trial.experiment}, {trial.data.text}",
        size_mb=size,
        accuracy=accuracy,
        smoke=trial.smoke,
        folder=None,
    )


def _exported(models: Path) -> tuple[list[Offer], list[str]]:
    folders = [models, *sorted(models.iterdir())] if (models / RECIPE_FILE).is_file() else sorted(models.iterdir())
    found: list[Offer] = []
    broken: list[str] = []
    for folder in folders:
        if not (folder / RECIPE_FILE).is_file():
            continue
        try:
            recipe = read_recipe(folder)
        except InputError as error:
            broken.append(f"{folder.name} is left out: {error}")
            continue
        size = sum(file.stat().st_size for file in folder.glob("weights.*")) / 1e6
        formats = [precision for precision, file in FILES.items() if (folder / file).is_file()]
        found.append(
            Offer(
                key=f"folder:{folder.name}",
                name=folder.name,
                detail=f"{recipe.architecture}, {recipe.resolution_px} px, {size:.1f} MB, "
                f"{'ONNX ' + ' and '.join(formats) if formats else 'PyTorch'}",
                group=f"exported to {models}",
                size_mb=size,
                accuracy=None,
                smoke=False,
                folder=folder,
            )
        )
    return found, broken


def _ready(name: str, folder: Path, deployment: Deployment, runtime: str, precision: str) -> ChosenModel:
    scorer = open_scorer(folder, runtime=runtime, precision=precision)
    recipe = scorer.recipe
    watched = Watched(
        scorer=scorer,
        faces=deployment.faces,
        crop_px=deployment.crop_px or recipe.resolution_px,
        calibration=deployment.calibration,
    )
    said = [note for note in (deployment.caution, *deployment.notes, scorer.note) if note]
    detail = f"{recipe.architecture} at {recipe.resolution_px} px, {scorer.runtime}"
    return ChosenModel(name=name, detail=detail, watched=watched, notes=tuple(said))

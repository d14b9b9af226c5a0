"""A trained model that the user names: a folder, or a run whose model is fetched from MLflow."""

import re
from dataclasses import replace
from pathlib import Path

from data_store.errors import InputError
from sweeps.engine.space import GivenModel, Setting, Sweep
from trainables.architectures import named
from trainables.artifact_check import check_once
from trainables.start_weights import start_from_file

_RUN_ID = re.compile(r"[0-9a-f]{32}")


def given_model(name: str, uri: str, results: Path, *, flag: str = "--teacher") -> GivenModel:
    """Find the model called ``name``.

    Args:
        name: A folder with ``recipe.json`` and ``weights.safetensors``, or an MLflow run id.
        uri: Of the tracking store that knows the run.
        results: A run's model is copied below it.
        flag: The flag that names it, for errors.

    Raises:
        InputError: There is no such folder or run, or it holds no model.
    """
    folder = Path(name)
    if not folder.is_dir():
        if not _RUN_ID.fullmatch(name):
            words = "none, imagenet, a safetensors file, " if flag == "--weights" else ""
            raise InputError(
                f"{flag} must be {words}a model folder or an MLflow run id, but got {name!r}; name a folder that "
                "holds recipe.json, or copy a run's id from `make ui`"
            )
        folder = _fetch(flag, name, uri, results / "models" / name)
    from trainables.artifact_files import content_digest, read_recipe

    recipe = read_recipe(folder)
    if recipe.quantisation != "none":
        raise InputError(
            f"{flag} must be a float model, but {folder} holds an int8 one ({recipe.quantisation}); name the model "
            "that it was made of"
        )
    return GivenModel(
        folder=str(folder.resolve()),
        digest=content_digest(folder),
        architecture=recipe.architecture,
        resolution_px=recipe.resolution_px,
    )


def check_given(setting: Setting, results: Path) -> None:
    """Check that the models that the user named have the weights of their networks, each once in a results folder.

    Raises:
        InputError: One has another network's weights.
    """
    for flag, model in (("--teacher", setting.teacher), ("--weights", setting.start)):
        if model is not None:
            check_once(Path(model.folder), model.digest, flag, results / "cache" / "checked_models")


def with_start(name: str, sweep: Sweep, setting: Setting, uri: str, results: Path) -> Setting:
    """Return the setting in which every model starts from the one that ``--weights`` names.

    Args:
        name: A folder or a run id as of ``given_model``, or a safetensors file of published weights.
        sweep: Whose trials are to start from it.
        setting: Of the sweep so far.
        uri: Of the tracking store.
        results: A copy of the model is made below it.

    Raises:
        InputError: There is no such model, or a trial that starts from it has another network.
    """
    fresh = replace(setting, profile=replace(setting.profile, weights="imagenet"))
    starting = [trial for trial in sweep.trials(fresh) if trial.config.weights == "imagenet"]
    if Path(name).is_file():
        whole = {named(trial.config.architecture).lite_of or trial.config.architecture for trial in starting}
        if len(whole) != 1:
            raise InputError(
                f"a file of weights fits one network, but --weights {name} would start {', '.join(sorted(whole))}; "
                "use it in a sweep of one network, or use --weights imagenet"
            )
        name = str(start_from_file(Path(name), whole.pop(), results / "models"))
    start = given_model(name, uri, results, flag="--weights")
    for trial in starting:
        architecture = trial.config.architecture
        if start.architecture not in (architecture, named(architecture).lite_of):
            raise InputError(
                f"--weights must be a model of the network that starts from it, but {trial.name} is {architecture} "
                f"and {start.folder} holds {start.architecture}; use it in a sweep of {start.architecture} alone"
            )
    return replace(setting, profile=replace(setting.profile, weights=start.digest), start=start)


def _fetch(flag: str, run_id: str, uri: str, folder: Path) -> Path:
    if (folder / "model" / "recipe.json").exists():
        return folder / "model"
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    folder.mkdir(parents=True, exist_ok=True)
    try:
        return Path(MlflowClient(uri).download_artifacts(run_id, "model", str(folder)))
    except MlflowException as error:
        raise InputError(
            f"{flag} must name a run that has a model, but {run_id} in {uri} does not "
            f"({str(error).splitlines()[0]}); copy a finished run's id from `make ui`"
        ) from error

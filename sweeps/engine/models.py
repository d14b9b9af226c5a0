"""A trained model that the user names: a folder, or a run whose model is fetched from MLflow."""

import re
from pathlib import Path

from data_store.errors import InputError
from sweeps.engine.space import GivenModel

_RUN_ID = re.compile(r"[0-9a-f]{32}")


def given_model(name: str, uri: str, results: Path) -> GivenModel:
    """Find the model called ``name``.

    Args:
        name: A folder with ``recipe.json`` and ``weights.safetensors``, or an MLflow run id.
        uri: Of the tracking store that knows the run.
        results: A run's model is copied below it.

    Raises:
        InputError: There is no such folder or run, or it holds no model.
    """
    folder = Path(name)
    if not folder.is_dir():
        if not _RUN_ID.fullmatch(name):
            raise InputError(
                f"--teacher must be a model folder or an MLflow run id, but {name!r} is neither; name a folder that "
                "holds recipe.json, or copy a run's id from `make ui`"
            )
        folder = _fetch(name, uri, results / "models" / name)
    from trainables.artifact_files import content_digest, read_recipe

    recipe = read_recipe(folder)
    return GivenModel(
        folder=str(folder.resolve()),
        digest=content_digest(folder),
        architecture=recipe.architecture,
        resolution_px=recipe.resolution_px,
    )


def _fetch(run_id: str, uri: str, folder: Path) -> Path:
    if (folder / "model" / "recipe.json").exists():
        return folder / "model"
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    folder.mkdir(parents=True, exist_ok=True)
    try:
        return Path(MlflowClient(uri).download_artifacts(run_id, "model", str(folder)))
    except MlflowException as error:
        raise InputError(
            f"--teacher must name a run that has a model, but {run_id} in {uri} does not "
            f"({str(error).splitlines()[0]}); copy a finished run's id from `make ui`"
        ) from error

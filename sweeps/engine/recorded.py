"""A trial read back from its MLflow run: its config, its store, and the models that it starts or learns from."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_store.errors import InputError
from sweeps.engine.models import given_model
from sweeps.engine.tracking import NARROWED_TAG
from trainables.recipes import RECIPE_VERSION, TrialConfig, identity

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What MLflow knows of a finished trial.

    Attributes:
        name: Shown to people.
        sweep: The sweep that it belongs to.
        config: What was computed: with the last micro-batch of a trial that ran out of memory.
        store: Where its store lay.
        store_digest: The store's identity.
        model: Content digest of the model that it ended with.
        metrics: Final values by key; curves are left out.
    """

    name: str
    sweep: str
    config: TrialConfig
    store: str
    store_digest: str
    model: str
    metrics: Mapping[str, float]


def read_trial(client: "MlflowClient", run_id: str) -> Recorded:
    """Read a finished trial.

    Raises:
        InputError: There is no such run, it is no finished trial, or this code computes another trial from its config.
    """
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        raise InputError(
            f"RUN_ID must be a run of the tracking store, but {run_id!r} is not; copy a trial's id from `make ui`"
        ) from error
    tags = run.data.tags
    if tags.get("kind") != "trial" or run.info.status != "FINISHED":
        raise InputError(
            f"RUN_ID must be a finished trial, but {run_id} is {_what(tags.get('kind'))} ({run.info.status}); "
            "copy a trial's id from `make ui`"
        )
    config = config_from_params(run.data.params)
    if identity(config, tags["store_digest"]) != tags["trial"]:
        raise InputError(
            f"a run is trained again by the code that knows its config, but {run_id} was recorded by revision "
            f"{tags.get('revision', 'unknown')[:12]}, and recipe version {RECIPE_VERSION} makes another trial of it; "
            "check that revision out"
        )
    narrowed = tags.get(NARROWED_TAG)
    if narrowed is not None:
        config = dataclasses.replace(config, micro_batch=int(narrowed))
    return Recorded(
        name=str(run.info.run_name),
        sweep=tags["sweep"],
        config=config,
        store=tags["store"],
        store_digest=tags["store_digest"],
        model=tags["model"],
        metrics={key: value for key, value in run.data.metrics.items() if "/" not in key},
    )


def model_folder(client: "MlflowClient", digest: str, uri: str, results: Path) -> Path:
    """Return the folder of the model that a config names by digest, fetched from the run that made it.

    Args:
        client: Of the tracking store.
        digest: Of the trial that made it, or of its content.
        uri: Of the tracking store.
        results: The model is copied below it.

    Raises:
        InputError: No finished run has it, or its files were changed since.
    """
    run = _maker(client, digest)
    if run is None:
        raise InputError(
            f"every model that a run starts from must be recorded as well, but no finished run in {uri} made "
            f"{digest[:16]}; name the tracking store that has it with --tracking-uri"
        )
    model = given_model(run.info.run_id, uri, results)
    if model.digest != run.data.tags["model"]:
        raise InputError(
            f"a model must be the one that was recorded ({run.data.tags['model'][:8]}), but {model.folder} holds "
            f"{model.digest[:8]}; delete that folder if it is a copy, else train {run.info.run_name} again"
        )
    return Path(model.folder)


def config_from_params(params: Mapping[str, str]) -> TrialConfig:
    """Return the config that was flattened to MLflow parameters; one that is not recorded has its default.

    Raises:
        InputError: A parameter is missing, unknown or of another kind, or breaks a rule.
    """
    try:
        config: TrialConfig = _parse(TrialConfig, params, "")
    except (KeyError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"a run's parameters must be those of a trial, but: {error}; check out the revision that recorded it"
        ) from error
    known = set(_names(TrialConfig, ""))
    if unknown := sorted(set(params) - known):
        raise InputError(
            f"a run's parameters must be those of a trial, but {', '.join(unknown)} is none; "
            "check out the revision that recorded it"
        )
    return config


def _parse(kind: Any, params: Mapping[str, str], prefix: str) -> Any:  # noqa: ANN401 - any of the config's dataclasses
    hints = typing.get_type_hints(kind)
    values = {}
    for field in dataclasses.fields(kind):
        name, hint = f"{prefix}{field.name}", hints[field.name]
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        options = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
        nested = next((option for option in options if dataclasses.is_dataclass(option)), None)
        if nested and any(key.startswith(f"{name}.") for key in params):
            values[field.name] = _parse(nested, params, f"{name}.")
        elif name in params:
            values[field.name] = _value(params[name], options)
        elif required:
            raise KeyError(name)
    return kind(**values)


def _value(text: str, options: tuple[Any, ...]) -> object:
    """Return a parameter as the first of its types that it can be."""
    if type(None) in options and text == "none":
        return None
    if bool in options:
        if text not in ("True", "False"):
            raise ValueError(f"{text!r} is neither True nor False")
        return text == "True"
    for number in (int, float):
        if number in options:
            return number(text)
    return text


def _names(kind: Any, prefix: str) -> list[str]:  # noqa: ANN401 - any of the config's dataclasses
    """Return every parameter's name that a config can have."""
    names = []
    for field in dataclasses.fields(kind):
        hint = typing.get_type_hints(kind)[field.name]
        nested = next((option for option in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(option)), None)
        names.append(f"{prefix}{field.name}")
        names += _names(nested, f"{prefix}{field.name}.") if nested else []
    return names


def _maker(client: "MlflowClient", digest: str) -> "Run | None":
    """Return a finished run whose trial or whose model has that digest."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    for tag in ("trial", "model"):
        where = f"tags.`{tag}` = '{digest}' and attributes.status = 'FINISHED'"
        found = client.search_runs(experiments, where, max_results=1)
        if found:
            return found[0]
    return None


def _what(kind: str | None) -> str:
    return {"trial": "a trial", "sweep": "a sweep"}.get(kind or "", "no run of ours")

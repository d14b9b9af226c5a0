"""The files of a model on disk, read without torch: its recipe, and the digest of its content."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_store.errors import InputError

RECIPE_FILE = "recipe.json"
WEIGHTS_FILE = "weights.safetensors"
ONNX_FILE = "model.onnx"
INT8_FILE = "model.int8.onnx"
SCHEMA_VERSION = 2

PruningHistory = tuple[tuple[str, bool, tuple[int, ...]], ...]
"""What torch-pruning's ``pruning_history()`` says, step by step: the layer at the root of a group of layers, whether
its output channels were removed (else its input channels), and which, as they were counted at that step."""


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """What is needed beside the weights to run a model.

    Attributes:
        architecture: A name of ``trainables.architectures``.
        resolution_px: Side of the square input.
        mean: Input normalisation, RGB in [0, 1].
        std: Input normalisation, RGB in [0, 1].
        labels: Names of the labels 0 and 1; a logit above 0 means the second.
        pruning: The channels that it lost since it was built; empty for a whole network.
        quantisation: ``none``, or how the int8 file came about that is the model then; the weights beside it are
            those that it was made of.
        schema_version: Of this file.
    """

    architecture: str
    resolution_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    labels: tuple[str, str] = ("real", "fake")
    pruning: PruningHistory = ()
    quantisation: str = "none"
    schema_version: int = SCHEMA_VERSION


def pruning_history(values: Sequence[Any]) -> PruningHistory:
    """Return a history that came through JSON.

    Raises:
        TypeError, ValueError: It is none.
    """
    return tuple((str(layer), bool(is_out), tuple(map(int, channels))) for layer, is_out, channels in values)


def recipe_from_dict(values: Mapping[str, Any]) -> ModelRecipe:
    """Build a recipe from plain JSON values; ``dataclasses.asdict`` is its inverse.

    Raises:
        KeyError, TypeError, ValueError: They are no recipe of this schema.
    """
    if values["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"schema_version is {values['schema_version']!r}")
    sequences = {key: tuple(values[key]) for key in ("mean", "std", "labels")}
    return ModelRecipe(**{**values, **sequences, "pruning": pruning_history(values["pruning"])})


def recipe_text(recipe: ModelRecipe) -> str:
    """Return a recipe as JSON with one field a line."""
    rows = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in asdict(recipe).items()]
    return "{\n" + ",\n".join(rows) + "\n}\n"


def read_recipe(folder: Path) -> ModelRecipe:
    """Read a model's recipe.

    Raises:
        InputError: The folder holds no model, or one of another schema or label order.
    """
    try:
        recipe = recipe_from_dict(json.loads((folder / RECIPE_FILE).read_text()))
    except FileNotFoundError as error:
        raise InputError(
            f"a model folder must hold {RECIPE_FILE} and {WEIGHTS_FILE}, but {error.filename} is missing; "
            "name a folder that a sweep or analysis/pick.py wrote"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{RECIPE_FILE} must be a model's recipe of schema {SCHEMA_VERSION}, but {folder / RECIPE_FILE} is not "
            f"({error}); export the model again"
        ) from error
    if recipe.labels != ("real", "fake"):
        raise InputError(
            f"a model's labels must be ('real', 'fake'), but {folder} has {recipe.labels}; train it on this label order"
        )
    return recipe


def content_digest(folder: Path) -> str:
    """Return the SHA-256 over recipe and weights, and the int8 file of a quantised model: equal ones, equal models.

    Raises:
        InputError: One of the files is missing.
    """
    digest = hashlib.sha256()
    quantised = (folder / RECIPE_FILE).exists() and read_recipe(folder).quantisation != "none"
    for name in (RECIPE_FILE, WEIGHTS_FILE, *([INT8_FILE] if quantised else [])):
        try:
            digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
        except OSError as error:
            raise InputError(
                f"a model folder must hold {RECIPE_FILE} and {WEIGHTS_FILE}, but {folder / name} cannot be read "
                f"({error.strerror}); name a folder that a sweep wrote"
            ) from error
    return digest.hexdigest()

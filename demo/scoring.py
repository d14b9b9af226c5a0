"""Face crops in, logits out: any exported model, by ONNX Runtime or PyTorch, float or int8.

Crops are brought to the model's input exactly as in training: resized where the store's crops had another side than
the model's input, then [0, 1], then the recipe's normalisation.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.addresses import project_root
from analysis.runs import CACHE
from data_store.errors import InputError
from trainables.artifact_files import INT8_FILE, ONNX_FILE, ModelRecipe, content_digest, read_recipe

Crops = NDArray[np.uint8]
Logits = NDArray[np.float64]
RUNTIMES = ("onnx", "torch")
PRECISIONS = ("float", "int8")
FILES = {"float": ONNX_FILE, "int8": INT8_FILE}
MOST_THREADS = 4


class Scorer:
    """A model that scores face crops."""

    def __init__(
        self, recipe: ModelRecipe, run: Callable[[NDArray[np.float32]], NDArray[np.float32]], runtime: str, note: str
    ) -> None:
        """Keep the parts; made by :func:`open_scorer`.

        Args:
            recipe: the model's.
            run: normalised images ``(n, 3, resolution_px, resolution_px)`` float32 to logits ``(n,)``.
            runtime: what runs it, in words.
            note: what the user should know about the choice, or empty.
        """
        self.recipe = recipe
        self.runtime = runtime
        self.note = note
        self._run = run

    def score(self, crops: Crops) -> Logits:
        """Score crops.

        Args:
            crops: ``(n, crop_px, crop_px, 3)`` uint8 RGB, as :func:`data_store.faces.find_faces` cuts them.

        Returns:
            ``(n,)`` float64: above 0 is fake.
        """
        if not len(crops):
            return np.empty(0)
        return np.asarray(self._run(model_input(crops, self.recipe)), np.float64).reshape(len(crops))


def open_scorer(folder: Path, *, runtime: str = "onnx", precision: str = "float") -> Scorer:
    """Load a model to score with.

    Args:
        folder: holds ``recipe.json`` and ``model.onnx``, ``model.int8.onnx`` or ``weights.safetensors``.
        runtime: one of ``RUNTIMES``; for a folder without an ONNX file one is made first: seconds, once.
        precision: one of ``PRECISIONS``; int8 needs ``model.int8.onnx``.

    Raises:
        InputError: the folder holds no such model, or it cannot be read.
    """
    if runtime not in RUNTIMES:
        raise InputError(f"--runtime must be one of {', '.join(RUNTIMES)}, but got {runtime!r}")
    if precision not in PRECISIONS:
        raise InputError(f"--precision must be one of {', '.join(PRECISIONS)}, but got {precision!r}")
    recipe = read_recipe(folder)
    file = folder / FILES[precision]
    if precision == "int8":
        if runtime == "torch":
            raise InputError("int8 models run by ONNX Runtime, but --runtime is torch; leave --runtime out")
        if not file.is_file():
            raise InputError(
                f"--precision int8 needs {file.name}, but {folder} has none; leave --precision out, or quantise the "
                "model with a sweep"
            )
    if runtime == "torch":
        return _torch(folder, recipe, note="")
    if file.is_file():
        return _onnx(file, recipe, precision)
    try:
        made = _made(folder, recipe)
    except OSError as error:
        reason = error.strerror or error
        return _torch(
            folder, recipe, note=f"{file.name} cannot be kept ({reason}): PyTorch runs the model, more slowly"
        )
    return _onnx(made, recipe, precision)


def _made(folder: Path, recipe: ModelRecipe) -> Path:
    """The graph of a folder that has weights alone: made once, and kept among the caches, not in a run's record."""
    from trainables.artifacts import load_model
    from trainables.onnx_files import write_onnx

    file = project_root() / CACHE / "onnx" / f"{content_digest(folder)}.onnx"
    if not file.is_file():
        model, _ = load_model(folder)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_onnx(model, recipe.resolution_px, file)
    return file


def model_input(crops: Crops, recipe: ModelRecipe) -> NDArray[np.float32]:
    """Bring crops to what the network takes.

    Args:
        crops: ``(n, crop_px, crop_px, 3)`` uint8 RGB.
        recipe: the model's.

    Returns:
        ``(n, 3, resolution_px, resolution_px)`` float32, (value / 255 - mean) / std.
    """
    images: NDArray[np.float32] = crops.astype(np.float32)
    if crops.shape[1] != recipe.resolution_px:
        weights = _resize_weights(crops.shape[1], recipe.resolution_px)
        images = np.tensordot(weights, images, axes=(1, 1))  # (out, n, in, 3)
        images = np.tensordot(weights, images, axes=(1, 2)).transpose(2, 1, 0, 3)  # (n, out, out, 3)
    images /= np.float32(255)
    np.clip(images, 0, 1, out=images)
    images -= np.asarray(recipe.mean, np.float32)
    images /= np.asarray(recipe.std, np.float32)
    return images.transpose(0, 3, 1, 2).astype(np.float32, order="C")


def _resize_weights(crop_px: int, resolution_px: int) -> NDArray[np.float32]:
    """The share of each of ``crop_px`` pixels in each of ``resolution_px``: bilinear, triangle filter when it shrinks.

    The rule of ``torch.nn.functional.interpolate(mode="bilinear", antialias=shrinks)``, which training uses.
    """
    step = crop_px / resolution_px
    reach = max(step, 1.0)
    centres = (np.arange(resolution_px) + 0.5) * step
    distance = np.abs(np.arange(crop_px) + 0.5 - centres[:, None]) / reach
    weights = np.clip(1.0 - distance, 0.0, None)
    shares: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def _onnx(file: Path, recipe: ModelRecipe, precision: str) -> Scorer:
    from trainables.onnx_files import INPUT, open_session, run_onnx

    try:
        session = open_session(file, min(os.cpu_count() or 1, MOST_THREADS))
        sides = {one.name: one.shape[-1] for one in session.get_inputs()}
        side = sides[INPUT]
    except Exception as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(
            f"{file.name} must be an ONNX graph with an input {INPUT!r}, but {file} is not ({reason}); export the "
            "model again, or use --runtime torch"
        ) from error
    if side != recipe.resolution_px:
        raise InputError(
            f"{file.name} must take images of the recipe's {recipe.resolution_px} px, but {file} takes {side}; copy "
            "recipe and graph from the same model"
        )

    return Scorer(recipe, lambda images: run_onnx(session, images), f"ONNX Runtime, {precision}", "")


def _torch(folder: Path, recipe: ModelRecipe, note: str) -> Scorer:
    import torch

    from trainables.architectures import forward
    from trainables.artifacts import load_model

    model, _ = load_model(folder)
    model = model.to(memory_format=torch.channels_last)

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits = forward(model, torch.from_numpy(images).contiguous(memory_format=torch.channels_last))
        return np.asarray(logits.numpy())

    return Scorer(recipe, run, "PyTorch, float", note)

"""Where a trial's weights come from when it starts from a model: a trained one, or a file of published weights.

A file is brought once into a model folder of its own, so that it has a content digest like any other model. Nothing
is imported from torch until a model is built: a command names its start weights before it loads torch.

Run as ``python -m trainables.start_weights FILE ARCHITECTURE FOLDER``: checks the file and makes the folder.
"""

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from data_store.errors import InputError, run_command
from data_store.folders import secure
from trainables.apart import run_apart
from trainables.architectures import build, head, is_head, is_squeeze_excitation, named
from trainables.artifact_files import (
    RECIPE_FILE,
    WEIGHTS_FILE,
    PruningHistory,
    content_digest,
    read_recipe,
    recipe_text,
)
from trainables.recipes import TrialConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

_WITHOUT = " without its squeeze-and-excitation, whose tensors are dropped"


def start_from_file(file: Path, architecture: str, models: Path) -> Path:
    """Return a folder with the weights of a safetensors file, made on the first call; without importing torch.

    Args:
        file: A backbone of the architecture under the names of its library (torchvision or timm), with or without a
            head; the head is kept when it makes one logit.
        architecture: A name of ``trainables.architectures``.
        models: The folder is made below it.

    Raises:
        InputError: There is no such file, it is no safetensors file, or it holds another network's weights.
    """
    named(architecture)
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(
            f"--weights must name a safetensors file, but {file} cannot be read ({error.strerror}); "
            "use none, imagenet, a file or a run's id"
        ) from error
    folder = models / f"{architecture}-{digest[:16]}"
    if not (folder / RECIPE_FILE).exists():
        run_apart("trainables.start_weights", str(file), architecture, str(folder), failure=f"reading {file} failed")
    return folder


def origin_of(config: TrialConfig) -> str:
    """Say where a network starts that no model is given for."""
    if config.weights != "imagenet":
        return "random weights"
    whole = named(config.architecture).lite_of
    return f"ImageNet weights of {whole or config.architecture}" + (_WITHOUT if whole else "")


def load_start(folder: Path, architecture: str) -> "tuple[nn.Module, PruningHistory, str]":
    """Build a network that starts from a model's weights, on the CPU.

    A network by surgery starts from the whole network's weights too, less the parts that it does not have. A head
    that the folder does not hold stays as it is initialised, from torch's global generator.

    Args:
        folder: Of the model.
        architecture: Of the network to be built.

    Returns:
        The network, what the start model had lost by pruning, and where the weights came from, in words.

    Raises:
        InputError: The folder holds no model, or another network's.
    """
    from trainables.artifacts import read_weights
    from trainables.pruning import replay

    recipe, row = read_recipe(folder), named(architecture)
    if recipe.quantisation != "none":
        raise InputError(
            f"training starts from a float model, but {folder} holds an int8 one ({recipe.quantisation}); name the "
            "model that it was made of"
        )
    by_surgery = recipe.architecture == row.lite_of and not recipe.pruning
    if recipe.architecture != architecture and not by_surgery:
        raise InputError(
            f"start weights must be those of {' or '.join(filter(None, (architecture, row.lite_of)))}, but {folder} "
            f"holds {'pruned ' if recipe.pruning else ''}{recipe.architecture}; name a model of the same architecture"
        )
    model = build(architecture)
    replay(model, recipe.pruning)
    state = read_weights(folder)
    if by_surgery:
        state = {key: value for key, value in state.items() if not is_squeeze_excitation(key)}
    _fill(model, state, architecture, folder)
    origin = f"model {content_digest(folder)[:8]} ({recipe.architecture})"
    return model, recipe.pruning, origin + (_WITHOUT if by_surgery else "")


def _fill(model: "nn.Module", state: "dict[str, Tensor]", architecture: str, source: Path) -> None:
    """Load a state that may lack the head."""
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise InputError(
            f"start weights must be those of {architecture}, but {source} does not fit "
            f"({str(error).splitlines()[1].strip()}); name weights of the same architecture"
        ) from error
    missing = [key for key in missing if not is_head(key)]
    if missing or unexpected:
        raise InputError(
            f"start weights must be those of {architecture}, but {source} lacks {len(missing)} of its tensors "
            f"{missing[:1]} and has {len(unexpected)} others {unexpected[:1]}; name weights of the same architecture"
        )


def convert(file: Path, architecture: str, folder: Path) -> None:
    """Check a file of weights and make a model folder of it, whole or not at all."""
    import os

    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    from trainables.artifacts import contiguous, recipe_for

    try:
        state = load_file(file)
    except SafetensorError as error:
        raise InputError(
            f"--weights must name a safetensors file, but {file} cannot be read as one ({error}); convert it first, "
            "or use imagenet"
        ) from error
    model = build(architecture)
    one_logit = head(model).weight.shape
    if any(is_head(key) and value.dim() == 2 and value.shape != one_logit for key, value in state.items()):
        state = {key: value for key, value in state.items() if not is_head(key)}
    _fill(model, state, architecture, file)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    partial.mkdir(parents=True)
    save_file(contiguous(state), partial / WEIGHTS_FILE)
    recipe = recipe_for(architecture, named(architecture).resolution_px)
    (partial / RECIPE_FILE).write_text(recipe_text(recipe))
    secure(*partial.iterdir(), partial)
    if not folder.exists():
        partial.replace(folder)
        secure(folder.parent)


def _main() -> int:
    convert(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
    return 0


if __name__ == "__main__":
    run_command(_main)

"""A model on disk: ``recipe.json`` and ``weights.safetensors``. Nothing here unpickles a file."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from data_store.errors import InputError
from trainables.architectures import build, named
from trainables.artifact_files import RECIPE_FILE, WEIGHTS_FILE, ModelRecipe, read_recipe, recipe_text
from trainables.pruning import replay


def recipe_for(architecture: str, resolution_px: int) -> ModelRecipe:
    """Return the recipe of a network at a resolution, with the network's own normalisation."""
    row = named(architecture)
    return ModelRecipe(architecture=architecture, resolution_px=resolution_px, mean=row.mean, std=row.std)


def build_graph(recipe: ModelRecipe) -> nn.Module:
    """Build a model's network with its pruned widths and untrained weights, on the CPU.

    Initialisation draws from torch's global generator.

    Raises:
        InputError: The architecture is unknown, or the pruning history is not one of this architecture.
    """
    model = build(recipe.architecture)
    replay(model, recipe.pruning)
    return model


def contiguous(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors in the plain layout that safetensors asks for (channels_last is refused)."""
    return {key: value.detach().contiguous().cpu() for key, value in state.items()}


def save_model(folder: Path, model: nn.Module, recipe: ModelRecipe) -> None:
    """Write a model into ``folder``, made when it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(contiguous(model.state_dict()), folder / WEIGHTS_FILE)
    (folder / RECIPE_FILE).write_text(recipe_text(recipe))


def load_model(folder: Path) -> tuple[nn.Module, ModelRecipe]:
    """Read a model, on the CPU and in evaluation mode.

    Raises:
        InputError: The folder holds no model, or its weights are another network's.
    """
    recipe = read_recipe(folder)
    model = build_graph(recipe)
    try:
        model.load_state_dict(read_weights(folder))
    except RuntimeError as error:
        raise InputError(
            f"the weights must be those of {recipe.architecture}, but {folder / WEIGHTS_FILE} does not fit "
            f"({str(error).splitlines()[0]}); copy recipe and weights from the same model"
        ) from error
    return model.eval(), recipe


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read a model's tensors, on the CPU.

    Raises:
        InputError: The folder holds no weights, or they are no safetensors file.
    """
    try:
        return load_file(folder / WEIGHTS_FILE)
    except FileNotFoundError as error:
        raise InputError(
            f"a model folder must hold {RECIPE_FILE} and {WEIGHTS_FILE}, but {folder / WEIGHTS_FILE} is missing; "
            "copy the whole folder"
        ) from error
    except SafetensorError as error:
        raise InputError(
            f"the weights must be a safetensors file, but {folder / WEIGHTS_FILE} cannot be read as safetensors "
            f"({error}); copy the model again"
        ) from error

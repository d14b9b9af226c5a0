"""Whether the weights of a model on disk are those of the network that its recipe names, before anything is trained.

Names and shapes are compared, as the head of the safetensors file has them: no tensor is loaded. What they must be is
known once the network is built, which needs torch and therefore happens in a process of its own, once a model.

Run as ``python -m trainables.artifact_check FOLDER FLAG``: refuses a folder whose weights do not fit, in FLAG's name.
"""

import sys
from pathlib import Path

from data_store.errors import InputError, run_command
from trainables.apart import run_apart
from trainables.architectures import is_head
from trainables.artifact_files import WEIGHTS_FILE, read_recipe

MAY_LACK_HEAD = "--weights"
"""The flag of models that are only started from: the head of one that lacks it stays as it is initialised."""


def check_once(folder: Path, digest: str, flag: str, checked: Path) -> None:
    """Check a model's weights unless that was done; without importing torch.

    Args:
        folder: Of the model.
        digest: Of its content.
        flag: By which the user named it.
        checked: Folder that remembers what passed.

    Raises:
        InputError: The weights are another network's, or no safetensors file.
    """
    passed = checked / f"{digest}{flag}"
    if passed.exists():
        return
    run_apart("trainables.artifact_check", str(folder), flag, failure=f"reading the weights of {folder} failed")
    checked.mkdir(parents=True, exist_ok=True)
    passed.touch()


def check(folder: Path, flag: str) -> None:
    """Do the same in this process.

    Raises:
        InputError: As ``check_once``, or the folder holds no model.
    """
    from trainables.artifacts import build_graph

    recipe, found = read_recipe(folder), _shapes(folder / WEIGHTS_FILE, flag)
    wanted = {key: tuple(value.shape) for key, value in build_graph(recipe).state_dict().items()}
    missing = [key for key in wanted if key not in found and not (flag == MAY_LACK_HEAD and is_head(key))]
    other = [key for key in found if key not in wanted]
    resized = [key for key in wanted if key in found and found[key] != wanted[key]]
    if not missing and not other and not resized:
        return
    network = f"{'pruned ' if recipe.pruning else ''}{recipe.architecture}"
    first = (resized or missing or other)[0]
    raise InputError(
        f"{flag} must be a model with the weights of the network that its recipe names, but {folder} names {network} "
        f"and its weights lack {len(missing)} of {len(wanted)} tensors, have {len(resized)} of another shape and "
        f"{len(other)} others, such as {first}; copy recipe and weights from the same model"
    )


def _shapes(file: Path, flag: str) -> dict[str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as tensors:
            return {key: tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise InputError(
            f"{flag} must be a model whose weights are a safetensors file, but {file} cannot be read as one ({error}); "
            "copy the model again"
        ) from error


def _main() -> int:
    check(Path(sys.argv[1]), sys.argv[2])
    return 0


if __name__ == "__main__":
    run_command(_main)

"""Loaded by every Python process of a measured sweep: notes when each training step begins and ends.

Python imports a module of this name at its start when its folder is on ``PYTHONPATH``. The engine itself knows nothing
of it.
"""

import importlib.util
import os
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

WATCHED = "trainables.steps"


class _Finder:
    """Puts the notes around the one function that every training step calls."""

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if name != WATCHED:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        loader: Any = spec.loader
        load = loader.exec_module

        def exec_module(module: Any) -> None:  # noqa: ANN401 - a module
            load(module)
            module.accumulate_gradients = _noted(module.accumulate_gradients)

        loader.exec_module = exec_module
        return spec


def _noted(step: Any) -> Any:  # noqa: ANN401 - the function as it is
    import psutil

    file = (Path(os.environ["STEP_NOTES"]) / f"{os.getpid()}.txt").open("a", buffering=1)
    process = psutil.Process()

    def noted(fit: Any, config: Any, *rest: Any) -> Any:  # noqa: ANN401
        began = time.time()
        parts = step(fit, config, *rest)
        file.write(f"{config.init_seed} {began} {time.time()} {process.memory_info().rss}\n")
        return parts

    return noted


if "STEP_NOTES" in os.environ:
    sys.meta_path.insert(0, _Finder())

"""A trial's state between epochs, on disk: safetensors and JSON, written whole or not at all."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from data_store.folders import secure
from trainables.artifact_files import pruning_history
from trainables.artifacts import contiguous
from trainables.attempts import STATE_FILE
from trainables.fit import Fit, build_optimizer, laid_out
from trainables.pruning import replay
from trainables.recipes import TrialConfig

KEPT = 2
"""Checkpoints kept of an attempt: whoever finds the last one damaged deletes it, and goes on from the one before."""

_MODEL, _BEST, _OPTIMIZER = "model.safetensors", "best.safetensors", "optimizer.safetensors"
_SCALING = "loss_scaling"


def save(folder: Path, fit: Fit) -> Path:
    """Write a checkpoint of ``fit`` below an attempt's folder, drop all but the last two, and return its path."""
    final = folder / f"epoch-{fit.epoch:04d}"
    partial = folder / f".{final.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(contiguous(fit.model.state_dict()), partial / _MODEL)
    save_file(contiguous(fit.best_weights), partial / _BEST)
    tensors = {
        f"{index}.{name}": value
        for index, values in fit.optimizer.state_dict()["state"].items()
        for name, value in values.items()
        if isinstance(value, torch.Tensor)
    }
    save_file(contiguous(tensors), partial / _OPTIMIZER)
    state = {
        "pruning": fit.pruning,
        "iteration": fit.iteration,
        "began": fit.began,
        "epoch": fit.epoch,
        "best_epoch": fit.best_epoch,
        "best_val_loss": fit.best_val_loss,
        "history": fit.history,
        _SCALING: fit.scaler.state_dict() if fit.scaler else None,
    }
    (partial / STATE_FILE).write_text(json.dumps(state))
    secure(*partial.iterdir(), partial)
    shutil.rmtree(final, ignore_errors=True)
    partial.replace(final)
    secure(folder)
    for old in sorted(folder.glob("epoch-*"))[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def restore(checkpoint: Path, fit: Fit, config: TrialConfig) -> None:
    """Put a checkpoint into a freshly started ``fit`` of the same config."""
    state = json.loads((checkpoint / STATE_FILE).read_text())
    state["pruning"] = pruning_history(state["pruning"])
    lost = state["pruning"][len(fit.start_pruning) :]
    if lost:
        replay(fit.model, lost)
        fit.model = laid_out(fit.model, config.device)
        fit.optimizer = build_optimizer(config.recipe, fit.model)
    fit.model.load_state_dict(load_file(checkpoint / _MODEL))
    parameters = [parameter for group in fit.optimizer.param_groups for parameter in group["params"]]
    by_parameter: dict[int, dict[str, Any]] = {}
    for key, value in load_file(checkpoint / _OPTIMIZER).items():
        index, name = key.split(".", 1)
        by_parameter.setdefault(int(index), {})[name] = _laid_out_as(parameters[int(index)], value)
    fit.optimizer.load_state_dict({"state": by_parameter, "param_groups": fit.optimizer.state_dict()["param_groups"]})
    fit.best_weights = load_file(checkpoint / _BEST)
    if fit.scaler is not None:
        fit.scaler.load_state_dict(state[_SCALING])
    for field in dataclasses.fields(Fit):
        if field.name in state:
            setattr(fit, field.name, state[field.name])


def _laid_out_as(parameter: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Give a moment its parameter's memory layout, which the file does not keep and the fused update relies on."""
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value

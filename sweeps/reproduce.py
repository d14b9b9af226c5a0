"""Does a recorded run come out again?

Trains one finished trial once more from what MLflow recorded of it: its config with its seeds and thread count, the
digest of its store, and the models that it starts from or learns from, found by their digests. Then it holds every
metric and the weights against the record. On a CPU they are equal to the bit, given the same library versions and
CPU family. Ray is not started.

    python sweeps/reproduce.py RUN_ID                  # a trial's id, from `make ui`
    python sweeps/reproduce.py RUN_ID --store ~/faces  # where its store lies now

Exit code 0: equal. 1: something differs, and what. 2: it cannot be trained again, and why. Cost: the trial's own.
"""

import argparse
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.addresses import TRACKING_HELP, check_tracking_uri, default_tracking_uri, project_root
from data_store.errors import InputError, run_command
from data_store.manifest import read_manifest
from data_store.verified import require_verified
from sweeps.engine.recorded import Recorded, model_folder, read_trial
from sweeps.engine.terminal import Terminal, text_table
from trainables import metric_keys as keys

if TYPE_CHECKING:
    from trainables.fit import Fit

CLOCKED = (keys.SECONDS, keys.ENERGY_WH, keys.PREDICTED_MEMORY_MB, keys.PEAK_MEMORY_MB)
"""Decided by the clock or the machine, not by the config."""


def differences(recorded: Mapping[str, float], again: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Return (recorded, again) of the metrics that are not equal to the bit.

    Scores that only one side has count as different when the record has them: later code may know more scores.
    """
    found = {}
    for key in sorted(set(recorded) - set(CLOCKED)):
        if key not in again and (key.startswith(keys.ELSEWHERE) or not key.startswith(("val_", "test_"))):
            continue  # found out after the trial: latency and its noise, scores on other stores
        old, new = recorded[key], again.get(key, math.nan)
        if old != new and not (key in again and math.isnan(old) and math.isnan(new)):
            found[key] = (old, new)
    return found


def reproduce(trial: Recorded, store: str, folders: Mapping[str, Path], terminal: Terminal) -> dict[str, Any]:
    """Train a recorded trial again and return what `finish` would record of it.

    Args:
        trial: The record.
        store: Where its store lies.
        folders: Model folders by the digests that the config names.
        terminal: Told after every epoch.
    """
    from data_store.resident import open_mmap
    from trainables.artifacts import recipe_for
    from trainables.finish import finish
    from trainables.training import train

    config, crops = trial.config, open_mmap(store)

    def say(fit: "Fit") -> None:
        now = fit.history[-1]
        terminal.event(f"epoch {fit.epoch:2}  val loss {now[keys.EPOCH_VAL_LOSS]:.3f}")

    fit = train(
        config,
        crops,
        start_folder=folders.get(config.weights),
        teacher_folder=folders.get(config.teacher or ""),
        after_epoch=say,
    )
    with tempfile.TemporaryDirectory(prefix="reproduced_") as folder:
        return finish(fit, config, recipe_for(config.architecture, config.resolution_px), crops, Path(folder))


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the record, train again, and say whether all is equal."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description="Train a recorded trial again and compare.")
    parser.add_argument("run_id", metavar="RUN_ID", help="MLflow's id of a finished trial")
    parser.add_argument("--store", help="where its store lies (default: where it was)")
    parser.add_argument("--tracking-uri", help=TRACKING_HELP)
    parser.add_argument("--results", type=Path, help="folder for fetched models (default: results/)")
    options = parser.parse_args(arguments)
    uri, terminal = options.tracking_uri or default_tracking_uri(), Terminal()
    results = (options.results or project_root() / "results").resolve()
    check_tracking_uri(uri)
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    trial = read_trial(client, options.run_id)
    store, config = options.store or trial.store, trial.config
    _check_store(store, trial)
    named = {config.weights, config.teacher} - {"none", "imagenet", None}
    folders = {digest: model_folder(client, digest, uri, results) for digest in named if digest}
    terminal.line("run", f"{trial.name} of {trial.sweep}: {config.architecture} at {config.resolution_px} px")
    for digest, folder in folders.items():
        terminal.line("teacher" if digest == config.teacher else "start", str(folder))
    terminal.line("data", f"{store}, the recorded digest {trial.store_digest[:8]}")
    terminal.line("train", f"{config.recipe.name}, {config.num_threads} CPU thread(s), {config.device}")
    return _verdict(trial, reproduce(trial, store, folders, terminal), terminal)


def _check_store(store: str, trial: Recorded) -> None:
    """Refuse a store other than the recorded one before anything is trained."""
    manifest = read_manifest(store)
    if manifest.digest != trial.store_digest:
        raise InputError(
            f"the store must be the recorded one ({trial.store_digest[:8]}), but {store} is {manifest.digest[:8]}; "
            "name the recorded one with --store"
        )
    require_verified(manifest)


def _verdict(trial: Recorded, again: Mapping[str, Any], terminal: Terminal) -> int:
    """Say what is equal and what is not; return the exit code."""
    found = differences(trial.metrics, again["metrics"])
    compared = sum(key in trial.metrics for key in again["metrics"] if key not in CLOCKED)
    new = sorted(key for key in again["metrics"] if key not in trial.metrics and key not in CLOCKED)
    if new:
        terminal.line("new", f"{len(new)} metrics that the record does not have: {', '.join(new[:4])} ...")
    weights = again["model"] == trial.model
    if not found and weights:
        terminal.line("equal", f"all {compared} recorded metrics and the weights ({trial.model[:8]}), to the bit")
        return 0
    if found:
        rows = [[key, f"{old:.9g}", f"{new:.9g}", f"{new - old:+.2g}"] for key, (old, new) in found.items()]
        terminal.stream.write(f"\n{text_table(('metric', 'recorded', 'again', 'change'), rows)}\n\n")
    words = "the weights are equal" if weights else "the weights differ"
    terminal.line("differs", f"{len(found)} of {compared} metrics; {words}")
    terminal.line("why", "bits hold for the same library versions, CPU family and thread count; see the run's revision")
    return 1


if __name__ == "__main__":
    run_command(main)

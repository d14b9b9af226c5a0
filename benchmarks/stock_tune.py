"""The peer of the engine's hand-over: the same training as a stock Tune function trainable, a fresh worker a trial.

python -m benchmarks.stock_tune STORE TRIALS EPOCHS
"""

import logging
import os
import sys
import tempfile
from typing import Any


def train(config: dict[str, Any]) -> None:
    """Train one model as the engine's trials do, one report an epoch."""
    from ray import tune

    from data_store.resident import open_mmap
    from trainables import training
    from trainables.artifacts import recipe_for
    from trainables.fit import fix_threads, start
    from trainables.recipes import from_dict

    trial = from_dict(config["trial"])
    fix_threads(trial.num_threads)
    crops, recipe = open_mmap(config["store"]), recipe_for(trial.architecture, trial.resolution_px)
    fit = start(trial)
    while not training.finished(fit, trial):
        training.advance(fit, trial, recipe, crops.split("train"), crops.split("val"))
        tune.report({"val_loss": fit.history[-1]["epoch/val_loss"]})


def main(store: str, num_trials: int, epochs: int) -> None:
    """Run so many trials, as many at a time as there are CPUs."""
    os.environ["SEEDS"], os.environ["SEED_EPOCHS"] = str(num_trials), str(epochs)
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    import ray
    from ray import tune

    from benchmarks.seeds import trials
    from sweeps.engine.space import PROFILES, Setting
    from trainables.recipes import to_dict

    setting = Setting(profile=PROFILES["demo"], seed=0, store_digest="", device="cpu", num_threads=1)
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    with tempfile.TemporaryDirectory() as storage:
        grid = tune.grid_search([to_dict(planned.config) for planned in trials(setting)])
        tune.Tuner(
            tune.with_resources(train, {"cpu": 1}),
            param_space={"store": store, "trial": grid},
            run_config=tune.RunConfig(storage_path=storage, verbose=0),
        ).fit()
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

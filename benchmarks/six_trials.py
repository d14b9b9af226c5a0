"""Six equal trials of about a minute on one core, as a sweep: what bench_cluster runs on one node and on two."""

import os
from dataclasses import replace

from data_store.errors import run_command
from sweeps.engine.launch import run
from sweeps.engine.space import PlannedTrial, Setting, Sweep

EPOCHS = int(os.environ.get("CLUSTER_EPOCHS", "4"))
"""Fewer to try it out."""


def trials(setting: Setting) -> list[PlannedTrial]:
    """Plan six students of different seeds."""
    config = setting.config("Lite0")
    recipe = replace(config.recipe, epochs=EPOCHS, warmup_epochs=1, patience=EPOCHS)
    return [
        PlannedTrial(name=f"seed={seed}", role="student", config=replace(config, recipe=recipe, init_seed=seed))
        for seed in range(6)
    ]


SWEEP = Sweep(name="six_trials", question="What does a second node bring?", trials=trials)

if __name__ == "__main__":
    run_command(lambda: run(SWEEP))

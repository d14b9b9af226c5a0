"""A sweep for measuring the engine: Lite0 from so many seeds, for so many epochs each, as the environment says."""

import os
from dataclasses import replace

from data_store.errors import run_command
from sweeps.engine.launch import run
from sweeps.engine.space import PlannedTrial, Setting, Sweep


def trials(setting: Setting) -> list[PlannedTrial]:
    """Plan one model a seed; none stops early."""
    count, epochs = int(os.environ["SEEDS"]), int(os.environ["SEED_EPOCHS"])
    config = setting.config("Lite0")
    recipe = replace(config.recipe, epochs=epochs, warmup_epochs=min(1, epochs), patience=max(1, epochs))
    return [
        PlannedTrial(name=f"seed={seed}", role="model", config=replace(config, recipe=recipe, init_seed=seed))
        for seed in range(count)
    ]


SWEEP = Sweep(name="seeds", question="What does the engine cost?", trials=trials)

if __name__ == "__main__":
    run_command(lambda: run(SWEEP))

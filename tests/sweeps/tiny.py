"""Three short trials for the tests that start Ray: does an interrupted sweep end as an undisturbed one?"""

import os
from dataclasses import replace

from data_store.errors import run_command
from sweeps.engine import ending
from sweeps.engine.launch import run
from sweeps.engine.space import PlannedTrial, Setting, Sweep

EPOCHS = int(os.environ.get("TINY_EPOCHS", "4"))
STEPS = 3
"""An epoch: the 96 crops of the tests' store; where shards are to be heavy, a part of them."""


def trials(setting: Setting) -> list[PlannedTrial]:
    """Plan students of different seeds, three or so many as asked for, with whole epochs in a smoke run, too."""
    config = setting.config("Lite0")
    recipe = replace(config.recipe, epochs=EPOCHS, warmup_epochs=1, patience=EPOCHS, max_steps_per_epoch=STEPS)
    return [
        PlannedTrial(name=f"seed={seed}", role="student", config=replace(config, recipe=recipe, init_seed=seed))
        for seed in range(int(os.environ.get("TINY_SEEDS", "3")))
    ]


SWEEP = Sweep(name="tiny", question="Does it come back?", trials=trials)

if __name__ == "__main__":
    measured = ending.measured
    if "TINY_LATENCY" not in os.environ:  # a few samples: few tests here ask about latency
        ending.measured = lambda *given, **_: measured(*given, smoke=True)
    run_command(lambda: run(SWEEP))

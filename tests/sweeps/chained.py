"""A model, and one that starts from it once its score is known: does a chain come to its end?"""

from dataclasses import replace

from data_store.errors import run_command
from sweeps.engine import ending
from sweeps.engine.launch import run
from sweeps.engine.space import Known, PlannedTrial, Setting, Sweep


def trials(setting: Setting) -> list[PlannedTrial]:
    """Plan one model."""
    config = setting.config("Lite0")
    recipe = replace(config.recipe, epochs=2, warmup_epochs=0, patience=2)
    return [PlannedTrial(name="first", role="start", config=replace(config, recipe=recipe))]


def more(setting: Setting, known: Known) -> list[PlannedTrial]:
    """Plan a model that starts from the first, when that one has a score."""
    (first,) = trials(setting)
    start = setting.identity(first.config)
    if "val_accuracy" not in known.get(start, {}):
        return []
    return [PlannedTrial(name="second", role="model", config=replace(first.config, weights=start, init_seed=1))]


SWEEP = Sweep(name="chained", question="Does a chain come to its end?", trials=trials, more=more)

if __name__ == "__main__":
    measured = ending.measured
    ending.measured = lambda *given, **_: measured(*given, smoke=True)  # a few samples: no test here asks about latency
    run_command(lambda: run(SWEEP))

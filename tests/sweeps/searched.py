"""A small search whose trials are short: is nothing lost, changed or repeated when it is killed?"""

from dataclasses import replace

from data_store.errors import run_command
from sweeps.engine import ending
from sweeps.engine.axes import Point, Space, factors, steps
from sweeps.engine.launch import run
from sweeps.engine.space import PlannedTrial, Setting, Sweep
from trainables.recipes import Pruning

EPOCHS = 4


def network(setting: Setting, point: Point) -> tuple[str, int, float]:
    """Return architecture, input side and share of the size that is pruned."""
    assert setting.profile.name == "demo"
    return "Lite0", int(point["px"]), float(point["prune_ratio"])


def plan(setting: Setting, point: Point) -> list[PlannedTrial]:
    """Plan a model, and what pruning leaves of it."""
    architecture, side_px, ratio = network(setting, point)
    rate = setting.profile.recipe.learning_rate * float(point["learning_rate"])
    recipe = replace(setting.profile.recipe, epochs=EPOCHS, warmup_epochs=0, patience=EPOCHS, learning_rate=rate)
    config = setting.config(architecture, recipe=recipe, resolution_px=side_px)
    name = f"{side_px} px, rate x{point['learning_rate']:g}"
    planned = [PlannedTrial(name=name, role="model", config=config)]
    if ratio:
        pruned = setting.config(
            architecture,
            weights=setting.identity(config),
            recipe=replace(setting.profile.fine_tuning, epochs=1, warmup_epochs=0),
            resolution_px=side_px,
            pruning=Pruning(ratio=ratio, by="size", calibration_batches=1),
        )
        planned.append(PlannedTrial(name=f"{name}, pruned", role="pruned", config=pruned))
    return planned


AXES = (steps("px", 48, 72, 8), factors("learning_rate", 0.01, 10, 3), steps("prune_ratio", 0.0, 0.4, 0.4))
SWEEP = Sweep(
    name="searched",
    question="Is nothing lost, changed or repeated?",
    trials=lambda _: [],
    space=Space(axes=AXES, canonical=lambda point: point, plan=plan, network=network),
)

if __name__ == "__main__":
    measured = ending.measured
    ending.measured = lambda *given, **_: measured(*given, smoke=True)  # a few samples: no test here asks about latency
    run_command(lambda: run(SWEEP))

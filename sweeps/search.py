"""Which small detector is worth shipping, over everything at once?

Varied: all together, the network, how much it listens to its teacher (alpha) and how soft the teacher speaks
(temperature), the share of its bytes that pruning takes, learning rate and resolution; the last two as multiples of
the profile's. Sought is the front of three: validation AUC up, size down, latency down, which is predicted while the
search runs and measured at its end. ``--max-size-mb`` and ``--max-latency-ms`` are kept before anything is trained, and
again when a model is pruned. Trials that fall behind others of like cost are stopped; ``--early-stop none`` trains all.

    python sweeps/search.py --store ~/faces --trials 100 --max-latency-ms 20
    python sweeps/search.py                            # built-in data set, 20 points
    python sweeps/search.py --search nsga2 --seeds 3   # another search, over three seeds as one more axis
    python sweeps/search.py --smoke                    # a few trials of one step each

Cost and outcome, 2026-11-29, two shared x86 cores, no GPU, seed 0, built-in data, ``--trials 8``, beside other work:
25 minutes. Of 8 points two were stopped early, and the pruned model of a third. The front has B0 pruned to 6.49 MB
(test accuracy 0.971, 0.83 of B0's latency), Lite2 at 80 px (0.991, 19.5 MB, 1.21) and its pruned self (0.987, 15.6
MB, 1.14). On the built-in data and from one seed this ranks nothing; ``--plan`` tells what a point costs on your own.
"""

from dataclasses import replace

from data_store.errors import run_command
from sweeps.engine import chains
from sweeps.engine.axes import Point, Space, choice, factors, steps
from sweeps.engine.launch import run
from sweeps.engine.space import PlannedTrial, Setting, Sweep
from trainables.recipes import Pruning

AXES = (
    choice("architecture", "Lite0", "Lite2", "B0", "B1"),
    steps("alpha", 0.0, 1.0, 0.25),
    steps("temperature", 1, 4, 1),
    steps("prune_ratio", 0.0, 0.6, 0.2),
    factors("learning_rate", 0.25, 2.0, 5),
    steps("resolution", 0.75, 1.25, 0.25),
)
STEP_PX = 8
SMOKE: Point = {
    "architecture": "Lite0",
    "alpha": 0.5,
    "temperature": 2,
    "prune_ratio": 0.0,
    "learning_rate": 1.0,
    "resolution": 1.0,
}


def canonical(point: Point) -> Point:
    """Return the point with temperature 1 where there is no teacher that it could soften."""
    return {**point, "temperature": 1} if point["alpha"] == 0 else point


def network(setting: Setting, point: Point) -> tuple[str, int, float]:
    """Return architecture, input side and share of the size that is pruned."""
    side_px = round(setting.profile.resolution_px * float(point["resolution"]) / STEP_PX) * STEP_PX
    return str(point["architecture"]), side_px, float(point["prune_ratio"])


def plan(setting: Setting, point: Point) -> list[PlannedTrial]:
    """Plan the teacher, the trained model, and what pruning leaves of it."""
    teacher = chains.teacher(setting)
    architecture, side_px, ratio = network(setting, point)
    alpha, temperature, rate = (float(point[name]) for name in ("alpha", "temperature", "learning_rate"))
    recipe = replace(setting.profile.recipe, learning_rate=setting.profile.recipe.learning_rate * rate)
    config = setting.config(
        architecture, recipe=recipe, resolution_px=side_px, teacher=teacher.digest, alpha=alpha, temperature=temperature
    )
    name = f"{architecture} {side_px} px, rate x{rate:g}, alpha {alpha:g}"
    name += f", T {temperature:g}" if alpha else ""
    trained = PlannedTrial(name=name, role="student" if alpha else "model", config=config)
    planned = [*(teacher.trials if alpha else []), trained]
    if ratio:
        pruned = setting.config(
            architecture,
            weights=setting.identity(config),
            recipe=setting.profile.fine_tuning,
            resolution_px=side_px,
            teacher=teacher.digest,
            pruning=Pruning(ratio=ratio, by="size"),
            alpha=alpha,
            temperature=temperature,
        )
        planned.append(PlannedTrial(name=f"{name}, {ratio:g} of size pruned", role="pruned", config=pruned))
    return planned


def trials(setting: Setting) -> list[PlannedTrial]:
    """Plan the teacher; the search plans the rest. A smoke run has one student at hand besides."""
    if setting.smoke:
        return plan(setting, SMOKE)
    return list(chains.teacher(setting).trials)


SWEEP = Sweep(
    name="search",
    question="Which small detector is worth shipping, over everything at once?",
    trials=trials,
    space=Space(axes=AXES, canonical=canonical, plan=plan, network=network),
)

if __name__ == "__main__":
    run_command(lambda: run(SWEEP))

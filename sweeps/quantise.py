"""What does int8 cost, and what does it save?

Varied: the arithmetic (float, int8) of the models that the other sweeps come to: Lite0 trained plainly,
distilled (alpha 0.25), and distilled and pruned by 0.3. Each float model stands beside its int8 self, so that the
loss of accuracy and the gain in size and latency can be read off. Where static int8 loses more than one point of
validation accuracy, and nowhere else, the float model is also trained on with int8 arithmetic (quantisation-aware
fine-tuning, with the teacher that it learned from) and made int8 then.

    python sweeps/quantise.py --store ~/faces          # your own store, with the thesis's settings
    python sweeps/quantise.py                          # built-in data set
    python sweeps/quantise.py --smoke                  # two trials of one step each

Cost and outcome, 2026-11-29, two shared x86 cores, no GPU, seed 0, built-in data: 5 minutes beside the float models
of kd_alpha and kd_prune, which were found. Static int8 took Lite0 from 13.68 to 3.94 MB and its validation accuracy
from 0.908 to 0.897, the student's from 0.914 to 0.903, the pruned student (8.54 to 2.58 MB) from 0.947 to 0.944. The
first two lost more than a point, and by quantisation-aware fine-tuning came to 0.939 and 0.922, with four more epochs
of training.
"""

from dataclasses import replace

from data_store.errors import run_command
from sweeps.engine import chains
from sweeps.engine.launch import run
from sweeps.engine.space import Known, PlannedTrial, Setting, Sweep
from trainables import metric_keys as keys
from trainables.recipes import Pruning

ALPHA = 0.25
RATIO = 0.3
STEPS = 5
LOSS_ALLOWED = 0.01
"""Validation accuracy that static int8 may lose."""


def trials(setting: Setting) -> list[PlannedTrial]:
    """Plan the float models with what they need, and static int8 of each."""
    needed, floats = _floats(setting)
    return [*needed, *(_static(setting, model) for model in floats)]


def more(setting: Setting, known: Known) -> list[PlannedTrial]:
    """Plan quantisation-aware fine-tuning of each model that static int8 has cost more than it may."""
    accuracy = keys.scored("val", keys.ACCURACY)
    planned = []
    for model in _floats(setting)[1]:
        before, after = (known.get(setting.identity(row.config)) for row in (model, _static(setting, model)))
        # Accuracies are quotients of whole numbers: rounded, a loss of exactly one point is not more than one.
        if before and after and round(before[accuracy] - after[accuracy], 9) > LOSS_ALLOWED:
            planned.append(_aware(setting, model))
    return planned


def _floats(setting: Setting) -> tuple[list[PlannedTrial], list[PlannedTrial]]:
    """Return all float trials in the order of their needs, and those among them that are quantised."""
    plain = chains.trained(setting, "Lite0", name="Lite0", role="model")
    if setting.smoke:
        return [*plain.trials], [plain.trials[-1]]
    teacher = chains.teacher(setting)
    student = chains.trained(
        setting, "Lite0", name=f"student alpha={ALPHA:g}", role="student", alpha=ALPHA, teacher=teacher.digest
    )
    pruning = Pruning(ratio=RATIO, iterations=STEPS)
    pruned = chains.pruned(setting, student, pruning, alpha=ALPHA, teacher=teacher.digest)
    pruned = replace(pruned, name=f"student pruned by {RATIO:g}")
    needed = [*plain.trials, *teacher.trials, *student.trials, pruned]
    return needed, [plain.trials[-1], student.trials[-1], pruned]


def _static(setting: Setting, model: PlannedTrial) -> PlannedTrial:
    """Return the trial that makes int8 of a float model, without training."""
    recipe = replace(setting.profile.fine_tuning, name="no training", epochs=0, warmup_epochs=0)
    config = setting.config("Lite0", weights=setting.identity(model.config), recipe=recipe, quantisation="static")
    return PlannedTrial(name=f"{model.name}, static int8", role="quantised", config=config)


def _aware(setting: Setting, model: PlannedTrial) -> PlannedTrial:
    """Return the trial that fine-tunes a float model in int8 arithmetic, with its teacher where it has one."""
    config = setting.config(
        "Lite0",
        weights=setting.identity(model.config),
        recipe=setting.profile.fine_tuning,
        alpha=model.config.alpha,
        teacher=model.config.teacher,
        quantisation="aware",
    )
    return PlannedTrial(name=f"{model.name}, quantisation-aware int8", role="quantised", config=config)


SWEEP = Sweep(name="quantise", question="What does int8 cost, and what does it save?", trials=trials, more=more)

if __name__ == "__main__":
    run_command(lambda: run(SWEEP))

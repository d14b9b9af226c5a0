"""What does int8 cost, and what does it save?

Varied: the arithmetic (float, static int8) of the models that the other sweeps come to: Lite0 trained plainly,
distilled (alpha 0.25), and distilled and pruned by 0.3. Where static int8 loses more than one point of validation
accuracy, the model is fine-tuned with simulated int8 arithmetic as well (quantisation-aware training).

    python sweeps/quantise.py --store ~/faces          # your own store, with the thesis's settings
    python sweeps/quantise.py                          # built-in data set
    python sweeps/quantise.py --smoke                  # two trials of one step each
"""

from dataclasses import replace

from data_store.errors import run_command
from sweeps.engine import chains
from sweeps.engine.launch import run
from sweeps.engine.space import Known, PlannedTrial, Setting, Sweep
from trainables import metric_keys as keys
from trainables.recipes import Pruning, Quantisation

ALPHA = 0.25
RATIO = 0.3
STEPS = 5
LOSS_ALLOWED = 0.01
"""Validation accuracy that static int8 may lose before quantisation-aware training is tried."""


def trials(setting: Setting) -> list[PlannedTrial]:
    """Plan the float models with what they need, and static int8 of each."""
    needed, floats = _floats(setting)
    return [*needed, *(_int8(setting, model, "static") for model in floats)]


def more(setting: Setting, known: Known) -> list[PlannedTrial]:
    """Plan quantisation-aware training of each model that static int8 has hurt."""
    accuracy = keys.scored("val", keys.ACCURACY)
    planned = []
    for model in _floats(setting)[1]:
        before = known.get(setting.identity(model.config))
        static = known.get(setting.identity(_int8(setting, model, "static").config))
        if before and static and before[accuracy] - static[accuracy] > LOSS_ALLOWED:
            planned.append(_int8(setting, model, "qat"))
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


def _int8(setting: Setting, model: PlannedTrial, how: Quantisation) -> PlannedTrial:
    """Return the trial that makes int8 of a float model: without training, or after fine-tuning for it."""
    recipe = setting.profile.fine_tuning
    if how == "static":
        recipe = replace(recipe, name="no training", epochs=0, warmup_epochs=0)
    config = setting.config("Lite0", weights=setting.identity(model.config), recipe=recipe, quantisation=how)
    return PlannedTrial(
        name=f"{model.name}, {'static int8' if how == 'static' else 'int8 after QAT'}", role="quantised", config=config
    )


SWEEP = Sweep(name="quantise", question="What does int8 cost, and what does it save?", trials=trials, more=more)

if __name__ == "__main__":
    run_command(lambda: run(SWEEP))

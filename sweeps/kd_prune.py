"""Does a student that keeps its teacher survive more pruning?

Varied: the prune ratio of a distilled Lite0 (alpha 0.25), pruned globally in five steps with the teacher's soft
labels in every fine-tuning; beside it, at the same ratios, a Lite0 that never had a teacher. Beyond 0.4 the
student's ratio rises for as long as validation accuracy stays at 0.9 or above (the thesis's rule).

    python sweeps/kd_prune.py --store ~/faces          # your own store, with the thesis's settings
    python sweeps/kd_prune.py                          # built-in data set
    python sweeps/kd_prune.py --smoke                  # four trials of one step each

Cost and outcome, 2026-11-29, two shared x86 cores, no GPU, seed 0, built-in data: 39 minutes beside the models of
kd_alpha, which were found. Validation accuracy of the student 0.914 before pruning, then 0.969, 0.947, 0.922, 0.928
at ratios 0.25 to 0.4; of plain Lite0 0.908, then 0.933, 0.939, 0.919, 0.917. The rule let the student go on to 0.6
(0.875), where it has 3.76 MB of 13.68. Up to 20 epochs of fine-tuning come with the pruning, and most models gain
more by them than they lose: that a teacher allows more pruning is not shown here.
"""

from collections.abc import Callable
from dataclasses import replace

from data_store.errors import run_command
from sweeps.engine import chains
from sweeps.engine.launch import run
from sweeps.engine.space import Known, PlannedTrial, Setting, Sweep
from trainables.recipes import Pruning

ALPHA = 0.25
RATIOS = (0.25, 0.3, 0.35, 0.4)
STEPS = 5


def trials(setting: Setting) -> list[PlannedTrial]:
    """Plan teacher, student and plain Lite0, and each of the two at every ratio."""
    teacher = chains.teacher(setting)
    student = _student(setting, teacher)
    if setting.smoke:
        pruning = Pruning(ratio=RATIOS[0])
        last = chains.pruned(setting, student, pruning, alpha=ALPHA, teacher=teacher.digest)
        return [*teacher.trials, *student.trials, last]
    plain = chains.trained(setting, "Lite0", name="plain Lite0", role="start")
    with_teacher = _rising(setting)
    return [
        *teacher.trials,
        *plain.trials,
        *student.trials,
        *map(with_teacher, RATIOS),
        *(_named(chains.pruned(setting, plain, _pruning(ratio)), "plain") for ratio in RATIOS),
    ]


def more(setting: Setting, known: Known) -> list[PlannedTrial]:
    """Plan the student's next ratio as long as the last one kept its accuracy."""
    return [] if setting.smoke else chains.pruned_further(setting, known, _rising(setting), RATIOS[-1])


def _student(setting: Setting, teacher: chains.Chain) -> chains.Chain:
    return chains.trained(
        setting, "Lite0", name=f"student alpha={ALPHA:g}", role="start", alpha=ALPHA, teacher=teacher.digest
    )


def _rising(setting: Setting) -> Callable[[float], PlannedTrial]:
    teacher = chains.teacher(setting)
    student = _student(setting, teacher)
    return lambda ratio: _named(
        chains.pruned(setting, student, _pruning(ratio), alpha=ALPHA, teacher=teacher.digest), "student"
    )


def _pruning(ratio: float) -> Pruning:
    return Pruning(ratio=ratio, iterations=STEPS)


def _named(planned: PlannedTrial, prefix: str) -> PlannedTrial:
    return replace(planned, name=f"{prefix} {planned.name}")


SWEEP = Sweep(
    name="kd_prune",
    question="Does a student that keeps its teacher survive more pruning?",
    trials=trials,
    more=more,
)

if __name__ == "__main__":
    run_command(lambda: run(SWEEP))

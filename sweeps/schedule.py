"""Does a student with a teacher still need warm-up and cosine?

Varied: with and without a teacher (alpha 0.5 and 0), with and without the recipe's learning rate schedule; without
it the rate stays at its peak. The thesis finds that distillation makes the schedule unnecessary.

    python sweeps/schedule.py --store ~/faces          # your own store, with the thesis's settings
    python sweeps/schedule.py                          # built-in data set
    python sweeps/schedule.py --smoke                  # two trials of one step each

Cost and outcome, 2026-11-29, two shared x86 cores, no GPU, seed 0, built-in data: 4 minutes beside the models of
kd_alpha, which were found. Test accuracy with the schedule 0.916 plain and 0.913 with a teacher, without it 0.973 and
0.962: in these 12 epochs neither student needs the schedule, so nothing is said of what a teacher makes unnecessary.
"""

from dataclasses import replace

from data_store.errors import run_command
from sweeps.engine import chains
from sweeps.engine.launch import run
from sweeps.engine.space import PlannedTrial, Setting, Sweep

ALPHA = 0.5


def trials(setting: Setting) -> list[PlannedTrial]:
    """Plan the teacher and the four students."""
    teacher = chains.teacher(setting)
    scheduled = setting.profile.recipe
    constant = replace(scheduled, name=f"{scheduled.name}, constant rate", schedule="constant", warmup_epochs=0)
    students = [
        PlannedTrial(
            name=f"alpha={alpha:g} {'with' if recipe is scheduled else 'without'} schedule",
            role="student",
            config=setting.config("Lite0", recipe=recipe, alpha=alpha, teacher=teacher.digest),
        )
        for alpha in ((ALPHA,) if setting.smoke else (0.0, ALPHA))
        for recipe in ((constant,) if setting.smoke else (scheduled, constant))
    ]
    return [*teacher.trials, *students]


SWEEP = Sweep(name="schedule", question="Does a student with a teacher still need warm-up and cosine?", trials=trials)

if __name__ == "__main__":
    run_command(lambda: run(SWEEP))

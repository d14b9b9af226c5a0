"""How much should a small student listen to its teacher?

Varied: alpha, the weight of the teacher's soft labels in ``alpha * BCE(student, teacher) + (1 - alpha) *
BCE(student, label)``. Teacher: EfficientNet-B0, trained first unless ``--teacher`` names one. Student:
EfficientNet-Lite0. Every student sees the same batches and starts from the same weights, so that alpha alone
tells them apart; alpha = 0 is plain training, to the bit.

    python sweeps/kd_alpha.py                          # built-in data set
    python sweeps/kd_alpha.py --store ~/faces          # your own store, with the thesis's settings
    python sweeps/kd_alpha.py --smoke                  # two trials of one step each

Cost and outcome, 2026-11-29, two shared x86 cores, no GPU, seed 0, built-in data: 14 minutes, data set and all.
Test accuracy of the teacher 0.962; of the students 0.916, 0.900, 0.913, 0.889, 0.922 for alpha = 0 to 1; on validation
0.908, 0.914, 0.928, 0.933, 0.914. The best of one is the worst of the other: on 2,070 drawn crops and one seed the
differences are noise, and the question needs real videos.
"""

from data_store.errors import run_command
from sweeps.engine import chains
from sweeps.engine.launch import run
from sweeps.engine.space import PlannedTrial, Setting, Sweep

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
SMOKE_ALPHAS = (0.5,)
FINE_TUNED_ALPHAS = (0.25, 0.75)
"""Fine-tuned as well where the profile fine-tunes models, with their teacher, as the thesis does."""


def trials(setting: Setting) -> list[PlannedTrial]:
    """Plan the teacher, one student for each alpha, and the fine-tuned ones."""
    teacher = chains.teacher(setting)
    students = [
        PlannedTrial(
            name=f"alpha={alpha:g}",
            role="student",
            config=setting.config("Lite0", alpha=alpha, teacher=teacher.digest),
        )
        for alpha in (SMOKE_ALPHAS if setting.smoke else ALPHAS)
    ]
    tuned = [
        chains.trained(
            setting, "Lite0", name=f"alpha={alpha:g}, fine-tuned", role="student", alpha=alpha, teacher=teacher.digest
        ).trials[-1]
        for alpha in (FINE_TUNED_ALPHAS if setting.profile.fine_tuned_models else ())
    ]
    return [*teacher.trials, *students, *tuned]


SWEEP = Sweep(name="kd_alpha", question="How much should a small student listen to its teacher?", trials=trials)

if __name__ == "__main__":
    run_command(lambda: run(SWEEP))

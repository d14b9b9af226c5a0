"""Does a network that has seen ImageNet learn deepfakes better, and with which recipe?

Varied: where B0 starts (random weights, ImageNet's) and how it is trained (the profile's training recipe, its
fine-tuning recipe). Everything else is equal: batches, augmentation, early stopping. The ``demo`` profile fetches
nothing, so it compares the recipes from random weights only; ``--weights imagenet`` adds the ImageNet starts.

    python sweeps/transfer.py --store ~/faces          # your own store, with the thesis's settings
    python sweeps/transfer.py                          # built-in data set, random starts
    python sweeps/transfer.py --smoke                  # two trials of one step each

Cost and outcome, 2026-11-29, two shared x86 cores, no GPU, seed 0, built-in data, random starts only: 2 minutes
beside the B0 of kd_alpha, which was found. Test accuracy of B0 0.962 by the training recipe, 0.804 by the fine-tuning
one, which has a third of the epochs and is not made for random weights.
"""

from data_store.errors import run_command
from sweeps.engine.launch import run
from sweeps.engine.space import PlannedTrial, Setting, Sweep

ARCHITECTURE = "B0"


def trials(setting: Setting) -> list[PlannedTrial]:
    """Plan every start with every recipe."""
    starts = {"none": "random"}
    if setting.profile.weights != "none":
        starts[setting.profile.weights] = "ImageNet" if setting.profile.weights == "imagenet" else "given"
    recipes = (setting.profile.recipe, setting.profile.fine_tuning)
    return [
        PlannedTrial(
            name=f"{shown} start, {recipe.name}",
            role="model",
            config=setting.config(ARCHITECTURE, weights=weights, recipe=recipe),
        )
        for weights, shown in starts.items()
        for recipe in recipes
    ]


SWEEP = Sweep(
    name="transfer",
    question="Does a network that has seen ImageNet learn deepfakes better, and with which recipe?",
    trials=trials,
)

if __name__ == "__main__":
    run_command(lambda: run(SWEEP))

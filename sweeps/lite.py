"""Where should EfficientNet-Lite0 start from?

Varied: the start weights. Lite0 is B0 without squeeze-and-excitation and with ReLU6, so B0's weights fit it but for
those parts (``B0-lite``): B0's ImageNet weights, B0 trained on this store (and fine-tuned in the ``thesis`` profile,
whose baseline B0 was), and Lite0's own ImageNet weights. Random weights stand beside them. The ``demo`` profile fetches
nothing: it compares random weights with trained B0.

    python sweeps/lite.py --store ~/faces              # your own store, with the thesis's settings
    python sweeps/lite.py                              # built-in data set, without the ImageNet starts
    python sweeps/lite.py --smoke                      # two trials of one step each

Cost and outcome, 2026-11-29, two shared x86 cores, no GPU, seed 0, built-in data: 3 minutes beside the trained B0 and
the random Lite0 of kd_alpha, which were found. Test accuracy from random weights 0.916, from the trained B0 0.991,
above that B0's own 0.962: it builds on 12 epochs more.
"""

from data_store.errors import run_command
from sweeps.engine import chains
from sweeps.engine.launch import run
from sweeps.engine.space import PlannedTrial, Setting, Sweep


def trials(setting: Setting) -> list[PlannedTrial]:
    """Plan trained B0 and one Lite0 for each start."""
    b0 = chains.trained(setting, "B0", name="trained B0", role="start")
    starts = [("B0-lite", b0.digest, "trained B0")]
    if not setting.smoke:
        starts.append(("Lite0", "none", "random"))
    if setting.profile.weights != "none":
        starts += [("B0-lite", "imagenet", "B0 ImageNet"), ("Lite0", "imagenet", "Lite0 ImageNet")]
    models = [
        PlannedTrial(name=f"start={shown}", role="model", config=setting.config(architecture, weights=weights))
        for architecture, weights, shown in starts
    ]
    return [*b0.trials, *models]


SWEEP = Sweep(name="lite", question="Where should EfficientNet-Lite0 start from?", trials=trials)

if __name__ == "__main__":
    run_command(lambda: run(SWEEP))

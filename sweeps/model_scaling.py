"""How large a network do deepfakes need?

Varied: the network, each at the input size it was made for: EfficientNet B0 to B3, Lite2 and V2-S. Recipe, batches
and augmentation are equal. The ``demo`` profile keeps the proportions of these sizes from 64 px on. ``--plan`` shows
what each network needs and how many run at once, without training.

    python sweeps/model_scaling.py --store ~/faces     # your own store, with the thesis's settings
    python sweeps/model_scaling.py                     # built-in data set
    python sweeps/model_scaling.py --plan              # memory, MACs and time of each; trains nothing
    python sweeps/model_scaling.py --smoke             # two trials of one step each

Cost and outcome, 2026-11-29, two shared x86 cores, no GPU, seed 0, built-in data: 40 minutes beside the B0 of
kd_alpha, which was found. Test accuracy of B0 0.962, Lite2 0.918, B1 0.984, B2 0.984, B3 0.998, in a time on the CPU
that is 1, 1.2, 1.6, 1.7 and 2.4 times B0's. V2-S called every crop fake, and an alarm below the table said so.
"""

from data_store.errors import run_command
from sweeps.engine.launch import run
from sweeps.engine.space import PlannedTrial, Setting, Sweep

RESOLUTIONS_PX = {"B0": 224, "B1": 240, "B2": 260, "B3": 300, "Lite2": 260, "V2-S": 384}
"""Input side that each network was made for."""
SMOKE = ("B0", "Lite2")
STEP_PX = 8


def trials(setting: Setting) -> list[PlannedTrial]:
    """Plan one trial a network, the largest first so that the sweep does not end waiting for it."""
    scale = setting.profile.resolution_px / RESOLUTIONS_PX["B0"]
    planned = []
    for name in SMOKE if setting.smoke else reversed(RESOLUTIONS_PX):
        px = RESOLUTIONS_PX[name] if scale == 1 else round(RESOLUTIONS_PX[name] * scale / STEP_PX) * STEP_PX
        planned.append(
            PlannedTrial(name=f"{name} at {px} px", role="model", config=setting.config(name, resolution_px=px))
        )
    return planned


SWEEP = Sweep(name="model_scaling", question="How large a network do deepfakes need?", trials=trials)

if __name__ == "__main__":
    run_command(lambda: run(SWEEP))

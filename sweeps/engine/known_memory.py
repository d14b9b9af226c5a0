"""What the trials of the shipped sweeps need, predicted beforehand: their first launch does not wait for torch.

``python -m sweeps.engine.known_memory`` predicts it all again and writes ``known_memory.json`` beside this file. A test
compares the file with what is predicted now.
"""

import importlib
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from sweeps.engine import forecast
from sweeps.engine.agenda import with_fine_tuning
from sweeps.engine.forecast import Forecasts
from sweeps.engine.ladder import Ladder
from sweeps.engine.resources import budget_bytes
from sweeps.engine.searching import representatives
from sweeps.engine.space import PROFILES, Setting, Sweep
from trainables.recipes import TrialConfig

SWEEPS = (
    "kd_alpha",
    "kd_prune",
    "lite",
    "model_scaling",
    "prune_ratio",
    "quantise",
    "schedule",
    "search",
    "transfer",
)
BUDGET_BYTES = budget_bytes("cuda", 8.0, workers=1)
"""On a GPU, with the default of ``--gpu-memory-gb``: a smaller one may need rungs that are not among these."""
RUNGS = 2
"""Of each config at least: full and mixed precision, which ``--plan`` shows."""

Wanted = tuple[TrialConfig, tuple[str, int] | None]
"""A config, and (architecture, resolution_px) of its teacher."""


def wanted() -> dict[str, Wanted]:
    """Return a config of each shape that the shipped sweeps begin with, in full precision, by its key."""
    ladder = Ladder(BUDGET_BYTES, Forecasts(Path(), shipped=None), "", {})
    for name in SWEEPS:
        sweep: Sweep = importlib.import_module(f"sweeps.{name}").SWEEP
        for profile in PROFILES.values():
            setting = Setting(profile=profile, seed=0, store_digest="", device="cpu", num_threads=1, fit=ladder)
            for one in (setting, replace(setting, smoke=True)):
                with_fine_tuning(one, sweep.trials(one))
            if sweep.space is not None:
                representatives(sweep.space, setting)
    return ladder.missing


def main() -> None:
    """Predict what is wanted, and write it."""
    with tempfile.TemporaryDirectory() as folder:
        forecasts = Forecasts(Path(folder), shipped=None)
        forecasts.predict(list(wanted().values()), BUDGET_BYTES, least_rungs=RUNGS)
        values = forecasts.known_bytes
    forecast.SHIPPED.write_text(json.dumps(dict(sorted(values.items())), indent=0) + "\n")
    sys.stdout.write(f"{len(values)} predictions written to {forecast.SHIPPED}\n")


if __name__ == "__main__":
    main()

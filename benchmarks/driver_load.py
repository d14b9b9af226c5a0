"""What 1,000 trials that do nothing cost the driver: ours or stock Ray Tune's, in a process of its own.

``python -m benchmarks.driver_load ours|stock|bare TRIALS ACTORS`` prints JSON: CPU seconds of the driver at each
trial's end, and its largest resident memory. The cluster is one raylet that pretends to 64 CPUs, as if it were 64 nodes
of one.

Ours is ``fit_once`` of ``sweeps/engine/tune.py`` with all that a sweep on a cluster hands it: the plan that asks which
nodes there are, the recorder, the journal with its fsyncs. Records end there: MLflow's client takes no part on any
side. Stock Tune is as it comes, with its CSV, JSON and TensorBoard files;
bare, it is told to write none of these, as ours tells it.
"""

import json
import logging
import os
import resource
import sys
import tempfile
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ |= {"RAY_AIR_NEW_OUTPUT": "0", "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0"}

import ray
from ray import tune
from ray.tune.experiment import Trial

from benchmarks.measure import peak_rss_mb
from sweeps.engine.energy import Energy
from sweeps.engine.journal import open_journal
from sweeps.engine.nodes import Nodes, alive, num_at_once
from sweeps.engine.places import Places
from sweeps.engine.plan import Added, Plan
from sweeps.engine.progress import Progress
from sweeps.engine.recorder import Recorder
from sweeps.engine.resources import Capacity
from sweeps.engine.space import PROFILES, PlannedTrial, Setting
from sweeps.engine.terminal import Terminal
from sweeps.engine.tune import fit_once

CPUS = 64
EPOCH = {"epoch/train_loss": 0.7, "epoch/val_loss": 0.6, "epoch/val_accuracy": 0.5, "epoch/seconds": 0.01}
RESULT = {"metrics": {"val_accuracy": 0.5, "seconds": 0.01}, "graph": {"digest": "g"}, "model": "m", "undefined": {}}


class DoesNothing(tune.Trainable):
    """Ends with its first step and leaves a result, as a trial does; its actor is used for the next one."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take up a trial."""
        self.folder = Path(config["assignment"]["folder"]) / f"attempt-{config['assignment']['attempt']:04d}"

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up another trial."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Write the result, and return what ends the trial."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "result.json").write_text(json.dumps(RESULT))
        return {"epoch": 1, "history": [EPOCH], "complete": True, "refusal": None, "done": True}

    def alive(self) -> None:
        """Answer the driver."""


class Meter(tune.Callback):
    """Notes the driver's CPU seconds as each trial ends."""

    def __init__(self) -> None:
        """Start with no trial."""
        self.cpu_s: list[float] = []

    def on_trial_complete(self, **_: object) -> None:  # type: ignore[override]
        """Note it."""
        self.note()

    def note(self) -> None:
        """Note it."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        self.cpu_s.append(used.ru_utime + used.ru_stime)

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune nothing to pickle."""
        return {}


def main(which: str, num_trials: int, num_actors: int) -> None:
    """Run the trials and print the figures."""
    if which in ("ours", "bare"):
        os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # as a sweep's launch sets it
    if which == "ours":
        os.environ |= {
            "TUNE_MAX_PENDING_TRIALS_PG": str(num_actors),
            "TUNE_GLOBAL_CHECKPOINT_S": "inf",
        }  # as ``fit`` sets them
    ray.init(num_cpus=CPUS, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    meter = Meter()
    with tempfile.TemporaryDirectory(prefix="driver_load_") as folder:
        trainable = tune.with_resources(DoesNothing, {"cpu": CPUS // num_actors})
        if which == "ours":
            plan, recorder = _engine(Path(folder) / "sweep", num_trials, num_actors)
            ended = recorder.on_trial_complete

            def noted(*, trial: Trial, **_: object) -> None:
                ended(trial=trial)
                meter.note()

            recorder.on_trial_complete = noted  # type: ignore[method-assign]
            fit_once(trainable, plan, recorder, recorder.places)
            assert len(recorder.journal.state.finished) == num_trials
        else:
            place = tune.sample_from(lambda _: f"{folder}/trials/{os.urandom(8).hex()}")
            tune.Tuner(
                trainable,
                param_space={"assignment": {"folder": place, "attempt": 1}},
                tune_config=tune.TuneConfig(num_samples=num_trials, reuse_actors=True),
                run_config=tune.RunConfig(
                    name="tune",
                    storage_path=folder,
                    callbacks=[meter],
                    verbose=0,
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                ),
            ).fit()
        ray.shutdown()
    sys.stdout.write(json.dumps({"cpu_s": meter.cpu_s, "peak_mb": peak_rss_mb()}) + "\n")


def _engine(folder: Path, num_trials: int, num_actors: int) -> tuple[Plan, Recorder]:
    """Return what a sweep of so many trials hands Tune; what would go to MLflow is dropped."""
    setting = Setting(profile=PROFILES["demo"], seed=0, store_digest="0" * 64, device="cpu", num_threads=1)
    config = setting.config("Lite0")
    trials = {
        f"{index:064d}"[::-1]: PlannedTrial(name=f"{index}", role="student", config=config)
        for index in range(num_trials)
    }
    have = Capacity(workers=num_actors, cpus=CPUS // num_actors, gpus=0.0, budget_bytes=2**40, per_card=num_actors)
    journal, places = open_journal(folder / "journal.jsonl"), Places(sweep=folder)
    courier: Any = SimpleNamespace(put=lambda _: None, begin=lambda: None)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - not a file of ours
        terminal = Terminal(os.fdopen(os.dup(nowhere.fileno()), "w"))
    exporter: Any = SimpleNamespace(put=lambda _, then: then())  # no model, no ONNX file
    progress = Progress(terminal, journal, lambda: trials, lambda _: 1, have)
    recorder = Recorder(journal, places, courier, exporter, terminal, progress, Energy(None), max_failures=0)

    def more() -> "Future[Added] | None":
        return None

    nodes = Nodes(alive(), look=lambda _: None, say=lambda _: None)

    def now() -> int:
        return num_at_once(nodes.usable(), "cpu", num_threads=have.cpus, per_card=1)

    plan = Plan(trials, dict.fromkeys(trials, 1), have, journal, places, recorder.started, more, now)
    plan.ending, recorder.on_end, recorder.on_retry = recorder.ending, plan.ask_for_more, plan.retry
    plan.look, plan.stopped_before = recorder.take_results, recorder.stopped_before
    return plan, recorder


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

"""A model, and what is left of it with a fifth less predicted latency."""

from data_store.errors import run_command
from sweeps.engine import chains
from sweeps.engine.launch import run
from sweeps.engine.space import PlannedTrial, Setting, Sweep
from trainables.recipes import Pruning


def trials(setting: Setting) -> list[PlannedTrial]:
    """Plan both."""
    start = chains.trained(setting, "Lite0", name="Lite0", role="start")
    return [*start.trials, chains.pruned(setting, start, Pruning(ratio=0.2, by="latency"))]


SWEEP = Sweep(name="by_latency", question="Is a fifth of the latency gone?", trials=trials)

if __name__ == "__main__":
    run_command(lambda: run(SWEEP))

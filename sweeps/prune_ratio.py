"""How much of Lite0 can be pruned, and how?

Varied: the prune ratio, the scope (local: the same share of every layer; global: the least important channels
anywhere) and the schedule (one-shot, or five steps with fine-tuning after each). Modes are compared at ratios 0.05
and 0.2, and at 40 % fewer MACs, where they cost the same; the scopes also at 40 % less size and 20 % less predicted
CPU latency, one-shot. Then the ratio rises by 0.05, global and in steps, and beyond 0.4 for as long as validation
accuracy stays at 0.9 or above (the thesis's rule).

    python sweeps/prune_ratio.py --store ~/faces       # your own store, with the thesis's settings
    python sweeps/prune_ratio.py                       # built-in data set
    python sweeps/prune_ratio.py --smoke               # two trials of one step each

Cost and outcome, 2026-11-29, two shared x86 cores, no GPU, seed 0, built-in data: 56 minutes beside the models of
kd_alpha and kd_prune, which were found. At 40 % fewer MACs validation accuracy was 0.931 global in steps, 0.919 local
in steps, 0.914 global one-shot and 0.881 local one-shot (0.908 before pruning): the order that the thesis finds, from
one seed, and a step trains on, so that five have five times the epochs of one. The ratio rose to 0.65 (0.897), where
2.85 MB of 13.68 are left. On another such machine that day, where Lite0 came to 0.933, the order at an equal ratio of
0.2 was the same: 0.964, 0.931, 0.917 and 0.892; at 0.05 it was 0.947, 0.947, 0.922 and 0.936.
"""

from collections.abc import Callable
from dataclasses import replace

from data_store.errors import run_command
from sweeps.engine import chains
from sweeps.engine.launch import run
from sweeps.engine.space import Known, PlannedTrial, Setting, Sweep
from trainables.recipes import Pruning

MODES_AT = (Pruning(ratio=0.05), Pruning(ratio=0.2), Pruning(ratio=0.4, by="macs"))
SCOPES_AT = (Pruning(ratio=0.4, by="size"), Pruning(ratio=0.2, by="latency"))
RATIOS = (0.25, 0.3, 0.35, 0.4)
STEPS = 5


def trials(setting: Setting) -> list[PlannedTrial]:
    """Plan trained Lite0, the modes at equal ratio and at equal cost, and the rising ratio."""
    start = chains.trained(setting, "Lite0", name="Lite0", role="start")
    if setting.smoke:
        return [*start.trials, chains.pruned(setting, start, MODES_AT[1])]
    modes = [
        replace(amount, scope=scope, iterations=iterations)
        for amount in MODES_AT
        for scope in ("local", "global")
        for iterations in (1, STEPS)
    ]
    modes += [replace(amount, scope=scope) for amount in SCOPES_AT for scope in ("local", "global")]
    return [*start.trials, *(chains.pruned(setting, start, mode) for mode in modes), *map(_rising(setting), RATIOS)]


def more(setting: Setting, known: Known) -> list[PlannedTrial]:
    """Plan the next ratio as long as the last one kept its accuracy."""
    return [] if setting.smoke else chains.pruned_further(setting, known, _rising(setting), RATIOS[-1])


def _rising(setting: Setting) -> Callable[[float], PlannedTrial]:
    start = chains.trained(setting, "Lite0", name="Lite0", role="start")
    return lambda ratio: chains.pruned(setting, start, Pruning(ratio=ratio, iterations=STEPS))


SWEEP = Sweep(name="prune_ratio", question="How much of Lite0 can be pruned, and how?", trials=trials, more=more)

if __name__ == "__main__":
    run_command(lambda: run(SWEEP))

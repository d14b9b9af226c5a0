"""Which model to ship: the best within your limits, its runner-up, and how sure that order is.

    python analysis/pick.py --max-size-mb 8 --max-latency-ratio 0.5 --min-category-accuracy 0.85
    python analysis/pick.py --max-size-mb 14 --export detector

Chosen on validation scores; the test scores of the chosen model are shown once it is chosen.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from analysis import intervals, objectives
from analysis.addresses import TRACKING_HELP, near, project_root, run_link
from analysis.choice import Choice, Limit, choose
from analysis.comparison import apart, by_data
from analysis.export import export
from analysis.runs import CACHE, Trial, read_runs
from data_store.errors import InputError, run_command

MAXIMA = {
    "--max-size-mb": "size_mb",
    "--max-latency-ratio": "latency_ratio",
    "--max-latency-ms": "latency",
    "--max-macs": "macs",
    "--max-parameters": "parameters",
}
MINIMA = {"--min-accuracy": "accuracy", "--min-auc": "auc", "--min-category-accuracy": "accuracy"}


def one_data(trials: Sequence[Trial], wanted: str | None) -> tuple[Trial, ...]:
    """Return the trials of the wanted store and split; they must be of one.

    Args:
        trials: finished trials.
        wanted: `1a2b3c4d` or `1a2b3c4d/official`, the start of a store's digest and its split; None when there
            is only one.
    """
    groups = {f"{group[0].data.store_digest}/{group[0].data.split_kind}": group for group in by_data(trials)}
    names = [f"{name[:8]}/{name.partition('/')[2]}" for name in groups]
    digest, _, split = (wanted or "").partition("/")
    fitting = [
        group for name, group in groups.items() if name.startswith(digest) and (not split or name.endswith(f"/{split}"))
    ]
    if len(fitting) == 1:
        return fitting[0]
    if wanted is None or fitting:
        raise InputError(
            f"a choice must be among runs of one store and split, but there are {len(names)}: {', '.join(names)}; "
            f"name one with --data {names[0]}"
        )
    raise InputError(f"--data must name a recorded store and split, but got {wanted!r}; {near(wanted, names)}")


def limits_of(options: argparse.Namespace) -> list[Limit]:
    """Return the limits that were asked for."""
    found = []
    for flag, name in (MAXIMA | MINIMA).items():
        bound = getattr(options, flag.removeprefix("--").replace("-", "_"))
        if bound is None:
            continue
        if not bound >= 0:
            raise InputError(f"{flag} must not be negative, but got {bound}; leave it out for no limit")
        if flag in MINIMA and bound > 1:
            raise InputError(f"{flag} must be a fraction in [0, 1], but got {bound:g}; write {bound / 100:g} for it")
        objective = objectives.COSTS[name] if flag in MAXIMA else objectives.describe_score(name)
        category = flag == "--min-category-accuracy"
        found.append(Limit(flag=flag, objective=objective, bound=bound, every_category=category))
    return found


def describe(choice: Choice, limits: Sequence[Limit], tracking_uri: str) -> str:
    """Return the choice as lines of text."""
    best, score = choice.best, choice.score
    lines = [
        f"best       {best.name} ({best.architecture}, {best.sweep})",
        f"           {score.short} {_with_interval(best, score, tracking_uri, 'val')}",
    ]
    test = score.test()
    if test and test.key in best.metrics:
        lines.append(f"           {test.short} {_with_interval(best, score, tracking_uri, 'test')}")
    costs = [cost for cost in objectives.COSTS.values() if cost.key in best.metrics]
    lines.append(f"           {', '.join(f'{cost.short} {cost.text(best)}' for cost in costs)}")
    lines += [f"           {limit.text(best)} (limit {limit.objective.show(limit.bound)})" for limit in limits]
    lines.append(f"           {run_link(tracking_uri, best.experiment_id, best.run_id)}")
    other = choice.runner_up
    if other:
        lines.append(f"runner-up  {other.name} ({other.architecture}, {other.sweep})")
        measured = (score, *(cost for cost in costs if cost.key in other.metrics))
        lines.append(f"           {', '.join(f'{axis.short} {axis.text(other)}' for axis in measured)}")
    else:
        lines.append("runner-up  none: one model alone keeps the limits")
    lines.append(f"confidence {confidence(choice)}")
    if any(objectives.noise_mark(trial, cost.key) for trial in (best, other) if trial for cost in costs):
        lines.append(f"noise      {objectives.NOISE_NOTE}")
    return "\n".join(lines) + "\n"


def confidence(choice: Choice) -> str:
    """Return in a sentence how sure the choice is."""
    if choice.runner_up is None:
        return "no other model to compare with"
    if choice.beats_runner_up is None or choice.difference is None:
        return "unknown: a run without predictions cannot be compared draw by draw"
    low, high = (choice.score.show(end, unit=False) for end in choice.difference)
    unit = "points" if choice.score.unit == "%" else choice.score.unit
    words = f"better than the runner-up in {100 * choice.beats_runner_up:.0f} % of draws of source videos"
    words += f" (difference {low} to {high} {unit}".rstrip() + ", 95 %)"
    if choice.best_in is not None and choice.drawn > 2:
        of = f"all {choice.drawn}" if choice.drawn == choice.candidates else f"{choice.drawn} of {choice.candidates}"
        words += f"; best of {of} within the limits in {100 * choice.best_in:.0f} %"
    if choice.beats_runner_up < intervals.LEVEL:
        sizes = [trial.metrics.get("size_mb", math.nan) for trial in (choice.best, choice.runner_up)]
        words += "\n           too close to call at 95 %" + (
            "; the runner-up is smaller" if sizes[1] < sizes[0] else ""
        )
    return words


def _with_interval(trial: Trial, score: objectives.Objective, tracking_uri: str, split: str) -> str:
    """Return a score on a split with its 95 % interval."""
    shown = score if split == "val" else score.test() or score
    text = shown.show(shown.value(trial))
    entry = intervals.read_predictions(trial, tracking_uri, split)
    if entry is None:
        return text
    found = intervals.interval_of(entry, score.name)
    if found.undefined:
        return f"{text} (no interval: {found.undefined})"
    return f"{text} [{score.show(found.low, unit=False)}, {score.show(found.high, unit=False)}]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the runs, choose, say so, and export."""
    parser = argparse.ArgumentParser(description="Pick the best recorded model within limits.")
    for flag in MAXIMA:
        parser.add_argument(flag, type=float, metavar="X", help="upper limit")
    for flag in MINIMA:
        parser.add_argument(flag, type=float, metavar="X", help="lower limit on validation, a fraction")
    parser.add_argument("--y", default="accuracy", help="validation score to decide by (default: accuracy)")
    parser.add_argument("--sweep", nargs="+", default=[], metavar="NAME", help="sweeps to pick from (default: all)")
    parser.add_argument("--data", metavar="STORE[/SPLIT]", help="store digest and split, when there are several")
    parser.add_argument("--export", type=Path, metavar="DIR", help="write the model and a model card there")
    parser.add_argument("--tracking-uri", help=TRACKING_HELP)
    options = parser.parse_args(arguments)
    limits = limits_of(options)
    runs = read_runs(options.tracking_uri, options.sweep, cache=project_root() / CACHE)
    trials = one_data(runs.trials, options.data)
    choice = choose(trials, objectives.score(options.y, trials), limits, tracking_uri=runs.tracking_uri)
    whole = {trial.run_id: trial for trial in runs.trials}  # with the latencies that do not compare
    choice = replace(choice, best=whole[choice.best.run_id])
    text = describe(choice, limits, runs.tracking_uri)
    sys.stdout.write(f"{len(trials)} trials, {choice.candidates} within the limits; {trials[0].data.text}\n{text}")
    notes = [*runs.notes, *(note for limit in limits for note in apart(trials, limit.objective))]
    sys.stdout.write("".join(f"note       {note}\n" for note in notes))
    if options.export:
        written, absent = export(choice, limits, options.export, tracking_uri=runs.tracking_uri, description=text)
        sys.stdout.write("".join(f"wrote      {path}\n" for path in written))
        sys.stdout.write("".join(f"note       {note}\n" for note in absent))
    return 0


if __name__ == "__main__":
    run_command(main)

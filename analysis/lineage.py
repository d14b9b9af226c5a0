"""What a recorded trial is in the terms of the thesis it is compared with: its start, its stage, its pruning."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.runs import Trial

NONE = ("", "none", "None")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A trial described by what the thesis varies."""

    architecture: str
    """`B0`, `Lite0`, `B0-lite` (Lite0 by surgery on B0), ..."""
    start: str
    """`none`, `imagenet`, `trained B0` for a recorded trial's model, `given` for a model of no recorded trial."""
    fine_tuned: bool
    """Trained by the fine-tuning recipe."""
    scheduled: bool
    """The learning rate follows a schedule."""
    alpha: float
    """Weight of the teacher, 0 without."""
    ratio: float
    """Prune ratio, 0 for a trial that prunes nothing."""
    by: str
    """What the ratio is a share of: `channels`, `macs`, `size`, `latency`; empty without pruning."""
    scope: str
    """`global` or `local`, empty without pruning."""
    steps: int
    """Iterations of pruning, 1 for one-shot, 0 without."""
    quantisation: str
    """`none`, `static` or `aware`."""


def sources(trials: Sequence[Trial]) -> dict[str, Trial]:
    """Return the trial that each trial's start weights come from, by run id, where one is recorded."""
    made: dict[str, Trial] = {}
    for trial in trials:
        for tag in ("trial", "model"):
            if trial.tags.get(tag):
                made.setdefault(trial.tags[tag], trial)
    found = {trial.run_id: made.get(trial.params.get("weights", "none")) for trial in trials}
    return {run_id: source for run_id, source in found.items() if source and source.run_id != run_id}


def kinds(trials: Sequence[Trial]) -> dict[str, Kind]:
    """Return what each trial is, by run id; start weights are followed to the trial that made them."""
    before = sources(trials)
    return {trial.run_id: _kind(trial, before.get(trial.run_id)) for trial in trials}


def fits(kind: Kind, wanted: Mapping[str, object]) -> bool:
    """Tell whether a kind has every wanted value; a tuple offers several."""
    for name, value in wanted.items():
        found = getattr(kind, name)
        if found not in value if isinstance(value, tuple) else found != value:
            return False
    return True


def _kind(trial: Trial, source: Trial | None) -> Kind:
    ratio = _number(trial, "pruning.ratio")
    weights = trial.params.get("weights", "none")
    if source is not None:
        start = f"trained {source.architecture}"
    elif weights in NONE:
        start = "none"
    else:
        start = weights if weights == "imagenet" else "given"
    return Kind(
        architecture=trial.architecture,
        start=start,
        fine_tuned="fine-tuning" in trial.params.get("recipe.name", ""),
        scheduled=trial.params.get("recipe.schedule", "") != "constant",
        alpha=_number(trial, "alpha"),
        ratio=ratio,
        by=_word(trial, "pruning.by") if ratio else "",
        scope=_word(trial, "pruning.scope") if ratio else "",
        steps=int(_number(trial, "pruning.iterations") or 1) if ratio else 0,
        quantisation=_word(trial, "quantisation") or "none",
    )


def _word(trial: Trial, name: str) -> str:
    """Return a parameter, empty when the trial has none."""
    found = trial.params.get(name, "")
    return "" if found in NONE else found


def _number(trial: Trial, name: str) -> float:
    """Return a parameter as a number, 0 when the trial has none."""
    try:
        return float(_word(trial, name) or 0)
    except ValueError:
        return 0.0

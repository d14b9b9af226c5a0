"""What a recorded trial is in the terms of the thesis it is compared with: its start, its stage, its pruning."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.runs import Trial

NONE = ("", "none", "None")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A trial described by what the thesis varies."""

    architecture: str
    """`B0`, `Lite0`, ..."""
    start: str
    """`none`, `imagenet`, the name of another network's published weights, or `trained B0` for a model's own."""
    fine_tuned: bool
    """Trained by the fine-tuning recipe (no schedule, no warm-up)."""
    alpha: float
    """Weight of the teacher, 0 without."""
    ratio: float
    """Prune ratio, 0 for the whole network."""
    scope: str
    """`global` or `local`, empty without pruning."""
    steps: int
    """Iterations of pruning, 1 for one-shot, 0 without."""
    precision: str
    """`float32` or `int8`."""


def kinds(trials: Sequence[Trial]) -> dict[str, Kind]:
    """Return what each trial is, by run id; start weights are followed to the trial that made them."""
    made: dict[str, Trial] = {}
    for trial in trials:
        for tag in ("trial", "model"):
            if trial.tags.get(tag):
                made.setdefault(trial.tags[tag], trial)
    return {trial.run_id: _kind(trial, made) for trial in trials}


def fits(kind: Kind, wanted: Mapping[str, object]) -> bool:
    """Tell whether a kind has every wanted value; a tuple offers several."""
    for name, value in wanted.items():
        found = getattr(kind, name)
        if found not in value if isinstance(value, tuple) else found != value:
            return False
    return True


def _kind(trial: Trial, made: Mapping[str, Trial]) -> Kind:
    ratio = _number(trial, "prune_ratio", "pruning.ratio", "pruning.prune_ratio")
    weights = trial.params.get("weights", "none")
    source = made.get(weights)
    start = "none" if weights in NONE else weights
    if source is not None:
        start = f"trained {source.architecture}" if source is not trial else "none"
    return Kind(
        architecture=trial.architecture,
        start=start,
        fine_tuned="fine-tuning" in trial.params.get("recipe.name", ""),
        alpha=_number(trial, "alpha"),
        ratio=ratio,
        scope=_word(trial, "prune_scope", "pruning.scope") if ratio else "",
        steps=int(_number(trial, "prune_steps", "pruning.steps", "pruning.iterations") or 1) if ratio else 0,
        precision=_word(trial, "precision", "quantisation.precision") or "float32",
    )


def _word(trial: Trial, *names: str) -> str:
    """Return the first of the parameters that the trial has, empty when it has none."""
    found = next((trial.params[name] for name in names if name in trial.params), "")
    return "" if found in NONE else found


def _number(trial: Trial, *names: str) -> float:
    """Return the first of the parameters as a number, 0 when the trial has none."""
    try:
        return float(_word(trial, *names) or 0)
    except ValueError:
        return 0.0

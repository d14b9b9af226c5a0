"""Which settings mattered: the parameters that vary over trials, and their share of the score's variance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.lineage import NONE
from analysis.runs import Trial

FEWEST = 8
"""Fewer trials than this say nothing about importance."""
MOST = 8
DIGEST = 8
"""So much is shown of a model's digest (64 hex digits)."""
IGNORED = ("teacher", "recipe.name", "num_threads", "device")


@dataclass(frozen=True, kw_only=True)
class Varied:
    """A parameter that takes more than one value."""

    name: str
    values: tuple[str, ...]
    """One a trial; `none` where it is not set."""

    @property
    def numbers(self) -> NDArray[np.float64] | None:
        """The values as numbers, None when one is not."""
        try:
            return np.array([math.nan if value in NONE else float(value) for value in self.values])
        except ValueError:
            return None


def varied(trials: Sequence[Trial]) -> list[Varied]:
    """Return the parameters that vary over the trials that have them, those with most distinct values first."""
    names = sorted(set().union(*(trial.params for trial in trials))) if trials else []
    found = []
    for name in names:
        values = tuple(trial.params.get(name, "none") for trial in trials)
        told_apart = {trial.params[name] for trial in trials if name in trial.params}
        if name not in IGNORED and len(told_apart) > 1:
            found.append(
                Varied(name=name, values=tuple(value[:DIGEST] if len(value) == 64 else value for value in values))
            )
    return sorted(found, key=lambda row: -len(set(row.values)))[:MOST]


def importances(parameters: Sequence[Varied], score: NDArray[np.float64]) -> dict[str, float]:
    """Return each parameter's share of the score's variance by fANOVA (Hutter et al., 2014), largest first.

    Args:
        parameters: one or more.
        score: (num_trials,) finite.
    """
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction="maximize")
        spaces: dict[str, optuna.distributions.BaseDistribution] = {}
        columns: dict[str, list[float | str]] = {}
        for row in parameters:
            numbers = row.numbers
            if numbers is not None and np.isfinite(numbers).all():
                spaces[row.name] = optuna.distributions.FloatDistribution(float(numbers.min()), float(numbers.max()))
                columns[row.name] = [float(value) for value in numbers]
            else:
                spaces[row.name] = optuna.distributions.CategoricalDistribution(sorted(set(row.values)))
                columns[row.name] = list(row.values)
        for index, value in enumerate(score.tolist()):
            params = {name: column[index] for name, column in columns.items()}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=spaces, value=value))
        return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    finally:
        optuna.logging.set_verbosity(verbosity)

from dataclasses import replace

import numpy as np
import pytest

from analysis.importance import importances, varied
from analysis.runs import Trial, read_runs


@pytest.fixture(scope="module")
def many(kd_alpha_store: str) -> list[Trial]:
    """Trials whose score is made of alpha alone; the learning rate varies without effect."""
    given = read_runs(kd_alpha_store).trials[1]
    generator = np.random.default_rng(0)
    rows = []
    for index in range(60):
        alpha, rate = float(generator.random()), float(generator.random())
        params = {**given.params, "alpha": str(alpha), "recipe.learning_rate": str(rate), "teacher": str(index)}
        rows.append(replace(given, run_id=str(index), params=params, metrics={"val_accuracy": 0.5 + 0.4 * alpha}))
    return rows


def test_only_what_varies_counts_and_the_teachers_name_does_not(many: list[Trial]) -> None:
    assert [row.name for row in varied(many)] == ["alpha", "recipe.learning_rate"]
    assert varied(many[:1]) == varied([]) == []


def test_a_parameter_that_some_trials_do_not_have_varies_only_by_its_values(many: list[Trial]) -> None:
    some = [replace(trial, params={**trial.params, "extra": "1"}) for trial in many[:3]] + many[3:]
    assert "extra" not in [row.name for row in varied(some)]


def test_the_parameter_that_makes_the_score_takes_the_share(many: list[Trial]) -> None:
    shares = importances(varied(many), np.array([trial.metrics["val_accuracy"] for trial in many]))
    assert list(shares) == ["alpha", "recipe.learning_rate"]
    assert shares["alpha"] > 0.9
    assert sum(shares.values()) == pytest.approx(1.0)

"""Pruning by latency in a whole sweep: the rates are this machine's, fitted before the trials start."""

from pathlib import Path

import pytest

from tests.sweeps.launching import ROOT, events, knowing, launch
from trainables.architectures import build
from trainables.artifacts import load_model
from trainables.footprint import work
from trainables.predicted_latency import LatencyFit, predict
from trainables.pruning import TOLERANCE

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


def test_the_model_is_pruned_by_the_rates_that_the_sweep_has_fitted(
    store: Path, forecasts: Path, tmp_path: Path
) -> None:
    knowing(forecasts, tmp_path)
    done = launch(ROOT / "tests" / "sweeps" / "by_latency.py", store, tmp_path, "--smoke", "--threads", "2")
    assert done.returncode == 0, done.stderr + done.stdout
    (fit,) = [LatencyFit(**event["fit"]) for event in events(tmp_path) if event["event"] == "latency_fit"]
    assert fit.num_graphs == 9
    assert fit.num_threads == 1  # as it is measured at the end, however many threads train
    assert "latency  predicted for pruning; off by" in done.stdout
    (name,) = [row["trial"] for row in events(tmp_path) if row["event"] == "planned" and "of latency" in row["name"]]
    pruned, recipe = load_model(next(tmp_path.glob(f"sweeps/*/trials/{name[:16]}/attempt-*/model")))
    whole = predict(fit, work(build("Lite0"), recipe.resolution_px))
    assert predict(fit, work(pruned, recipe.resolution_px)) == pytest.approx(0.8 * whole, rel=TOLERANCE)

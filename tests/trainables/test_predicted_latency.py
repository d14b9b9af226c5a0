import json
from dataclasses import asdict

import numpy as np
import pytest

from trainables.artifacts import recipe_for
from trainables.predicted_latency import LatencyFit, Work, fit_latency, fit_rates, predict

RATES = np.array([2e-8, 5e-8, 0.02])
WORKS = [
    Work(macs=macs, traffic_bytes=traffic, num_operations=operations)
    for macs, traffic, operations in [
        (30_000_000, 28_000_000, 197),
        (32_000_000, 34_000_000, 304),
        (380_000_000, 190_000_000, 197),
        (570_000_000, 290_000_000, 433),
        (470_000_000, 400_000_000, 257),
    ]
]


def times(works: list[Work]) -> np.ndarray:
    table = np.array([[work.macs, work.traffic_bytes, work.num_operations] for work in works])
    return np.asarray(table @ RATES)


def test_known_rates_are_found_and_the_error_is_that_of_a_graph_left_out() -> None:
    fit = fit_rates(WORKS, times(WORKS).tolist(), num_threads=1)
    assert [fit.ms_per_mac, fit.ms_per_byte, fit.ms_per_operation] == pytest.approx(RATES.tolist(), rel=1e-6)
    assert fit.worst_error < 1e-6
    assert predict(fit, WORKS[2]) == pytest.approx(times(WORKS)[2])
    wrong = times(WORKS)
    wrong[4] *= 2  # its own time is no part of what predicts it: 1 - 1/2
    spoilt = fit_rates(WORKS, wrong.tolist(), num_threads=1)
    assert spoilt.worst_error >= 0.5 - 1e-6
    assert spoilt.worst_error >= spoilt.error > 0


def test_no_rate_is_negative_so_more_work_never_takes_less_time() -> None:
    odd = times(WORKS)[::-1]
    fit = fit_rates(WORKS, odd.tolist(), num_threads=1)
    assert min(fit.ms_per_mac, fit.ms_per_byte, fit.ms_per_operation) >= 0


def test_a_fit_survives_json() -> None:
    fit = fit_rates(WORKS, times(WORKS).tolist(), num_threads=2)
    assert LatencyFit(**json.loads(json.dumps(asdict(fit)))) == fit


def test_too_few_graphs_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 4 graphs, but got 3"):
        fit_rates(WORKS[:3], [1.0, 2.0, 3.0], num_threads=1)
    with pytest.raises(ValueError, match="at least 4 graphs, but got 1"):
        fit_latency([recipe_for("B0", 64)])


def test_graphs_are_timed_in_a_process_of_their_own() -> None:
    graphs = [recipe_for(name, px) for name in ("Lite0", "B0") for px in (32, 96)]
    fit = fit_latency(graphs, num_samples=3)
    assert (fit.num_graphs, fit.num_threads) == (4, 1)
    assert 0 < predict(fit, WORKS[0]) < predict(fit, WORKS[3])
    assert fit.worst_error >= fit.error >= 0

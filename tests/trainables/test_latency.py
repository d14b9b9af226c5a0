import numpy as np
import pytest

from trainables.latency import Latency, interleaved, measure, summarise


def test_a_summary_of_known_samples() -> None:
    seconds = np.column_stack([np.linspace(0.010, 0.020, 101), np.full(101, 0.030)])
    row = summarise(seconds, 1)
    assert row.p50_ms == pytest.approx(15.0)
    assert row.p90_ms == pytest.approx(19.0)
    assert row.ratio == pytest.approx(0.5)
    assert row.noise == pytest.approx(5 / 15)


def test_the_two_are_timed_in_turn_after_a_warm_up() -> None:
    calls: list[str] = []
    samples = interleaved(lambda: calls.append("run"), lambda: calls.append("reference"), 8)
    assert samples.shape == (8, 2)
    assert calls == ["run", "reference"] * (len(calls) // 2)
    assert len(calls) > 2 * 8  # the warm-up


def test_a_larger_graph_takes_longer_in_a_process_of_its_own() -> None:
    small, large = measure([("Lite0", 64), ("B0", 160)], reference=("B0", 64))
    assert isinstance(small, Latency)
    assert small.p50_ms < large.p50_ms
    assert large.ratio > 1.3
    assert (small.num_threads, large.num_threads) == (1, 1)

"""The driver's load is measured on the engine as it is: a sweep of trials that do nothing comes to its end."""

import pytest

from benchmarks import bench_driver


@pytest.mark.slow
def test_each_trials_end_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_driver, "TRIALS", 40)
    monkeypatch.setattr(bench_driver, "ACTORS", 4)
    cpu_s, peak_mb = bench_driver._driver("ours")
    assert len(cpu_s) == 40
    assert 0 < cpu_s[0] < cpu_s[-1]
    assert cpu_s == sorted(cpu_s)
    assert 50 < peak_mb < 1000

"""A sweep that prunes by latency, launched twice up to where its trials would start; neither Ray nor torch is used."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from sweeps.engine import launch as launching
from sweeps.engine.forecast import Forecasts
from sweeps.engine.journal import Journal
from sweeps.engine.preparing import Launch
from sweeps.prune_ratio import SWEEP
from tests.sweeps.launching import events
from tests.sweeps.test_fitting import FIT


def test_the_rates_do_not_name_the_sweep_and_are_fitted_once(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, dict[str, Any]]] = []
    fits = [asdict(FIT), {**asdict(FIT), "ms_per_mac": 1.0}]

    def work(launch: Launch, _: Journal, pending: dict[str, Any], *__: object) -> int:
        assert pending == launch.agenda.planned
        assert launch.setting.rates == launch.agenda.setting.rates == FIT.rates
        seen.append((launch.label, {row.name: trial for trial, row in pending.items()}))
        by_latency = [row.config.pruning for row in pending.values() if "of latency" in row.name]
        assert len(by_latency) == 2
        assert all(pruning is not None and pruning.rates == FIT.rates for pruning in by_latency)
        return 0

    monkeypatch.setattr(launching, "_work", work)
    monkeypatch.setattr(Forecasts, "bytes_of", lambda *_: 1)
    monkeypatch.setattr(Forecasts, "latency_fit", lambda *_, **__: fits.pop(0))
    for _ in range(2):
        flags = ["--store", str(store), "--profile", "demo", "--results", str(tmp_path)]
        assert launching.run(SWEEP, flags) == 0
    assert seen[0] == seen[1]
    assert len(fits) == 1
    kinds = [row["event"] for row in events(tmp_path)]
    assert kinds.count("latency_fit") == 1
    assert kinds.index("latency_fit") < kinds.index("planned")
    assert {row["trial"] for row in events(tmp_path) if row["event"] == "planned"} == set(seen[0][1].values())

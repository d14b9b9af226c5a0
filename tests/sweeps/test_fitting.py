"""The rates that pruning by latency depends on: fitted once in a sweep's life, then the journal's."""

import io
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sweeps import kd_alpha, prune_ratio
from sweeps.engine.fitting import TIMED_SHARES, with_rates
from sweeps.engine.journal import open_journal
from sweeps.engine.recorded import config_from_params
from sweeps.engine.space import PROFILES, Setting
from sweeps.engine.terminal import Terminal
from sweeps.engine.tracking import _params
from trainables.predicted_latency import LatencyFit
from trainables.recipes import from_dict, identity, to_dict

SETTING = Setting(profile=PROFILES["demo"], seed=0, store_digest="s", device="cpu", num_threads=1)
FIT = LatencyFit(
    ms_per_mac=1.7e-08,
    ms_per_byte=1 / 3e6,
    ms_per_operation=0.02,
    error=0.02,
    worst_error=0.08,
    num_graphs=9,
    num_threads=1,
)


class Stand:
    """Stands in for the forecasts, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def latency_fit(self, networks: list[tuple[str, int]], **settings: object) -> dict[str, Any]:
        self.asked.append((networks, settings))
        return asdict(FIT)


def test_rates_are_fitted_once_in_a_sweeps_life_and_are_part_of_its_trials(tmp_path: Path) -> None:
    planned, forecasts, screen = prune_ratio.trials(SETTING), Stand(), io.StringIO()
    for _ in range(2):  # a second launch reads what the first has written
        journal = open_journal(tmp_path / "journal.jsonl")
        setting = with_rates(SETTING, planned, journal, forecasts, Terminal(screen))  # type: ignore[arg-type]
        assert setting.rates == FIT.rates
    assert forecasts.asked == [([("B0", 64), ("Lite0", 64), ("Lite2", 64)], {"shares": TIMED_SHARES})]
    assert "off by 2% (median) and 8% (worst) of 9 networks" in screen.getvalue()
    before, after = ({row.name: row.config for row in prune_ratio.trials(one)} for one in (SETTING, setting))
    for name, config in after.items():
        by_latency = config.pruning is not None and config.pruning.by == "latency"
        assert (identity(config, "s") != identity(before[name], "s")) == by_latency
        assert by_latency == (config != before[name])
    (tried, *_) = [row for row in after.values() if row.pruning is not None and row.pruning.by == "latency"]
    assert tried.pruning is not None
    assert tried.pruning.rates == FIT.rates
    assert from_dict(to_dict(tried)) == tried
    row = replace(planned[0], config=tried)
    assert config_from_params(_params(row)) == tried  # so that the run can be trained again from its record


def test_nothing_is_timed_where_nothing_is_pruned_by_latency(tmp_path: Path) -> None:
    journal, forecasts = open_journal(tmp_path / "journal.jsonl"), Stand()
    planned = kd_alpha.trials(SETTING)
    same = with_rates(SETTING, planned, journal, forecasts, Terminal(io.StringIO()))  # type: ignore[arg-type]
    assert same is SETTING
    assert forecasts.asked == []

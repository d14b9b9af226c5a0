import pytest

from data_store.errors import InputError
from trainables.apart import run_apart

FORECAST = "sweeps.engine.forecast"


def test_what_a_process_refuses_and_what_breaks_it_are_told_apart() -> None:
    with pytest.raises(InputError, match="^--only must name one of .*, but got nothing_such; "):
        run_apart("benchmarks", "--only", "nothing_such", failure="the measurement failed")
    with pytest.raises(RuntimeError, match="(?s)^the forecast failed: .*JSONDecodeError"):
        run_apart(FORECAST, request="no JSON", failure="the forecast failed")


def test_what_it_prints_is_returned() -> None:
    assert "usage: python -m benchmarks" in run_apart("benchmarks", "--help", failure="the measurement failed")

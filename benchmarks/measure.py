"""How the benchmarks measure: a ratio against a peer, both in one run, the median of interleaved rounds."""

import importlib
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict


class Bar(NamedTuple):
    """What a ratio must keep to.

    Attributes:
        relation: ``>=`` or ``<=``.
        value: The bound.
    """

    relation: str
    value: float

    def __str__(self) -> str:
        return f"{self.relation} {self.value:g}"

    def holds(self, ratio: float) -> bool:
        """Whether a ratio keeps to the bar."""
        return ratio >= self.value if self.relation == ">=" else ratio <= self.value


Row = TypedDict("Row", {"name": str, "peer": str, "ratio": float, "bar": str, "pass": bool, "detail": str})
"""One claim: what was measured beside which peer, the ratio, its bar, and the figures that it comes from."""


def peer(name: str) -> Any:  # noqa: ANN401 - a module, typed or not as its version goes
    """Import a library that only the benchmarks need."""
    return importlib.import_module(name)


def row(name: str, peer: str, ratio: float, bar: Bar, detail: str) -> Row:
    """Make a claim's row; what is shown is what is judged."""
    shown = float(f"{ratio:.3g}")
    return {"name": name, "peer": peer, "ratio": shown, "bar": str(bar), "pass": bar.holds(shown), "detail": detail}


def interleaved(runs: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, list[float]]:
    """Time every run once a round, in turn, after one round that is not counted.

    Args:
        runs: What to time, by name.
        rounds: How often.

    Returns:
        Seconds of each round by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for counted in [False] + [True] * rounds:
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if counted:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def median_ratio(numerators: list[float], denominators: list[float]) -> float:
    """Return the median over rounds of the quotient within each round."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def peak_rss_mb() -> float:
    """Return the most memory that this process ever held, in 10^6 bytes (Linux).

    Not ``getrusage``: its maximum is handed down from the process that started this one.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6

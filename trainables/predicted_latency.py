"""CPU latency of graphs that nobody has timed, predicted from their work; for choosing while trials run.

The time of one image is taken as a sum of non-negative shares (a roofline whose two roofs are added, Williams et
al. 2009, doi:10.1145/1498765.1498785, and a cost of each operation's call): so many multiply-accumulates, so many
bytes moved, so many operations. Three rates are fitted to a handful of graphs timed in a quiet slot, by their
relative errors; how far the fit is off is told by leaving each graph out in turn.

Nothing here imports torch. Run as ``python -m trainables.predicted_latency``: a JSON request on standard input, a
JSON answer on standard output; this times the graphs.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.apart import run_apart
from trainables.artifact_files import ModelRecipe, recipe_from_dict
from trainables.latency import eager_runner, seconds_of
from trainables.recipes import LatencyRates

NUM_SAMPLES = 20
NUM_WARM_UP = 5
MIN_GRAPHS = 4
"""Three rates and one graph that is left out."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a graph does for one image; see ``trainables.footprint.work``.

    Attributes:
        macs: Multiply-accumulates of convolutions and matrix products.
        traffic_bytes: Bytes that its operations read and write, each counted by itself.
        num_operations: Operations called.
    """

    macs: int
    traffic_bytes: int
    num_operations: int


@dataclass(frozen=True, kw_only=True)
class LatencyFit:
    """The rates of one machine at one number of threads; plain JSON values by ``dataclasses.asdict``.

    Attributes:
        ms_per_mac: Milliseconds of a multiply-accumulate.
        ms_per_byte: Milliseconds of a byte read or written.
        ms_per_operation: Milliseconds of calling an operation.
        error: Median over graphs of the relative error of predicting a graph from all others.
        worst_error: The largest of them.
        num_graphs: Graphs fitted to.
        num_threads: CPU threads used.
    """

    ms_per_mac: float
    ms_per_byte: float
    ms_per_operation: float
    error: float
    worst_error: float
    num_graphs: int
    num_threads: int

    @property
    def rates(self) -> LatencyRates:
        """What a trial needs of it."""
        return LatencyRates(
            ms_per_mac=self.ms_per_mac, ms_per_byte=self.ms_per_byte, ms_per_operation=self.ms_per_operation
        )


def predict(rates: LatencyFit | LatencyRates, work: Work) -> float:
    """Return the predicted milliseconds of one image in eager PyTorch."""
    return (
        rates.ms_per_mac * work.macs
        + rates.ms_per_byte * work.traffic_bytes
        + rates.ms_per_operation * work.num_operations
    )


def fit_latency(graphs: Sequence[ModelRecipe], *, num_threads: int = 1, num_samples: int = NUM_SAMPLES) -> LatencyFit:
    """Time graphs in a process of their own, in turn, and fit the rates to them.

    Args:
        graphs: At least 4, pruned or not, that differ in size about as much as those to be predicted.
        num_threads: CPU threads.
        num_samples: Timed runs of each graph.

    Raises:
        ValueError: There are too few graphs.
        RuntimeError: The process failed.
    """
    _refuse_few(len(graphs))
    request = json.dumps(
        {"graphs": [asdict(graph) for graph in graphs], "num_threads": num_threads, "samples": num_samples}
    )
    answer = run_apart("trainables.predicted_latency", request=request, failure="fitting the latency failed")
    rows = json.loads(answer)
    return fit_rates([Work(**row["work"]) for row in rows], [row["ms"] for row in rows], num_threads=num_threads)


def fit_rates(works: Sequence[Work], times_ms: Sequence[float], *, num_threads: int) -> LatencyFit:
    """Fit the three rates to timed graphs by least squares of relative errors, none below 0.

    Args:
        works: What each graph does.
        times_ms: (len(works),) its time, above 0.
        num_threads: At which it was timed.

    Raises:
        ValueError: There are too few graphs.
    """
    _refuse_few(len(works))
    table = np.array([[work.macs, work.traffic_bytes, work.num_operations] for work in works], np.float64)
    times = np.asarray(times_ms, np.float64)
    errors = []
    for index in range(len(times)):
        others = np.arange(len(times)) != index
        errors.append(abs(float(table[index] @ _rates(table[others], times[others]) / times[index] - 1)))
    rates = _rates(table, times)
    return LatencyFit(
        ms_per_mac=float(rates[0]),
        ms_per_byte=float(rates[1]),
        ms_per_operation=float(rates[2]),
        error=float(np.median(errors)),
        worst_error=max(errors),
        num_graphs=len(times),
        num_threads=num_threads,
    )


def _refuse_few(num_graphs: int) -> None:
    if num_graphs < MIN_GRAPHS:
        raise ValueError(
            f"a latency fit needs at least {MIN_GRAPHS} graphs, but got {num_graphs}; add resolutions or architectures"
        )


def _rates(table: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (3,) rates, not negative, that make ``table @ rates / times`` closest to 1."""
    from scipy.optimize import nnls

    relative = table / times[:, None]
    scale = relative.max(axis=0)  # bytes and operations differ by a factor of 10^5
    rates: NDArray[np.float64] = nnls(relative / scale, np.ones(len(times)))[0] / scale
    return rates


def _timed(graphs: Sequence[ModelRecipe], num_threads: int, num_samples: int) -> list[dict[str, Any]]:
    """Return work and median milliseconds of each graph, timed in turn so that a slow spell hits all."""
    import torch

    from trainables.artifacts import build_graph
    from trainables.footprint import work

    torch.set_num_threads(num_threads)
    torch.set_flush_denormal(True)
    works, runs = [], []
    for graph in graphs:
        model = build_graph(graph)
        works.append(work(model, graph.resolution_px))
        runs.append(eager_runner(model, graph.resolution_px, batch_size=1))
    seconds = np.array([[seconds_of(run) for run in runs] for _ in range(NUM_WARM_UP + num_samples)])
    medians_ms = np.median(seconds[NUM_WARM_UP:], axis=0) * 1e3
    return [{"work": asdict(row), "ms": float(ms)} for row, ms in zip(works, medians_ms, strict=True)]


def _main() -> None:
    request = json.load(sys.stdin)
    graphs = [recipe_from_dict(values) for values in request["graphs"]]
    json.dump(_timed(graphs, request["num_threads"], request["samples"]), sys.stdout)


if __name__ == "__main__":
    _main()

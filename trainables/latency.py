"""CPU latency of graphs, measured so that the figure can be trusted.

The measurement has a quiet process of its own, a fixed number of threads, a warm-up that ends when the time
has settled, and a reference (unpruned B0 in the same runtime, float, at the same batch) timed in turn with the graphs,
a few at a time, so that a slow spell of the machine hits all. The ratio of medians is what carries over to other
machines; a graph that is the reference's own is timed once, as both.
64 samples make the largest a bound on the 90th percentile at 99 % confidence; batches of 32 get 16 samples, which
is a median and not a bound. Denormal numbers are flushed to 0, as in training.

Run as ``python -m trainables.latency``: a JSON request on standard input, a JSON answer on standard output.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trainables import metric_keys as keys
from trainables.apart import run_apart
from trainables.artifact_files import INT8_FILE, ONNX_FILE, ModelRecipe, read_recipe, recipe_from_dict
from trainables.onnx_files import open_session, run_onnx, write_onnx
from trainables.recipes import digest

if TYPE_CHECKING:
    from torch import nn

Runtime = Literal["eager", "onnx", "int8"]
Run = Callable[[], object]

RUNTIMES: tuple[Runtime, ...] = ("eager", "onnx", "int8")

NUM_SAMPLES = 64
MAX_ROUNDS = 3
MAX_NOISE = 0.10
MAX_DRIFT = 0.02
GRAPHS_IN_TURN = 4
"""Graphs that share the samples of one reference: few, so that a spell is not shorter than their turn."""


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One way to run a graph.

    Attributes:
        runtime: Eager PyTorch, ONNX Runtime, or ONNX Runtime on the model's int8 graph.
        batch_size: Images at a time.
        num_samples: Timed runs of the graph, and of the reference.
        settling: Runs whose median must settle during the warm-up.
    """

    runtime: Runtime
    batch_size: int
    num_samples: int
    settling: int


MODES = tuple(
    Mode(runtime=runtime, batch_size=batch_size, num_samples=num_samples, settling=settling)
    for runtime in RUNTIMES
    for batch_size, num_samples, settling in ((1, NUM_SAMPLES, 5), (32, 16, 2))
)
"""Batch 1 is what a detector answers; 32 is the batch that the thesis timed."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """One graph's time for a batch.

    Attributes:
        p50_ms: Median.
        p90_ms: 90th percentile.
        ratio: Median over the reference's median in the same round.
        noise: Interquartile range over median, the graph's or the reference's, whichever is larger: the ratio has both.
            Above 0.1 the figure is marked as noisy.
    """

    p50_ms: float
    p90_ms: float
    ratio: float
    noise: float


def measure(
    graphs: Sequence[Path | ModelRecipe],
    *,
    reference: Path | ModelRecipe,
    num_threads: int = 1,
    num_samples: int = NUM_SAMPLES,
    runtimes: Sequence[Runtime] = RUNTIMES,
) -> list[dict[str, float]]:
    """Measure graphs in a process of their own.

    Args:
        graphs: Folder of a model, pruned or not, or the recipe of a graph (then with random weights). A folder's
            ONNX files are timed as they lie there; int8 is timed where there is such a file, and of a quantised
            model nothing else is.
        reference: The graph that ratios are taken to.
        num_threads: CPU threads of the measurement.
        num_samples: At most so many of each graph; fewer than a mode's own are for smoke runs, without repetition.
        runtimes: Those to time; int8 only with ``onnx``, which its reference runs in. A graph without an ONNX file is
            exported first, which takes seconds.

    Returns:
        Per graph, in order: the values to be recorded, by metric key.

    Raises:
        RuntimeError: The process failed.
    """
    request = json.dumps(
        {
            "graphs": [_as_json(graph) for graph in graphs],
            "reference": _as_json(reference),
            "num_threads": num_threads,
            "samples": num_samples,
            "runtimes": list(runtimes),
        }
    )
    answer = run_apart("trainables.latency", request=request, failure="the latency measurement failed")
    values: list[dict[str, float]] = json.loads(answer)
    return values


def interleaved(runs: Sequence[Run], num_samples: int, settling: int = 5) -> np.ndarray:
    """Time functions in turn and return seconds, (num_samples, len(runs))."""

    def medians() -> np.ndarray:
        return np.asarray(np.median([[seconds_of(run) for run in runs] for _ in range(settling)], axis=0))

    before = medians()
    for _ in range(19 if settling > 2 else 7):  # warm up until two medians in a row agree
        after = medians()
        if np.all(np.abs(after - before) <= MAX_DRIFT * before):
            break
        before = after
    return np.array([[seconds_of(run) for run in runs] for _ in range(num_samples)])


def summarise(seconds: np.ndarray, reference: np.ndarray) -> Latency:
    """Turn interleaved samples (n,) of a graph and of the reference into the graph's latency."""
    both = np.stack([seconds, reference])
    low, p50, high, p90 = np.percentile(both, [25, 50, 75, 90], axis=1)  # (2,) each: graph, reference
    return Latency(
        p50_ms=float(p50[0] * 1e3),
        p90_ms=float(p90[0] * 1e3),
        ratio=float(p50[0] / p50[1]),
        noise=float(np.max((high - low) / p50)),
    )


def steadiest(runs: Sequence[Run], reference: Run, mode: Mode, max_rounds: int = MAX_ROUNDS) -> list[Latency]:
    """Measure graphs until a round's noise is at most 0.1, three rounds at most, and return the least noisy of each.

    Only what was noisy is measured again. A graph whose run is the reference itself is not run beside it.
    """
    rounds: list[list[Latency]] = [[] for _ in runs]
    noisy = list(range(len(runs)))
    for _ in range(max_rounds):
        others = [runs[place] for place in noisy if runs[place] is not reference]
        seconds = interleaved([reference, *others], mode.num_samples, mode.settling)
        columns = iter(seconds.T[1:])
        for place in noisy:
            own = seconds[:, 0] if runs[place] is reference else next(columns)
            rounds[place].append(summarise(own, seconds[:, 0]))
        noisy = [place for place in noisy if rounds[place][-1].noise > MAX_NOISE]
        if not noisy:
            break
    return [min(found, key=lambda row: row.noise) for found in rounds]


def recorded(mode: Mode, latency: Latency) -> dict[str, float]:
    """Return the values to be recorded of one mode, by metric key."""
    return {
        keys.latency("ms_p50", mode.runtime, mode.batch_size): latency.p50_ms,
        keys.latency("ms_p90", mode.runtime, mode.batch_size): latency.p90_ms,
        keys.latency("ratio", mode.runtime, mode.batch_size): latency.ratio,
        keys.latency("noise", mode.runtime, mode.batch_size): latency.noise,
    }


def eager_runner(model: "nn.Module", resolution_px: int, batch_size: int) -> Run:
    """Return a call of a network in eager PyTorch, channels last."""
    import torch

    model = model.eval().to(memory_format=torch.channels_last)
    images = torch.rand(batch_size, 3, resolution_px, resolution_px).contiguous(memory_format=torch.channels_last)

    def run() -> object:
        with torch.inference_mode():
            return model(images)

    return run


def onnx_runner(file: Path, resolution_px: int, batch_size: int, num_threads: int) -> Run:
    """Return a call of an ONNX file in ONNX Runtime on the CPU."""
    session = open_session(file, num_threads)
    images = np.random.default_rng(0).random((batch_size, 3, resolution_px, resolution_px), np.float32)
    return lambda: run_onnx(session, images)


def seconds_of(run: Run) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _measure_here(
    graphs: Sequence[Path | ModelRecipe],
    reference: Path | ModelRecipe,
    num_threads: int,
    num_samples: int,
    runtimes: Sequence[Runtime],
) -> list[dict[str, float]]:
    import torch

    torch.set_num_threads(num_threads)
    torch.set_flush_denormal(True)
    circumstances: dict[str, float] = {
        keys.LATENCY_THREADS: num_threads,
        keys.LATENCY_REFERENCE_PX: _recipe_of(reference).resolution_px,
        keys.LATENCY_SAMPLES: min(num_samples, NUM_SAMPLES),
    }
    rows: list[dict[str, float]] = [dict(circumstances) for _ in graphs]
    with tempfile.TemporaryDirectory(prefix="latency_") as temporary:
        scratch, base_graph = Path(temporary), _lying_ready(reference, graphs)
        base = _runners(base_graph, scratch, num_threads, runtimes)
        makers = [base if graph == base_graph else _runners(graph, scratch, num_threads, runtimes) for graph in graphs]
        for mode in MODES:
            timed = [place for place, made in enumerate(makers) if mode.runtime in made]
            for first in range(0, len(timed), GRAPHS_IN_TURN):
                group = timed[first : first + GRAPHS_IN_TURN]
                beside = base["eager" if mode.runtime == "eager" else "onnx"](mode.batch_size)  # float, for int8 too
                runs = [
                    beside
                    if makers[place] is base and mode.runtime != "int8"
                    else makers[place][mode.runtime](mode.batch_size)
                    for place in group
                ]
                for place, latency in zip(group, _timed(runs, beside, mode, num_samples), strict=True):
                    rows[place] |= recorded(mode, latency)
    return rows


def _lying_ready(reference: Path | ModelRecipe, graphs: Sequence[Path | ModelRecipe]) -> Path | ModelRecipe:
    """Return a graph that is the reference's own and whose ONNX file was made before; else the reference."""
    if isinstance(reference, ModelRecipe):
        for graph in graphs:
            if isinstance(graph, Path) and (graph / ONNX_FILE).exists() and read_recipe(graph) == reference:
                return graph
    return reference


def _timed(runs: Sequence[Run], reference: Run, mode: Mode, num_samples: int) -> list[Latency]:
    if num_samples >= mode.num_samples:
        return steadiest(runs, reference, mode)
    return steadiest(runs, reference, replace(mode, num_samples=num_samples, settling=1), max_rounds=1)


def _runners(
    graph: Path | ModelRecipe, scratch: Path, num_threads: int, runtimes: Sequence[Runtime]
) -> dict[Runtime, Callable[[int], Run]]:
    """Return, by runtime, what makes a call of the graph at a batch size."""
    import torch

    from trainables.artifacts import build_graph, load_model

    if isinstance(graph, Path):
        model, recipe = load_model(graph)
    else:
        torch.manual_seed(0)
        model, recipe = build_graph(graph).eval(), graph
    if recipe.quantisation != "none":  # the float weights beside it are not what is shipped
        runtimes = [name for name in runtimes if name == "int8"]
    resolution_px = recipe.resolution_px
    runs: dict[Runtime, Callable[[int], Run]] = {}
    if "eager" in runtimes:
        runs["eager"] = lambda batch_size: eager_runner(model, resolution_px, batch_size)
    if "onnx" in runtimes:
        file = graph / ONNX_FILE if isinstance(graph, Path) else None
        if file is None or not file.exists():
            file = scratch / f"{digest(asdict(recipe))}.onnx"
            if not file.exists():  # the reference is often one of the graphs
                write_onnx(model, resolution_px, file)
        runs["onnx"] = lambda batch_size: onnx_runner(file, resolution_px, batch_size, num_threads)
    if "int8" in runtimes and isinstance(graph, Path) and (graph / INT8_FILE).exists():
        runs["int8"] = lambda batch_size: onnx_runner(graph / INT8_FILE, resolution_px, batch_size, num_threads)
    return runs


def _recipe_of(graph: Path | ModelRecipe) -> ModelRecipe:
    return read_recipe(graph) if isinstance(graph, Path) else graph


def _as_json(graph: Path | ModelRecipe) -> str | dict[str, Any]:
    return str(graph.resolve()) if isinstance(graph, Path) else asdict(graph)


def _from_json(graph: str | dict[str, Any]) -> Path | ModelRecipe:
    return Path(graph) if isinstance(graph, str) else recipe_from_dict(graph)


def _main() -> None:
    request = json.load(sys.stdin)
    rows = _measure_here(
        [_from_json(graph) for graph in request["graphs"]],
        _from_json(request["reference"]),
        request["num_threads"],
        request["samples"],
        request["runtimes"],
    )
    json.dump(rows, sys.stdout)


if __name__ == "__main__":
    _main()

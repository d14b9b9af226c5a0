"""CPU latency of graphs, measured so that the figure can be trusted.

The measurement has a quiet process of its own, a fixed number of threads, a warm-up that ends when the time
has settled, and a reference (unpruned B0) timed in turn with every graph, so that a slow spell of the machine
hits both. The ratio of medians is what carries over to other machines. 64 samples make the largest a bound on
the 90th percentile at 99 % confidence.

Run as ``python -m trainables.latency``: a JSON request on standard input, a JSON answer on standard output.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

NUM_SAMPLES = 64
MAX_ROUNDS = 3
MAX_NOISE = 0.10
MAX_DRIFT = 0.02


@dataclass(frozen=True, kw_only=True)
class Latency:
    """One graph's time for a batch of one image.

    Attributes:
        p50_ms: Median.
        p90_ms: 90th percentile.
        ratio: Median over the reference's median in the same round.
        noise: Interquartile range over median; above 0.1 the figure is marked as noisy.
        num_threads: CPU threads used.
    """

    p50_ms: float
    p90_ms: float
    ratio: float
    noise: float
    num_threads: int


def measure(
    graphs: Sequence[tuple[str, int]],
    *,
    reference: tuple[str, int],
    num_threads: int = 1,
    num_samples: int = NUM_SAMPLES,
) -> list[Latency]:
    """Measure graphs in a process of their own.

    Args:
        graphs: (architecture, resolution_px) of each.
        reference: The graph that ratios are taken to.
        num_threads: CPU threads of the measurement.
        num_samples: Of each graph; fewer than 64 are for smoke runs only.

    Returns:
        One ``Latency`` a graph, in order.
    """
    request = json.dumps(
        {"graphs": list(graphs), "reference": reference, "num_threads": num_threads, "samples": num_samples}
    )
    done = subprocess.run(
        [sys.executable, "-m", "trainables.latency"],
        input=request,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the latency measurement failed: {done.stderr.strip().splitlines()[-1:]}")
    return [Latency(**row) for row in json.loads(done.stdout)]


def interleaved(run: Callable[[], object], reference: Callable[[], object], num_samples: int) -> np.ndarray:
    """Time two functions in turn and return seconds, (num_samples, 2): run, reference."""
    for _ in range(10):  # warm up until the two medians of five settle
        before, after = (np.median([(_seconds(run), _seconds(reference)) for _ in range(5)], axis=0) for _ in range(2))
        if np.all(np.abs(after - before) <= MAX_DRIFT * before):
            break
    return np.array([(_seconds(run), _seconds(reference)) for _ in range(num_samples)])


def summarise(seconds: np.ndarray, num_threads: int) -> Latency:
    """Turn interleaved samples (n, 2) into a graph's latency."""
    run, reference = seconds[:, 0], seconds[:, 1]
    low, p50, high, p90 = np.percentile(run, [25, 50, 75, 90])
    return Latency(
        p50_ms=float(p50 * 1e3),
        p90_ms=float(p90 * 1e3),
        ratio=float(p50 / np.median(reference)),
        noise=float((high - low) / p50),
        num_threads=num_threads,
    )


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _measure_here(
    graphs: Sequence[tuple[str, int]], reference: tuple[str, int], num_threads: int, num_samples: int
) -> list[Latency]:
    import torch

    from trainables.architectures import build

    torch.set_num_threads(num_threads)

    def runner(graph: tuple[str, int]) -> Callable[[], object]:
        architecture, resolution_px = graph
        torch.manual_seed(0)
        model = build(architecture).eval().to(memory_format=torch.channels_last)
        image = torch.rand(1, 3, resolution_px, resolution_px).contiguous(memory_format=torch.channels_last)

        def run() -> object:
            with torch.inference_mode():
                return model(image)

        return run

    base = runner(reference)
    rows = []
    for graph in graphs:
        run = runner(graph)
        rounds = []
        for _ in range(MAX_ROUNDS):
            rounds.append(summarise(interleaved(run, base, num_samples), num_threads))
            if rounds[-1].noise <= MAX_NOISE:
                break
        rows.append(min(rounds, key=lambda row: row.noise))
    return rows


def _main() -> None:
    request = json.load(sys.stdin)
    rows = _measure_here(
        [tuple(graph) for graph in request["graphs"]],
        tuple(request["reference"]),
        request["num_threads"],
        request["samples"],
    )
    json.dump([asdict(row) for row in rows], sys.stdout)


if __name__ == "__main__":
    _main()

"""A real MLflow server that is stopped for two minutes in the middle of a sweep: is anything lost or doubled?"""

import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from socket import socket

from benchmarks.measure import Bar, Row, row
from benchmarks.sweep_runs import checkpoints, command, environment, epochs_done, running, wait_for
from tests.stores import write_store
from tests.sweeps.launching import finished_results


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured.

    Attributes:
        trials: Of the sweep.
        epochs: Of each.
        crops: Of the training split.
        away_s: Seconds without a server.
    """

    trials: int
    epochs: int
    crops: int
    away_s: float


FULL = Size(trials=6, epochs=20, crops=800, away_s=120.0)  # 4 minutes on two quiet cores
SMALL = Size(trials=2, epochs=12, crops=256, away_s=15.0)
START_S = 600.0


def rows(size: Size = FULL) -> list[Row]:
    """Run the sweep, stop the server once an epoch is saved, and start it again."""
    with tempfile.TemporaryDirectory(prefix="bench_tracking_") as temporary, ExitStack() as stack:
        folder = Path(temporary)
        store = write_store(folder / "store", rows={"train": size.crops, "val": 16, "test": 16})
        results, port = folder / "results", _free_port()
        uri = f"http://127.0.0.1:{port}"
        serve = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
        serve += ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
        serve += ["--artifacts-destination", str(folder / "files")]
        env = environment(size.trials, size.epochs)
        with ExitStack() as before:
            before.enter_context(running(serve, env, folder / "server.log"))
            assert wait_for(lambda: _up(uri), seconds=START_S)
            sweep = command(store, results, "--tracking-uri", uri)
            driver = stack.enter_context(running(sweep, env, folder / "sweep.log"))
            assert wait_for(lambda: checkpoints(results), seconds=START_S)
        gone, done = time.monotonic(), epochs_done(results)
        assert not _up(uri)
        time.sleep(size.away_s)
        meanwhile, away_s = epochs_done(results) - done, time.monotonic() - gone
        alive = driver.poll() is None
        stack.enter_context(running(serve, env, folder / "server.log"))
        assert wait_for(lambda: _up(uri), seconds=START_S)
        code = driver.wait(START_S + 60 * size.trials * size.epochs)
        said = (folder / "sweep.log").read_text()
        assert code == 0, said[-2000:]
        lost, doubled, detail = _counted(uri, size, finished_results(results))
    word = f"{away_s:.0f} s without a server"
    trained = f"{meanwhile} epochs were trained meanwhile, the sweep {'ran' if alive else 'had ended'} when it was back"
    return [
        row(f"{word}: records lost", "the journal", lost, Bar("<=", 0), detail),
        row(f"{word}: records doubled", "the journal", doubled, Bar("<=", 0), trained),
        row(f"{word}: epochs trained meanwhile", "none", meanwhile, Bar(">=", 1), trained),
    ]


def _counted(uri: str, size: Size, finals: dict[str, dict[str, dict[str, float]]]) -> tuple[int, int, str]:
    """Return how many records the server lacks and has twice: runs, steps, final metrics."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = [run for run in client.search_runs(ids) if run.data.tags.get("kind") == "trial"]
    names = [run.info.run_name for run in runs]
    lost = len({f"seed={seed}" for seed in range(size.trials)} - set(names))
    doubled = len(names) - len(set(names))
    lost += sum(run.info.status != "FINISHED" for run in runs)
    num_steps = 0
    for run in runs:
        curve = [metric.step for metric in client.get_metric_history(run.info.run_id, "epoch/train_loss")]
        num_steps += len(curve)
        lost += len(set(range(1, size.epochs + 1)) - set(curve))
        doubled += len(curve) - len(set(curve))
        for key, value in finals[run.data.tags["trial"]]["metrics"].items():
            history = client.get_metric_history(run.info.run_id, key)
            lost += value not in [metric.value for metric in history]
            doubled += len(history) > 1
    return lost, doubled, f"{len(runs)} runs, {num_steps} epochs and the final metrics looked up one by one"


def _up(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=2):
            return True
    except OSError:
        return False


def _free_port() -> int:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

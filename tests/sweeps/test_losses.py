"""What a sweep loses while it runs: a worker, all of Ray, its tracking server. With a real Ray."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from sweeps.engine.watch import TEMPORARY_FAILURE
from tests.sweeps.launching import TINY, command, events, finished_results, has_come_to, launch, runs, steps, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(2400)]
NAMES = ["seed=0", "seed=1", "seed=2"]


@contextmanager
def running(*arguments: str, said: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(arguments, stdout=said, stderr=subprocess.STDOUT, text=True) as driver:
        try:
            yield driver
        finally:
            kill_tree(driver)


def kill_tree(root: subprocess.Popen[str]) -> None:
    """Kill a process and all that it has started: a server's workers outlive it otherwise."""
    try:
        tree = [*psutil.Process(root.pid).children(recursive=True), psutil.Process(root.pid)]
    except psutil.NoSuchProcess:
        return
    for process in tree:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(tree)


def below(driver: subprocess.Popen[str], word: str) -> list[psutil.Process]:
    """Return the driver's descendants whose command line has a word."""
    found = []
    for process in psutil.Process(driver.pid).children(recursive=True):
        try:
            if word in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def assert_whole(results: Path) -> None:
    trials = runs(results, "trial")
    assert sorted(run.info.run_name for run in trials) == NAMES
    assert {run.info.status for run in trials} == {"FINISHED"}
    for run in trials:
        assert steps(results, run.info.run_id) == [1, 2, 3, 4]
    assert len(finished_results(results)) == 3


def test_a_killed_worker_is_replaced_and_a_dead_ray_ends_the_driver(store: Path, tmp_path: Path) -> None:
    """Within one command a worker is killed, and later the raylet; the next command ends the sweep."""
    with running(*command(TINY, store, tmp_path)) as driver:
        wait_until(partial(has_come_to, tmp_path, 2, 0))
        worker, *_ = below(driver, "ray::ResourceTrainable")  # ray:: alone would find the agents, too
        os.kill(worker.pid, signal.SIGKILL)
        wait_until(lambda: [row for row in events(tmp_path) if row.get("attempt") == 2])
        raylet, *_ = below(driver, "raylet/raylet")
        os.kill(raylet.pid, signal.SIGKILL)
        said, _ = driver.communicate(timeout=600)
    assert driver.returncode == TEMPORARY_FAILURE, said
    assert "its process died" in said
    assert "a worker was lost: starting its successor" in said
    assert said.count("Ray is gone; the same command goes on from the last whole epoch") == 1
    done = launch(TINY, store, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_whole(tmp_path)


def test_records_of_a_server_that_stays_away_are_delivered_later(store: Path, tmp_path: Path) -> None:
    results, home = tmp_path / "results", tmp_path / "server"
    home.mkdir()
    port = str(20000 + os.getpid() % 20000)
    uri = f"http://127.0.0.1:{port}"
    serve = [sys.executable, "-m", "mlflow", "server", "--port", port, "--workers", "1"]
    serve += ["--backend-store-uri", f"sqlite:///{home / 'mlflow.db'}", "--artifacts-destination", str(home / "files")]

    def up() -> bool:
        import urllib.request

        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=2):
                return True
        except OSError:
            return False

    with running(*serve, said=subprocess.DEVNULL) as server:
        wait_until(up)
        with running(*command(TINY, store, results, "--tracking-uri", uri)) as driver:
            wait_until(partial(has_come_to, results, 2, 0))
            kill_tree(server)
            assert not up()
            said, _ = driver.communicate(timeout=600)
    assert driver.returncode == 0, said
    assert "training goes on, its records wait here" in said
    assert "python -m sweeps.engine.deliver" in said
    assert len(finished_results(results)) == 3
    with running(*serve, said=subprocess.DEVNULL):
        wait_until(up)
        deliver = [sys.executable, "-m", "sweeps.engine.deliver", "--results", str(results)]
        sent = subprocess.run(deliver, capture_output=True, text=True, check=False)
        assert sent.returncode == 0, sent.stdout + sent.stderr
        again = subprocess.run(deliver, capture_output=True, text=True, check=True)
        assert "nothing was left to send" in again.stdout
    (home / "mlflow.db").rename(results / "mlflow.db")
    assert_whole(results)
    assert [run.info.status for run in runs(results, "sweep")] == ["FINISHED"]

"""What a sweep loses while it runs: a worker, all of Ray, its tracking server. With a real Ray."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from sweeps.engine.interruption import TEMPORARY_FAILURE
from sweeps.engine.launch import INTERRUPTED
from tests.sweeps import tiny
from tests.sweeps.alone import trained_alone
from tests.sweeps.launching import (
    TINY,
    command,
    events,
    finished_results,
    has_come_to,
    knowing,
    launch,
    runs,
    steps,
    wait_until,
)
from trainables.attempts import attempt_folder

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
        assert steps(results, run.info.run_id) == list(range(1, tiny.EPOCHS + 1))
    assert len(finished_results(results)) == 3


def test_a_first_launch_that_is_stopped_at_once_before_it_trains_leaves_no_records(
    store: Path, forecasts: Path, tmp_path: Path
) -> None:
    results = knowing(forecasts, tmp_path / "results")
    with running(*command(TINY, store, results)) as driver:
        wait_until(lambda: begun(results))
        for _ in range(2):
            driver.send_signal(signal.SIGINT)
            time.sleep(0.5)  # two at once would be one
        said, _ = driver.communicate(timeout=600)
    assert driver.returncode == INTERRUPTED, said
    assert "the same command goes on from there" in said
    assert not foreign(said)
    assert not (results / "mlflow.db").exists()


def test_sigterm_stops_after_the_epochs_that_run_and_leaves_no_run_running(
    store: Path, forecasts: Path, tmp_path: Path
) -> None:
    results = knowing(forecasts, tmp_path / "results")
    with running(*command(TINY, store, results)) as driver:
        wait_until(partial(has_come_to, results, 2, 0))
        driver.terminate()
        said, _ = driver.communicate(timeout=600)
    assert driver.returncode == TEMPORARY_FAILURE, said
    assert said.count("SIGTERM: the sweep stops as it does at Ctrl-C") == 1
    assert "stopping after the epochs that are running" in said
    assert "saved after the last whole epoch; the same command goes on from there" in said
    assert not foreign(said)
    ended = [*runs(results, "trial"), *runs(results, "sweep")]
    assert ended
    assert {run.info.status for run in ended} <= {"FINISHED", "KILLED"}


def test_whatever_is_killed_changes_nothing(
    store: Path, forecasts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker, the raylet, Ctrl-C at each stage, kill -9 of the driver: it ends as if trained alone, to the bit."""
    rough = knowing(forecasts, tmp_path / "rough")
    with running(*command(TINY, store, rough)) as driver:
        wait_until(partial(has_come_to, rough, 2, 0))
        worker, *_ = below(driver, "ray::ResourceTrainable")  # ray:: alone would find the agents, too
        os.kill(worker.pid, signal.SIGKILL)
        wait_until(lambda: [row for row in events(rough) if row.get("attempt") == 2])
        wait_until(lambda: len(below(driver, "ray::ResourceTrainable")) == 2)  # all workers are busy again
        raylet, *_ = below(driver, "raylet/raylet")
        os.kill(raylet.pid, signal.SIGKILL)
        said, _ = driver.communicate(timeout=600)
    assert driver.returncode == TEMPORARY_FAILURE, said
    (output,) = re.findall(r"its process died \(log: (.*output.txt)\)", said)
    assert Path(output).exists()
    assert "a worker was lost: starting its successor" in said
    assert said.count("Ray is gone; the same command goes on from the last whole epoch") == 1
    assert not foreign(said)

    before = launch_logs(rough)
    with running(*command(TINY, store, rough)) as driver:
        wait_until(lambda: "starting Ray and MLflow" in "".join(log.read_text() for log in launch_logs(rough) - before))
        driver.send_signal(signal.SIGINT)
        said, _ = driver.communicate(timeout=600)
    assert driver.returncode == INTERRUPTED, said
    assert "stopping as soon as all has started" in said

    earlier = begun(rough)
    with running(*command(TINY, store, rough)) as driver:
        wait_until(lambda: saved(rough, begun(rough) - earlier))
        driver.send_signal(signal.SIGINT)
        said, _ = driver.communicate(timeout=600)
    assert driver.returncode == INTERRUPTED, said
    assert "the same command goes on from there" in said
    assert not foreign(said)
    assert "RUNNING" not in {run.info.status for run in runs(rough, "trial")}

    earlier = begun(rough)
    with running(*command(TINY, store, rough), said=subprocess.DEVNULL) as driver:
        wait_until(lambda: saved(rough, begun(rough) - earlier) and finished_results(rough))
        driver.kill()  # and nothing that it has started
        driver.wait()

    monkeypatch.setenv("TINY_LATENCY", "whole")  # seconds, in which Ctrl-C can come
    before = launch_logs(rough)
    with running(*command(TINY, store, rough)) as driver:
        wait_until(lambda: "measuring CPU latency" in "".join(log.read_text() for log in launch_logs(rough) - before))
        driver.send_signal(signal.SIGINT)
        said, _ = driver.communicate(timeout=600)
    assert driver.returncode == INTERRUPTED, said
    assert not foreign(said)
    assert {run.info.status for run in runs(rough, "trial")} <= {"FINISHED", "KILLED"}  # what kill -9 kept back waits
    monkeypatch.delenv("TINY_LATENCY")

    done = launch(TINY, store, rough)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert not foreign(done.stdout)
    assert finished_results(rough) == trained_alone(store, tmp_path)
    assert_whole(rough)


def foreign(said: str) -> list[str]:
    """Return the lines that are not a sweep's own: without a label, or of Ray, MLflow or Python."""
    words = ("(raylet", "(pid=", "Warning", "Traceback", "INFO", "WARN", "ERROR", "[20")
    return [line for line in said.splitlines() if any(word in line for word in words)]


def launch_logs(results: Path) -> set[Path]:
    return set(results.glob("sweeps/*/logs/*.log"))


def begun(results: Path) -> set[tuple[str, int]]:
    return {(row["trial"], row["attempt"]) for row in events(results) if row["event"] == "started"}


def saved(results: Path, attempts: set[tuple[str, int]]) -> list[Path]:
    """Return the epochs that these attempts have saved; an orphan of an earlier Ray may still save one of its own."""
    trials = results.glob("sweeps/*/trials")
    folders = [attempt_folder(below / trial[:16], attempt) for below in trials for trial, attempt in attempts]
    return [epoch for folder in folders for epoch in folder.glob("epoch-*")]


def test_records_of_a_server_that_stays_away_are_delivered_later(
    store: Path, forecasts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # eight processes that nobody gives work
    results, home = knowing(forecasts, tmp_path / "results"), tmp_path / "server"
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
        with running(*command(TINY, store, results, "--smoke", "--tracking-uri", uri)) as driver:
            wait_until(partial(has_come_to, results, 2, 0))
            kill_tree(server)
            assert not up()
            said, _ = driver.communicate(timeout=600)
    assert driver.returncode == 75, said
    assert "training goes on, its records wait here" in said
    assert "python -m sweeps.engine.deliver" in said
    assert len(finished_results(results)) == 3
    with running(*serve, said=subprocess.DEVNULL):
        wait_until(up)
        deliver = [sys.executable, "-m", "sweeps.engine.deliver", "--results", str(results)]
        sent = subprocess.run(deliver, capture_output=True, text=True, check=False)
        assert (sent.returncode, sent.stderr) == (0, ""), sent.stdout + sent.stderr
        assert [line.split()[0] for line in sent.stdout.splitlines()] == ["sent"], "it says no more than that"
        again = subprocess.run(deliver, capture_output=True, text=True, check=True)
        assert "nothing was left to send" in again.stdout
    (home / "mlflow.db").rename(results / "mlflow.db")
    assert_whole(results)
    assert [run.info.status for run in runs(results, "sweep")] == ["FINISHED"]

"""The file that a first launch makes for MLflow."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sweeps.engine import tracking_file
from sweeps.engine.tracking_file import make
from tests.sweeps.launching import wait_until


def test_two_sweeps_make_one_file_and_later_ones_leave_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"sqlite:///{tmp_path / 'results' / 'mlflow.db'}"
    both = [threading.Thread(target=make, args=[uri]) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["mlflow.db"]
    monkeypatch.setattr(tracking_file, "run_apart", None)  # would raise
    make(uri)
    make("https://mlflow.example")
    client = MlflowClient(uri)
    assert client.get_experiment_by_name("kd_alpha") is None
    client.create_experiment("kd_alpha")
    assert client.get_experiment_by_name("kd_alpha") is not None


def test_a_maker_that_is_killed_leaves_no_half_of_it(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    maker = subprocess.Popen([sys.executable, "-m", "sweeps.engine.tracking_file", str(file)])
    wait_until(lambda: [*tmp_path.glob(".mlflow.db-*/mlflow.db")] or file.exists(), 60)
    maker.send_signal(signal.SIGINT)  # is not meant for it
    maker.kill()
    maker.wait()
    assert not file.exists()
    make(f"sqlite:///{file}")
    assert MlflowClient(f"sqlite:///{file}").search_experiments(max_results=1)


def test_a_place_that_takes_no_file_is_named() -> None:
    with pytest.raises(RuntimeError, match="MLflow's tables cannot be made"):
        make("sqlite:////proc/mlflow.db")

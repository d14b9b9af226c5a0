import base64
import json
import signal
import socket
import subprocess
import sys
import urllib.request
import zlib
from pathlib import Path

import pytest

from analysis import ui
from data_store.errors import InputError
from tests.analysis.conftest import kd_alpha_runs, plant


def test_a_taken_port_is_named_with_another(kd_alpha_store: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"127\.0\.0\.1:{port} is not .*--port {port + 1}"):
            ui.main(["--port", str(port), "--tracking-uri", kd_alpha_store])


@pytest.mark.parametrize("port", [0, 70000])
def test_a_port_that_cannot_be_is_refused(kd_alpha_store: str, port: int) -> None:
    with pytest.raises(InputError, match=f"but got {port}"):
        ui.main(["--port", str(port), "--tracking-uri", kd_alpha_store])


def test_no_results_yet_names_the_command_that_makes_some(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no results yet.*python sweeps/kd_alpha\.py"):
        ui.main(["--tracking-uri", f"sqlite:///{tmp_path / 'mlflow.db'}"])


def test_the_server_listens_on_loopback_only() -> None:
    command = ui.server_command("sqlite:////x/mlflow.db", 5001)
    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    assert command[command.index("--host") + 1] == "127.0.0.1"


def test_the_saved_view_shows_trials_by_validation_accuracy() -> None:
    tags = ui.experiment_tags()
    view = json.loads(tags["mlflow.sharedViewState.trials"])
    kind, _, packed = view["state"].partition(";")
    state = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert kind == "deflate"
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`val_accuracy`", False)
    assert "metrics.`size_mb`" in state["selectedColumns"]
    assert tags["mlflow.experimentKind"] == "custom_model_development"


def test_views_are_saved_once_with_the_experiments_that_hold_sweeps(empty_store: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(empty_store)
    client.create_experiment("someone else's")
    plant(empty_store, kd_alpha_runs()[:1])
    pages = ui.save_views(empty_store)
    assert list(pages) == ["kd_alpha"]
    experiment = client.get_experiment_by_name("kd_alpha")
    assert experiment is not None
    assert pages["kd_alpha"].startswith(f"#/experiments/{experiment.experiment_id}/runs?")
    assert {key: experiment.tags[key] for key in ui.experiment_tags()} == ui.experiment_tags()
    assert ui.save_views(empty_store) == pages


@pytest.mark.slow
def test_the_server_answers_when_it_says_so_and_leaves_nothing_behind(kd_alpha_store: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "analysis.ui", "--port", str(port), "--tracking-uri", kd_alpha_store]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any(f"Browse the runs at http://127.0.0.1:{port}" in line for line in lines)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    ui.check_port(port)

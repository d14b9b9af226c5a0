import math
import socket
import sqlite3
from pathlib import Path

import pytest

from analysis.addresses import (
    PREFLIGHT_SECONDS,
    check_tracking_uri,
    default_tracking_uri,
    how_to_browse,
    near,
    run_link,
)
from analysis.objectives import COSTS
from analysis.runs import read_runs
from data_store.errors import InputError
from tests.analysis.conftest import Planted, plant


def test_every_trial_is_read_with_its_final_metrics(kd_alpha_store: str) -> None:
    runs = read_runs(kd_alpha_store)
    assert [trial.name for trial in runs.trials] == [
        "teacher B0",
        "alpha=0",
        "alpha=0.25",
        "alpha=0.5",
        "alpha=0.75",
        "alpha=1",
    ]
    teacher, student = runs.trials[0], runs.trials[2]
    assert (teacher.role, teacher.architecture, teacher.metrics["size_mb"]) == ("teacher", "B0", 16.31)
    assert (student.params["alpha"], student.experiment) == ("0.25", "kd_alpha")
    assert student.data.text == "store 1a2b3c4d, official split"
    assert not [key for key in student.metrics if "/" in key]
    assert run_link(kd_alpha_store, student.experiment_id, student.run_id).endswith(
        f"/runs/{student.run_id}?workflowType=machine_learning"
    )


def test_pages_are_followed_to_the_last(kd_alpha_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.runs.PAGE_SIZE", 4)
    assert len(read_runs(kd_alpha_store).trials) == 6


def test_an_unknown_sweep_is_named_with_the_near_ones(kd_alpha_store: str) -> None:
    with pytest.raises(InputError, match=r"'kd_alfa'.*did you mean kd_alpha"):
        read_runs(kd_alpha_store, ["kd_alfa"])
    assert len(read_runs(kd_alpha_store, ["kd_alpha-demo-1a2b3c4d"]).trials) == 6


def test_unfinished_trials_are_counted_and_not_returned(empty_store: str) -> None:
    uri = empty_store
    with pytest.raises(InputError, match=r"holds no trials; make some with `python sweeps/kd_alpha\.py`"):
        read_runs(uri)
    plant(uri, [Planted(name="alpha=0", skill=2.0, status="RUNNING", predictions=False)])
    with pytest.raises(InputError, match=r"1 unfinished trials.*run its command again"):
        read_runs(uri)
    plant(uri, [Planted(name="alpha=1", skill=2.0, predictions=False)])
    runs = read_runs(uri)
    assert ([trial.name for trial in runs.trials], runs.unfinished) == (["alpha=1"], ("alpha=0 (RUNNING)",))


def test_an_int8_model_has_its_latency_where_others_have_theirs(empty_store: str) -> None:
    eager = ("latency_ms_p50", "latency_ms_p90", "latency_ratio")
    quick = {"latency_int8_ms_p50": 2.0, "latency_int8_ratio": 0.31, "latency_int8_noise": 0.2}
    plant(empty_store, [Planted(name="int8", skill=2.0, metrics=quick, drop=eager, predictions=False)])
    (trial,) = read_runs(empty_store).trials
    assert COSTS["latency_ratio"].value(trial) == COSTS["latency_onnx_ratio"].value(trial) == 0.31
    assert COSTS["latency_onnx"].value(trial) == 2.0
    assert COSTS["latency_ratio"].text(trial) == COSTS["latency_onnx_ratio"].text(trial) == "~0.310"
    assert math.isnan(COSTS["latency"].value(trial))  # milliseconds of another runtime are not compared


def test_smoke_runs_are_left_out_unless_there_is_nothing_else(empty_store: str) -> None:
    smoke = Planted(name="alpha=0.5", skill=0.1, params={"recipe.max_steps_per_epoch": "1"}, predictions=False)
    plant(empty_store, [smoke])
    assert [trial.smoke for trial in read_runs(empty_store).trials] == [True]
    plant(empty_store, [Planted(name="alpha=1", skill=2.0, predictions=False)])
    runs = read_runs(empty_store)
    assert ([trial.name for trial in runs.trials], runs.smoke) == (["alpha=1"], 1)
    assert runs.notes == ("left out: 1 smoke run of a step or two",)


def test_a_missing_store_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    with pytest.raises(InputError, match=r"no MLflow store at .*none\.db; make some with `python sweeps/kd_alpha"):
        read_runs(f"sqlite:///{path}")
    assert not path.exists()


def test_a_file_that_is_not_mlflows_is_left_as_it_is(tmp_path: Path) -> None:
    text, other = tmp_path / "text.db", tmp_path / "other.db"
    text.write_text("not a database")
    sqlite3.connect(other).execute("CREATE TABLE mine (x)").connection.close()
    for path in (text, other):
        before = path.read_bytes()
        with pytest.raises(InputError, match=f"MLflow database, but {path}"):
            read_runs(f"sqlite:///{path}")
        assert path.read_bytes() == before


def test_a_server_that_does_not_answer_is_named_within_the_preflight() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(InputError, match=f"{address} did not .*refused"):
            check_tracking_uri(address)
    assert PREFLIGHT_SECONDS <= 5


def test_a_server_that_accepts_and_stays_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.addresses.PREFLIGHT_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(InputError, match=r"must answer within 0\.2 s"):
            check_tracking_uri(f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_a_bare_path_is_refused_with_the_address_to_write() -> None:
    with pytest.raises(InputError, match=r"'\./mlruns'; for a file write sqlite:///"):
        check_tracking_uri("./mlruns")


def test_a_broken_address_is_one_line() -> None:
    with pytest.raises(InputError, match=r"like http://HOST:PORT, but got 'http://\[::1' \(Invalid IPv6 URL\)"):
        read_runs("http://[::1")


def test_the_default_address_is_absolute_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    default = default_tracking_uri()
    assert default.startswith("sqlite:////")
    assert default.endswith("/results/mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert default_tracking_uri() == "http://tracking:5000"


def test_what_shows_the_runs_is_said_for_every_kind_of_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert how_to_browse(default_tracking_uri()) == "make ui"
    assert how_to_browse("sqlite:////tmp/mlflow.db") == 'make ui ARGS="--tracking-uri sqlite:////tmp/mlflow.db"'
    assert how_to_browse("http://tracking:5000/") == "http://tracking:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////tmp/mlflow.db")
    assert how_to_browse("sqlite:////tmp/mlflow.db") == "make ui"


def test_near_names_are_offered_and_else_a_list() -> None:
    assert near("acuracy", ["accuracy", "eer"]) == "did you mean accuracy?"
    assert near("zzz", ["accuracy", "auc"]) == "there are: accuracy, auc"

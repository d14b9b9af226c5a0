"""The tracking server of docker/ in front of a real PostgreSQL and an S3 server: what it keeps, refuses and hides."""

import io
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from analysis.runs import read_runs
from data_store.errors import InputError
from sweeps.engine.access import check_database
from sweeps.engine.courier import Courier
from sweeps.engine.space import PROFILES, PlannedTrial, Setting
from sweeps.engine.terminal import Terminal
from sweeps.engine.tracking import Tracking, check_server
from tests.servers import PASSWORD, Bucket, TrackingServer, bucket, postgres
from tests.sweeps.launching import ROOT, TINY, launch

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.timeout(600)]
SETTING = Setting(profile=PROFILES["demo"], seed=0, store_digest="s", device="cpu", num_threads=1)
TRIALS, EPOCHS = 8, 12
SERVER = (ROOT / "docker" / "mlflow_server.sh").read_text()


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres() as address:
        yield address


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with bucket(tmp_path_factory.mktemp("s3")) as made:
        yield made


def planned(number: int) -> PlannedTrial:
    config = replace(SETTING.config("Lite0"), init_seed=number)
    return PlannedTrial(name=f"seed={number}", role="student", config=config)


def result(number: int) -> dict[str, Any]:
    metrics = {"val_accuracy": number / TRIALS, "size_mb": 13.7}
    return {"metrics": metrics, "graph": {"digest": "g"}, "model": f"model-{number}", "undefined": {}}


def test_eight_trials_at_once_and_a_restart_lose_and_double_nothing(
    database: str, s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight threads report epochs; the server is killed in their middle and comes back after the last."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # as a sweep's launch sets them
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    server = TrackingServer(tmp_path, database, s3.address, s3.environment)
    screen, half, away = io.StringIO(), threading.Barrier(TRIALS + 1), threading.Event()
    try:
        server.start()
        server.await_answer()
        with pytest.raises(ConnectionRefusedError):  # another address of this machine: it listens on one alone
            socket.create_connection(("127.0.0.2", server.port), timeout=5)
        tags = {"store": "/data/faces", "store_digest": "d" * 64, "profile": "demo"}
        tracking = Tracking(server.uri, experiment="eight", sweep="eight-demo-0", results=tmp_path, tags=tags)
        courier = Courier(lambda: tracking, Terminal(screen))

        def trial(number: int) -> None:
            attempt, history = tmp_path / f"attempt-{number}", []
            (attempt / "model").mkdir(parents=True)
            (attempt / "model" / "weights.safetensors").write_bytes(bytes(100_000))
            (attempt / "predictions.arrow").write_bytes(bytes(1000))
            name = SETTING.identity(planned(number).config)
            courier.put(lambda tracking: tracking.start(name, planned(number)))
            for epoch in range(1, EPOCHS + 1):
                history.append({"epoch/train_loss": 1.0 / (epoch + number)})
                courier.put(partial(Tracking.curves, trial=name, history=tuple(history)))
                if epoch == EPOCHS // 2:
                    half.wait()
                    away.wait()
            courier.put(lambda tracking: tracking.finish(name, result(number), attempt))

        threads = [threading.Thread(target=trial, args=(number,)) for number in range(TRIALS)]
        for thread in threads:
            thread.start()
        half.wait()
        server.kill()  # while the courier is sending what the eight have reported so far
        away.set()
        for thread in threads:
            thread.join()
        assert not courier.flush(3)
        server.start()
        server.await_answer()
        assert courier.flush(120), screen.getvalue()
        courier.stop()
        assert screen.getvalue().count("answers again") == 1
        found = tracking.client.search_runs([tracking.experiment_id], "tags.kind = 'trial'")
        assert sorted(run.info.run_name for run in found) == [f"seed={number}" for number in range(TRIALS)]
        for run in found:
            number = int(run.info.run_name.removeprefix("seed="))
            curve = tracking.client.get_metric_history(run.info.run_id, "epoch/train_loss")
            assert [(row.step, row.value) for row in curve] == [
                (step, 1.0 / (step + number)) for step in range(1, EPOCHS + 1)
            ]
            assert run.info.status == "FINISHED"
            assert run.data.metrics["val_accuracy"] == number / TRIALS
            assert run.info.artifact_uri.startswith("mlflow-artifacts:")
            files = [row.path for row in tracking.client.list_artifacts(run.info.run_id, "model")]
            assert files == ["model/weights.safetensors"]
    finally:
        server.kill()
    said = server.log.read_text() + screen.getvalue()
    assert "Uvicorn running" in said
    assert_hidden(said, PASSWORD, s3.environment["AWS_SECRET_ACCESS_KEY"])


def assert_hidden(text: str, *secrets: str) -> None:
    for secret in secrets:
        assert secret not in text


WRONG = {
    "password": ({"PASSWORD": "guessed-password"}, "must know the user and its password, but", "PGPASSWORD"),
    "no password": ({"PASSWORD": ""}, "must be given a password, but", "set PGPASSWORD"),
    "secret key": ({"AWS_SECRET_ACCESS_KEY": "guessed-secret"}, "(SignatureDoesNotMatch)", "AWS_SECRET_ACCESS_KEY"),
    "key": ({"AWS_ACCESS_KEY_ID": "AKIAGUESSED"}, "(InvalidAccessKeyId)", "AWS_ACCESS_KEY_ID"),
    "no key": ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "but s3://artifacts got none", "set AWS_"),
    "bucket": ({"ARTIFACTS": "s3://elsewhere"}, "s3://elsewhere refuses it (NoSuchBucket)", "the bucket's name"),
    "endpoint": ({"MLFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:9"}, "(EndpointConnectionError)", "ENDPOINT_URL"),
    "database": ({"POSTGRES_HOST": "127.0.0.1:9"}, "must let this process in within 5 s, but", "correct the address"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_server_without_access_says_so_in_one_line_and_never_the_secret(
    database: str, s3: Bucket, tmp_path: Path, what: str
) -> None:
    changes, rule, remedy = WRONG[what]
    server = TrackingServer(tmp_path, database, s3.address, {**s3.environment, **changes})
    server.environment["AWS_EC2_METADATA_DISABLED"] = "true"
    assert server.start().wait(60) == 2
    said = server.log.read_text()
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert rule in said
    assert remedy in said
    given = {**s3.environment, **changes}
    assert_hidden(said, PASSWORD, "guessed-password", "guessed-secret", "AKIAGUESSED")
    assert_hidden(said, *(given[name] for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID") if given[name]))


@pytest.mark.parametrize("name", ["POSTGRES_HOST", "POSTGRES_PASSWORD_FILE", "ARTIFACTS"])
def test_a_server_that_is_not_told_all_it_needs_says_what(tmp_path: Path, name: str) -> None:
    server = TrackingServer(tmp_path, "127.0.0.1:9", str(tmp_path), {})
    del server.environment[name]
    assert server.start().wait(60) == 2
    assert server.log.read_text().startswith(f"error: {name} must be set, but is not; ")
    assert f"#   {name}" in SERVER or f", {name}: " in SERVER


def test_the_documented_sweeps_record_where_the_documented_server_listens() -> None:
    """It listens on this machine alone, under the names that it may be called by."""
    said = (ROOT / "docs" / "cluster.md").read_text()
    addresses = re.findall(r"--tracking-uri[ =](http\S+)", said)
    assert len(addresses) >= 4
    assert set(addresses) == {"http://127.0.0.1:5000"}
    assert '"127.0.0.1:5000:5000"' in (ROOT / "docker" / "compose.yaml").read_text()
    assert '--host "${LISTEN_HOST:-127.0.0.1}"' in SERVER


def test_a_sweep_records_in_postgresql_without_a_server(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files lie below the results folder, not below whatever folder it was started in."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.chdir(tmp_path)
    uri = f"postgresql+psycopg2://mlflow@{database}/mlflow"
    check_server(uri)
    tracking = Tracking(uri, experiment="direct", sweep="direct-demo-0", results=tmp_path / "results", tags={})
    name = SETTING.identity(planned(0).config)
    (tmp_path / "attempt" / "model").mkdir(parents=True)
    for file in ("predictions.arrow", "model/recipe.json"):
        (tmp_path / "attempt" / file).write_text("{}")
    tracking.start(name, planned(0))
    tracking.finish(name, result(0), tmp_path / "attempt")
    kept = tracking.client.get_run(tracking.run_of(name)).info.artifact_uri
    assert kept.startswith((tmp_path / "results" / "mlartifacts" / "direct").as_uri())
    assert Path(kept.removeprefix("file://"), "model", "recipe.json").is_file()
    assert [trial.name for trial in read_runs(uri, ["direct-demo-0"]).trials] == ["seed=0"]


@pytest.mark.parametrize(
    ("uri", "scheme"),
    [
        ("postgresql://mlflow:guessed-password@db/mlflow", "postgresql"),
        ("postgresql+psycopg2://mlflow:a/guessed-password@db/mlflow", "postgresql+psycopg2"),
        ("postgresql+psycopg2://mlflow@db/mlflow?password=guessed-password", "postgresql+psycopg2"),
        ("https://somebody:a#guessed-password@host/path", "https"),
        ("https://somebody:a?guessed-password@host/path", "https"),
        ("https://guessed-password@host/path", "https"),
    ],
)
def test_a_password_in_an_address_is_refused_and_kept_out_of_all_that_is_written(
    tmp_path: Path, uri: str, scheme: str
) -> None:
    done = launch(TINY, tmp_path / "store", tmp_path / "results", "--tracking-uri", uri)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"must hold no password, for it is written down and shown, but that of {scheme}:// does" in done.stderr
    assert_hidden(done.stdout + done.stderr, "guessed-password")
    assert not (tmp_path / "results").exists()


def test_a_wrong_password_of_a_sweep_is_one_line(database: str, tmp_path: Path) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, TINY, "--store", tmp_path / "store", "--results", tmp_path, "--profile=demo",
         f"--tracking-uri=postgresql+psycopg2://mlflow@{database}/mlflow"],
        capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "PGPASSWORD": "guessed-password"},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: PostgreSQL must know the user and its password, but postgresql://127.0.0.1:")
    assert done.stderr.count("\n") == 1
    assert_hidden(done.stdout + done.stderr, "guessed-password")
    assert time.monotonic() - began < 60


def test_a_database_that_is_away_or_of_another_driver_is_named() -> None:
    with pytest.raises(InputError, match=r"but got postgresql://db/mlflow; write postgresql\+psycopg2://user@host"):
        check_database("postgresql://mlflow@db/mlflow")
    with pytest.raises(InputError, match=r"but postgresql://127\.0\.0\.1:9/mlflow does not \(.*refused"):
        check_database("postgresql+psycopg2://mlflow@127.0.0.1:9/mlflow")

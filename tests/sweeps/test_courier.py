"""Records wait for a server that is away, keep their order, and arrive once; no server is started."""

import io
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from data_store.errors import InputError
from sweeps.engine import courier as module
from sweeps.engine.courier import Courier, may_pass
from sweeps.engine.ending import catch_up
from sweeps.engine.journal import open_journal
from sweeps.engine.places import Places
from sweeps.engine.space import PROFILES, PlannedTrial, Setting
from sweeps.engine.terminal import Terminal
from sweeps.engine.tracking import Tracking

SETTING = Setting(profile=PROFILES["demo"], seed=0, store_digest="s", device="cpu", num_threads=1)
TRIAL = PlannedTrial(name="alpha=0", role="student", config=SETTING.config("Lite0"))


class Store:
    """Stands in for tracking: counts how often it was asked to forget."""

    def __init__(self) -> None:
        self.forgotten = 0

    def forget(self) -> None:
        self.forgotten += 1


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.02)


def test_records_wait_in_order_while_the_server_is_away(tmp_path: Path) -> None:
    screen, store, arrived, away = io.StringIO(), Store(), [], [True]
    courier = Courier(lambda: store, Terminal(screen))  # type: ignore[arg-type, return-value]

    def delivery(number: int) -> Any:  # noqa: ANN401
        def deliver(_: object) -> None:
            if away[0] and number >= 2:
                raise MlflowException("connection refused")
            arrived.append(number)

        return deliver

    for number in range(5):
        courier.put(delivery(number))
    assert not courier.flush(0.3)
    assert arrived == [0, 1]
    assert store.forgotten >= 2
    away[0] = False
    assert courier.flush(5)
    assert arrived == [0, 1, 2, 3, 4]
    assert screen.getvalue().count("does not answer") == 1
    assert screen.getvalue().count("answers again") == 1
    courier.stop()


@pytest.mark.parametrize("awaited", [False, True], ids=["begun", "awaited"])
def test_a_held_courier_opens_its_store_when_it_is_told_to_or_awaited(awaited: bool) -> None:
    opened, arrived = threading.Event(), []

    def store() -> Store:
        opened.set()
        return Store()

    courier = Courier(store, Terminal(io.StringIO()), held=True)  # type: ignore[arg-type]
    courier.put(lambda _: arrived.append("record"))
    assert not opened.wait(0.3)
    if not awaited:
        courier.begin()
        assert opened.wait(5.0)
    assert courier.flush(5)
    assert arrived == ["record"]
    courier.stop()


@pytest.mark.parametrize("fails", [False, True])
def test_who_waits_for_the_store_waits_until_it_is_open_or_has_failed_to(fails: bool) -> None:
    ended: list[bool] = []

    def store() -> Store:
        time.sleep(0.3)
        ended.append(True)
        if fails:
            raise ValueError("no store")
        return Store()

    courier = Courier(store, Terminal(io.StringIO()), held=True)  # type: ignore[arg-type]
    courier.wait_open()
    assert ended == [True]
    assert (str(courier.failed) == "no store") == fails
    courier.stop()


def test_a_held_courier_that_is_stopped_never_opens_its_store() -> None:
    opened = threading.Event()
    courier = Courier(opened.set, Terminal(io.StringIO()), held=True)  # type: ignore[arg-type]
    courier.stop()
    assert not opened.wait(0.3)


def refused(_: object) -> None:
    raise ValueError("no such key")


def test_a_record_that_is_refused_for_good_is_said_at_once_and_keeps_none_from_arriving() -> None:
    screen, store, arrived = io.StringIO(), Store(), list[str]()
    courier = Courier(lambda: store, Terminal(screen))  # type: ignore[arg-type, return-value]
    for _ in range(2):
        courier.put(refused)
    courier.put(lambda _: arrived.append("the next one"))
    assert courier.flush(5)
    assert arrived == ["the next one"]
    assert store.forgotten == 2
    assert screen.getvalue().count("refuses a record, which is sent again at the end: no such key") == 1
    courier.stop()


def test_a_last_record_that_is_refused_for_good_is_an_error() -> None:
    courier = Courier(Store, Terminal(io.StringIO()))  # type: ignore[arg-type]
    courier.put(refused)
    with pytest.raises(ValueError, match="no such key"):
        courier.flush(5)
    courier.stop()


def test_what_may_pass_is_tried_again() -> None:
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

    assert may_pass(MlflowException("API request failed"))
    assert may_pass(ConnectionError("refused"))
    assert not may_pass(MlflowException("bad key", error_code=INVALID_PARAMETER_VALUE))
    assert not may_pass(ValueError("ours"))


def test_an_answer_that_was_lost_doubles_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server took the epochs, but its answer did not arrive: they are sent again, and it has each once."""
    tags = {"store": "/data/faces", "store_digest": "d" * 64, "profile": "demo"}
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracking = Tracking(uri, experiment="kd_alpha", sweep="kd_alpha-demo-0", results=tmp_path, tags=tags)
    trial, log, lost = SETTING.identity(TRIAL.config), tracking._log, [True]

    def log_and_lose(run_id: str, values: Any, *, step: int) -> None:  # noqa: ANN401
        log(run_id, values, step=step)
        if step == 2 and lost.pop():
            lost.append(False)
            raise MlflowException("timed out")

    monkeypatch.setattr(tracking, "_log", log_and_lose)
    history = [{"epoch/train_loss": 1.0 / epoch} for epoch in (1, 2, 3)]
    courier = Courier(lambda: tracking, Terminal(io.StringIO()))
    courier.put(lambda tracking: tracking.start(trial, TRIAL))
    courier.put(lambda tracking: tracking.curves(trial, history))
    assert courier.flush(60)
    courier.stop()
    assert lost == [False]
    curve = tracking.client.get_metric_history(tracking.run_of(trial), "epoch/train_loss")
    assert [metric.step for metric in curve] == [1, 2, 3]
    run = tracking.client.get_run(tracking.run_of(trial))
    assert run.inputs is not None
    (dataset,) = [row.dataset for row in run.inputs.dataset_inputs]
    assert (dataset.name, dataset.digest) == ("faces", "d" * 36)


def test_runs_of_a_dead_sweep_are_closed_and_those_of_a_live_one_left(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    dead, alive, mine = (
        Tracking(uri, experiment="kd_alpha", sweep=name, results=tmp_path, tags={}) for name in ("a", "b", "c")
    )
    dead.start("t", TRIAL)
    assert mine.close_stale(lambda sweep, _: sweep == "b") == 2
    status = {name: row.client.get_run(row.parent).info.status for name, row in (("a", dead), ("b", alive))}
    assert status == {"a": "KILLED", "b": "RUNNING"}
    assert mine.client.get_run(mine.parent).info.status == "RUNNING"
    assert mine.client.get_run(dead.run_of("t")).info.status == "KILLED"


def test_a_run_of_somebody_else_is_left_alone_and_a_sweeps_owner_is_told(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    other, mine = (
        Tracking(uri, experiment="kd_alpha", sweep=name, results=tmp_path, tags={}, owner=name * 32) for name in "ab"
    )
    foreign = mine.client.create_run(mine.experiment_id, tags={"kind": "somebody's"})
    asked: list[tuple[str, str]] = []

    def runs_still(sweep: str, owner: str) -> bool:
        asked.append((sweep, owner))
        return False

    assert mine.close_stale(runs_still) == 1
    assert asked == [("a", "a" * 32)]
    assert mine.client.get_run(foreign.info.run_id).info.status == "RUNNING"
    assert mine.client.get_run(other.parent).info.status == "KILLED"


def test_two_people_with_one_command_have_runs_of_their_own(tmp_path: Path) -> None:
    """Each with a results folder and its journal; the second finds what the first has trained."""

    def opened(owner: str) -> Tracking:
        uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
        return Tracking(uri, experiment="kd_alpha", sweep="kd_alpha-demo-0", results=tmp_path, tags={}, owner=owner)

    ann = opened("a" * 32)
    ann.start("t", TRIAL)
    bob = opened("b" * 32)
    assert (ann.sweep, bob.sweep) == ("kd_alpha-demo-0", "kd_alpha-demo-0-bbbbbb")
    assert bob.close_stale(lambda sweep, _: sweep != bob.sweep) == 0
    bob.start("t", TRIAL)
    assert bob.run_of("t") != ann.run_of("t")
    ann.client.set_terminated(ann.run_of("t"), "FINISHED")
    found = bob.trained_elsewhere("t")
    assert found is not None
    assert found.info.run_id == ann.run_of("t")
    for name, first in (("a", ann), ("b", bob)):
        again = opened(name * 32)
        assert (again.sweep, again.parent) == (first.sweep, first.parent)


def test_runs_that_are_deleted_while_a_sweep_runs_are_made_anew(tmp_path: Path) -> None:
    """The sweep's own run, that of a trial that is done, and that of one that is still training."""
    uri, screen = f"sqlite:///{tmp_path / 'mlflow.db'}", io.StringIO()
    tracking = Tracking(uri, experiment="kd_alpha", sweep="a", results=tmp_path, tags={})
    journal, places = open_journal(tmp_path / "journal.jsonl"), Places(sweep=tmp_path)
    rows = {name: replace(TRIAL, name=name) for name in ("done", "kept", "training")}
    history = [{"epoch/train_loss": 1.0}]
    courier = Courier(lambda: tracking, Terminal(screen))
    for trial, row in rows.items():
        journal.append("started", trial=trial, attempt=1, name=trial)
        courier.put(lambda tracking, trial=trial, row=row: tracking.start(trial, row))  # type: ignore[misc]
        courier.put(lambda tracking, trial=trial: tracking.curves(trial, history))  # type: ignore[misc]
    assert courier.flush(60)
    before = {**tracking.runs, "parent": tracking.parent}
    for name in ("done", "training", "parent"):
        tracking.client.delete_run(before[name])
    courier.put(lambda tracking: tracking.curves("training", history * 2))
    courier.put(lambda tracking: tracking.curves("kept", history * 2))
    courier.put(lambda tracking: tracking.stop_all())
    assert courier.flush(60)
    assert "must be in the 'active' state" in screen.getvalue()
    assert tracking.client.get_run(before["kept"]).info.status == "KILLED"
    for trial in rows:
        journal.append("failed", trial=trial, reason="made up")
    courier.put(lambda tracking: catch_up(journal, rows, places, tracking))
    assert courier.flush(60)
    courier.stop()
    assert tracking.runs["kept"] == before["kept"]
    assert {*tracking.runs.values(), tracking.parent} & {
        before[name] for name in ("done", "training", "parent")
    } == set()
    for trial in rows:
        run = tracking.client.get_run(tracking.run_of(trial))
        assert (run.info.status, run.data.tags["mlflow.parentRunId"]) == ("FAILED", tracking.parent)
    tracking.curves("training", history * 2)  # of a run that lacks them all
    curve = tracking.client.get_metric_history(tracking.run_of("training"), "epoch/train_loss")
    assert [metric.step for metric in curve] == [1, 2]


def test_a_deleted_experiment_is_one_line_that_names_the_remedy(tmp_path: Path) -> None:
    def opened() -> Tracking:
        uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
        return Tracking(uri, experiment="kd_alpha", sweep="a", results=tmp_path, tags={})

    before = opened()
    before.client.delete_experiment(before.experiment_id)
    words = (
        f"but kd_alpha in .*mlflow.db is; restore it .*--experiment-id {before.experiment_id}.* another --tracking-uri"
    )
    with pytest.raises(InputError, match=words):
        before.start("t", TRIAL)
    with pytest.raises(InputError, match=words):
        opened()
    before.client.restore_experiment(before.experiment_id)
    assert opened().experiment_id == before.experiment_id


def test_other_sweeps_are_asked_for_only_where_there_are_any(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    one, two = (Tracking(uri, experiment="kd_alpha", sweep=name, results=tmp_path, tags={}) for name in ("a", "b"))
    assert not two.has_others()
    one.start("t", TRIAL)
    assert not two.has_others()
    one.client.set_terminated(one.run_of("t"), "FINISHED")
    assert two.has_others()
    assert not one.has_others()
    assert two.trained_elsewhere("t") is not None


def test_a_store_that_answers_slowly_is_waited_for_and_a_stopped_courier_is_not() -> None:
    courier = Courier(Store, Terminal(io.StringIO()))  # type: ignore[arg-type]
    for _ in range(6):
        courier.put(lambda _: time.sleep(0.1))
    assert courier.flush(0.2)  # half a second, of which it was never away
    courier.stop()
    courier.put(lambda _: None)
    began = time.monotonic()
    assert not courier.flush(30)
    assert time.monotonic() - began < 10

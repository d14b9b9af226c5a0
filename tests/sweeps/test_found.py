"""Whether trials that a result calls for are looked up in other sweeps while trials run; MLflow is not asked."""

import io
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweeps.engine import fitting, found, preparing
from sweeps.engine.courier import Courier
from sweeps.engine.found import take_over, take_over_by
from sweeps.engine.journal import open_journal
from sweeps.engine.lock import sweep_lock
from sweeps.engine.options import parse
from sweeps.engine.places import Places
from sweeps.engine.plan import Added, Plan
from sweeps.engine.resources import Capacity, cpu_name
from sweeps.engine.space import PROFILES, PlannedTrial, Setting
from sweeps.engine.terminal import Terminal
from sweeps.kd_alpha import SWEEP
from trainables.attempts import MODEL_FOLDER

SETTING = Setting(profile=PROFILES["demo"], seed=0, store_digest="s", device="cpu", num_threads=1)
ROW = PlannedTrial(name="a", role="model", config=SETTING.config("Lite0"))


class Store:
    """A tracking store in which another sweep has trained ``a``, when it answers."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error: Exception | None = None

    def has_others(self) -> bool:
        return True

    def trained_elsewhere(self, trial: str) -> Any:  # noqa: ANN401 # MLflow's run
        self.asked.append(trial)
        if self.error is not None:
            raise self.error
        if trial != "a":
            return None
        data = SimpleNamespace(
            tags={"graph": "g", "model": "m", "sweep": "other", "latency_cpu": cpu_name()},
            metrics={"val_accuracy": 0.75, "latency_ratio": 0.5, "latency_reference_px": 64.0},
            params={"architecture": "Lite0", "resolution_px": "64"},
        )
        return SimpleNamespace(data=data, info=SimpleNamespace(run_id="r"))

    def forget(self) -> None:
        """Do nothing."""


@pytest.fixture
def _fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(found, "_fetched", lambda *_: True)


@pytest.mark.usefixtures("_fetched")
def test_the_courier_looks_new_trials_up(tmp_path: Path) -> None:
    journal, store, terminal = open_journal(tmp_path / "journal.jsonl"), Store(), Terminal(io.StringIO())
    courier = Courier(lambda: store, terminal)  # type: ignore[arg-type, return-value]
    take_over_by(courier, {"a": ROW, "b": ROW}, journal, Places(sweep=tmp_path), terminal, reference_px=64)
    assert store.asked == ["a", "b"]
    assert journal.state.found == {"a": "r"}
    assert journal.state.finished["a"]["metrics"] == {"val_accuracy": 0.75}
    assert journal.state.latencies == {"g": {"latency_ratio": 0.5, "latency_reference_px": 64.0}}
    assert journal.state.latency_cpus == {"g": cpu_name()}
    courier.stop()


@pytest.mark.usefixtures("_fetched")
@pytest.mark.parametrize(("reference_px", "here"), [(224, cpu_name()), (64, "another CPU")])
def test_a_latency_of_another_cpu_or_beside_another_b0_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference_px: int, here: str
) -> None:
    journal, store, terminal = open_journal(tmp_path / "journal.jsonl"), Store(), Terminal(io.StringIO())
    monkeypatch.setattr(found, "cpu_name", lambda: here)
    arguments: tuple[Any, ...] = ({"a": ROW}, journal, Places(sweep=tmp_path), store, terminal)
    assert found.take_over(*arguments, reference_px=reference_px) == {"a"}
    assert journal.state.found == {"a": "r"}
    assert journal.state.latencies == {}


@pytest.mark.usefixtures("_fetched")
def test_a_store_that_does_not_answer_holds_no_trial_up_and_finds_nothing_too_late(tmp_path: Path) -> None:
    journal, store, terminal = open_journal(tmp_path / "journal.jsonl"), Store(), Terminal(io.StringIO())
    waiting: list[Any] = []
    slow: Any = SimpleNamespace(away=False, put=waiting.append)
    take_over_by(slow, {"a": ROW}, journal, Places(sweep=tmp_path), terminal, reference_px=64, wait_s=0.01)
    waiting[0](store)  # it answers after the trial has started
    assert (store.asked, journal.state.found) == ([], {})
    take_over_by(
        SimpleNamespace(away=True, put=pytest.fail),  # type: ignore[arg-type]
        {"a": ROW},
        journal,
        Places(sweep=tmp_path),
        terminal,
        reference_px=64,
    )
    store.error = ConnectionError("gone")
    courier = Courier(lambda: store, terminal)  # type: ignore[arg-type, return-value]
    take_over_by(courier, {"a": ROW}, journal, Places(sweep=tmp_path), terminal, reference_px=64)
    store.error = KeyError("an error of ours")
    with pytest.raises(KeyError):
        take_over_by(courier, {"a": ROW}, journal, Places(sweep=tmp_path), terminal, reference_px=64)
    assert journal.state.found == {}
    courier.stop()


def test_what_was_found_is_asked_what_it_calls_for(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal.jsonl")
    have = Capacity(workers=1, cpus=1, gpus=0.0, budget_bytes=100, per_card=1)
    answers = [Added({}, {}, found=True), Added({"b": ROW}, {"b": 10})]

    def more() -> Future[Added] | None:
        done: Future[Added] = Future()
        done.set_result(answers.pop(0))
        return done

    plan = Plan({}, {}, have, journal, Places(sweep=tmp_path), lambda *_: None, more)
    plan.ask_for_more()
    assert plan.suggest("1") is None  # what was found calls for more, which is on its way
    told = plan.suggest("1")
    assert isinstance(told, dict)
    assert told["assignment"]["trial"] == "b"


def test_a_model_is_on_disk_before_the_journal_says_that_it_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, places = open_journal(tmp_path / "journal.jsonl"), Places(sweep=tmp_path)
    model, secured = places.found("a") / MODEL_FOLDER, list[Path]()

    class Client:
        def download_artifacts(self, *_: object) -> None:
            model.mkdir()
            (model / "weights.safetensors").write_bytes(b"weights")

    def secure(*paths: Path) -> None:
        assert journal.state.found == {}
        secured.extend(paths)

    store: Any = Store()
    store.client = Client()
    monkeypatch.setattr(found, "secure", secure)
    monkeypatch.setattr(found, "content_digest", lambda _: "m")
    take_over({"a": ROW}, journal, places, store, Terminal(io.StringIO()), reference_px=64)
    assert journal.state.found == {"a": "r"}
    assert {model / "weights.safetensors", model, model.parent} <= set(secured)


def test_ray_does_not_start_early_beside_a_driver_of_the_same_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr(fitting, "start_all", started.append)
    monkeypatch.setattr(preparing, "preflight", lambda *_, **__: "")
    options = parse(SWEEP, ["--results", str(tmp_path)])
    folder = tmp_path / "sweeps" / "kd_alpha-demo-12345678"
    open_journal(folder / "journal.jsonl").append("closed")
    manifest: Any = None
    with sweep_lock(folder):
        preparing._start_early(SWEEP, options, manifest, Terminal(io.StringIO()))
        assert started == []
    preparing._start_early(SWEEP, options, manifest, Terminal(io.StringIO()))
    assert started == [None]

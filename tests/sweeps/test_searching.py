"""A search over the real space of sweeps/search.py, killed at every step; what trials end with is made up here."""

import hashlib
import json
import random
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_store.errors import InputError
from sweeps import kd_alpha, search
from sweeps.engine import launch, searchers, searching
from sweeps.engine.agenda import Agenda
from sweeps.engine.axes import seeded
from sweeps.engine.forecast import Footprint, Forecasts
from sweeps.engine.journal import Journal, open_journal
from sweeps.engine.options import parse
from sweeps.engine.searchers import Tried
from sweeps.engine.searching import Search
from sweeps.engine.space import PROFILES, PlannedTrial, Setting, Sweep
from tests.stores import write_store
from trainables.limits import Limits
from trainables.predicted_latency import MIN_GRAPHS

SETTING = Setting(profile=PROFILES["demo"], seed=0, store_digest="s", device="cpu", num_threads=1)
NONE = Limits()
SIZES_MB = {"Lite0": 13.5, "Lite2": 19.4, "B0": 16.2, "B1": 26.3}
FIT = {
    "ms_per_mac": 2e-7,
    "ms_per_byte": 0.0,
    "ms_per_operation": 0.0,
    "error": 0.1,
    "worst_error": 0.2,
    "num_graphs": 8,
    "num_threads": 1,
}


def made_up(trial: str) -> dict[str, Any]:
    """Return a result that depends on the trial alone."""
    draw = random.Random(hashlib.sha256(trial.encode()).hexdigest())
    metrics = {"val_auc": draw.random(), "size_mb": 1 + 20 * draw.random(), "macs": draw.randrange(10**7, 10**8)}
    return {"metrics": {**metrics, "traffic_mb": 1.0, "operations": 100}}


class Driver:
    """What a launch does around a search: it opens the journal, grows the agenda, and trials end one by one."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, method: str, *, num_trials: int, limits: Limits = NONE
    ) -> None:
        forecasts = Forecasts(folder / "cache")
        monkeypatch.setattr(Forecasts, "footprints", _footprints)
        monkeypatch.setattr(Forecasts, "latency_fit", lambda *_, **__: FIT)
        assert search.SWEEP.space is not None
        self.folder = folder
        self.search = Search(
            space=search.SWEEP.space,
            method=method,
            setting=SETTING,
            limits=limits,
            num_trials=num_trials,
            ahead=2,
            forecasts=forecasts,
            folder=folder,
        )
        self.reopen()

    def reopen(self) -> None:
        """Forget everything but the journal, as a kill does."""
        first = {SETTING.identity(trial.config): trial for trial in search.trials(SETTING)}
        self.journal: Journal = open_journal(self.folder / "journal.jsonl")
        self.agenda = Agenda(search.SWEEP, SETTING, first, fine_tune=False)
        self.search = replace(self.search)
        self.agenda.search = self.search.grow
        self.search.prepare(self.journal)
        self.agenda.open(self.journal)

    def end_one(self) -> bool:
        """End the first trial that can run; return whether there was one."""
        state = self.journal.state
        for trial, row in self.agenda.planned.items():
            needs = {row.config.weights, row.config.teacher} - {None, "none", "imagenet"}
            ended = state.finished.keys() | state.failed.keys() | state.stopped.keys()
            if trial not in ended and needs <= state.finished.keys():
                if len(state.finished) == 4 and not state.failed:
                    self.journal.append("failed", trial=trial, reason="made up")
                elif len(state.finished) in (5, 9) and len(state.stopped) < 2 and row.role != "teacher":
                    self.journal.append("stopped", trial=trial, epoch=4, reason="made up", arrival=None)
                else:
                    self.journal.append("finished", trial=trial, result=made_up(trial))
                self.agenda.grow(self.journal)
                return True
        return False


def _footprints(_: Forecasts, shapes: list[tuple[str, int]], **__: object) -> dict[str, Footprint]:
    return {
        f"{name}@{px}": Footprint(
            parameters=1,
            macs=int(SIZES_MB[name] * 1e6 * (px / 64) ** 2),
            traffic_bytes=0,
            num_operations=0,
            size_mb=SIZES_MB[name],
            train_ms=1.0,
            evaluate_ms=1.0,
        )
        for name, px in shapes
    }


def events(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "time"} for row in rows]


@pytest.mark.parametrize("method", ["grid", "random", "tpe", "nsga2", pytest.param("gp", marks=pytest.mark.slow)])
def test_no_suggestion_is_lost_changed_or_repeated_however_often_the_driver_is_killed(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = Driver(whole, monkeypatch, method, num_trials=14)
    to_come = [undisturbed.search.to_come(undisturbed.journal)]
    while undisturbed.end_one():
        to_come.append(undisturbed.search.to_come(undisturbed.journal))
    assert 12 <= to_come[0] <= 3 * 12  # a point has a model, maybe a pruned one, and a teacher of its resolution
    assert to_come[-1] == 0
    disturbed = Driver(killed, monkeypatch, method, num_trials=14)
    while disturbed.end_one():
        disturbed.reopen()
    assert events(killed) == events(whole)
    suggested = [row["trial"] for row in events(whole) if row["event"] == "suggested"]
    assert len(suggested) == len(set(suggested)) == 14
    standings = {row.standing for row in undisturbed.search.history(undisturbed.journal.state)}
    assert standings == {"done", "failed", "stopped"}
    assert_study(whole / "study.log", undisturbed)


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_a_search_whose_shared_teacher_has_failed_asks_once_a_point(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(tmp_path, monkeypatch, method, num_trials=30)
    before = len(driver.journal.state.suggested)
    asked: list[Tried | None] = []

    def counted(*given: Any) -> Tried | None:  # noqa: ANN401 # whatever suggest takes
        asked.append(searchers.suggest(*given))
        return asked[-1]

    monkeypatch.setattr(searching, "suggest", counted)
    (teacher,) = (trial for trial, row in driver.agenda.planned.items() if row.role == "teacher")
    driver.journal.append("failed", trial=teacher, reason="made up")
    driver.agenda.grow(driver.journal)
    points = [row["point"] for row in driver.journal.state.suggested[before:]]
    assert len(asked) == len(points) > 0
    assert all(point["alpha"] == 0 for point in points)  # the others would learn from that teacher
    while driver.end_one():
        pass
    assert len(driver.journal.state.suggested) == 30


def assert_study(file: Path, driver: Driver) -> None:
    """Open the study as Optuna does: each point is there with what became of it, and none stopped as complete."""
    from optuna import load_study
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls its journal experimental
        study = load_study(study_name=driver.folder.name, storage=JournalStorage(JournalFileBackend(str(file))))
    words = {"done": "COMPLETE", "failed": "FAIL", "stopped": "PRUNED", "open": "RUNNING"}
    history = driver.search.history(driver.journal.state)
    assert [trial.state.name for trial in study.get_trials()] == [words[row.standing] for row in history]
    assert [trial.params for trial in study.get_trials()] == [dict(row.point) for row in history]
    assert study.best_trials


def test_a_kill_between_a_suggestion_and_its_trials_plans_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(tmp_path, monkeypatch, "tpe", num_trials=3)
    planned = list(driver.agenda.planned)
    lines = (tmp_path / "journal.jsonl").read_text().splitlines(keepends=True)
    last = max(place for place, line in enumerate(lines) if '"event":"suggested"' in line)
    (tmp_path / "journal.jsonl").write_text("".join(lines[: last + 1]) + '{"event":"pla')
    driver.reopen()
    assert list(driver.agenda.planned) == planned


def test_40_joint_trials_are_40_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(tmp_path, monkeypatch, "random", num_trials=40)
    while driver.end_one():
        pass
    state = driver.journal.state
    assert len({row["trial"] for row in state.suggested}) == len(state.suggested) == 40
    assert len(set(driver.agenda.planned)) == len(driver.agenda.planned)


def test_more_trials_go_on_where_the_search_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(tmp_path, monkeypatch, "tpe", num_trials=3)
    while driver.end_one():
        pass
    before = events(tmp_path)
    driver.search = replace(driver.search, num_trials=5)
    driver.reopen()
    while driver.end_one():
        pass
    assert events(tmp_path)[: len(before)] == before
    assert len(driver.journal.state.suggested) == 5


def test_what_was_tried_stays_tried_whatever_a_launch_would_make_of_its_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(tmp_path, monkeypatch, "tpe", num_trials=4)
    while driver.end_one():
        pass
    before, planned = driver.search.history(driver.journal.state), list(driver.agenda.planned)
    other = replace(driver.search, setting=replace(SETTING, num_threads=2), _cells={})
    assert other.history(driver.journal.state) == before
    assert {row.standing for row in before} <= {"done", "failed", "stopped"}
    assert other.grow(driver.journal) == []
    assert list(driver.agenda.planned) == planned
    no_room = replace(driver.search, _cells={})
    monkeypatch.setattr("sweeps.engine.searching.cell_of", lambda *_: None)
    with pytest.raises(InputError, match="does not fit this command's; give the --gpu-memory-gb that it began with"):
        no_room.grow(driver.journal)


def test_no_more_trials_are_to_come_than_the_space_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(tmp_path / "all", monkeypatch, "grid", num_trials=1_000_000)
    cells = list(driver.search.space.cells())
    assert 0 < driver.search.to_come(driver.journal) <= 3 * len(cells)  # teacher, model and pruned one at most
    limited = Driver(tmp_path / "few", monkeypatch, "grid", num_trials=1_000_000, limits=Limits(max_size_mb=6.0))
    few = [cell for cell in cells if cell["architecture"] == "Lite0" and cell["prune_ratio"] == 0.6]
    assert limited.search.to_come(limited.journal) <= 3 * len(few)


def test_limits_are_kept_before_anything_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(tmp_path, monkeypatch, "tpe", num_trials=12, limits=Limits(max_size_mb=12.0, max_latency_ms=3.0))
    while driver.end_one():
        pass
    points = [row["point"] for row in driver.journal.state.suggested]
    assert len(points) == 12
    for point in points:
        assert SIZES_MB[point["architecture"]] * (1 - point["prune_ratio"]) <= 12
    with pytest.raises(InputError, match=r"--max-size-mb 2\.0 .* the smallest of this space has 5\.40 MB"):
        Driver(tmp_path / "none", monkeypatch, "tpe", num_trials=2, limits=Limits(max_size_mb=2.0))


def test_seeds_are_an_axis_of_every_sweep() -> None:
    listed = seeded(kd_alpha.SWEEP, 3)
    planned = listed.trials(SETTING)
    assert len(planned) == 3 * len(kd_alpha.trials(SETTING))
    assert len({SETTING.identity(trial.config) for trial in planned}) == len(planned)
    assert len({trial.name for trial in planned}) == len(planned)
    assert {trial.config.init_seed for trial in planned} == {0, 1, 2}
    space = seeded(search.SWEEP, 3).space
    assert space is not None
    assert search.SWEEP.space is not None
    assert len(list(space.cells())) == 3 * len(list(search.SWEEP.space.cells()))


@pytest.mark.parametrize(
    ("sweep", "argv", "words"),
    [
        (search.SWEEP, ["--search", "cmaes"], "--search must be one of grid, random, tpe, nsga2, gp, but got 'cmaes'"),
        (search.SWEEP, ["--trials", "0"], "--trials must be above 0, but got 0"),
        (search.SWEEP, ["--max-size-mb", "-1"], "--max-size-mb must be above 0, but got -1"),
        (search.SWEEP, ["--max-latency-ms", "nan"], "--max-latency-ms must be above 0, but got nan"),
        (search.SWEEP, ["--seeds", "0"], "--seeds must be at least 1, but got 0"),
        (kd_alpha.SWEEP, ["--search", "gp"], "--search gp needs a space of axes, but this sweep lists its cells"),
        (kd_alpha.SWEEP, ["--trials", "9"], "--trials goes with a sweep that searches a space"),
    ],
)
def test_a_bad_value_is_named(sweep: Sweep, argv: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse(sweep, argv)


def test_defaults() -> None:
    assert (parse(search.SWEEP, []).search, parse(search.SWEEP, []).num_trials) == ("tpe", 20)
    assert parse(search.SWEEP, ["--smoke"]).num_trials == 1
    assert (parse(kd_alpha.SWEEP, []).search, parse(kd_alpha.SWEEP, ["--search", "random"]).search) == (
        "grid",
        "random",
    )


def test_a_launch_names_the_search_and_puts_its_first_points_on_the_agenda(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole command up to the first trial, with given predictions; more trials name the same sweep."""
    store = write_store(tmp_path / "store")
    monkeypatch.setattr(Forecasts, "footprints", _footprints)
    monkeypatch.setattr(Forecasts, "latency_fit", lambda *_, **__: FIT)
    monkeypatch.setattr(Forecasts, "bytes_of", lambda *_: 2**20)
    begun: list[dict[str, PlannedTrial]] = []

    def work(_: object, __: object, pending: dict[str, PlannedTrial], ___: object) -> int:
        begun.append(pending)
        return 0

    monkeypatch.setattr(launch, "_work", work)
    where = ["--store", str(store), "--profile", "demo", "--results", str(tmp_path / "results")]
    for flags in ([], ["--trials", "30"], ["--search", "random"], ["--max-size-mb", "9"]):
        assert launch.run(search.SWEEP, [*where, *flags]) == 0
    folders = list((tmp_path / "results" / "sweeps").iterdir())
    assert len(folders) == 3
    assert all(len(open_journal(folder / "journal.jsonl").state.suggested) >= 2 for folder in folders)
    assert begun[0].keys() == begun[1].keys()
    assert all(len(pending) >= 3 for pending in begun)
    with pytest.raises(InputError, match="the smallest of this space has"):
        launch.run(search.SWEEP, [*where, "--max-size-mb", "0.5"])


def test_a_space_of_one_network_has_enough_to_fit_latency_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def fit(_: object, networks: Sequence[object], *, shares: Sequence[float] = (0.0,)) -> object:
        asked.append(len(networks) * len(shares))
        return FIT

    driver = Driver(tmp_path, monkeypatch, "random", num_trials=2)
    assert driver.search.space is not None
    one = replace(driver.search.space, axes=tuple(replace(axis, values=axis.values[:1]) for axis in search.AXES))
    monkeypatch.setattr(Forecasts, "latency_fit", fit)
    replace(driver.search, space=one).prepare(open_journal(tmp_path / "other.jsonl"))
    assert asked
    assert min(asked) >= MIN_GRAPHS

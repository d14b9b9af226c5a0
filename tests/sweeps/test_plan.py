"""The searcher hands out trials when they can run; Tune itself is not started."""

from concurrent.futures import Future
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from ray.tune.search import Searcher

from sweeps.engine.journal import Journal, open_journal
from sweeps.engine.places import Places
from sweeps.engine.plan import Added, Plan
from sweeps.engine.resources import Capacity
from sweeps.engine.space import PROFILES, PlannedTrial, Setting
from sweeps.kd_alpha import trials

SETTING = Setting(profile=PROFILES["demo"], seed=0, store_digest="s", device="cpu", num_threads=1)


def planned() -> dict[str, PlannedTrial]:
    return {SETTING.identity(row.config): row for row in trials(SETTING)}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return open_journal(tmp_path / "journal.jsonl")


def make_plan(journal: Journal, *, workers: int = 9, budget: int = 100, without: tuple[str, ...] = ()) -> Plan:
    rows = planned()
    for name in without:
        del rows[name]
    have = Capacity(workers=workers, cpus=1, gpus=0.0, budget_bytes=budget, per_card=workers)
    places = Places(sweep=journal.path.parent, models={})
    return Plan(rows, dict.fromkeys(rows, 10), have, journal, places, lambda *_: None)


def name_of(suggestion: object) -> str | None:
    return planned()[suggestion["assignment"]["trial"]].name if isinstance(suggestion, dict) else None


def test_students_wait_for_their_teacher_but_alpha_0_does_not(journal: Journal) -> None:
    plan = make_plan(journal)
    teacher = plan.suggest("1")
    assert name_of(teacher) == "teacher B0"
    assert name_of(plan.suggest("2")) == "alpha=0"
    assert plan.suggest("3") is None
    assert isinstance(teacher, dict)
    journal.append("finished", trial=teacher["assignment"]["trial"], result={})
    plan.on_trial_complete("1")
    student = plan.suggest("3")
    assert name_of(student) == "alpha=0.25"
    assert isinstance(student, dict)
    assert student["assignment"]["teacher"].endswith("attempt-0001/model")


def test_the_journal_knows_of_a_trial_before_tune_does(journal: Journal) -> None:
    suggestion = make_plan(journal).suggest("1")
    assert isinstance(suggestion, dict)
    trial = suggestion["assignment"]["trial"]
    assert open_journal(journal.path).state.attempts == {trial: 1}
    again = make_plan(open_journal(journal.path)).suggest("1")
    assert isinstance(again, dict)
    assert again["assignment"]["attempt"] == 2


@pytest.mark.parametrize(("workers", "budget", "at_once"), [(1, 100, 1), (9, 19, 1), (9, 20, 2)])
def test_no_more_run_than_workers_and_memory_allow(journal: Journal, workers: int, budget: int, at_once: int) -> None:
    plan = make_plan(journal, workers=workers, budget=budget)
    started = [plan.suggest(str(i)) for i in range(3)]
    assert sum(isinstance(row, dict) for row in started) == at_once
    plan.on_trial_complete("0")
    assert isinstance(plan.suggest("9"), dict) or at_once == 2


def test_every_trial_is_suggested_once(journal: Journal) -> None:
    plan = make_plan(journal)
    seen = []
    for i in range(6):
        suggestion = plan.suggest(str(i))
        assert isinstance(suggestion, dict)
        seen.append(suggestion["assignment"]["trial"])
        journal.append("finished", trial=seen[-1], result={})
        plan.on_trial_complete(str(i))
    assert plan.suggest("9") == Searcher.FINISHED
    assert seen == list(planned())


def test_students_of_a_failed_teacher_are_dropped(journal: Journal) -> None:
    teacher = next(iter(planned()))
    plan = make_plan(journal, without=(teacher,))  # it failed in an earlier launch: not pending, not finished
    assert name_of(plan.suggest("1")) == "alpha=0"
    assert plan.suggest("2") is None  # what runs may call for more
    plan.on_trial_complete("1")
    assert plan.suggest("2") == Searcher.FINISHED


def test_a_config_that_reaches_the_worker_is_the_planned_one(journal: Journal) -> None:
    from trainables.recipes import from_dict

    suggestion = make_plan(journal).suggest("1")
    assert isinstance(suggestion, dict)
    config = from_dict(suggestion["assignment"]["config"])
    assert config == next(iter(planned().values())).config
    assert replace(config, init_seed=1) != config


def test_a_trial_waits_for_the_model_that_it_starts_from(journal: Journal) -> None:
    first = next(iter(planned()))
    tuned = replace(planned()[first].config, weights=first, init_seed=5)
    rows = {first: planned()[first], "t": PlannedTrial(name="tuned", role="model", config=tuned)}
    have = Capacity(workers=9, per_card=9, cpus=1, gpus=0.0, budget_bytes=100)
    plan = Plan(rows, dict.fromkeys(rows, 10), have, journal, Places(sweep=journal.path.parent), lambda *_: None)
    assert name_of(plan.suggest("1")) == "teacher B0"
    assert plan.suggest("2") is None
    journal.append("finished", trial=first, result={})
    plan.on_trial_complete("1")
    suggestion = plan.suggest("2")
    assert isinstance(suggestion, dict)
    assert suggestion["assignment"]["trial"] == "t"
    assert suggestion["assignment"]["start"].endswith(f"{first[:16]}/attempt-0001/model")


def test_what_needs_a_failed_model_is_dropped_down_the_chain(journal: Journal) -> None:
    config = next(iter(planned().values())).config
    rows = {
        "b": PlannedTrial(name="b", role="model", config=replace(config, weights="a")),
        "c": PlannedTrial(name="c", role="model", config=replace(config, weights="b")),
    }
    have = Capacity(workers=9, per_card=9, cpus=1, gpus=0.0, budget_bytes=100)
    plan = Plan(rows, dict.fromkeys(rows, 10), have, journal, Places(sweep=journal.path.parent), lambda *_: None)
    assert plan.suggest("1") == Searcher.FINISHED
    assert plan.waiting == {}


def test_trials_that_a_result_calls_for_are_taken_in_when_their_memory_is_known(journal: Journal) -> None:
    rows = planned()
    first, second, *_ = rows
    coming: Future[Added] = Future()
    have = Capacity(workers=9, per_card=9, cpus=1, gpus=0.0, budget_bytes=100)
    asked = []

    def more() -> Future[Added] | None:
        asked.append(1)
        return coming if len(asked) == 1 else None

    places = Places(sweep=journal.path.parent)
    plan = Plan({first: rows[first]}, {first: 10}, have, journal, places, lambda *_: None, more)
    assert name_of(plan.suggest("1")) == "teacher B0"
    plan.on_trial_complete("1")
    plan.ask_for_more()
    assert plan.suggest("2") is None
    coming.set_result(Added({second: rows[second]}, {second: 10}))
    assert name_of(plan.suggest("2")) == "alpha=0"
    plan.on_trial_complete("2")
    plan.ending = {second}
    plan.ask_for_more()
    assert plan.suggest("3") is None  # its result may call for more
    plan.ending = ()
    assert plan.suggest("3") == Searcher.FINISHED


@pytest.mark.parametrize(("per_card", "share"), [(1, 100), (2, 10)])
def test_a_worker_is_told_its_share_of_the_memory_and_the_micro_batch_that_is_left(
    journal: Journal, per_card: int, share: int
) -> None:
    """All of the budget where it is alone, what it was admitted for beside others."""
    plan = make_plan(journal)
    plan.have = replace(plan.have, per_card=per_card)
    trial = next(iter(plan.waiting))
    journal.append("narrowed", trial=trial, micro_batch=8)
    told = plan.suggest("1")
    assert isinstance(told, dict)
    assert (told["assignment"]["trial"], told["assignment"]["memory_bytes"]) == (trial, share)
    assert told["assignment"]["config"] == asdict(replace(planned()[trial].config, micro_batch=8))
    assert told["assignment"]["config"]["recipe"]["batch_size"] == 32


def test_a_later_trial_that_is_too_large_for_its_share_ends_the_fit_and_goes_on_with_fewer_workers(
    journal: Journal,
) -> None:
    plan = make_plan(journal)
    (first, *_) = list(plan.waiting)
    plan.predicted[first] = 101
    plan.waiting = {first: plan.waiting[first]}
    assert plan.suggest("1") == Searcher.FINISHED
    before = plan.outgrown
    plan.reopen()
    assert (before, plan.outgrown) == (True, False)
    plan.divide(Capacity(workers=1, cpus=1, gpus=0.0, budget_bytes=150, per_card=1), None)
    assert name_of(plan.suggest("2")) == "teacher B0"


def test_a_trial_that_is_too_large_waits_while_others_run(journal: Journal) -> None:
    plan = make_plan(journal)
    (first, *_) = list(plan.waiting)
    plan.predicted[first] = 101
    assert name_of(plan.suggest("1")) == "alpha=0"
    assert plan.suggest("2") is None
    assert not plan.outgrown

"""The list of a sweep's trials, and what a finished result adds to it."""

from dataclasses import replace
from pathlib import Path

import pytest

from sweeps import kd_prune, prune_ratio, quantise
from sweeps.engine.agenda import Agenda, known, nothing_to_tune, out_of_reach, with_fine_tuning
from sweeps.engine.journal import open_journal
from sweeps.engine.result import table
from sweeps.engine.space import PROFILES, PlannedTrial, Setting, Sweep, needs
from sweeps.kd_alpha import trials as kd_alpha
from tests.sweeps.chained import SWEEP

SETTING = Setting(profile=PROFILES["demo"], seed=0, store_digest="s", device="cpu", num_threads=1)


def agenda() -> Agenda:
    first = {SETTING.identity(row.config): row for row in SWEEP.trials(SETTING)}
    return Agenda(SWEEP, SETTING, first, fine_tune=False)


def result(accuracy: float) -> dict[str, object]:
    return {"metrics": {"val_accuracy": accuracy, "test_accuracy": 0.5, "parameters": 1, "size_mb": 1.0}}


def test_a_result_calls_for_more_and_the_journal_remembers_it(tmp_path: Path) -> None:
    journal, first = open_journal(tmp_path / "journal.jsonl"), agenda()
    first.open(journal)
    (start,) = first.planned
    assert first.grow(journal) == {}
    journal.append("finished", trial=start, result=result(0.5))
    (second,) = first.grow(journal).values()
    assert needs(second.config) == {start}
    assert first.grow(journal) == {}
    later, again = open_journal(tmp_path / "journal.jsonl"), agenda()
    assert list(later.state.planned) == list(first.planned)
    size = journal.path.stat().st_size
    again.open(later)
    assert again.planned == first.planned
    assert journal.path.stat().st_size == size


def test_a_driver_that_died_before_it_planned_further_does_so_at_the_next_launch(tmp_path: Path) -> None:
    journal, first = open_journal(tmp_path / "journal.jsonl"), agenda()
    first.open(journal)
    journal.append("finished", trial=next(iter(first.planned)), result=result(0.5))
    again = agenda()
    again.open(open_journal(tmp_path / "journal.jsonl"))
    assert [row.name for row in again.planned.values()] == ["first", "second"]


def test_a_sweep_plans_by_validation_alone(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal.jsonl")
    journal.append("finished", trial="a", result=result(0.5))
    assert known(journal.state) == {"a": {"val_accuracy": 0.5, "parameters": 1, "size_mb": 1.0}}


def test_students_are_fine_tuned_with_their_teacher_and_the_table_shows_the_gain(tmp_path: Path) -> None:
    planned = with_fine_tuning(SETTING, kd_alpha(SETTING))
    assert len(planned) == 1 + 2 * 5
    by_name = {row.name: row for row in planned}
    student, tuned = by_name["alpha=0.25"].config, by_name["alpha=0.25, fine-tuned"].config
    assert tuned.weights == SETTING.identity(student)
    assert (tuned.alpha, tuned.teacher) == (student.alpha, student.teacher)
    assert tuned.recipe == PROFILES["demo"].fine_tuning
    journal = open_journal(tmp_path / "journal.jsonl")
    rows = {SETTING.identity(row.config): row for row in planned}
    for config, accuracy in ((student, 0.75), (tuned, 0.875)):
        ended = {**result(accuracy), "graph": {"digest": "g"}}
        journal.append("finished", trial=SETTING.identity(config), result=ended)
    header, cells = table(rows, journal.state)
    gains = {row[0]: row[header.index("gain")] for row in cells}
    assert gains["alpha=0.25, fine-tuned"] == "+0.125"
    assert {gains[name] for name in ("teacher B0", "alpha=0.25", "alpha=0, fine-tuned")} == {""}


def test_names_in_the_table_are_unique() -> None:
    names = [row.name for row in with_fine_tuning(SETTING, [*kd_alpha(SETTING)])]
    assert len(set(names)) == len(names)


def test_a_trial_that_prunes_is_not_fine_tuned_again() -> None:
    (first,) = SWEEP.trials(SETTING)
    pruned = PlannedTrial(name="p", role="pruned", config=first.config)
    assert with_fine_tuning(SETTING, [pruned]) == [pruned]


def test_what_is_fine_tuned_already_is_not_fine_tuned_again() -> None:
    """The thesis has two fine-tuned students of its own: each student is fine-tuned once, and those are they."""
    thesis = replace(SETTING, profile=PROFILES["thesis"])
    planned = {thesis.identity(row.config): row for row in with_fine_tuning(thesis, kd_alpha(thesis))}
    tuned = sorted(row.name for row in planned.values() if row.name.endswith("fine-tuned"))
    assert tuned == [f"alpha={alpha}, fine-tuned" for alpha in ("0", "0.25", "0.5", "0.75", "1")]
    assert nothing_to_tune(thesis, planned.values()) == ""


@pytest.mark.parametrize(
    ("sweep", "profile", "words"),
    [
        (prune_ratio.SWEEP, "demo", "adds no trial: pruned models are fine-tuned after each step already"),
        (kd_prune.SWEEP, "thesis", "adds no trial: pruned models are fine-tuned after each step already"),
        (quantise.SWEEP, "thesis", "adds no trial: its students and models are fine-tuned already; pruned models are"),
        (quantise.SWEEP, "demo", ""),
        (SWEEP, "demo", "adds no trial: none of these is a student or a model"),
    ],
)
def test_where_fine_tuning_adds_nothing_it_is_said_why(sweep: Sweep, profile: str, words: str) -> None:
    setting = replace(SETTING, profile=PROFILES[profile])
    first = sweep.trials(setting)
    planned = with_fine_tuning(setting, first)
    why = nothing_to_tune(setting, planned)
    assert why.startswith(words)
    assert (why == "") == (words == "") == (len(planned) > len(first))


def test_what_needs_a_model_that_will_not_come_is_out_of_reach_and_the_table_says_what_ended(tmp_path: Path) -> None:
    planned = {SETTING.identity(row.config): row for row in with_fine_tuning(SETTING, kd_alpha(SETTING))}
    by_name = {row.name: trial for trial, row in planned.items()}
    student, tuned, teacher = (by_name[name] for name in ("alpha=0.25", "alpha=0.25, fine-tuned", "teacher B0"))
    assert out_of_reach(planned, []) == set()
    assert out_of_reach(planned, [student]) == {tuned}
    alone = {by_name["alpha=0"], by_name["alpha=0, fine-tuned"]}
    assert out_of_reach(planned, [teacher]) == planned.keys() - alone - {teacher}
    journal = open_journal(tmp_path / "journal.jsonl")
    journal.append("stopped", trial=student, epoch=4, reason="behind", arrival=None)
    journal.append("stopped", trial=by_name["alpha=0"], epoch=0, reason="too large", arrival=None)
    cells = {row[0]: row[1] for row in table(planned, journal.state)[1]}
    assert cells["alpha=0.25"] == "stopped at epoch 4"
    assert cells["alpha=0"] == "over a limit"
    assert cells["alpha=0.25, fine-tuned"] == "not run"

from dataclasses import replace

import pytest

from data_store.errors import InputError
from sweeps.engine.space import PROFILES, GivenModel, Setting
from sweeps.kd_alpha import ALPHAS, trials

SETTING = Setting(profile=PROFILES["demo"], seed=3, store_digest="s", device="cpu", num_threads=1)
TEACHER = GivenModel(folder="/m", digest="d" * 64, architecture="B0", resolution_px=224)


def test_a_teacher_and_the_five_published_alphas() -> None:
    assert ALPHAS == (0.0, 0.25, 0.5, 0.75, 1.0)
    teacher, *students = trials(SETTING)
    assert (teacher.role, teacher.config.architecture, teacher.config.alpha) == ("teacher", "B0", 0.0)
    assert [row.name for row in students] == ["alpha=0", "alpha=0.25", "alpha=0.5", "alpha=0.75", "alpha=1"]
    assert {row.config.architecture for row in students} == {"Lite0"}
    assert [row.config.teacher for row in students] == [None] + [SETTING.identity(teacher.config)] * 4
    assert len({SETTING.identity(row.config) for row in [teacher, *students]}) == 6


def test_the_thesis_fine_tunes_the_teacher_first() -> None:
    first, teacher, *students = trials(replace(SETTING, profile=PROFILES["thesis"]))
    assert (first.role, first.config.recipe.name, first.config.weights) == ("start", "thesis training", "imagenet")
    assert (teacher.role, teacher.config.recipe.name) == ("teacher", "thesis fine-tuning")
    assert teacher.config.weights == SETTING.identity(first.config)
    assert {row.config.teacher for row in students} == {None, SETTING.identity(teacher.config)}


def test_students_differ_in_alpha_alone() -> None:
    students = trials(SETTING)[1:]
    plain = {replace(row.config, alpha=0.0, teacher=None) for row in students}
    assert plain == {students[0].config}


def test_a_given_teacher_is_scored_but_not_trained() -> None:
    teacher, *students = trials(replace(SETTING, teacher=TEACHER))
    assert (teacher.config.recipe.epochs, teacher.config.weights) == (0, TEACHER.digest)
    assert {row.config.teacher for row in students} == {None, TEACHER.digest}


def test_a_smoke_run_is_two_trials() -> None:
    assert [row.role for row in trials(replace(SETTING, smoke=True))] == ["teacher", "student"]


def test_an_alpha_outside_its_range_is_refused() -> None:
    with pytest.raises(InputError, match=r"alpha must lie in \[0, 1\], but got 1.25"):
        SETTING.config("Lite0", alpha=1.25, teacher="t")

from dataclasses import replace

import pytest

from analysis.lineage import kinds
from analysis.protocol import eligible, unlike
from analysis.runs import DataIdentity, Trial

RATES = {"demo": "0.002", "thesis": "0.1"}
SIDES = {"demo": "64", "thesis": "224"}


def trial(
    run_id: str, *, profile: str = "thesis", experiment: str = "transfer", role: str = "model", **params: str
) -> Trial:
    given = {
        "architecture": "B0",
        "resolution_px": SIDES[profile],
        "temperature": "1.0",
        "recipe.name": f"{profile} training",
        "recipe.learning_rate": RATES[profile],
        "data_seed": "0",
        "init_seed": "0",
        **{name.replace("__", "."): value for name, value in params.items()},
    }
    return Trial(
        run_id=run_id,
        name=run_id,
        sweep=f"{experiment}-{profile}",
        experiment=experiment,
        experiment_id="1",
        role=role,
        data=DataIdentity(store_digest="d", split_kind="official"),
        status="FINISHED",
        started=0,
        ended=1,
        artifact_uri="",
        params=given,
        tags={"profile": profile},
    )


def names(trials: list[Trial]) -> list[str]:
    return [found.run_id for found in eligible(trials).trials]


def test_the_profile_of_the_thesis_goes_before_more_trials_of_another() -> None:
    demo = [trial(f"demo {index}", profile="demo") for index in range(3)]
    assert names([*demo, trial("thesis")]) == ["thesis"]
    assert eligible([*demo, trial("thesis")]).left_out == (
        "Trials left out of the thesis's rows, since they do not compare with the rest: 3 of the demo profile."
    )
    unknown = replace(trial("unknown"), tags={})
    assert names([unknown, *demo]) == ["demo 0", "demo 1", "demo 2"]


def test_of_the_joint_search_the_teacher_is_kept_and_the_points_are_not() -> None:
    """The search is the larger part of the store: it decides neither the profile nor a network's input side."""
    points = [
        trial(f"B1 {index}", experiment="search", architecture="B1", resolution_px="280", recipe__learning_rate="0.2")
        for index in range(4)
    ]
    start = trial("start", experiment="search", role="start")
    teacher = trial("teacher", experiment="search", role="teacher")
    b1 = trial("B1 at 240 px", experiment="model_scaling", architecture="B1", resolution_px="240")
    found = eligible([*points, start, teacher, b1])
    assert [one.run_id for one in found.trials] == ["start", "teacher", "B1 at 240 px"]
    assert found.left_out.endswith(": 4 of the joint search with settings of its own.")


def test_a_point_with_the_settings_of_another_sweep_stands_for_the_trial_which_that_sweep_took_over() -> None:
    student = trial("alpha=0.5", experiment="kd_alpha", role="student", architecture="Lite0", alpha="0.5")
    same = trial("same", experiment="search", architecture="Lite0", alpha="0.0")
    points = [
        trial("soft", experiment="search", architecture="Lite0", temperature="3.0"),
        trial("fast", experiment="search", architecture="Lite0", recipe__learning_rate="0.2"),
        trial("wide", experiment="search", architecture="Lite0", resolution_px="280"),
    ]
    assert names([same, *points]) == []
    assert names([student, same, *points]) == ["alpha=0.5", "same"]


def test_a_network_has_the_input_side_of_most_of_its_trials() -> None:
    wide = trial("wide", resolution_px="280")
    b1 = trial("B1", architecture="B1", resolution_px="240")
    found = eligible([wide, trial("one"), trial("two"), b1])
    assert [one.run_id for one in found.trials] == ["one", "two", "B1"]
    assert found.left_out.endswith(": 1 at another input side than most trials of the same network.")
    assert names([wide, trial("one")]) == ["wide", "one"]  # nothing tells which is its own


def test_of_nothing_nothing_is_left_out() -> None:
    assert eligible([]).trials == ()
    assert eligible([trial("one")]).left_out == ""


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ({}, {}, ()),
        ({}, {"init_seed": "1"}, ("init_seed 0 and 1",)),
        ({}, {"recipe__learning_rate": "0.2"}, ("recipe.learning_rate 0.1 and 0.2",)),
        ({}, {"recipe__name": "thesis fine-tuning", "recipe__learning_rate": "0.001"}, ()),  # another stage
        ({}, {"recipe__schedule": "constant", "recipe__learning_rate": "0.2"}, ()),
        ({"alpha": "0.5"}, {"alpha": "0.5", "temperature": "2.0"}, ("temperature 1.0 and 2.0",)),
        ({}, {"alpha": "0.5", "temperature": "2.0"}, ()),  # without a teacher there is none
    ],
)
def test_what_two_trials_do_not_share_is_named(
    one: dict[str, str], other: dict[str, str], words: tuple[str, ...]
) -> None:
    first, second = trial("one", **one), trial("other", **other)
    found = kinds([first, second])
    assert unlike(first, second, (found["one"], found["other"])) == words


def test_what_one_of_two_did_not_record_is_left_open() -> None:
    first = trial("one")
    second = replace(trial("other", data_seed="1"), params={"architecture": "B0"})
    found = kinds([first, second])
    assert unlike(first, second, (found["one"], found["other"])) == ()

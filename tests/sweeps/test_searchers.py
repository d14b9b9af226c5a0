"""Suggestions as pure functions of what was tried; no trial is trained here."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from data_store.errors import InputError
from sweeps.engine.axes import Axis, Point, Space, choice, factors, key_of, steps
from sweeps.engine.searchers import METHODS, Tried, in_order, suggest, write_study


def cheap(axes: tuple[Axis, ...]) -> Space:
    return Space(
        axes=axes,
        canonical=lambda point: {**point, "temperature": axes[-1].values[0]} if point.get("alpha") == 0 else point,
        plan=lambda *_: [],
        network=lambda *_: ("B0", 64, 0.0),
    )


GRID = cheap((steps("ratio", 0.0, 0.6, 0.1), steps("px", 48, 96, 16)))  # 7 x 4 cells
JOINT = cheap(
    (
        choice("architecture", "B0", "B1", "Lite0"),
        steps("alpha", 0.0, 1.0, 0.25),
        factors("learning_rate", 5e-4, 2.0, 4),
        steps("temperature", 1, 3, 1),
    )
)


def scored(point: Point) -> tuple[float, ...]:
    number = sum(len(str(value)) * place for place, value in enumerate(point.values(), start=1))
    return (1 - number % 7 / 10, float(number % 5), float(number % 3))


def searched(
    space: Space, method: str, count: int, *, workers: int = 2, start: list[Tried] | None = None
) -> list[Tried]:
    """Search with so many points open at a time, one of which ends before each further suggestion."""
    history = list(start or [])
    while len(history) < count:
        running = [place for place, row in enumerate(history) if row.standing == "open"]
        if len(running) == workers:
            place = running[0]
            end = {3: "stopped", 5: "failed"}.get(place, "done")
            values = scored(history[place].point) if end == "done" else ()
            history[place] = replace(history[place], standing=end, values=values)  # type: ignore[arg-type]
        row = suggest(space, method, 7, history)
        if row is None:
            break
        history.append(row)
    return history


@pytest.mark.parametrize("method", [name for name in METHODS if name != "gp"])
def test_a_grid_of_28_cells_gives_28_distinct_trials_whatever_the_order(method: str) -> None:
    history = searched(GRID, method, 40)
    assert len(history) == 28
    assert {key_of(row.point) for row in history} == {key_of(cell) for cell in GRID.cells()}


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("gp", "grid")])
def test_40_joint_trials_are_40_configs_on_the_declared_steps(method: str) -> None:
    history = searched(JOINT, method, 40)
    assert len({key_of(row.point) for row in history}) == 40
    for row in history:
        assert JOINT.canonical(row.point) == row.point
        assert all(row.point[axis.name] in axis.values for axis in JOINT.axes)


@pytest.mark.parametrize("method", ["random", "tpe", "nsga2"])
@pytest.mark.parametrize("cut", [4, 13, 22])
def test_a_search_that_is_cut_and_rebuilt_suggests_the_same(method: str, cut: int) -> None:
    whole = searched(JOINT, method, 25)
    # The state of the moment after suggestion number `cut`, as a journal would give it back.
    again = searched(JOINT, method, 25, start=searched(JOINT, method, cut))
    assert again == whole


@pytest.mark.slow
def test_a_gaussian_process_is_rebuilt_likewise_and_repeats_nothing() -> None:
    space = cheap((steps("ratio", 0.0, 0.5, 0.1), steps("px", 48, 64, 16)))
    whole = searched(space, "gp", 12)
    assert len({key_of(row.point) for row in whole}) == 12
    assert searched(space, "gp", 12, start=searched(space, "gp", 11)) == whole


def test_the_generation_of_a_genetic_search_is_carried_over() -> None:
    notes = [row.notes for row in searched(JOINT, "nsga2", 25)]
    assert notes[0] == {"NSGAIISampler:generation": 0}
    assert max(note["NSGAIISampler:generation"] for note in notes) >= 1


def test_seeds_differ_and_models_that_may_not_be_tried_are_not() -> None:
    assert suggest(JOINT, "tpe", 1, []) != suggest(JOINT, "tpe", 2, [])
    history: list[Tried] = []
    for _ in range(12):
        row = suggest(JOINT, "tpe", 1, history, lambda point: point["architecture"] == "Lite0")
        assert row is not None
        history.append(row)
    assert {row.point["architecture"] for row in history} == {"Lite0"}


def test_temperature_makes_no_second_config_at_alpha_0() -> None:
    cells = list(JOINT.cells())
    assert len(cells) == 3 * 4 * (4 * 3 + 1)
    assert all(cell["temperature"] == 1 for cell in cells if cell["alpha"] == 0)


def test_axes_are_what_they_say() -> None:
    assert steps("px", 48, 96, 16).values == (48, 64, 80, 96)
    assert steps("alpha", 0, 1, 0.25).values == (0, 0.25, 0.5, 0.75, 1)
    assert factors("learning_rate", 5e-4, 2, 4).values == (5e-4, 1e-3, 2e-3, 4e-3)
    assert factors("learning_rate", 1e-4, 10, 3).nearest(2e-4) == 1e-4
    assert steps("alpha", 0, 1, 0.25).nearest(0.6) == 0.5


def test_listed_cells_come_once_each_and_only_where_no_axes_are_needed() -> None:
    assert in_order("grid", 0, 5) == [0, 1, 2, 3, 4]
    assert sorted(in_order("random", 0, 28)) == list(range(28))
    assert in_order("random", 0, 28) != in_order("random", 1, 28)
    for method in ("tpe", "nsga2", "gp"):
        with pytest.raises(
            InputError, match=f"--search {method} needs a space of axes, but this sweep lists its cells"
        ):
            in_order(method, 0, 28)


def test_the_study_opens_in_optuna_with_what_became_of_each_trial(tmp_path: Path) -> None:
    from optuna import load_study
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    history = searched(JOINT, "tpe", 12)
    for _ in range(2):  # the second time over the first file
        write_study(tmp_path / "study.log", "joint", JOINT, history)
    study = load_study(study_name="joint", storage=JournalStorage(JournalFileBackend(str(tmp_path / "study.log"))))
    states = [trial.state.name for trial in study.trials]
    wanted = {"open": "RUNNING", "done": "COMPLETE", "stopped": "PRUNED", "failed": "FAIL"}
    assert states == [wanted[row.standing] for row in history]
    assert set(itertools.chain(states)) == {"RUNNING", "COMPLETE", "PRUNED", "FAIL"}
    assert study.trials[0].values == list(history[0].values)
    assert study.trials[0].params == dict(history[0].point)

"""What every sweep file promises, and what each one asks."""

import ast
import importlib
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps import kd_alpha, kd_prune, lite, model_scaling, prune_ratio, quantise, schedule, transfer
from sweeps.engine import chains
from sweeps.engine.space import PROFILES, GivenModel, PlannedTrial, Setting, Sweep
from trainables.architectures import ARCHITECTURES, STRIDE_PX

FOLDER = Path(kd_alpha.__file__).parent
FILES = sorted(path.stem for path in FOLDER.glob("*.py") if "SWEEP = Sweep(" in path.read_text())
DEMO = Setting(profile=PROFILES["demo"], seed=0, store_digest="s", device="cpu", num_threads=1)
THESIS = replace(DEMO, profile=PROFILES["thesis"])


def sweep(name: str) -> Sweep:
    found: Sweep = importlib.import_module(f"sweeps.{name}").SWEEP
    return found


def names(planned: list[PlannedTrial]) -> list[str]:
    return [trial.name for trial in planned]


def test_all_sweeps_are_found() -> None:
    assert {"kd_alpha", "kd_prune", "lite", "model_scaling", "prune_ratio", "quantise", "schedule"} <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_first_screen_says_what_is_asked_the_commands_and_what_came_out(name: str) -> None:
    text = (FOLDER / f"{name}.py").read_text()
    screen = ast.get_docstring(ast.parse(text))
    assert screen is not None
    assert f"python sweeps/{name}.py --smoke" in screen
    assert f"python sweeps/{name}.py --store" in screen
    assert "Varied:" in screen
    assert re.search(r"Cost and outcome, \d{4}-\d{2}-\d{2}, two shared x86 cores", screen)
    assert len(text.splitlines()) <= 150


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("setting", [DEMO, THESIS, replace(DEMO, smoke=True)], ids=["demo", "thesis", "smoke"])
def test_trials_are_distinct_and_what_they_start_from_is_planned_before_them(name: str, setting: Setting) -> None:
    planned = sweep(name).trials(setting)
    assert planned
    assert max(Counter(names(planned)).values()) == 1
    known: set[str] = set()
    for trial in planned:
        needs = {trial.config.weights, trial.config.teacher} - {"none", "imagenet", None}
        assert needs <= known, f"{trial.name} needs what is not planned before it"
        known.add(setting.identity(trial.config))
    assert len(known) == len(planned)


@pytest.mark.parametrize("name", FILES)
def test_a_smoke_run_is_a_few_trials(name: str) -> None:
    assert 2 <= len(sweep(name).trials(replace(DEMO, smoke=True))) <= 4


@pytest.mark.parametrize("name", FILES)
def test_the_demo_profile_fetches_nothing(name: str) -> None:
    assert "imagenet" not in {trial.config.weights for trial in sweep(name).trials(DEMO)}


def test_networks_are_scaled_at_the_sizes_they_were_made_for() -> None:
    assert {name: ARCHITECTURES[name].resolution_px for name in model_scaling.RESOLUTIONS_PX} == (
        model_scaling.RESOLUTIONS_PX
    )
    thesis = {trial.config.architecture: trial.config.resolution_px for trial in model_scaling.trials(THESIS)}
    assert thesis == model_scaling.RESOLUTIONS_PX
    demo = {trial.config.architecture: trial.config.resolution_px for trial in model_scaling.trials(DEMO)}
    assert demo == {"B0": 64, "B1": 72, "B2": 72, "B3": 88, "Lite2": 72, "V2-S": 112}
    assert min(demo.values()) >= STRIDE_PX


def test_lite_has_the_three_published_starts() -> None:
    """The thesis's baseline B0, whose weights Lite0 starts from, is the fine-tuned one; the demo fine-tunes none."""
    before, tuned, *models = lite.trials(THESIS)
    starts = {(row.config.architecture, row.config.weights) for row in models}
    identity = THESIS.identity(tuned.config)
    assert tuned.config.recipe == PROFILES["thesis"].fine_tuning
    assert tuned.config.weights == THESIS.identity(before.config)
    assert [row.config for row in (before, tuned)] == [row.config for row in chains.teacher(THESIS).trials]
    assert names(lite.trials(DEMO)) == ["trained B0", "start=trained B0", "start=random"]
    assert starts == {("B0-lite", identity), ("B0-lite", "imagenet"), ("Lite0", "imagenet"), ("Lite0", "none")}


def test_transfer_crosses_starts_and_recipes() -> None:
    cells = {(row.config.weights, row.config.recipe.name) for row in transfer.trials(THESIS)}
    assert cells == {
        (weights, recipe) for weights in ("none", "imagenet") for recipe in ("thesis training", "thesis fine-tuning")
    }


def test_schedule_crosses_teacher_and_schedule() -> None:
    cells = [row for row in schedule.trials(DEMO) if row.role == "student"]
    assert [(row.config.alpha, row.config.recipe.schedule) for row in cells] == [
        (0.0, "one_cycle"),
        (0.0, "constant"),
        (0.5, "one_cycle"),
        (0.5, "constant"),
    ]
    assert all(row.config.recipe.warmup_epochs == 0 for row in cells if row.config.recipe.schedule == "constant")


def test_pruning_compares_modes_at_equal_ratio_and_equal_cost() -> None:
    cells = [row.config.pruning for row in prune_ratio.trials(THESIS)]
    modes = {(p.scope, p.iterations) for p in cells if p is not None and (p.ratio, p.by) == (0.4, "macs")}
    assert modes == {("local", 1), ("local", 5), ("global", 1), ("global", 5)}
    for cost in ("size", "latency"):
        scopes = [(p.scope, p.ratio) for p in cells if p is not None and p.by == cost]
        assert len({ratio for _, ratio in scopes}) == 1
        assert {scope for scope, _ in scopes} == {"local", "global"}
    assert {p.ratio for p in cells if p is not None and p.by == "channels"} == {0.05, 0.2, 0.25, 0.3, 0.35, 0.4}


@pytest.mark.parametrize("module", [prune_ratio, kd_prune])
def test_the_ratio_rises_until_accuracy_falls_below_nine_tenths(module: object) -> None:
    assert isinstance(module, type(prune_ratio))
    known: dict[str, dict[str, float]] = {}
    assert module.more(DEMO, known) == []
    at = {trial.name: DEMO.identity(trial.config) for trial in module.trials(DEMO)}
    last = next(name for name in at if "0.4 global in 5 steps" in name and "plain" not in name)
    known[at[last]] = {"val_accuracy": 0.9}
    (further,) = module.more(DEMO, known)
    assert further.config.pruning is not None
    assert further.config.pruning.ratio == 0.45
    known[DEMO.identity(further.config)] = {"val_accuracy": 0.899}
    assert names(module.more(DEMO, known)) == [further.name]
    known[DEMO.identity(further.config)] = {"val_accuracy": 0.95}
    assert [trial.config.pruning.ratio for trial in module.more(DEMO, known) if trial.config.pruning] == [0.45, 0.5]


@pytest.mark.parametrize("module", [prune_ratio, kd_prune])
def test_the_ratio_rises_no_further_once_every_layer_is_at_its_floor(module: object) -> None:
    assert isinstance(module, type(prune_ratio))
    good, limit = {"val_accuracy": 0.95}, 0.797
    known: dict[str, dict[str, float]] = {}
    at = {trial.name: trial for trial in module.trials(DEMO)}
    last = next(row for name, row in at.items() if "0.4 global in 5 steps" in name and "plain" not in name)
    asked: list[float] = []
    while last is not None:
        assert last.config.pruning is not None
        asked.append(last.config.pruning.ratio)
        shares = {"pruned_share": min(asked[-1], limit), "pruned_share_limit": limit}
        known[DEMO.identity(last.config)] = good | shares
        new = [trial for trial in module.more(DEMO, known) if DEMO.identity(trial.config) not in known]
        last = new[0] if new else None
    assert asked == [0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8]


def test_every_float_model_has_its_int8_self() -> None:
    planned = {DEMO.identity(row.config): row for row in quantise.trials(DEMO)}
    int8 = [row for row in planned.values() if row.role == "quantised"]
    assert [row.name for row in int8] == [f"{planned[row.config.weights].name}, static int8" for row in int8]
    assert len(int8) == 3
    assert {(row.config.quantisation, row.config.recipe.epochs) for row in int8} == {("static", 0)}


def test_quantisation_aware_training_is_tried_where_static_int8_loses_more_than_a_point_and_nowhere_else() -> None:
    planned = quantise.trials(DEMO)
    at = {row.name: DEMO.identity(row.config) for row in planned}
    known = {identity: {"val_accuracy": 0.95} for identity in at.values()}
    assert quantise.more(DEMO, {}) == []
    assert quantise.more(DEMO, known) == []
    known[at["Lite0, static int8"]] = {"val_accuracy": 0.94}  # 0.95 - 0.94 is above 0.01 in floating point
    known[at["student alpha=0.25, static int8"]] = {"val_accuracy": 0.97}
    assert quantise.more(DEMO, known) == []
    del known[at["student alpha=0.25"]]
    known[at["Lite0, static int8"]] = {"val_accuracy": 0.939}
    known[at["student pruned by 0.3, static int8"]] = {"val_accuracy": 0.5}
    plain, pruned = quantise.more(DEMO, known)
    how = "quantisation-aware int8"
    assert names([plain, pruned]) == [f"Lite0, {how}", f"student pruned by 0.3, {how}"]
    assert {row.config.quantisation for row in (plain, pruned)} == {"aware"}
    assert {row.config.recipe for row in (plain, pruned)} == {PROFILES["demo"].fine_tuning}
    assert (plain.config.weights, plain.config.alpha, plain.config.teacher) == (at["Lite0"], 0, None)
    assert (pruned.config.weights, pruned.config.alpha) == (at["student pruned by 0.3"], quantise.ALPHA)
    assert pruned.config.teacher == at["teacher B0"]


def test_a_given_teacher_stands_in_every_sweep_that_learns_from_one() -> None:
    given = GivenModel(folder="/m", digest="d" * 64, architecture="B0", resolution_px=64)
    for module in (kd_alpha, kd_prune, quantise, schedule):
        teachers = {row.config.teacher for row in module.trials(replace(DEMO, teacher=given))} - {None}
        assert teachers == {given.digest}

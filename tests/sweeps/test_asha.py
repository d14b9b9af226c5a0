"""Who is stopped at a rung; no trial is trained here."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.engine.asha import Arrival, EarlyStop, falls_behind, has_ended, rungs
from sweeps.engine.journal import Journal, open_journal
from sweeps.engine.space import PROFILES, PlannedTrial, Setting
from trainables.limits import Limits
from trainables.recipes import (
    DEMO_FINE_TUNING,
    DEMO_TRAINING,
    THESIS_FINE_TUNING,
    THESIS_TRAINING,
    Pruning,
    TrialConfig,
)

SETTING = Setting(profile=PROFILES["demo"], seed=0, store_digest="s", device="cpu", num_threads=1)
RUNG = rungs(SETTING.profile.recipe)[0]


class Cost:
    def __init__(self, macs: int, size_mb: float) -> None:
        self.macs, self.size_mb = macs, size_mb


COSTS = {"Lite0": Cost(32_000_000, 13.5), "B0": Cost(33_000_000, 16.2), "B1": Cost(50_000_000, 26.3)}


def at(trial: str, loss: float, *, group: str = "demo", epoch: int = 2, macs: float = 1e7, mb: float = 10) -> Arrival:
    return Arrival(trial=trial, group=group, epoch=epoch, loss=loss, macs=macs, size_mb=mb)


def test_rungs_come_after_the_warm_up_by_factors_of_three_and_never_at_the_last_epoch() -> None:
    assert rungs(DEMO_TRAINING) == [4]
    assert rungs(DEMO_FINE_TUNING) == [2]
    assert rungs(THESIS_TRAINING) == [11]
    assert rungs(THESIS_FINE_TUNING) == [2, 6, 18]
    assert rungs(replace(DEMO_TRAINING, epochs=1, warmup_epochs=0)) == []


def test_the_best_third_goes_on() -> None:
    before = [at("a", 0.5), at("b", 0.6)]
    assert not falls_behind(at("b", 0.9), before[:1])  # two alone decide nothing
    assert falls_behind(at("c", 0.55), before)
    assert not falls_behind(at("c", 0.45), before)
    six = [at(name, 0.1 * place) for place, name in enumerate("abcde", start=1)]
    assert not falls_behind(at("f", 0.15), six)
    assert falls_behind(at("f", 0.25), six)


@pytest.mark.parametrize("cheaper", [{"macs": 9.9e6}, {"mb": 9.9}])
def test_a_small_model_is_never_stopped_because_large_ones_are_ahead(cheaper: dict[str, float]) -> None:
    """Whatever the difference: in work or in size; and a large one is not held against one of less than half."""
    ahead = [at(str(place), 0.01) for place in range(20)]
    assert falls_behind(at("same", 0.9), ahead)
    assert not falls_behind(at("small", 0.9, **cheaper), ahead)  # type: ignore[arg-type]
    assert falls_behind(at("larger", 0.9, macs=1.9e7, mb=11), ahead)
    assert not falls_behind(at("twice", 0.9, macs=2.1e7, mb=20), ahead)


def test_a_trial_that_comes_again_after_a_kill_is_counted_once() -> None:
    before = [at("a", 0.5), at("b", 0.6)]
    assert not falls_behind(at("b", 0.6), before)


def test_other_rungs_and_kinds_of_training_are_not_peers() -> None:
    before = [at(str(place), 0.1, epoch=6) for place in range(9)] + [
        at(str(place), 0.1, group="fine-tuning") for place in range(9)
    ]
    assert not falls_behind(at("new", 0.9), before)


def test_a_trial_that_patience_ended_is_not_stopped() -> None:
    recipe = replace(DEMO_TRAINING, patience=2)
    assert not has_ended([0.5, 0.6], recipe)
    assert has_ended([0.5, 0.6, 0.6], recipe)
    assert not has_ended([0.5, 0.6, 0.4], recipe)
    assert has_ended([0.5] * 12, replace(DEMO_TRAINING, patience=12))
    assert not has_ended([math.nan, 0.6], recipe)


class Sweep:
    """A teacher, its students, and a model that is pruned later; losses are made up."""

    def __init__(self, folder: Path) -> None:
        teacher = SETTING.config("B0")
        self.teacher = SETTING.identity(teacher)
        self.planned = {self.teacher: PlannedTrial(name="teacher", role="teacher", config=teacher)}
        self.folder = folder

    def add(self, architecture: str, seed: int, *, role: str = "student", pruning: Pruning | None = None) -> str:
        config = replace(
            SETTING.config(architecture, alpha=0.5, teacher=self.teacher, weights="w" if pruning else None),
            init_seed=seed,
            pruning=pruning,
        )
        trial = SETTING.identity(config)
        self.planned[trial] = PlannedTrial(name=f"{architecture} {seed}", role=role, config=config)
        return trial

    def open(self) -> EarlyStop:
        """Forget everything but the journal, as a kill does."""

        def cost_of(config: TrialConfig) -> Cost:
            return COSTS[config.architecture]

        self.journal: Journal = open_journal(self.folder / "journal.jsonl")
        return EarlyStop(self.journal, self.planned, cost_of)


def losses(level: float) -> list[float]:
    return [level + 0.2 - 0.05 * epoch for epoch in range(RUNG)]


def lines(folder: Path) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "time"} for row in rows]


def test_decisions_are_in_the_journal_and_a_kill_changes_none(tmp_path: Path) -> None:
    levels = [0.5, 0.6, 0.7, 0.4, 0.9, 0.3, 0.55]
    stopped = []
    for name, killed in (("whole", False), ("killed", True)):
        sweep = Sweep(tmp_path / name)
        trials = [sweep.add("Lite0", seed) for seed in range(len(levels))]
        judge = sweep.open()
        for trial, level in zip(trials, levels, strict=True):
            assert not judge.stops(trial, losses(level)[:-1])  # on its way to the rung
            stops = judge.stops(trial, losses(level))
            judge = sweep.open() if killed else judge
            assert judge.stops(trial, losses(level)) == stops  # after a kill it is asked again
        stopped.append([trial in sweep.journal.state.stopped for trial in trials])
    assert lines(tmp_path / "whole") == lines(tmp_path / "killed")
    assert stopped[0] == stopped[1] == [False, False, True, False, True, False, True]
    why = open_journal(tmp_path / "whole" / "journal.jsonl").state.stopped
    assert next(iter(why.values())) == {
        "epoch": RUNG,
        "reason": f"validation loss 0.750 after epoch {RUNG} is not in the best third of 3",
    }


def test_a_rung_that_was_passed_unseen_is_judged_by_the_losses_of_then(tmp_path: Path) -> None:
    """The driver died after the epoch was saved; the trial has gone a little further when it is asked again."""
    sweep = Sweep(tmp_path)
    trials = [sweep.add("Lite0", seed) for seed in range(3)]
    judge = sweep.open()
    assert [judge.stops(trial, losses(level)) for trial, level in zip(trials, (0.1, 0.2, 0.3), strict=False)] == [
        False,
        False,
        True,
    ]
    other = Sweep(tmp_path / "late")
    late = other.open()
    for trial in (other.add("Lite0", 0), other.add("Lite0", 1)):
        assert not late.stops(trial, losses(0.1 if not other.journal.state.arrivals else 0.2))
    assert late.stops(other.add("Lite0", 2), [*losses(0.3), 0.01])
    assert lines(tmp_path) == lines(tmp_path / "late")


def test_teachers_and_start_models_and_iterative_pruning_are_never_stopped(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    judge = sweep.open()
    for seed in range(4):
        judge.stops(sweep.add("B0", seed), losses(0.1))
    bad = losses(0.9)
    assert not judge.stops(sweep.teacher, bad)
    assert not judge.stops(sweep.add("B0", 10, role="start"), bad)
    assert not judge.stops(sweep.add("B0", 11, pruning=Pruning(ratio=0.1, iterations=2)), bad)
    asked = sweep.add("B0", 12)
    learner = replace(sweep.planned[asked].config, teacher=asked, init_seed=13)
    sweep.planned["learner"] = PlannedTrial(name="learner", role="student", config=learner)
    assert not judge.stops(asked, bad)  # a student that has a student of its own
    assert judge.stops(sweep.add("B0", 14), bad)


def test_larger_networks_ahead_stop_no_smaller_one_in_a_whole_sweep(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    judge = sweep.open()
    for seed in range(5):
        judge.stops(sweep.add("B1", seed), losses(0.1))
        judge.stops(sweep.add("B0", seed), losses(0.1))
    assert not judge.stops(sweep.add("Lite0", 0), losses(0.9))
    assert judge.stops(sweep.add("B1", 9), losses(0.9))


def test_pruned_ones_are_held_against_what_keeps_no_more_of_their_network(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    judge = sweep.open()
    sparse, dense = Pruning(ratio=0.4, by="size"), Pruning(ratio=0.2, by="size")
    for seed in range(3):
        judge.stops(sweep.add("B0", seed, role="pruned", pruning=dense), losses(0.1 + seed / 100))
    assert not judge.stops(sweep.add("B0", 7, role="pruned", pruning=sparse), losses(0.9))
    assert not judge.stops(sweep.add("Lite0", 7, role="pruned", pruning=dense), losses(0.9))
    assert judge.stops(sweep.add("B0", 8, role="pruned", pruning=dense), losses(0.9))


def test_limits_allow_what_they_name() -> None:
    assert not Limits().any
    assert Limits(max_size_mb=2).any
    assert Limits(max_size_mb=2).allow(2.0, math.inf)
    assert not Limits(max_size_mb=2).allow(2.01, 0)
    assert not Limits(max_size_mb=2, max_latency_ms=1).allow(2.0, 1.01)

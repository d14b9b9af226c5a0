"""Who is stopped at a rung; no trial is trained here."""

from sweeps.engine.asha import Arrival, arrival, falls_behind, group_of, rungs


def at(trial: str, loss: float, group: str = "demo 2^24", epoch: int = 2) -> Arrival:
    return Arrival(trial=trial, group=group, epoch=epoch, loss=loss)


def test_rungs_are_factors_of_three_and_never_the_last_epoch() -> None:
    assert rungs(12) == [2, 6]
    assert rungs(30) == [2, 6, 18]
    assert rungs(2) == []


def test_a_trial_comes_to_a_rung_with_its_lowest_loss() -> None:
    assert arrival("a", "g", [0.6], 12) is None
    assert arrival("a", "g", [0.6, 0.7], 12) == Arrival(trial="a", group="g", epoch=2, loss=0.6)


def test_the_best_third_goes_on() -> None:
    before = [at("a", 0.5), at("b", 0.6)]
    assert not falls_behind(at("b", 0.9), before[:1])  # two alone decide nothing
    assert falls_behind(at("c", 0.55), before)
    assert not falls_behind(at("c", 0.45), before)
    six = [at(name, 0.1 * place) for place, name in enumerate("abcde", start=1)]
    assert not falls_behind(at("f", 0.15), six)
    assert falls_behind(at("f", 0.25), six)


def test_a_small_model_is_never_stopped_because_large_ones_are_ahead() -> None:
    large, small = group_of(400_000_000, "demo"), group_of(32_000_000, "demo")
    assert large != small
    assert group_of(36_000_000, "demo") == group_of(60_000_000, "demo")
    ahead = [at(str(place), 0.01, group=large) for place in range(20)]
    assert not falls_behind(at("small", 0.9, group=small), ahead)
    assert falls_behind(at("large", 0.9, group=large), ahead)


def test_a_trial_that_comes_again_after_a_kill_is_counted_once() -> None:
    before = [at("a", 0.5), at("b", 0.6)]
    assert not falls_behind(at("b", 0.6), before)


def test_other_rungs_and_recipes_are_not_peers() -> None:
    before = [at(str(place), 0.1, epoch=6) for place in range(9)] + [
        at(str(place), 0.1, group="fine-tuning 2^24") for place in range(9)
    ]
    assert not falls_behind(at("new", 0.9), before)

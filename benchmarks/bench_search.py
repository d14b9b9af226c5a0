"""Whether searches repeat themselves: distinct configs of a grid and of the joint space, beside Optuna's own samplers.

Trials are made up here; what is measured is what is suggested.
"""

import random
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from benchmarks.measure import Bar, Row, row
from sweeps.engine.axes import Point, Space, key_of, steps
from sweeps.engine.searchers import DIRECTIONS, METHODS, Tried, suggest
from sweeps.search import SWEEP

PEERS = ("optuna",)
GRID = Space(
    axes=(steps("ratio", 0.0, 0.6, 0.1), steps("px", 48, 96, 16)),
    canonical=lambda point: point,
    plan=lambda *_: [],
    network=lambda *_: ("B0", 64, 0.0),
)
CELLS = 28
JOINT_TRIALS = 40


def rows() -> list[Row]:
    """Count the distinct configs of every search that claims the space."""
    assert SWEEP.space is not None
    table = []
    for method in METHODS:
        grid, seconds = _searched(GRID, method, CELLS)
        theirs = _optuna(method)
        detail = f"Optuna's own sampler: {theirs} of {CELLS}; " if theirs is not None else ""
        table.append(
            row(
                f"distinct trials of a grid of {CELLS} cells, {method}",
                "cells",
                grid / CELLS,
                Bar(">=", 1),
                f"{detail}{seconds / CELLS:.2f} s a suggestion",
            )
        )
        joint, seconds = _searched(SWEEP.space, method, JOINT_TRIALS)
        table.append(
            row(
                f"distinct configs of {JOINT_TRIALS} joint trials, {method}",
                "trials",
                joint / JOINT_TRIALS,
                Bar(">=", 1),
                f"{seconds / JOINT_TRIALS:.2f} s a suggestion",
            )
        )
    return table


def _searched(space: Space, method: str, count: int) -> tuple[int, float]:
    """Return how many distinct points a search tries, two at a time, and the seconds that suggesting took."""
    history: list[Tried] = []
    began = time.perf_counter()
    for _ in range(count):
        running = [place for place, tried in enumerate(history) if tried.standing == "open"]
        if len(running) == 2:
            ended = history[running[0]]
            history[running[0]] = replace(ended, standing="done", values=_values(ended.point))
        tried = suggest(space, method, 0, history)
        if tried is None:
            break
        history.append(tried)
    return len({key_of(tried.point) for tried in history}), time.perf_counter() - began


def _values(point: Point) -> tuple[float, ...]:
    draw = random.Random(repr(key_of(point)))
    return tuple(draw.random() for _ in DIRECTIONS)


def _optuna(method: str) -> int | None:
    """Return how many distinct cells Optuna's sampler of the same name tries in as many trials."""
    import optuna

    samplers: dict[str, Callable[[], Any]] = {
        "random": lambda: optuna.samplers.RandomSampler(seed=0),
        "tpe": lambda: optuna.samplers.TPESampler(seed=0),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=0),
    }
    if method not in samplers:
        return None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(directions=list(DIRECTIONS), sampler=samplers[method]())
        seen = set()
        for _ in range(CELLS):
            trial = study.ask()
            point = {
                "ratio": round(trial.suggest_float("ratio", 0.0, 0.6, step=0.1), 1),
                "px": trial.suggest_int("px", 48, 96, step=16),
            }
            seen.add(key_of(point))
            study.tell(trial, _values(point))
    return len(seen)

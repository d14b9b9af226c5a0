"""Ctrl-C while Ray and MLflow start: held back once, at once when it is pressed twice."""

import io
import os
import signal

import pytest

from sweeps.engine.interruption import held_back
from sweeps.engine.terminal import Terminal


def press(times: int, said: io.StringIO, came_to: list[int]) -> None:
    with held_back(Terminal(said)):
        for number in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            came_to.append(number)


def test_once_waits_for_the_end_of_the_body() -> None:
    said, came_to, before = io.StringIO(), list[int](), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        press(1, said, came_to)
    assert came_to == [0]
    assert "stopping as soon as all has started" in said.getvalue()
    assert signal.getsignal(signal.SIGINT) is before


def test_twice_stops_at_once() -> None:
    came_to = list[int]()
    with pytest.raises(KeyboardInterrupt):
        press(3, io.StringIO(), came_to)
    assert came_to == [0]

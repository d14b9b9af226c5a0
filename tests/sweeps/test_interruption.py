"""SIGTERM, and Ctrl-C while Ray and MLflow start: held back once, at once when it is pressed twice."""

import io
import os
import signal

import pytest

from data_store.errors import InputError
from sweeps.engine import launch
from sweeps.engine.interruption import held_back, own_signals, terminable
from sweeps.engine.terminal import Terminal
from sweeps.kd_alpha import SWEEP


def press(times: int, said: io.StringIO, came_to: list[int], what: signal.Signals = signal.SIGINT) -> None:
    with held_back(Terminal(said)):
        for number in range(times):
            os.kill(os.getpid(), what)
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


def test_sigterm_is_taken_for_one_ctrl_c_however_often_it_comes() -> None:
    said, came_to, before = io.StringIO(), list[int](), signal.getsignal(signal.SIGTERM)
    with terminable(Terminal(said)) as termination:
        with pytest.raises(KeyboardInterrupt):
            press(3, said, came_to, signal.SIGTERM)
        assert termination.asked
    assert came_to == [0, 1, 2]
    assert said.getvalue().count("SIGTERM: the sweep stops as it does at Ctrl-C") == 1
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_ends_even_a_background_job_whose_shell_lets_it_ignore_ctrl_c() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), terminable(Terminal(io.StringIO())):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGINT, before)


def test_ray_does_not_take_sigterm_from_a_sweep() -> None:
    from ray._private import utils

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # an earlier test's Ray may have set its own
    try:
        with terminable(Terminal(io.StringIO())):
            ours = signal.getsignal(signal.SIGTERM)
            with own_signals():
                utils.set_sigterm_handler(print)
            assert signal.getsignal(signal.SIGTERM) is ours
        with own_signals():
            utils.set_sigterm_handler(print)  # nobody else has a use for it
        assert signal.getsignal(signal.SIGTERM) is print
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, None)])
def test_a_signal_before_the_work_begins_has_its_exit_code(
    number: signal.Signals, code: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_launched", lambda *_: os.kill(os.getpid(), number))
    if code is None:
        with pytest.raises(KeyboardInterrupt):  # ``run_command`` makes 130 of it
            launch.run(SWEEP, [])
    else:
        assert launch.run(SWEEP, []) == code


@pytest.mark.parametrize(("ended", "code"), [(130, 75), (0, 0)])
def test_a_sweep_that_stopped_for_sigterm_says_so_and_one_that_came_to_its_end_does_not(
    ended: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def launched(*_: object) -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            return ended
        raise InputError("it was not interrupted")

    monkeypatch.setattr(launch, "_launched", launched)
    assert launch.run(SWEEP, []) == code

"""The watch ends a process whose Ray is gone, and only then; here it notes its exit code instead."""

import time

import pytest

from sweeps.engine.interruption import TEMPORARY_FAILURE
from sweeps.engine.watch import Watch


def gone() -> bool:
    return False


def raising() -> bool:
    raise RuntimeError("no GCS")


def hanging() -> bool:
    time.sleep(5)
    return True


@pytest.mark.parametrize("alive", [gone, raising, hanging])
def test_it_leaves_with_75_when_ray_says_no_or_nothing(alive: object) -> None:
    assert callable(alive)
    codes: list[object] = []
    watch = Watch(lambda: codes.append("said"), alive=alive, ended=gone, gone_s=0.3, period_s=0.05, leave=codes.append)
    deadline = time.monotonic() + 30
    while len(codes) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert codes == ["said", TEMPORARY_FAILURE]
    watch.stop()


def test_a_short_absence_is_forgiven() -> None:
    codes: list[int] = []
    began = time.monotonic()
    watch = Watch(
        lambda: None,
        alive=lambda: not 0.2 < time.monotonic() - began < 0.5,
        ended=gone,
        gone_s=5.0,
        period_s=0.05,
        leave=codes.append,
    )
    time.sleep(1.0)
    watch.stop()
    assert codes == []


def test_it_leaves_at_once_when_ray_has_ended() -> None:
    codes: list[object] = []
    began = time.monotonic()
    Watch(lambda: codes.append("said"), alive=lambda: True, ended=lambda: True, period_s=0.05, leave=codes.append)
    while len(codes) < 2 and time.monotonic() < began + 10:
        time.sleep(0.02)
    assert codes == ["said", TEMPORARY_FAILURE]

import fcntl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from trainables import turns
from trainables.turns import turn

HOLDER = """
import sys, time
from pathlib import Path
from trainables.turns import turn
with turn(Path(sys.argv[1]), lambda: False):
    print("mine", flush=True)
    time.sleep(120)
"""


def test_only_one_works_and_the_others_find_the_result(tmp_path: Path) -> None:
    result, worked = tmp_path / "result", []
    together = threading.Barrier(4)

    def make() -> None:
        together.wait()
        with turn(tmp_path / "lock", result.exists):
            if not result.exists():
                worked.append(threading.get_ident())
                time.sleep(0.3)
                result.touch()

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(worked) == 1


def test_a_dead_holder_blocks_nobody(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path / "lock"], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "mine\n"
    waited: list[str] = []

    def wait() -> None:
        with turn(tmp_path / "lock", lambda: False):
            waited.append("in")

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(3 * turns.POLL_SECONDS)
    assert not waited  # it lives
    holder.kill()
    holder.wait()
    holder.stdout.close()
    waiter.join(timeout=30)
    assert waited == ["in"]


def test_a_holder_without_a_sign_of_life_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "STALE_SECONDS", 0.5)
    with turn(tmp_path / "lock", lambda: False) as alive:
        began = time.monotonic()
        ended: list[float] = []

        def wait() -> None:
            with turn(tmp_path / "lock", lambda: False):
                ended.append(time.monotonic() - began)

        waiter = threading.Thread(target=wait)
        waiter.start()
        for _ in range(10):
            time.sleep(0.1)
            alive()
        assert not ended  # a second: twice as long as it waits for silence
        waiter.join(timeout=30)
    assert ended[0] >= 1.0


def test_where_there_are_no_locks_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with turn(tmp_path / "lock", lambda: False), turn(tmp_path / "lock", lambda: False):
        pass


def test_a_result_that_is_there_is_not_waited_for(tmp_path: Path) -> None:
    with turn(tmp_path / "lock", lambda: False), turn(tmp_path / "lock", lambda: True):
        pass

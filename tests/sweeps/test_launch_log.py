"""What other libraries and child processes say reaches the log and not the screen; what we say reaches both."""

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from sweeps.engine.launch_log import HOST, launch_log
from sweeps.engine.terminal import Terminal


def chatter() -> None:
    """Say something in every way in which a library may."""
    print("print")  # noqa: T201
    sys.stderr.write("stderr\n")
    os.write(1, b"C on 1\n")
    os.write(2, b"C on 2\n")
    subprocess.run(["sh", "-c", "echo child; echo '(raylet) child' >&2"], check=True)
    logging.getLogger("some.library").warning("a warning of %s", "a library")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("soon to be removed", FutureWarning, stacklevel=1)


SAID = (
    "print",
    "stderr",
    "C on 1",
    "C on 2",
    "child",
    "(raylet) child",
    "a warning of a library",
    "soon to be removed",
)


def test_only_our_lines_reach_the_screen(tmp_path: Path) -> None:
    """In a process of its own, whose output is a pipe: the first two descriptors are what is at stake."""
    code = (
        "import sys; from pathlib import Path; from sweeps.engine.launch_log import launch_log;"
        "from sweeps.engine.terminal import Terminal; from tests.sweeps.test_launch_log import chatter;"
        "terminal = Terminal(); terminal.line('one', 'before')\n"
        "with launch_log(Path(sys.argv[1]), terminal) as log:\n"
        "    terminal.line('two', 'ours'); chatter()\n"
        "    log.keep(Path(sys.argv[1]) / 'sweep'); terminal.line('three', 'it')\n"
        "terminal.line('four', 'after'); sys.stderr.write('error: seen again\\n')"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "one      before\ntwo      ours\nthree    it\nfour     after\n"
    assert done.stderr == "error: seen again\n"
    (log,) = (tmp_path / "sweep" / "logs").glob("*.log")
    kept = log.read_text()
    assert not [words for words in SAID if words not in kept]
    assert "two      ours\n" in kept
    assert "three    it\n" in kept


def test_a_log_that_no_sweep_wants_is_removed_and_errors_are_let_through(tmp_path: Path) -> None:
    terminal = Terminal()
    (tmp_path / f".launch-{HOST}-999999999.log").touch()  # of a driver that was killed while it planned
    of_another_host = tmp_path / ".launch-elsewhere-999999999.log"  # whose processes nobody sees here
    of_another_host.touch()

    def fail() -> None:
        with launch_log(tmp_path, terminal) as log:
            assert log.path.exists()
            raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        fail()
    assert list(tmp_path.iterdir()) == [of_another_host]
    assert terminal.log is None

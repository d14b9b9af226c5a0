"""How a command ends whose output is read no further."""

import subprocess
import sys
from pathlib import Path

from tests.sweeps.launching import KD_ALPHA, ROOT

CHATTY = """
import sys
from data_store.errors import run_command
def main():
    for _ in range({lines}):
        print("a line of a table")
    return 0
run_command(main)
"""
BROKEN_ELSEWHERE = """
import os
from data_store.errors import run_command
def main():
    read, write = os.pipe()
    os.close(read)
    os.write(write, b"x")
run_command(main)
"""


def head(*command: str) -> tuple[int, str, str]:
    """Read one line of what a command says, and no more; return its exit code, that line, and what it complains of."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        process.stdout.close()
        return process.wait(), line, process.stderr.read()


def test_a_command_that_nobody_reads_ends_without_a_word() -> None:
    assert head(sys.executable, "-c", CHATTY.format(lines=100_000)) == (141, "a line of a table\n", "")


def test_what_is_held_back_until_the_end_is_no_traceback_either() -> None:
    closed = f"{sys.executable} -c '{CHATTY.format(lines=2)}' | true"
    done = subprocess.run(["bash", "-c", closed], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stderr == ""


def test_a_pipe_that_breaks_elsewhere_is_an_error() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BROKEN_ELSEWHERE], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 1
    assert "BrokenPipeError" in done.stderr


def test_a_sweep_ends_without_a_word_too(tmp_path: Path) -> None:
    """It writes on a copy of its output, which is closed before the command ends."""
    from tests.stores import write_store

    store = write_store(tmp_path / "store")
    where = ["--store", str(store), "--profile", "demo", "--results", str(tmp_path / "results")]
    code, line, complaint = head(sys.executable, str(KD_ALPHA), *where, "--smoke", "--plan")
    assert line.startswith("kd_alpha ")
    assert (code, complaint) == (141, "")
    assert not [*(tmp_path / "results").glob(".launch-*")]

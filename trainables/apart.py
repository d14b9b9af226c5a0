"""Modules of this project run in a process of their own: for what must not touch the caller's process, or burden it."""

import subprocess
import sys
from pathlib import Path

from data_store.errors import InputError


def run_apart(module: str, *arguments: str, failure: str, request: str | None = None) -> str:
    """Run ``python -m MODULE`` to its end and return what it printed.

    Args:
        module: Of this project, such as ``trainables.latency``.
        arguments: Of its command line.
        failure: What has failed when it fails: ``the forecast failed``.
        request: What it reads from standard input.

    Raises:
        InputError: It refused what the user gave, by exit code 2 and a line on standard error.
        RuntimeError: It failed otherwise; the end of what it said is in the message.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        input=request,
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    if done.returncode == 2:
        raise InputError(done.stderr.strip().removeprefix("error: "))
    if done.returncode != 0:
        raise RuntimeError(f"{failure}: {done.stderr.strip()[-500:]}")
    return done.stdout

"""The driver's load is measured on the engine as it is: a sweep of trials that do nothing comes to its end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRIALS = 40


@pytest.mark.slow
def test_each_trials_end_is_noted() -> None:
    command = [sys.executable, "-m", "benchmarks.driver_load", "ours", str(TRIALS)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert len(figures["cpu_s"]) == TRIALS
    assert figures["cpu_s"] == sorted(figures["cpu_s"])
    assert 50 < figures["peak_mb"] < 5000

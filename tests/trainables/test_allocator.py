"""Freed memory stays in the process, and goes back when it is told to."""

import subprocess
import sys

import pytest

from trainables import allocator

PROGRAM = """
import resource, sys
import numpy as np, psutil
from trainables.allocator import give_back, keep_freed

BLOCK, TIMES = 64 * 2**20, 20
if sys.argv[1] == "keep":
    keep_freed()
np.ones(BLOCK, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(TIMES):
    np.ones(BLOCK, np.uint8)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
held = psutil.Process().memory_info().rss
give_back()
print(faults / TIMES, (held - psutil.Process().memory_info().rss) / BLOCK)
"""


def _run(what: str) -> tuple[float, float]:
    """Return the page faults of a block of 64 MiB, and the blocks that were given back at the end."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, what], capture_output=True, text=True, check=True)
    faults, returned = map(float, done.stdout.split())
    return faults, returned


@pytest.mark.skipif(allocator._glibc() is None, reason="not glibc")
def test_freed_memory_is_used_again_and_given_back() -> None:
    faults, returned = _run("keep")
    assert faults < 100
    assert returned == pytest.approx(1.0, abs=0.1)
    pages = 64 * 2**20 // 4096
    faults, returned = _run("stock")
    assert faults > pages / 1000  # at least one a huge page, where the kernel makes such
    assert returned < 0.5

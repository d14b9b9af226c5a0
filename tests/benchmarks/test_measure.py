"""A process's peak memory is its own."""

import subprocess
import sys
from pathlib import Path

from benchmarks.measure import peak_rss_mb


def test_peak_memory_is_not_handed_down_from_the_process_that_started_this_one() -> None:
    held = b"1" * 500_000_000
    assert peak_rss_mb() > 500
    code = "from benchmarks.measure import peak_rss_mb; print(peak_rss_mb(), len(b'1' * 100_000_000), peak_rss_mb())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    before, _, after = map(float, done.stdout.split())
    assert before < 100 < after < 250
    assert len(held) == 500_000_000

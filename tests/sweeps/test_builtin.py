"""Two first launches in one results folder draw the built-in data set once, and neither takes it from the other."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.hosts import ROOT, wait_until

LAUNCH = """
import sys
from pathlib import Path
from data_store.synthetic import SyntheticSettings
from sweeps.engine import builtin
from sweeps.engine.terminal import Terminal
builtin.VIDEOS = SyntheticSettings(num_identities=6, num_frames=4, size_px=128)
print(builtin.builtin_store(Path(sys.argv[1]), Terminal()))
"""


def launch(results: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(results)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=ROOT,
    )  # fmt: skip


def drawing(results: Path) -> bool:
    return any(results.glob("data/built-in-videos-*/original_sequences/youtube/c23/videos/*.mp4"))


@pytest.mark.slow
def test_two_first_launches_at_once(tmp_path: Path) -> None:
    first = launch(tmp_path)
    wait_until(lambda: drawing(tmp_path), 60, "the first video")
    second = launch(tmp_path)
    heard = [process.communicate(timeout=240) for process in (first, second)]
    assert [(process.returncode, said[1]) for process, said in zip((first, second), heard, strict=True)] == [
        (0, ""),
        (0, ""),
    ]
    (drew, _), (waited, _) = heard
    assert "drawing the built-in face videos (once)" in drew
    assert "another sweep draws them" in waited
    assert "drawing the built-in face videos (once)" not in waited
    assert drew.splitlines()[-1] == waited.splitlines()[-1]
    assert launch(tmp_path).communicate(timeout=60)[0] == f"{drew.splitlines()[-1]}\n"


@pytest.mark.slow
def test_a_launch_that_is_killed_leaves_the_work_to_the_one_that_waits(tmp_path: Path) -> None:
    first = launch(tmp_path)
    wait_until(lambda: drawing(tmp_path), 60, "the first video")
    second = launch(tmp_path)
    assert second.stdout is not None
    assert "another sweep draws them" in second.stdout.readline()
    first.kill()
    first.communicate(timeout=60)  # its workers, which have its stdout too, end with it
    said, wrong = second.communicate(timeout=240)
    assert (second.returncode, wrong) == (0, "")
    assert "drawing the built-in face videos (once)" in said

"""A real file system that fills up while a sweep trains: it stops in one line, and goes on when room was made."""

import io
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.sweeps.alone import trained_alone
from tests.sweeps.launching import (
    TINY,
    command,
    epochs_trained_twice,
    finished_results,
    has_come_to,
    knowing,
    launch,
    wait_until,
)
from tests.sweeps.test_losses import assert_whole, foreign, running

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.hosts, pytest.mark.timeout(1200)]


def fill_up(ballast: Path) -> None:
    """Write a file until nothing more goes onto its disk, whatever others write there meanwhile."""
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        _write_for_ever(file)


def _write_for_ever(file: io.FileIO) -> None:
    while True:
        file.write(bytes(2**16))


def test_a_disk_that_fills_up_ends_a_sweep_in_one_line_and_costs_no_saved_epoch(
    store: Path, forecasts: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", disk], check=True)
    try:
        results, ballast = knowing(forecasts, disk / "results"), disk / "ballast"
        with running(*command(TINY, store, results)) as driver:
            wait_until(partial(has_come_to, results, 2, 0))
            fill_up(ballast)
            said, _ = driver.communicate(timeout=600)
        assert driver.returncode == 2, said
        assert said.count("make room, then give the same command again") == 1
        assert "a sweep needs room for its checkpoints and models, but the disk of" in said
        assert not foreign(said)

        full = launch(TINY, store, results)
        assert full.returncode == 2
        assert "make room, then give the same command again" in full.stdout + full.stderr
        assert not foreign(full.stdout + full.stderr)

        ballast.unlink()
        done = launch(TINY, store, results)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert finished_results(results) == trained_alone(store, tmp_path)
        assert epochs_trained_twice(results) == []
        assert_whole(results)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)

"""What a sweep shows while it runs: on a terminal, drawn by a pseudo-terminal here, and in lines elsewhere."""

import io
import json
import os
import pty
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sweeps.engine.estimate import time_left
from sweeps.engine.journal import open_journal
from sweeps.engine.progress import Progress, most_epochs
from sweeps.engine.resources import Capacity
from sweeps.engine.space import PROFILES, PlannedTrial, Setting
from sweeps.engine.terminal import Terminal
from trainables.recipes import Pruning

SETTING = Setting(profile=PROFILES["demo"], seed=0, store_digest="s", device="cpu", num_threads=1)
NAMES = ("alpha=0", "alpha=0.5", "alpha=1")
PLANNED = {name: PlannedTrial(name=name, role="student", config=SETTING.config("Lite0")) for name in NAMES}
HAVE = Capacity(workers=2, cpus=1, gpus=0.0, budget_bytes=100, per_card=2)
SHOW_CURSOR, HIDE_CURSOR = b"\x1b[?25h", b"\x1b[?25l"


def epochs(count: int, seconds: float = 10.0) -> list[dict[str, float]]:
    row = {"epoch/train_loss": 0.7, "epoch/val_loss": 0.6, "epoch/val_accuracy": 0.75, "epoch/seconds": seconds}
    return [row] * count


def progress(folder: Path, terminal: Terminal) -> Progress:
    return Progress(terminal, open_journal(folder / "journal.jsonl"), lambda: PLANNED, lambda _: 10, HAVE)


class Screen:
    """A pseudo-terminal, and all that was written to it."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        self.stream = os.fdopen(slave, "w", buffering=1)
        self.written = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                more = os.read(self.master, 65536)
            except OSError:
                return
            if not more:
                return
            self.written += more

    def close(self) -> None:
        self.stream.close()
        self._reader.join()
        os.close(self.master)


@pytest.fixture
def term(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "30")


@pytest.mark.usefixtures("term")
@pytest.mark.parametrize("end", ["done", "interrupted", "gone"])
def test_a_view_is_drawn_below_the_lines_and_leaves_the_terminal_as_it_was(tmp_path: Path, end: str) -> None:
    screen = Screen()
    terminal = Terminal(screen.stream)
    shows = progress(tmp_path, terminal)
    try:
        with shows.live():
            shows.started("alpha=0", PLANNED["alpha=0"], [])
            shows.epoch("alpha=0", epochs(3), trained=False)
            terminal.detail("alpha=0      epoch  3/12")
            terminal.event("a line of the log")
            view = terminal._view
            assert view is not None
            view.refresh()
            if end == "interrupted":
                raise KeyboardInterrupt
            if end == "gone":
                terminal.wipe()
                terminal.line("stopped", "Ray is gone")
    except KeyboardInterrupt:
        assert end == "interrupted"
    screen.close()
    text = screen.written.decode()
    assert "a line of the log" in text
    assert "epoch 3/12" in text
    assert "validation accuracy 0.750" in text
    assert "3: 0 done, 1 running, 2 waiting" in text
    assert "min left" in text
    assert "epoch  3/12" not in text  # the view shows it
    assert screen.written.rindex(SHOW_CURSOR) > screen.written.rindex(HIDE_CURSOR)
    if end == "gone":
        assert text.rindex("Ray is gone") > text.rindex(" left")


@pytest.mark.usefixtures("term")
def test_a_driver_that_is_killed_leaves_a_cursor(tmp_path: Path) -> None:
    """At any moment after its start the view has shown the cursor last: kill -9 can tidy nothing up."""
    screen = Screen()
    shows = progress(tmp_path, Terminal(screen.stream))
    with shows.live():
        view = shows.terminal._view
        assert view is not None
        view.refresh()
        screen.stream.flush()
        while b"waiting" not in screen.written:
            pass
        before = screen.written
    screen.close()
    assert before.rindex(SHOW_CURSOR) > before.rindex(HIDE_CURSOR)


def test_elsewhere_every_line_stands_for_itself(tmp_path: Path) -> None:
    stream = io.StringIO()
    terminal = Terminal(stream)
    shows = progress(tmp_path, terminal)
    with shows.live():
        shows.started("alpha=0", PLANNED["alpha=0"], [])
        shows.epoch("alpha=0", epochs(1), trained=False)
        terminal.detail(f"alpha=0 epoch 1 {shows.left()}")
    assert stream.getvalue() == f"00:00    alpha=0 epoch 1 {shows.left()}\n"
    assert "\x1b" not in stream.getvalue()


def test_the_time_left_counts_what_is_done_runs_and_waits(tmp_path: Path) -> None:
    """Epochs of 10 s on two workers: 12 of 12, 6 of 12 and none are done; what runs may stop early after so many."""
    shows = progress(tmp_path, Terminal(io.StringIO()))
    assert shows.left() == ""
    shows.journal.append("started", trial="alpha=0", attempt=1, name="alpha=0")
    result: dict[str, Any] = {"metrics": {"epochs": 12, "seconds": 120.0, "val_accuracy": 0.9}}
    shows.journal.append("finished", trial="alpha=0", result=json.loads(json.dumps(result)))
    shows.started("alpha=0.5", PLANNED["alpha=0.5"], epochs(6))
    by_name = {course.trial: course for course in shows.courses()}
    assert by_name["alpha=0"].ended
    assert by_name["alpha=0"].seconds == (10.0,) * 12
    assert by_name["alpha=0.5"].since_s is not None
    assert by_name["alpha=1"].since_s is None
    assert shows.left() == "83 to 130 s left"
    shows.journal.append("failed", trial="alpha=1", reason="out of luck")
    shows.ended("alpha=0.5")
    assert {course.trial for course in shows.courses() if course.ended} == {"alpha=0", "alpha=1"}
    assert shows._best() == "alpha=0, validation accuracy 0.900"


def test_what_another_launch_has_finished_counts_by_its_recorded_bytes(tmp_path: Path) -> None:
    """Nothing is predicted for it any more; without its record, trials of other networks were to last for ages."""
    shows = progress(tmp_path, Terminal(io.StringIO()))
    shows.predicted = lambda trial: 0 if trial == "alpha=0" else 10_000_000
    result: dict[str, Any] = {"metrics": {"epochs": 12, "seconds": 120.0, "predicted_memory_mb": 20.0}}
    shows.journal.append("started", trial="alpha=0", attempt=1, name="alpha=0")
    shows.journal.append("finished", trial="alpha=0", result=result)
    works = {course.trial: course.work for course in shows.courses()}
    assert works == {"alpha=0": 20_000_000, "alpha=0.5": 10_000_000, "alpha=1": 10_000_000}


def test_trials_that_a_search_has_yet_to_plan_are_counted(tmp_path: Path) -> None:
    """Two of 12 epochs of 10 s each on two workers; two more like them take as long again."""
    stream = io.StringIO()
    shows = progress(tmp_path, Terminal(stream))
    shows.begun({"alpha=0": epochs(12)})
    shows.journal.append("failed", trial="alpha=0", reason="made up")
    planned_only = time_left(shows.courses(), workers=2)
    shows.to_come = lambda: 2
    with_those_to_come = time_left(shows.courses_to_come(), workers=2)
    assert planned_only is not None
    assert with_those_to_come is not None
    assert planned_only.high_s == pytest.approx(120 * 1.08)
    assert with_those_to_come.high_s == pytest.approx(120 * 1.08 + 120 * 1.35)
    Console(file=stream, width=100).print(shows.view())
    assert "3: 0 done, 0 running, 2 waiting, about 2 to come, 1 failed" in stream.getvalue()


def test_iterations_of_pruning_train_their_epochs_each() -> None:
    config = SETTING.config("Lite0", weights="f" * 64, pruning=Pruning(ratio=0.5, iterations=3))
    assert most_epochs(config) == 3 * config.recipe.epochs

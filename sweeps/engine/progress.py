"""What a sweep is doing now: drawn and redrawn on a terminal, and in one phrase at the end of a log line elsewhere."""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweeps.engine.agenda import out_of_reach
from sweeps.engine.estimate import Course, shown, time_left
from sweeps.engine.journal import Journal
from sweeps.engine.resources import Capacity
from sweeps.engine.space import PlannedTrial, needs
from sweeps.engine.terminal import LABEL_WIDTH, Terminal
from trainables import metric_keys as keys
from trainables.recipes import TrialConfig

REDRAWN_HZ = 2.0
ESTIMATED_S = 1.0
"""Seconds for which an estimate is shown before it is made anew."""
BAR_WIDTH, NAME_WIDTH = 24, 32


@dataclass(kw_only=True)
class Running:
    """A trial that this launch has begun.

    Attributes:
        planned: The trial.
        history: Curve values of the epochs that it has behind it.
        seconds: What each of them took.
        since: When the last of them ended, or it began, on the monotonic clock.
        reported: Whether one ended in this launch.
        trained: Whether the last one has; its result is then in the making.
    """

    planned: PlannedTrial
    history: Sequence[Mapping[str, float]]
    seconds: list[float]
    since: float
    reported: bool = False
    trained: bool = False


class Progress:
    """Counts what is done, runs and waits, and estimates the time left."""

    def __init__(
        self,
        terminal: Terminal,
        journal: Journal,
        planned: Callable[[], Mapping[str, PlannedTrial]],
        predicted: Callable[[str], int],
        have: Capacity,
        to_come: Callable[[], int] = lambda: 0,
    ) -> None:
        """Keep where it looks.

        Args:
            terminal: Draws where it can be drawn on.
            journal: Knows what has ended.
            planned: Asked for all trials so far, in order: they may become more.
            predicted: Asked for the bytes that a trial needs; 0 where that is not known yet.
            have: How much runs at once.
            to_come: Asked for how many trials will be planned later, as far as can be told.
        """
        self.terminal = terminal
        self.journal = journal
        self.planned = planned
        self.predicted = predicted
        self.have = have
        self.to_come = to_come
        self.running: dict[str, Running] = {}
        self.past: dict[str, tuple[float, ...]] = {}
        self.stopping = False
        self._estimate = ""
        self._estimated = -math.inf

    def started(self, trial: str, planned: PlannedTrial, history: Sequence[Mapping[str, float]]) -> None:
        """Take in a trial that starts, or goes on after the epochs of ``history``."""
        seconds = [row[keys.EPOCH_SECONDS] for row in history]
        self.running[trial] = Running(planned=planned, history=history, seconds=seconds, since=time.monotonic())

    def epoch(self, trial: str, history: Sequence[Mapping[str, float]], *, trained: bool) -> None:
        """Take in an epoch's end; the time since the one before counts whole, teacher and checkpoint and all."""
        run, now = self.running[trial], time.monotonic()
        for row in history[len(run.seconds) :]:
            run.seconds.append(now - run.since if run.reported else row[keys.EPOCH_SECONDS])
        run.history, run.since, run.reported, run.trained = history, now, True, trained

    def ended(self, trial: str) -> None:
        """Take in that a trial is over, is to be tried again, or was taken from its worker."""
        run = self.running.pop(trial, None)
        if run is not None:
            self.past[trial] = tuple(run.seconds)

    def begun(self, histories: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
        """Take in what waits and has epochs behind it, from an earlier launch."""
        self.past |= {trial: tuple(row[keys.EPOCH_SECONDS] for row in rows) for trial, rows in histories.items()}

    def stopped(self, trials: Iterable[str]) -> None:
        """Take in that trials wait again."""
        for trial in trials:
            self.ended(trial)

    def left(self) -> str:
        """Return the time left as a phrase, such as ``3 to 4 min left``; empty while nothing is known."""
        now = time.monotonic()
        if not self._estimate or now - self._estimated >= ESTIMATED_S:
            self._estimated = now
            budget = self.have.budget_bytes
            left = time_left(self.courses_to_come(), workers=self.have.workers, budget_bytes=budget)
            if left is None:
                self._estimate = ""
            elif left.high_s == 0:
                self._estimate = "all are trained"
            else:
                self._estimate = f"{shown(left)} left"
        return self._estimate

    def courses_to_come(self) -> list[Course]:
        """Return the courses, and those of trials that are still to be planned, each like the mean of these."""
        courses = self.courses()
        if not courses:
            return courses
        work = round(statistics.fmean(course.work for course in courses))
        epochs = round(statistics.fmean(course.epochs for course in courses))
        return courses + [
            Course(trial=f"to come {number}", network="", taught=False, work=work, epochs=epochs)
            for number in range(self.to_come())
        ]

    def courses(self) -> list[Course]:
        """Return how far each trial is."""
        now, state, rows = time.monotonic(), self.journal.state, []
        gone = {*state.failed, *state.stopped}
        for trial, planned in self.planned().items():
            config, run = planned.config, self.running.get(trial)
            epochs = most_epochs(config)
            result, failed = state.finished.get(trial), trial in gone or bool(needs(config) & gone)
            if failed:
                gone.add(trial)
            seconds, stop = self.past.get(trial, ()), None
            if result is not None:
                done = int(result["metrics"].get(keys.EPOCHS, 0))
                spent = result["metrics"].get(keys.SECONDS, 0.0)
                seconds = seconds if len(seconds) == done else (spent / done,) * done if done else ()
                stop = done
            elif run is not None:
                seconds, stop = tuple(run.seconds), _may_stop_after(config, run.history, epochs)
            rows.append(
                Course(
                    trial=trial,
                    network=f"{config.architecture} {config.resolution_px} {config.recipe.batch_size} {config.pruning}",
                    taught=config.teacher is not None,
                    work=self.predicted(trial) or _recorded_bytes(result),
                    epochs=epochs,
                    stop=stop,
                    seconds=seconds,
                    since_s=None if run is None or run.trained else now - run.since,
                    ended=result is not None or failed or (run is not None and run.trained),
                    needs=frozenset(needs(config)),
                )
            )
        return rows

    @contextmanager
    def live(self) -> Iterator[None]:
        """Draw while the body runs, where the terminal can be drawn on."""
        console = Console(file=self.terminal.stream, highlight=False)
        if not self.terminal.stream.isatty() or console.is_dumb_terminal:
            yield
            return
        view = Live(
            get_renderable=self.view,
            console=console,
            refresh_per_second=REDRAWN_HZ,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        with self.terminal.drawn(view):
            yield

    def view(self) -> RenderableType:
        """Return what is drawn."""
        state, planned = self.journal.state, self.planned()
        running = dict(self.running)  # taken at once: another thread draws
        failed = len(planned.keys() & state.failed.keys())
        done = len(planned.keys() & state.finished.keys())
        testing = sum(run.trained for run in running.values())
        counts = [f"{done} done", f"{len(running) - testing} running"]
        counts += [f"{testing} in their test"] if testing else []
        stopped = planned.keys() & state.stopped.keys()
        lost = out_of_reach(planned, state.failed.keys() | stopped)
        ended = done + failed + len(stopped) + len(lost - running.keys())
        counts += [f"{len(planned) - ended - len(running)} waiting"]
        to_come = self.to_come()
        counts += [f"about {to_come} to come"] if to_come else []
        counts += [f"{len(stopped)} stopped"] if stopped else []
        counts += [f"{failed} failed"] if failed else []
        grid = Table.grid(padding=(0, 2))
        for width, style in ((LABEL_WIDTH - 2, "dim"), (None, ""), (BAR_WIDTH, ""), (None, ""), (None, "")):
            grid.add_column(width=width, style=style, no_wrap=True, overflow="ellipsis", max_width=NAME_WIDTH)
        for number, run in enumerate(running.values()):
            label = "running" if number == 0 else ""
            total, at = most_epochs(run.planned.config), len(run.history)
            bar = ProgressBar(total=max(1, total), completed=at, width=BAR_WIDTH)
            grid.add_row(label, run.planned.name, bar, f"epoch {at}/{total}", _standing(run))
        lines = Table.grid(padding=(0, 2))
        lines.add_column(width=LABEL_WIDTH - 2, style="dim", no_wrap=True)
        lines.add_column(no_wrap=True, overflow="ellipsis")
        lines.add_row("trials", f"{len(planned)}: {', '.join(counts)}")
        best = self._best()
        if best:
            lines.add_row("best", best)
        if self.stopping:
            lines.add_row("stops", "after the epochs that are running; Ctrl-C again stops at once")
        else:
            lines.add_row("time", self.left() or "known after the first epoch")
        whole = Table.grid()
        for part in (Text(""), grid, lines):
            whole.add_row(part)
        return whole

    def _best(self) -> str:
        """Name the trial with the highest validation accuracy so far."""
        key, found = keys.scored("val", keys.ACCURACY), []
        for trial, planned in self.planned().items():
            score = self.journal.state.finished.get(trial, {}).get("metrics", {}).get(key)
            if score is not None:
                found.append((score, planned.name))
        if not found:
            return ""
        score, name = max(found, key=lambda row: row[0])
        return f"{name}, validation accuracy {score:.3f}"


def _recorded_bytes(result: Mapping[str, Any] | None) -> int:
    """Return the predicted bytes of a trial that another launch or sweep has finished; 0 where there is no record."""
    return round(result["metrics"].get(keys.PREDICTED_MEMORY_MB, 0.0) * 1e6) if result is not None else 0


def most_epochs(config: TrialConfig) -> int:
    """Return how many epochs a trial trains at most, over all its iterations of pruning."""
    return config.recipe.epochs * (config.pruning.iterations if config.pruning else 1)


def _may_stop_after(config: TrialConfig, history: Sequence[Mapping[str, float]], epochs: int) -> int:
    """Return after how many epochs a running trial ends if its validation loss improves no more."""
    if not history or (config.pruning is not None and config.pruning.iterations > 1):
        return epochs  # nothing is known; or each iteration may stop early, and another one follows
    losses = [row[keys.EPOCH_VAL_LOSS] for row in history]
    best = losses.index(min(losses)) + 1
    return min(epochs, max(best + config.recipe.patience, len(history)))


def _standing(run: Running) -> str:
    if run.trained:
        return "testing and exporting"
    if not run.history:
        return "starting"
    return f"validation accuracy {run.history[-1][keys.EPOCH_VAL_ACCURACY]:.3f}"

"""What the user sees of a sweep: labelled lines, trial progress, one table at the end."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.live import Live

    from sweeps.engine.launch_log import LaunchLog

LABEL_WIDTH = 9


class Terminal:
    """Writes to a stream; bars are drawn on a terminal only, every line stands for itself elsewhere."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.log: LaunchLog | None = None  # gets every line, too
        self.began = time.monotonic()
        self._view: Live | None = None
        self._writing = threading.RLock()  # the courier and the watch write, too

    def line(self, label: str, text: str) -> None:
        """Write one labelled line; a label that fills its column keeps two spaces to its text."""
        label = label if len(label) < LABEL_WIDTH else f"{label}  "
        self.write(f"{label:<{LABEL_WIDTH}}{text}\n")

    def event(self, text: str) -> None:
        """Write a line with the time since the start."""
        self.line(self._clock(), text)

    def detail(self, text: str) -> None:
        """Write an event that a view shows by itself: where one is drawn, only the log gets it."""
        line = f"{self._clock():<{LABEL_WIDTH}}{text}\n"
        if self._view is None:
            self.write(line)
        else:
            self._keep(line)

    def write(self, text: str) -> None:
        """Write whole lines, above the view where one is drawn."""
        with self._writing:
            self._keep(text)
            if self._view is None:
                self.stream.write(text)
                self.stream.flush()
            else:
                self._view.console.print(text, end="", markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def drawn(self, view: "Live") -> Iterator[None]:
        """Keep a view below all lines while the body runs."""
        view.start()
        view.console.show_cursor(True)  # a driver that is killed leaves a terminal that can be typed on
        self._view = view
        try:
            yield
        finally:
            self.wipe()

    def wipe(self) -> None:
        """Take the view away, if there is one: before the process ends, from whichever thread ends it."""
        with self._writing:
            view, self._view = self._view, None
            if view is not None:
                view.stop()

    def _clock(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        return f"{minutes:02d}:{seconds:02d}"

    def _keep(self, text: str) -> None:
        if self.log is not None:
            self.log.stream.write(text)

    @contextmanager
    def progress(self, label: str, unit: str) -> Iterator[Callable[[int, int], None]]:
        """Show (done, total): a line that is rewritten on a terminal, every quarter elsewhere."""
        shown = -1
        live = self.stream.isatty()

        def advance(done: int, total: int) -> None:
            nonlocal shown
            share = 100 * done // max(1, total)
            step = share if live else share // 25
            if step == shown:
                return
            shown = step
            text = f"{label:<{LABEL_WIDTH}}{done}/{total} {unit}"
            if live:
                self.stream.write(f"\r{text}")
                self.stream.flush()
            else:
                self.write(f"{text}\n")

        yield advance
        if live:
            self.stream.write("\r\033[K")
            self.stream.flush()


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows in aligned columns: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = [
            f"{cell:<{width}}" if i == 0 else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join([line(header), "  ".join("-" * width for width in widths), *map(line, rows)])


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the same as Markdown."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"

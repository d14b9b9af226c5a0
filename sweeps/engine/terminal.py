"""What the user sees of a sweep: labelled lines, trial progress, one table at the end."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

LABEL_WIDTH = 9


class Terminal:
    """Writes to a stream; bars are drawn on a terminal only, every line stands for itself elsewhere."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.began = time.monotonic()

    def line(self, label: str, text: str) -> None:
        """Write one labelled line."""
        self.stream.write(f"{label:<{LABEL_WIDTH}}{text}\n")
        self.stream.flush()

    def event(self, text: str) -> None:
        """Write a line with the time since the start."""
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        self.line(f"{minutes:02d}:{seconds:02d}", text)

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
            self.stream.write(f"\r{text}" if live else f"{text}\n")
            self.stream.flush()

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

"""Boxes and scores of every frame as JSON, written as the frames pass: nothing is kept in memory."""

import json
import tempfile
from pathlib import Path
from typing import Any

from data_store.errors import InputError
from demo.judging import Marked


class FrameRecords:
    """One JSON file, whole or not at all."""

    def __init__(self, path: Path) -> None:
        """Open a scratch file beside it.

        Raises:
            InputError: the folder is not there or cannot be written.
        """
        self._path = path
        try:
            self._frames = tempfile.TemporaryFile("w+", encoding="utf-8", dir=path.parent)  # noqa: SIM115 - closed in close
        except OSError as error:
            raise InputError(
                f"--json must lie in a folder that can be written, but {path.parent} cannot ({error.strerror}); "
                "choose another"
            ) from error
        self._empty = True

    def add(self, done: Marked) -> None:
        """Add a frame."""
        record = {
            "frame": done.picture.index,
            "time_s": round(done.picture.time_s, 4),
            "detected": done.key,
            "faces": [
                {
                    "face": mark.face,
                    "box": [round(value, 1) for value in (mark.left, mark.top, mark.width, mark.height)],
                    "verdict": mark.verdict,
                    "probability": None if mark.probability is None else round(mark.probability, 4),
                }
                for mark in done.marks
            ],
        }
        self._frames.write(("" if self._empty else ",\n") + json.dumps(record))
        self._empty = False

    def write(self, summary: dict[str, Any]) -> None:
        """Write summary and frames."""
        head = json.dumps(summary, indent=1, allow_nan=False)
        part = self._path.with_name(f".{self._path.name}.part")
        try:
            self._frames.seek(0)
            with part.open("w", encoding="utf-8") as file:
                file.write(head[: head.rindex("\n}")] + ',\n "frames": [\n')
                while text := self._frames.read(1 << 20):
                    file.write(text)
                file.write("\n]\n}\n")
            part.replace(self._path)
        finally:
            part.unlink(missing_ok=True)

    def close(self) -> None:
        """Drop the scratch file."""
        self._frames.close()

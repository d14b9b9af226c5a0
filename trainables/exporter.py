"""The process that writes ``model.onnx`` into model folders, beside trials that train.

An export keeps the interpreter busy for seconds, and puts torch's global generator back to where it found it, from
which a trial of the same process draws. So it has a process of its own, of low priority, that loads torch once for
all models of a sweep.

Run as ``python -m trainables.exporter``: a model folder a line on standard input, an answer a line on standard output,
empty or what went wrong.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO

from trainables.artifact_files import ONNX_FILE

NICENESS = 19
"""Ray's workers, who train meanwhile, run at 15."""
TRIES = 2
"""A process that dies (out of memory, kill -9) is seldom its model's fault."""


class Exporter:
    """Exports one model after another. The process starts with the first one, and ends with ``stop`` or its maker."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="exporter")
        self._lock = threading.Lock()
        self._folders: set[Path] = set()
        self._told: list[Future[None]] = []
        self.failed: dict[Path, str] = {}
        """Folders whose model could not be exported, and why."""
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[str] | None = None
        self._stopped = False

    def put(self, folder: Path, then: Callable[[], object] = lambda: None) -> None:
        """Export a model's folder behind the caller's back, unless it has its file, and call ``then`` after it.

        A model that cannot be exported is in ``failed`` then; of one that ``stop`` left undone nothing is said.
        """
        if folder not in self._folders:
            self._folders.add(folder)
            self._pool.submit(self._try, folder)
        self._told.append(self._pool.submit(self._tell, folder, then))  # the pool's one thread comes to it after that

    def finish(self, seconds: float | None = None) -> bool:
        """Wait for all that was put, and told; return False when it was not done after so many seconds."""
        done, left = wait(self._told, timeout=seconds)
        for told in done:
            told.result()
        return not left

    def stop(self) -> None:
        """End the process; what it had not done stays undone."""
        with self._lock:
            self._stopped = True  # from here on none is started
            if self._process is not None:
                self._process.kill()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool.shutdown()  # the job that it was at has ended with it
        self._bury()
        if self._errors is not None:
            self._errors.close()

    def _tell(self, folder: Path, then: Callable[[], object]) -> None:
        if folder in self.failed or (folder / ONNX_FILE).exists():
            then()

    def _try(self, folder: Path) -> None:
        try:
            self._export(folder)
        except Exception as error:  # noqa: BLE001 - told at the sweep's end, which it does not stop
            self.failed[folder] = f"{type(error).__name__}: {error}"

    def _export(self, folder: Path) -> None:
        for _ in range(TRIES):
            if (folder / ONNX_FILE).exists():
                return
            for torn in folder.glob(f".{ONNX_FILE}.*"):  # of a process that was killed
                torn.unlink(missing_ok=True)
            answer = self._ask(folder)
            if answer:
                self.failed[folder] = answer
            if answer is not None or self._stopped:
                return
        self.failed[folder] = f"the process that exports it died: {self._said()}"

    def _ask(self, folder: Path) -> str | None:
        """Return the process's answer, None when it died."""
        with self._lock:
            if self._stopped:
                return None
            process = self._process = self._process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        answer = ""
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{folder.resolve()}\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        if not answer.endswith("\n"):
            self._bury()
            return None
        return answer.strip()

    def _bury(self) -> None:
        """Take leave of a process that has died, or is to die now."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _started(self) -> "subprocess.Popen[str]":
        self._errors = self._errors or tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by stop
        return subprocess.Popen(
            [sys.executable, "-m", "trainables.exporter"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=Path(__file__).parents[1],
            process_group=0,  # Ctrl-C is the sweep's, which ends it; in another session its priority would not count
        )

    def _said(self) -> str:
        if self._errors is None:
            return ""
        self._errors.seek(0)
        return self._errors.read().strip()[-500:]


def _main() -> None:
    os.nice(NICENESS)
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints is no answer
    import torch

    from trainables.onnx_files import Traces, write_model

    torch.set_num_threads(1)
    traces = Traces()
    for line in sys.stdin:
        try:
            write_model(Path(line.rstrip("\n")), traces)
            answer = ""
        except Exception as error:  # noqa: BLE001 - the sweep says what it was
            answer = f"{type(error).__name__}: {error}".splitlines()[0]
        answers.write(f"{answer}\n")
        answers.flush()


if __name__ == "__main__":
    _main()

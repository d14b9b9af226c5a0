"""The server as a command: what it says, and that nothing of it stays behind."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from data_store.errors import InputError
from demo.app import listening, main, parser
from demo.jobs import FOLDER

ROOT = Path(__file__).parents[2]


@contextmanager
def started(scratch: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A server that has said its address, and the lines up to the number of its models."""
    command = [sys.executable, "demo/app.py", "--port", "0", "--tracking-uri", "sqlite:////nowhere/mlflow.db", *more]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if line.startswith("models"):
                break
        yield process, lines
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_ends_cleanly_however_it_is_told_to(
    tmp_path: Path, model_folder: Path, number: signal.Signals, code: int
) -> None:
    with started(tmp_path, "--models", str(model_folder.parent)) as (process, lines):
        address = lines[0].split()[-1]
        assert address.startswith("http://127.0.0.1:")
        assert "models   1 on offer\n" in lines
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert b"Who is fake?" in answer.read()
        assert len(list(tmp_path.glob(f"{FOLDER}*"))) == 1
        process.send_signal(number)
        assert process.wait(15) == code
    assert list(tmp_path.glob(f"{FOLDER}*")) == []


@pytest.mark.slow
def test_with_no_model_it_names_the_command_and_elsewhere_it_warns(tmp_path: Path) -> None:
    with started(tmp_path, "--host", "0.0.0.0") as (_, lines):
        said = "".join(lines)
    assert "models   0 on offer; train one: python sweeps/kd_alpha.py" in said
    assert "warning  --host 0.0.0.0: everyone who reaches this address" in said
    assert "no password and no encryption" in said


def test_it_listens_on_loopback_unless_told_otherwise() -> None:
    assert parser().parse_args([]).host == "127.0.0.1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-minutes", "0"], "--max-minutes must be above 0"),
        (["--max-mb", "-3"], "--max-mb must be above 0"),
        (["--port", "70000"], "--port must lie between 0 and 65535"),
        (["--models", "/nowhere"], "--models must be a folder of exported models"),
        (["--examples", "/nowhere"], "--examples must be a folder of videos"),
        (["--host", "203.0.113.7", "--port", "0"], "must be free on this machine"),
    ],
)
def test_bad_input_is_one_clear_line(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        main(arguments)
    assert "\n" not in str(caught.value)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"127.0.0.1:{port} is not .*--port 0"):
            listening("127.0.0.1", port)

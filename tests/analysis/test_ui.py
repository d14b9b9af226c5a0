import socket
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import ui
from data_store.errors import InputError


def test_a_taken_port_is_named_with_another(kd_alpha_store: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"127\.0\.0\.1:{port} is not .*--port {port + 1}"):
            ui.main(["--port", str(port), "--tracking-uri", kd_alpha_store])


@pytest.mark.parametrize("port", [0, 70000])
def test_a_port_that_cannot_be_is_refused(kd_alpha_store: str, port: int) -> None:
    with pytest.raises(InputError, match=f"but got {port}"):
        ui.main(["--port", str(port), "--tracking-uri", kd_alpha_store])


def test_no_results_yet_names_the_command_that_makes_some(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no results yet.*python sweeps/kd_alpha\.py"):
        ui.main(["--tracking-uri", f"sqlite:///{tmp_path / 'mlflow.db'}"])


def test_the_server_listens_on_loopback_only() -> None:
    command = ui.server_command("sqlite:////x/mlflow.db", 5001)
    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    assert command[command.index("--host") + 1] == "127.0.0.1"


def test_the_address_is_said_before_the_server_starts(
    kd_alpha_store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(command: list[str]) -> int:
        assert "http://127.0.0.1:5077 in some seconds" in capsys.readouterr().out
        return len(command)

    monkeypatch.setattr(subprocess, "call", call)
    assert ui.main(["--port", "5077", "--tracking-uri", kd_alpha_store]) == 12

"""A tracking store that a sweep may not use, or has not used so far."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ErrorCode

from data_store.errors import InputError
from sweeps.engine import launch as launching
from sweeps.engine.forecast import Forecasts
from sweeps.engine.tracking import _let_in, check_server
from sweeps.engine.tracking_file import check_file
from sweeps.kd_alpha import SWEEP


@pytest.mark.parametrize("code", ["UNAUTHENTICATED", "PERMISSION_DENIED"])
def test_a_server_that_does_not_let_us_in_is_one_line(code: str) -> None:
    def ask() -> None:
        raise MlflowException("you are somebody", error_code=ErrorCode.Value(code))

    with pytest.raises(InputError, match=f"https://host refuses .{code}.; set MLFLOW_TRACKING_USERNAME"):
        _let_in("https://host", ask)


def test_other_errors_of_a_server_are_its_own() -> None:
    def ask() -> None:
        raise MlflowException("broken")

    with pytest.raises(MlflowException, match="broken"):
        _let_in("https://host", ask)
    assert _let_in("https://host", lambda: 3) == 3


@pytest.mark.parametrize("uri", ["http://[::1", "postgresql+psycopg2://[::1/mlflow?host=x"])
def test_what_is_no_address_is_named(uri: str) -> None:
    with pytest.raises(
        InputError, match=r"like http://HOST:PORT, but got \w[^ ?]*\[::1\S* \(Invalid IPv6 URL\); correct"
    ):
        check_server(uri)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("text", "but {}/text is not usable .it is no database.; name another with --tracking-uri"),
        ("folder", "but {}/folder is not usable .it is no file."),
        ("text/below", "but {}/text/below is not usable ."),
        ("/proc/below", "but /proc/below is not usable ."),
        ("/dev/null", "but /dev/null is not usable .it is no file."),
    ],
)
def test_a_file_that_cannot_be_a_tracking_store_is_named_before_anything_starts(
    file: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("no database, but longer than its first bytes")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=words.format(tmp_path)):
        launching.run(SWEEP, ["--results", str(tmp_path / "results"), "--tracking-uri", f"sqlite:///{tmp_path / file}"])
    assert not any((tmp_path / "results").iterdir())


def test_a_file_that_is_new_empty_or_a_database_will_do(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    with closing(sqlite3.connect(tmp_path / "made.db")) as made:
        made.execute("CREATE TABLE one (two)")
    for name in ("empty.db", "made.db", "new/new.db"):
        check_file(f"sqlite:///{tmp_path / name}")
    check_file("http://localhost:1")


def test_a_sweep_keeps_to_its_tracking_store(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worked: list[Any] = []

    def work(launch: Any, _: object, pending: Mapping[str, object], *__: object) -> int:  # noqa: ANN401
        worked.append(launch.uri)
        return 0

    monkeypatch.setattr(launching, "_work", work)
    monkeypatch.setattr(Forecasts, "bytes_of", lambda *_: 1)
    results, other = tmp_path / "results", f"sqlite:///{tmp_path / 'other.db'}"
    flags = ["--store", str(store), "--profile", "demo", "--results"]
    assert launching.run(SWEEP, [*flags, str(results), "--tracking-uri", other]) == 0
    with pytest.raises(InputError, match=f"began with {other} and this command has .*; give --tracking-uri {other}"):
        launching.run(SWEEP, [*flags, str(results)])
    assert launching.run(SWEEP, [*flags, str(tmp_path / "mine")]) == 0
    moved = (tmp_path / "mine").rename(tmp_path / "moved")  # its own file goes with it
    assert launching.run(SWEEP, [*flags, str(moved)]) == 0
    assert len(worked) == 3

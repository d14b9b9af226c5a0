"""Where the record is kept, whether it can be read, and where it can be browsed."""

import difflib
import os
import sqlite3
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from data_store.errors import InputError

MAKE_RUNS = "make some with `python sweeps/kd_alpha.py`"
TRACKING_HELP = "MLflow's address (default: MLFLOW_TRACKING_URI, else results/mlflow.db)"
PREFLIGHT_SECONDS = 5.0


def project_root() -> Path:
    """Return the checkout this package runs from, else the current folder."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").is_file() else Path.cwd()


def default_tracking_uri() -> str:
    """Return `MLFLOW_TRACKING_URI`, else the absolute address of `results/mlflow.db` in the project."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{project_root() / 'results' / 'mlflow.db'}"


def sqlite_path(tracking_uri: str) -> Path | None:
    """Return the file of an `sqlite:///` address, or None for another kind of address."""
    prefix = "sqlite:///"
    return Path(tracking_uri.removeprefix(prefix).split("?")[0]) if tracking_uri.startswith(prefix) else None


def check_tracking_uri(tracking_uri: str) -> None:
    """Raise `InputError` when the store cannot be read; reads nothing but its front door.

    An sqlite file must exist and be MLflow's (MLflow would otherwise create one in silence); a server must
    answer within `PREFLIGHT_SECONDS` (MLflow's own client retries for minutes).
    """
    path = sqlite_path(tracking_uri)
    try:
        scheme = urllib.parse.urlsplit(tracking_uri).scheme
    except ValueError as error:
        shown = tracking_uri.rpartition("@")[2]  # what stands before it may be a password
        raise InputError(
            f"a tracking address must be like http://HOST:PORT, but got {shown!r} ({error}); correct it"
        ) from error
    if path is not None:
        if not path.is_file():
            raise InputError(f"no results yet: there is no MLflow store at {path}; {MAKE_RUNS}")
        if not _is_mlflow_database(path):
            raise InputError(
                f"the tracking store must be an MLflow database, but {path} is not one; {MAKE_RUNS}, "
                "or name another with --tracking-uri"
            )
    elif scheme in ("http", "https"):
        _check_server(tracking_uri)
    elif scheme in ("", "file"):
        raise InputError(
            f"a tracking address must be sqlite:///FILE, http(s)://HOST or another database, but got "
            f"{tracking_uri!r}; for a file write sqlite:///{Path(tracking_uri).absolute()}"
        )


def ui_address(tracking_uri: str) -> str:
    """Return where MLflow's UI shows a store: the server itself, or where `make ui` serves a local one."""
    served = urllib.parse.urlsplit(tracking_uri).scheme in ("http", "https")
    return tracking_uri.rstrip("/") if served else "http://127.0.0.1:5000"


def how_to_browse(tracking_uri: str) -> str:
    """Return what shows a store's runs: the address of a server, or the command that serves them."""
    address = ui_address(tracking_uri)
    if address == tracking_uri.rstrip("/"):
        return address
    return "make ui" if tracking_uri == default_tracking_uri() else f'make ui ARGS="--tracking-uri {tracking_uri}"'


def _is_mlflow_database(path: Path) -> bool:
    """Tell whether a file is an sqlite database with MLflow's table of runs; never writes to it."""
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'runs'"
            return connection.execute(query).fetchone() is not None
        finally:
            connection.close()
    except sqlite3.Error:
        return False


def _check_server(tracking_uri: str) -> None:
    """Raise `InputError` unless the server answers on `/health` within the preflight's time."""
    try:
        with urllib.request.urlopen(f"{tracking_uri.rstrip('/')}/health", timeout=PREFLIGHT_SECONDS):
            pass
    except urllib.error.HTTPError:
        pass  # it answered: a proxy in front of MLflow may hide /health
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"the tracking server must answer within {PREFLIGHT_SECONDS:g} s, but {tracking_uri} did not "
            f"({one_line(reason)}); start it, or name another with --tracking-uri"
        ) from error


def one_line(error: object) -> str:
    """Return the first line of an error's text."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def run_link(tracking_uri: str, experiment_id: str, run_id: str) -> str:
    """Return the page of a run in MLflow's UI."""
    return f"{ui_address(tracking_uri)}/#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"


def near(word: str, words: Sequence[str]) -> str:
    """Return `did you mean A or B?` or, when nothing is near, the first few there are."""
    close = difflib.get_close_matches(word, words, n=3, cutoff=0.5) or difflib.get_close_matches(
        word.lower(), words, n=3, cutoff=0.4
    )
    if close:
        return f"did you mean {' or '.join(close)}?"
    listed = ", ".join(sorted(words)[:12])
    return f"there are: {listed}" if listed else "there are none"

"""Trials as MLflow recorded them: one frozen record a trial, and one clear error when there are none."""

import difflib
import os
import sqlite3
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from data_store.errors import InputError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

MAKE_RUNS = "make some with `python sweeps/kd_alpha.py`"
TRACKING_HELP = "MLflow's address (default: MLFLOW_TRACKING_URI, else results/mlflow.db)"
PAGE_SIZE = 1000
PREFLIGHT_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class DataIdentity:
    """What two trials must share to be compared: the same crops, split the same way."""

    store_digest: str
    """SHA-256 (hex) of the store's `store.json`, or "unknown"."""
    split_kind: str
    """"official", "identity", "frame", or "unknown"."""

    @property
    def text(self) -> str:
        """Short and readable: `store 1a2b3c4d, official split`."""
        return f"store {self.store_digest[:8]}, {self.split_kind} split"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One finished trial: its configuration, its final metrics and where its artifacts lie."""

    run_id: str
    """MLflow's run id."""
    name: str
    """Readable name: `alpha=0.25`, `teacher B0`."""
    sweep: str
    """The sweep's own name with its digest: `kd_alpha-demo-1a2b3c4d`."""
    experiment: str
    """MLflow experiment: the question the sweep asks, `kd_alpha`."""
    experiment_id: str
    """MLflow's id of the experiment."""
    role: str
    """`student` or `teacher`."""
    data: DataIdentity
    """Store and split that the trial was trained and measured on."""
    ended: datetime | None
    """When the run was finished (UTC)."""
    artifact_uri: str
    """Where the run's artifacts lie."""
    params: Mapping[str, str] = field(default_factory=dict)
    """Configuration as recorded, flat strings."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Final metrics: `val_accuracy`, `size_mb`, ...; scores in [0, 1]. Epoch histories are left out."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """The engine's tags: `profile`, `guarantee`, `graph`, `trial`, `store`, ..."""

    @property
    def architecture(self) -> str:
        """`B0`, `Lite0`, ... or `unknown`."""
        return self.params.get("architecture", "unknown")


@dataclass(frozen=True, kw_only=True)
class Runs:
    """What a tracking store holds of the wanted sweeps."""

    tracking_uri: str
    """The store that was read."""
    trials: tuple[Trial, ...]
    """Finished trials, oldest first."""
    unfinished: tuple[str, ...]
    """`name (STATUS)` of the trials that are running or failed: never drawn, always counted."""


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
    scheme = urllib.parse.urlsplit(tracking_uri).scheme
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


def read_runs(tracking_uri: str | None = None, sweeps: Sequence[str] = ()) -> Runs:
    """Read the trials of the named sweeps (of all sweeps when none is named), page by page.

    Args:
        tracking_uri: MLflow's address; `default_tracking_uri()` when None.
        sweeps: names of experiments (`kd_alpha`) or of single sweeps (`kd_alpha-demo-1a2b3c4d`).

    Raises:
        InputError: the store is missing or does not answer, a sweep's name is unknown, nothing is finished.
    """
    uri = tracking_uri or default_tracking_uri()
    check_tracking_uri(uri)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(tracking_uri=uri)
    try:
        experiments = {found.experiment_id: found for found in client.search_experiments()}
        raw = _search(client, list(experiments), "tags.kind = 'trial'")
    except MlflowException as error:
        raise InputError(
            f"the tracking store {uri} must be readable, but MLflow says: {_one_line(error)}; "
            "check the address, or `mlflow db upgrade` an old store"
        ) from error
    return _select(uri, [_trial(run, experiments[run.info.experiment_id]) for run in raw], raw, sweeps)


def ui_address(tracking_uri: str) -> str:
    """Return where MLflow's UI shows a store: the server itself, or where `make ui` serves a local one."""
    served = urllib.parse.urlsplit(tracking_uri).scheme in ("http", "https")
    return tracking_uri.rstrip("/") if served else "http://127.0.0.1:5000"


def run_link(tracking_uri: str, trial: Trial) -> str:
    """Return the page of a trial in MLflow's UI."""
    return f"{ui_address(tracking_uri)}/#/experiments/{trial.experiment_id}/runs/{trial.run_id}"


def near(word: str, words: Sequence[str]) -> str:
    """Return ` (did you mean A or B?)` or, when nothing is near, the first few there are."""
    close = difflib.get_close_matches(word, words, n=3, cutoff=0.5) or difflib.get_close_matches(
        word.lower(), words, n=3, cutoff=0.4
    )
    if close:
        return f"did you mean {' or '.join(close)}?"
    listed = ", ".join(sorted(words)[:12])
    return f"there are: {listed}" if listed else "there are none"


def _search(client: "MlflowClient", experiment_ids: list[str], condition: str) -> "list[Run]":
    """Return all runs that match, oldest first, through MLflow's paged search."""
    found: list[Run] = []
    token: str | None = None
    while experiment_ids:
        page = client.search_runs(
            experiment_ids,
            filter_string=condition,
            max_results=PAGE_SIZE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        found.extend(page)
        token = page.token
        if not token:
            break
    return found


def _trial(run: "Run", experiment: "Experiment") -> Trial:
    """Turn MLflow's run into a record."""
    tags = dict(run.data.tags)
    return Trial(
        run_id=run.info.run_id,
        name=run.info.run_name or run.info.run_id[:8],
        sweep=tags.get("sweep", experiment.name),
        experiment=experiment.name,
        experiment_id=run.info.experiment_id,
        role=tags.get("role", "student"),
        data=DataIdentity(
            store_digest=tags.get("store_digest", "unknown"), split_kind=tags.get("split_kind", "unknown")
        ),
        ended=datetime.fromtimestamp(run.info.end_time / 1000, UTC) if run.info.end_time else None,
        artifact_uri=run.info.artifact_uri,
        params=dict(run.data.params),
        metrics={key: value for key, value in run.data.metrics.items() if "/" not in key},
        tags={key: value for key, value in tags.items() if not key.startswith("mlflow.")},
    )


def _select(uri: str, trials: list[Trial], raw: "list[Run]", sweeps: Sequence[str]) -> Runs:
    """Keep the wanted sweeps; split finished from unfinished."""
    known = sorted({trial.experiment for trial in trials} | {trial.sweep for trial in trials})
    for name in sweeps:
        if trials and name not in known:
            raise InputError(f"--sweep must name a recorded sweep, but got {name!r}; {near(name, known)}")
    finished: list[Trial] = []
    unfinished: list[str] = []
    for trial, run in zip(trials, raw, strict=True):
        if sweeps and trial.experiment not in sweeps and trial.sweep not in sweeps:
            continue
        if run.info.status == "FINISHED":
            finished.append(trial)
        else:
            unfinished.append(f"{trial.name} ({run.info.status})")
    if not finished:
        state = f"{len(unfinished)} unfinished" if unfinished else "no"
        remedy = "let the sweep end, or run its command again to go on" if unfinished else MAKE_RUNS
        raise InputError(f"a picture needs a finished trial, but {uri} holds {state} trials; {remedy}")
    return Runs(tracking_uri=uri, trials=tuple(finished), unfinished=tuple(unfinished))


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
            f"({_one_line(reason)}); start it, or name another with --tracking-uri"
        ) from error


def _one_line(error: object) -> str:
    """Return the first line of an error's text."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__

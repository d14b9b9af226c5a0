"""Trials as MLflow recorded them: one frozen record a trial, and one clear error when there are none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.addresses import MAKE_RUNS, check_tracking_uri, default_tracking_uri, near, one_line
from data_store.errors import InputError
from trainables import metric_keys as keys

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PAGE_SIZE = 1000
FOUND_TAG = "found."
"""Start of the tags by which a sweep's own run names trials of other sweeps."""
STOPPED_TAG = "stopped_at_epoch"
"""Tag of a trial that a sweep stopped early; 0 where a pruned model was over a limit."""
CACHE = Path("results") / "cache"
"""Below the project's root: what was read of finished sweeps."""


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
    status: str
    """MLflow's status: `FINISHED`, `RUNNING`, `FAILED` or `KILLED`."""
    started: int
    """Milliseconds since 1970."""
    ended: int
    """Milliseconds since 1970; 0 while it runs."""
    artifact_uri: str
    """Where the run's artifacts lie."""
    params: Mapping[str, str] = field(default_factory=dict)
    """Configuration as recorded, flat strings."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Final metrics: `val_accuracy`, `size_mb`, ...; scores in [0, 1]. Epoch histories are left out."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """The engine's tags: `profile`, `guarantee`, `graph`, `trial`, `store`, ..."""

    @property
    def date(self) -> str:
        """Day on which it ended: `23 November 2026`; empty while it runs."""
        moment = datetime.fromtimestamp(self.ended / 1000, UTC)
        return f"{moment.day} {moment:%B %Y}" if self.ended else ""

    @property
    def smoke(self) -> bool:
        """A smoke run: its epochs were cut short to see that all works."""
        return self.params.get("recipe.max_steps_per_epoch", "none") != "none"

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
    unfinished: tuple[str, ...] = ()
    """`name (STATUS)` of the trials that are running or failed: never drawn, always counted."""
    questions: tuple[str, ...] = ()
    """Experiments of the named sweeps; empty when none was named. Trials that they took over may be of others."""
    smoke: int = 0
    """How many smoke runs were left out: their scores mean nothing. They are kept when there is nothing else."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what was left out."""
        more = f" and {len(self.unfinished) - 3} more" if len(self.unfinished) > 3 else ""
        unfinished = f"left out, unfinished: {', '.join(self.unfinished[:3])}{more}"
        smoke = f"left out: {self.smoke} smoke run{'s' * (self.smoke > 1)} of a step or two"
        return (*([unfinished] if self.unfinished else []), *([smoke] if self.smoke else []))


def read_runs(tracking_uri: str | None = None, sweeps: Sequence[str] = (), *, cache: Path | None = None) -> Runs:
    """Read the trials of the named sweeps (of all sweeps when none is named), page by page.

    Args:
        tracking_uri: MLflow's address; `default_tracking_uri()` when None.
        sweeps: names of experiments (`kd_alpha`) or of single sweeps (`kd_alpha-demo-1a2b3c4d`).
        cache: folder in which the trials of finished sweeps are kept, so that a second reading asks MLflow for
            new ones only; None to ask for everything.

    Raises:
        InputError: the store is missing or does not answer, a sweep's name is unknown, nothing is finished.
    """
    from analysis.record_cache import RecordCache, read_cached

    uri = tracking_uri or default_tracking_uri()
    check_tracking_uri(uri)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        record = Record(MlflowClient(tracking_uri=uri))
        chosen = _choose(record.sweeps, sweeps)
        if cache is None:
            trials = record.trials(chosen if sweeps else None)
        else:
            trials = read_cached(record, chosen, RecordCache.open(cache, uri), everything=not sweeps)
    except MlflowException as error:
        raise InputError(
            f"the tracking store {uri} must be readable, but MLflow says: {one_line(error)}; "
            "check the address, or `mlflow db upgrade` an old store"
        ) from error
    questions = tuple(sorted({sweep.experiment for sweep in chosen})) if sweeps else ()
    return replace(_finished(uri, trials), questions=questions)


def read_trial(run_id: str, tracking_uri: str) -> Trial:
    """Read one trial.

    Args:
        run_id: MLflow's id of its run.
        tracking_uri: MLflow's address.

    Raises:
        InputError: the store does not answer, there is no such run, or it is no finished trial.
    """
    check_tracking_uri(tracking_uri)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(tracking_uri=tracking_uri)
    try:
        run = client.get_run(run_id)
        trial = _trial(run, client.get_experiment(run.info.experiment_id).name)
    except MlflowException as error:
        raise InputError(
            f"a run's id must be recorded, but {run_id} in {tracking_uri} is not ({one_line(error)}); copy one from "
            "`make ui`"
        ) from error
    if trial.tags.get("kind") != "trial" or trial.status != "FINISHED":
        what = f"{trial.tags.get('kind', 'run')} ({trial.status})"
        raise InputError(f"a finished trial is needed, but {run_id} is a {what}; copy a trial's id from `make ui`")
    return trial


@dataclass(frozen=True, kw_only=True)
class SweepRun:
    """A sweep's own run in MLflow, the parent of its trials."""

    run_id: str
    """MLflow's run id."""
    sweep: str
    """`kd_alpha-demo-1a2b3c4d`."""
    experiment: str
    """`kd_alpha`."""
    experiment_id: str
    """MLflow's id of the experiment."""
    status: str
    """MLflow's status; `FINISHED` means that nothing of its trials will change."""
    end_time: int
    """Milliseconds since 1970; 0 while it runs."""
    found: tuple[str, ...] = ()
    """Run ids of the trials that it needs and another sweep had trained."""


class Record:
    """Sweeps and trials of one tracking store, as MLflow's client finds them."""

    def __init__(self, client: "MlflowClient") -> None:
        """Find the experiments and the sweeps; trials are read when asked for."""
        self._client = client
        self._experiments = {found.experiment_id: found.name for found in client.search_experiments()}
        self.sweeps = [self._sweep(run) for run in self._search("tags.kind = 'sweep'")]

    def trials(self, sweeps: "Sequence[SweepRun] | None" = None) -> list[Trial]:
        """Return the trials of the given sweeps, or every trial there is, oldest first."""
        if sweeps is None:
            return self._trials("tags.kind = 'trial'")
        found = []
        for sweep in sweeps:
            condition = f"tags.kind = 'trial' and tags.sweep = '{_quoted(sweep.sweep)}'"
            found += self._trials(condition, [sweep.experiment_id])
            for run_id in sweep.found:
                found += self._trials(f"attributes.run_id = '{_quoted(run_id)}'")
        return list({trial.run_id: trial for trial in found}.values())

    def trials_since(self, start_time: int) -> list[Trial]:
        """Return the trials that were started after a time (milliseconds since 1970)."""
        return self._trials(f"tags.kind = 'trial' and attributes.start_time > {start_time}")

    def deleted(self) -> set[str]:
        """Return the ids of the trials that a user has deleted."""
        from mlflow.entities import ViewType

        return {run.info.run_id for run in self._search("tags.kind = 'trial'", view=ViewType.DELETED_ONLY)}

    def _trials(self, condition: str, experiments: Sequence[str] | None = None) -> list[Trial]:
        return [_trial(run, self._experiments[run.info.experiment_id]) for run in self._search(condition, experiments)]

    def _search(self, condition: str, experiments: Sequence[str] | None = None, view: int | None = None) -> "list[Run]":
        """Return all runs that match, oldest first, through MLflow's paged search."""
        from mlflow.entities import ViewType

        found: list[Run] = []
        token: str | None = None
        within = list(self._experiments if experiments is None else experiments)
        while within:
            page = self._client.search_runs(
                within,
                filter_string=condition,
                run_view_type=ViewType.ACTIVE_ONLY if view is None else view,
                max_results=PAGE_SIZE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            found.extend(page)
            token = page.token
            if not token:
                break
        return found

    def _sweep(self, run: "Run") -> SweepRun:
        return SweepRun(
            run_id=run.info.run_id,
            sweep=run.data.tags.get("sweep", run.info.run_name),
            experiment=self._experiments[run.info.experiment_id],
            experiment_id=run.info.experiment_id,
            status=run.info.status,
            end_time=run.info.end_time or 0,
            found=tuple(value for key, value in run.data.tags.items() if key.startswith(FOUND_TAG)),
        )


def _trial(run: "Run", experiment: str) -> Trial:
    """Turn MLflow's run into a record."""
    tags = dict(run.data.tags)
    return Trial(
        run_id=run.info.run_id,
        name=run.info.run_name or run.info.run_id[:8],
        sweep=tags.get("sweep", experiment),
        experiment=experiment,
        experiment_id=run.info.experiment_id,
        role=tags.get("role", "student"),
        data=DataIdentity(
            store_digest=tags.get("store_digest", "unknown"), split_kind=tags.get("split_kind", "unknown")
        ),
        status=run.info.status,
        started=run.info.start_time or 0,
        ended=run.info.end_time or 0,
        artifact_uri=run.info.artifact_uri,
        params=dict(run.data.params),
        metrics=_with_int8({key: value for key, value in run.data.metrics.items() if "/" not in key}),
        tags={key: value for key, value in tags.items() if not key.startswith("mlflow.")},
    )


def _with_int8(metrics: dict[str, float]) -> dict[str, float]:
    """Give an int8 model, which runs in ONNX Runtime alone, its figures there where other models have theirs.

    Times stand under the keys of ONNX Runtime; ratios, each to B0 in the same runtime, and their noise under those of
    PyTorch too.
    """
    for size in (1, 32):
        for figure in ("ms_p50", "ms_p90", "ratio", "noise"):
            value = metrics.get(keys.latency(figure, "int8", size))
            for runtime in ("onnx", "eager") if figure in ("ratio", "noise") else ("onnx",):
                if value is not None:
                    metrics.setdefault(keys.latency(figure, runtime, size), value)
    return metrics


def _choose(known: "Sequence[SweepRun]", names: Sequence[str]) -> list[SweepRun]:
    """Return the sweeps that were named, by experiment or by their own name; all when none was."""
    words = sorted({sweep.experiment for sweep in known} | {sweep.sweep for sweep in known})
    for name in names:
        if known and name not in words:
            raise InputError(f"--sweep must name a recorded sweep, but got {name!r}; {near(name, words)}")
    return [sweep for sweep in known if not names or sweep.experiment in names or sweep.sweep in names]


def _finished(uri: str, trials: Sequence[Trial]) -> Runs:
    """Split finished from unfinished, and set smoke runs apart; one must be finished."""
    finished = tuple(trial for trial in trials if trial.status == "FINISHED")
    unfinished = tuple(f"{trial.name} ({_end(trial)})" for trial in trials if trial.status != "FINISHED")
    if not finished:
        state = f"{len(unfinished)} unfinished" if unfinished else "no"
        remedy = "let the sweep end, or run its command again to go on" if unfinished else MAKE_RUNS
        raise InputError(f"a finished trial is needed, but {uri} holds {state} trials; {remedy}")
    whole = tuple(trial for trial in finished if not trial.smoke)
    left_out = len(finished) - len(whole) if whole else 0
    return Runs(tracking_uri=uri, trials=whole or finished, unfinished=unfinished, smoke=left_out)


def _end(trial: Trial) -> str:
    """Return in words how a trial stands that has no result."""
    epoch = trial.tags.get(STOPPED_TAG)
    if epoch is None:
        return trial.status
    return f"stopped at epoch {epoch}" if epoch != "0" else "over a limit"


def _quoted(text: str) -> str:
    """Return a text that may stand between quotes in a search."""
    return text.replace("'", "''")


def read_histories(
    tracking_uri: str, run_ids: Sequence[str], keys: Sequence[str]
) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Return the curves of some runs: run id -> metric key -> (step, value) by step.

    Args:
        tracking_uri: MLflow's address.
        run_ids: a few runs; each costs one request a key.
        keys: metric keys such as `epoch/val_loss`; an absent one gives an empty curve.
    """
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri)
    return {
        run_id: {
            key: sorted((metric.step, metric.value) for metric in client.get_metric_history(run_id, key))
            for key in keys
        }
        for run_id in run_ids
    }

"""The sweep's record in MLflow: one run a trial, found again by its tag; only the driver writes.

Every write can be repeated after a crash without doubling anything: runs are looked up before they are made,
and curve values are sent only for the epochs that the server lacks.
"""

import contextlib
import http.client
import json
import sqlite3
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from data_store.errors import InputError
from sweeps.engine.access import check_database, refuse_secrets
from sweeps.engine.revision import revision
from sweeps.engine.space import PlannedTrial
from trainables import metric_keys as keys
from trainables.recipes import to_dict

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Run

SERVER_TIMEOUT_S = 5
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#E69F00", "#7F7F7F")
"""Of the lines in MLflow's charts: told apart by colour-blind readers too (Okabe and Ito, 2008), and grey."""
_REFUSED = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED")
"""MLflow's codes of a login that is missing or wrong, and of a host name that the server does not answer to."""
_NOT_ACTIVE = "must be in the 'active' state"
"""MLflow's words for an experiment, or a run, that was deleted."""
Answer = TypeVar("Answer")
LONGEST_DATASET_DIGEST = 36  # MLflow's limit
NARROWED_TAG = "micro_batch_after_out_of_memory"
FOUND_TAG = "found."
"""Start of the parent run's tags that name runs of other sweeps."""


def default_uri(results: Path) -> str:
    """Return the address of the sqlite file below the results folder."""
    return f"sqlite:///{results.resolve() / 'mlflow.db'}"


def check_server(uri: str) -> None:
    """Check that an MLflow server or a PostgreSQL answers and lets us in, before anything is started.

    Raises:
        InputError: It does not, or the address is of no known kind or holds a password.
    """
    refuse_secrets(uri)
    if uri.startswith(("http://", "https://")):
        try:
            with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=SERVER_TIMEOUT_S):
                return
        except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
            raise InputError(
                f"the tracking server must answer within {SERVER_TIMEOUT_S} s, but {uri} does not ({error}); start it, "
                "or leave --tracking-uri out to record in a local file"
            ) from error
    if not uri.startswith(("sqlite:////", "postgresql")):
        raise InputError(
            f"--tracking-uri must be http(s)://, sqlite:////absolute/path or postgresql+psycopg2://, but got {uri!r}; "
            "leave it out to record in a local file"
        )
    if uri.startswith("postgresql"):
        check_database(uri)


def _let_in(uri: str, ask: Callable[[], Answer]) -> Answer:
    """Ask a store for the first time.

    Raises:
        InputError: It is a server that does not let this user in, or does not go by this name.
    """
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        if error.error_code not in _REFUSED:
            raise
        raise InputError(
            f"the tracking server must let this user in, but {uri} refuses ({error.error_code}); set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or add its host name to those it allows"
        ) from None


class Tracking:
    """One sweep's parent run and trial runs.

    Attributes:
        sweep: The name under which it is recorded: another results folder may have its own already.
        parent: Id of its run.
    """

    def __init__(
        self,
        uri: str,
        *,
        experiment: str,
        sweep: str,
        results: Path,
        tags: Mapping[str, str],
        question: str = "",
        owner: str = "",
    ) -> None:
        """Open the store, made by this process alone before any trial, and the sweep's parent run.

        Args:
            uri: Of the tracking store.
            experiment: Name of the experiment, made when missing.
            sweep: The sweep's name, a tag of all its runs.
            results: Artifacts go below it where no server takes them.
            tags: Tags of every run: profile, store and split.
            question: Shown as the experiment's description when it is made.
            owner: Tells the sweep's journal from all others: two people may give the same command, each with a results
                folder, and record in the same store.
        """
        from mlflow import MlflowClient

        check_server(uri)
        self.uri, self.experiment = uri, experiment
        local = uri.startswith("sqlite:")
        if local:
            _open_file(Path(uri.removeprefix("sqlite:///")))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.client = MlflowClient(uri)
            found = _let_in(uri, partial(self.client.get_experiment_by_name, experiment))
            served = uri.startswith("http")  # else files go where we say, not below the current folder
            location = None if served else (results / "mlartifacts" / experiment).as_uri()
            self.experiment_id = (
                found.experiment_id
                if found
                else self.client.create_experiment(experiment, location, tags={"mlflow.note.content": question})
            )
        if found and found.lifecycle_stage == "deleted":
            raise self._deleted()
        self.sweep = self._name(sweep, owner)
        self.tags = {**tags, "sweep": self.sweep, "revision": revision()}
        self._owned = {"owner": owner} if owner else {}
        self.parent = self._parent()
        self.steps: dict[str, int] = {}
        self.runs: dict[str, str] = {}

    def _name(self, sweep: str, owner: str) -> str:
        """Return the name that this journal's sweep has in the store, told apart where another journal has it first."""
        where = f"tags.`kind` = 'sweep' and tags.`sweep` = '{sweep}'"
        others = {run.data.tags.get("owner", owner) for run in self.client.search_runs([self.experiment_id], where)}
        return f"{sweep}-{owner[:6]}" if owner and others and owner not in others else sweep

    def _parent(self) -> str:
        """Find the sweep's own run, or make it; return its id."""
        return str(self._run({"kind": "sweep", **self._owned}, self.sweep, {}).info.run_id)

    def _deleted(self) -> InputError:
        """Return the error of an experiment that somebody has deleted."""
        return InputError(
            f"a sweep's experiment must not be deleted, but {self.experiment} in {self.uri} is; restore it "
            f"(MLFLOW_TRACKING_URI={self.uri} mlflow experiments restore --experiment-id {self.experiment_id}), or "
            "begin anew with --fresh and another --tracking-uri"
        )

    def start(self, trial: str, planned: PlannedTrial) -> None:
        """Make the trial's run, or take it up again; it is marked as running."""
        colour = COLOURS[len(self.runs) % len(COLOURS)]  # MLflow's own choice gives several runs the same one
        tags = {"kind": "trial", "trial": trial, "role": planned.role, "mlflow.parentRunId": self.parent}
        tags["mlflow.runColor"] = colour
        run = self._run(tags, planned.name, _params(planned))
        run_id: str = run.info.run_id
        if self.runs.get(trial) != run_id:  # one that was deleted had epochs that this one lacks
            self.steps.pop(trial, None)
        self.runs[trial] = run_id

    def run_of(self, trial: str) -> str:
        """Return the id of a trial's run, which exists."""
        assert self.knows(trial), f"no run of trial {trial}"
        return self.runs[trial]

    def knows(self, trial: str) -> bool:
        """Tell whether a trial has a run: one that was recorded may have been deleted since."""
        if trial not in self.runs:
            where = f"tags.`sweep` = '{self.sweep}' and tags.`trial` = '{trial}'"
            for run in self.client.search_runs([self.experiment_id], where, max_results=1):
                self.runs[trial] = run.info.run_id
        return trial in self.runs

    def forget_deleted(self) -> None:
        """Forget the runs that somebody has deleted since they were made, and make the sweep's own one anew."""
        there = set[str]()
        token: str | None = ""
        while token is not None:
            where = f"tags.`sweep` = '{self.sweep}'"
            page = self.client.search_runs([self.experiment_id], where, max_results=1000, page_token=token or None)
            there |= {run.info.run_id for run in page}
            token = page.token or None
        self.runs = {trial: run_id for trial, run_id in self.runs.items() if run_id in there}
        self.steps = {trial: step for trial, step in self.steps.items() if trial in self.runs}
        if self.parent not in there:
            self.parent = self._parent()
            for run_id in self.runs.values():
                self.client.set_tag(run_id, "mlflow.parentRunId", self.parent)

    def forget(self) -> None:
        """Ask again what the store has: a request that failed here may have arrived there."""
        self.steps.clear()

    def system(self, values: Mapping[str, float]) -> None:
        """Record how busy the machine is, on the parent run; the step is the time in seconds since 1970."""
        self._log(self.parent, {f"system/{key}": value for key, value in values.items()}, step=_now_ms() // 1000)

    def close_stale(self, runs_still: Callable[[str, str], bool]) -> int:
        """Mark what sweeps that died left running as killed, and return how many runs that were.

        Args:
            runs_still: Tells of a sweep's name and owner whether a driver has it, or may have it elsewhere.
        """
        experiments = [found.experiment_id for found in self.client.search_experiments()]
        running = self.client.search_runs(experiments, "attributes.status = 'RUNNING'", max_results=1000)
        ours = [run for run in running if run.info.run_id != self.parent and {"kind", "sweep"} <= run.data.tags.keys()]
        names = {run.data.tags["sweep"] for run in ours}
        dead = {name for name in names if not runs_still(name, self._owner_of(name, experiments))}
        stale = [run for run in ours if run.data.tags["sweep"] in dead]
        for run in stale:
            self.client.set_terminated(run.info.run_id, "KILLED")
        return len(stale)

    def _owner_of(self, sweep: str, experiments: Sequence[str]) -> str:
        """Return what tells a sweep's journal from all others; nothing where its run does not say."""
        where = f"tags.`kind` = 'sweep' and tags.`sweep` = '{sweep}'"
        parents = self.client.search_runs(list(experiments), where, max_results=1)
        return str(parents[0].data.tags.get("owner", "")) if parents else ""

    def has_others(self) -> bool:
        """Tell whether any trial of another sweep is finished: one question in place of one a trial."""
        experiments = [found.experiment_id for found in self.client.search_experiments()]
        where = f"tags.`kind` = 'trial' and tags.`sweep` != '{self.sweep}' and attributes.status = 'FINISHED'"
        return bool(self.client.search_runs(experiments, where, max_results=1))

    def trained_elsewhere(self, trial: str) -> "Run | None":
        """Return another sweep's finished run of the same trial, the oldest one, or None."""
        experiments = [found.experiment_id for found in self.client.search_experiments()]
        where = f"tags.`trial` = '{trial}' and tags.`kind` = 'trial' and attributes.status = 'FINISHED'"
        found = self.client.search_runs(experiments, where, order_by=["attributes.start_time ASC"], max_results=2)
        return next((run for run in found if run.data.tags["sweep"] != self.sweep), None)

    def name_found(self, runs: Mapping[str, str]) -> None:
        """Name on the parent run the runs of other sweeps that stand for trials of this one: trial -> run id."""
        for trial, run_id in runs.items():
            self.client.set_tag(self.parent, f"{FOUND_TAG}{trial[:16]}", run_id)

    def curves(self, trial: str, history: Sequence[Mapping[str, float]]) -> None:
        """Send the epochs that the server does not have yet; ``history`` starts at epoch 1."""
        if trial not in self.steps:
            curve = self.client.get_metric_history(self.runs[trial], keys.EPOCH_TRAIN_LOSS)
            self.steps[trial] = max((metric.step for metric in curve), default=0)
        for epoch in range(self.steps[trial] + 1, len(history) + 1):
            self._log(self.runs[trial], history[epoch - 1], step=epoch)
            self.steps[trial] = epoch

    def finish(self, trial: str, result: Mapping[str, Any], attempt: Path) -> None:
        """Record a trial's result, its model and its predictions, and mark the run as finished."""
        run_id = self.run_of(trial)
        have = self.client.get_run(run_id).data.metrics
        self._log(run_id, {key: value for key, value in result["metrics"].items() if key not in have}, step=0)
        self.client.set_tag(run_id, "graph", result["graph"]["digest"])
        self.client.set_tag(run_id, "model", result["model"])
        for key in ("origin", "alarm"):
            if result.get(key):
                self.client.set_tag(run_id, key, result[key])
        for key, reason in result["undefined"].items():
            self.client.set_tag(run_id, f"undefined.{key}", reason)
        self.client.log_artifacts(run_id, str(attempt / "model"), "model")
        self.client.log_artifact(run_id, str(attempt / "predictions.arrow"))
        self.client.set_terminated(run_id, "FINISHED")

    def fail(self, trial: str, reason: str) -> None:
        """Mark a trial's run as failed, with the reason."""
        run_id = self.run_of(trial)
        self.client.set_tag(run_id, "reason", reason)
        self.client.set_terminated(run_id, "FAILED")

    def narrow(self, trial: str, micro_batch: int) -> None:
        """Note that a trial ran out of memory, and the micro-batch with which it went on."""
        self.client.set_tag(self.run_of(trial), NARROWED_TAG, str(micro_batch))

    def stop_early(self, trial: str, epoch: int, reason: str) -> None:
        """Mark a trial's run as killed, with the epoch after which it was stopped for good and why."""
        run_id = self.run_of(trial)
        self.client.set_tag(run_id, "reason", reason)
        self.client.set_tag(run_id, "stopped_at_epoch", str(epoch))
        self.client.set_terminated(run_id, "KILLED")  # FINISHED has a model that others may start from

    def costs(self, trial: str, values: Mapping[str, float], *, cpu: str = "") -> None:
        """Record what was measured of the trial's graph after it ended, and the CPU that its latency depends on."""
        run_id = self.run_of(trial)
        have = self.client.get_run(run_id).data.metrics
        missing = {key: value for key, value in values.items() if key not in have}
        self._log(run_id, missing, step=0, tags={keys.LATENCY_CPU: cpu} if cpu else {})

    def stop(self, trials: Iterable[str]) -> None:
        """Mark the runs of trials that a later launch takes up as killed, so that none is left running."""
        for run_id in [*(self.runs[trial] for trial in trials if trial in self.runs), self.parent]:
            run = self.client.get_run(run_id).info
            if run.status == "RUNNING" and run.lifecycle_stage == "active":  # a deleted one takes no word
                self.client.set_terminated(run_id, "KILLED")

    def stop_all(self) -> None:
        """Leave none of the sweep's runs running; the newest come first, for those are open."""
        self.stop(reversed(list(self.runs)))

    def close(self, plots: Path, table: str) -> None:
        """Put plots and table on the parent run and mark it as finished."""
        self.client.log_artifacts(self.parent, str(plots), "plots")
        self.client.log_text(self.parent, table, "table.md")
        self.client.set_tag(self.parent, "mlflow.note.content", table)
        self.client.set_terminated(self.parent, "FINISHED")

    def _run(self, tags: Mapping[str, str], name: str, params: Mapping[str, str]) -> "Run":
        """Find the run of this sweep that has these tags, or make it."""
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        wanted = {**tags, "sweep": self.sweep}
        where = " and ".join(f"tags.`{key}` = '{wanted[key]}'" for key in ("sweep", "kind", "trial") if key in wanted)
        found = self.client.search_runs([self.experiment_id], where, max_results=1)
        if found:
            run_id = found[0].info.run_id
            self.client.update_run(run_id, "RUNNING")
        else:
            try:
                made = self.client.create_run(self.experiment_id, tags={**self.tags, **tags}, run_name=name)
            except MlflowException as error:
                if _NOT_ACTIVE not in str(error):
                    raise
                raise self._deleted() from None
            run_id = made.info.run_id
        # Repeated on a run that was found: a crash may have fallen between its making and its parameters.
        self.client.log_batch(run_id, params=[Param(key, value) for key, value in params.items()])
        run = self.client.get_run(run_id)
        if "store_digest" in self.tags and not (run.inputs and run.inputs.dataset_inputs):
            self.client.log_inputs(run_id, [self._store()])
        return run

    def _store(self) -> "DatasetInput":
        """Return the store as MLflow's lineage shows it."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        place = self.tags.get("store", "")
        digest = self.tags["store_digest"][:LONGEST_DATASET_DIGEST]
        dataset = Dataset(Path(place).name, digest, "local", json.dumps({"uri": place}))
        return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])

    def _log(
        self, run_id: str, values: Mapping[str, float], *, step: int, tags: Mapping[str, str] | None = None
    ) -> None:
        from mlflow.entities import Metric, RunTag

        now_ms = _now_ms()
        self.client.log_batch(
            run_id,
            metrics=[Metric(key, value, now_ms, step) for key, value in values.items()],
            tags=[RunTag(key, value) for key, value in (tags or {}).items()],
        )


def _open_file(path: Path) -> None:
    """Make the store's file such that whoever reads it, as `make ui` and the plots do, never keeps us from writing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")  # stays with the file


def _params(planned: PlannedTrial) -> dict[str, str]:
    """Flatten a config to MLflow parameters: ``recipe.learning_rate`` and so on."""
    flat: dict[str, str] = {}

    def walk(prefix: str, values: Mapping[str, Any]) -> None:
        for key, value in values.items():
            if isinstance(value, Mapping):
                walk(f"{prefix}{key}.", value)
            else:
                flat[f"{prefix}{key}"] = "none" if value is None else str(value)

    walk("", to_dict(planned.config))
    return flat


def _now_ms() -> int:
    import time

    return int(time.time() * 1000)

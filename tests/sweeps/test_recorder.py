"""What becomes of the things that Tune reports; neither Tune nor Ray is started."""

import io
import json
import platform
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweeps.engine import room
from sweeps.engine.energy import Energy
from sweeps.engine.journal import Journal, open_journal
from sweeps.engine.places import Places
from sweeps.engine.progress import Progress
from sweeps.engine.recorder import DEATHS_FORGIVEN, Recorder
from sweeps.engine.resources import Capacity
from sweeps.engine.result import table
from sweeps.engine.space import PROFILES, PlannedTrial, Setting
from sweeps.engine.terminal import Terminal
from trainables.attempts import ERROR_FILE, RESULT_FILE, attempt_folder

SETTING = Setting(profile=PROFILES["demo"], seed=0, store_digest="s", device="cpu", num_threads=1)
TRIAL = PlannedTrial(name="alpha=0", role="student", config=SETTING.config("Lite0"))
EPOCH = {"epoch/train_loss": 0.7, "epoch/val_loss": 0.6, "epoch/val_accuracy": 0.5, "epoch/seconds": 2.0}


class Bench:
    """A recorder with one started trial ``t``, and what it did."""

    def __init__(self, folder: Path, *, max_failures: int = 0) -> None:
        self.journal: Journal = open_journal(folder / "journal.jsonl")
        self.places = Places(sweep=folder)
        self.sent: list[Any] = []
        self.screen = io.StringIO()
        self.begun = 0
        courier = SimpleNamespace(put=self.sent.append, begin=self._begin)
        have = Capacity(workers=1, cpus=1, gpus=0.0, budget_bytes=2_000_000, per_card=1)
        terminal = Terminal(self.screen)
        self.progress = Progress(terminal, self.journal, lambda: {"t": TRIAL}, lambda _: 1_000_000, have)
        self.exports: dict[Path, Callable[[], object]] = {}
        exporter = SimpleNamespace(put=lambda folder, then: self.exports.update({folder: then}))
        self.recorder = Recorder(
            self.journal,
            self.places,
            courier,  # type: ignore[arg-type]
            exporter,  # type: ignore[arg-type]
            terminal,
            self.progress,
            Energy(None),
            max_failures=max_failures,
        )
        self.retried: list[str] = []
        self.ends = 0
        self.recorder.on_retry = lambda trial, _: self.retried.append(trial)
        self.recorder.on_end = self._end
        self.start(1)

    def _begin(self) -> None:
        self.begun += 1

    def _end(self) -> None:
        self.ends += 1

    def start(self, attempt: int) -> None:
        self.journal.append("started", trial="t", attempt=attempt, name="alpha=0")
        self.folder = attempt_folder(self.places.trial("t"), attempt)
        self.folder.mkdir(parents=True)
        self.recorder.started("t", TRIAL, 1_000_000)
        self.trial: Any = SimpleNamespace(
            config={"assignment": {"trial": "t", "attempt": attempt}},
            temporary_state=SimpleNamespace(ray_actor=None),
        )

    def report(self, *, complete: bool) -> None:
        self.recorder.on_trial_result(
            trial=self.trial, result={"history": [EPOCH], "complete": complete, "refusal": None}
        )


def test_tracking_opens_when_a_worker_has_loaded(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert (len(bench.sent), bench.begun) == (1, 0)
    bench.recorder.on_trial_start(iteration=0, trials=[], trial=bench.trial)
    assert bench.begun == 1


def test_a_trial_is_finished_when_its_result_lies_there(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.report(complete=False)
    assert not bench.recorder.ending
    bench.report(complete=True)
    assert list(bench.recorder.ending) == ["t"]
    assert bench.journal.state.finished == {}
    (bench.folder / RESULT_FILE).write_text(json.dumps({"metrics": {"val_accuracy": 0.75}}))
    bench.recorder.take_results()
    assert bench.journal.state.finished["t"]["metrics"] == {"val_accuracy": 0.75, "predicted_memory_mb": 1.0}
    assert (bench.ends, bench.recorder.ending, bench.recorder.open) == (1, {}, set())


def test_a_finished_trial_is_sent_when_its_onnx_file_is_written_and_nothing_waits_for_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (bench.folder / RESULT_FILE).write_text(json.dumps({"metrics": {"val_accuracy": 0.75}}))
    bench.report(complete=True)
    sent = len(bench.sent)
    assert bench.ends == 1  # the next trial is asked for already
    assert list(bench.exports) == [bench.folder / "model"]
    bench.exports[bench.folder / "model"]()
    assert len(bench.sent) == sent + 1


def test_a_trial_that_raises_fails_with_its_reason_after_its_tries(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_failures=1)
    (bench.folder / ERROR_FILE).write_text("Traceback\nValueError: out of luck\n")
    bench.recorder.on_trial_error(trial=bench.trial)
    assert (bench.retried, bench.journal.state.failed, bench.recorder.lost_worker) == (["t"], {}, False)
    bench.start(2)
    (bench.folder / ERROR_FILE).write_text("Traceback\nValueError: out of luck\n")
    bench.recorder.on_trial_error(trial=bench.trial)
    reason = bench.journal.state.failed["t"]
    assert reason == f"ValueError: out of luck (log: {bench.folder / ERROR_FILE})"
    assert (bench.retried, bench.ends) == (["t"], 1)


def test_a_process_that_dies_is_forgiven_three_times_and_asks_for_new_workers(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for attempt in range(1, DEATHS_FORGIVEN + 1):
        bench.recorder.on_trial_error(trial=bench.trial)
        assert bench.recorder.lost_worker
        assert len(bench.retried) == attempt
        bench.start(attempt + 1)
    bench.recorder.on_trial_error(trial=bench.trial)
    assert "its process died" in bench.journal.state.failed["t"]


@pytest.mark.parametrize("died", [True, False])
def test_a_trial_whose_worker_is_gone_before_its_result_is_tried_again(tmp_path: Path, died: bool) -> None:
    bench = Bench(tmp_path)
    bench.report(complete=True)
    if not died:
        (bench.folder / RESULT_FILE).write_text(json.dumps({"metrics": {"val_accuracy": 0.75}}))
    bench.recorder.give_up_endings()
    assert bench.retried == (["t"] if died else [])
    assert ("t" in bench.journal.state.finished) != died


class Judge:
    """Stops a trial whose last loss is above its level; tells the journal as ``EarlyStop`` does."""

    def __init__(self, journal: Journal, level: float) -> None:
        self.journal, self.level = journal, level

    def stops(self, trial: str, losses: list[float]) -> bool:
        if not losses or losses[-1] <= self.level:
            return False
        if trial not in self.journal.state.stopped:
            self.journal.append("stopped", trial=trial, epoch=len(losses), reason="behind", arrival=None)
        return True


class Told:
    """A tracking store that notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 # any of Tracking's methods
        return lambda *args, **values: self.calls.append((name, *args[:1], *values.items()))


def test_a_trial_that_falls_behind_ends_with_its_reason_and_without_a_result(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.recorder.early_stop = Judge(bench.journal, 0.5)  # type: ignore[assignment]
    assert bench.recorder.stops("t", [EPOCH])
    bench.report(complete=False)
    assert (bench.ends, bench.recorder.open, bench.recorder.ending) == (1, set(), {})
    assert "stopped: behind" in bench.screen.getvalue()
    told = Told()
    for delivery in bench.sent:
        delivery(told)
    assert told.calls[-1] == ("stop_early", "t", ("epoch", 1), ("reason", "behind"))


def test_epochs_that_nobody_judged_are_judged_before_a_trial_goes_on(tmp_path: Path) -> None:
    """A driver died between a checkpoint and its verdict: the trial is not started again."""
    bench = Bench(tmp_path)
    bench.recorder.early_stop = Judge(bench.journal, 0.5)  # type: ignore[assignment]
    assert not bench.recorder.stopped_before("t", TRIAL)  # no epoch was saved
    checkpoint = bench.folder / "epoch-0001"
    checkpoint.mkdir()
    (checkpoint / "state.json").write_text(json.dumps({"history": [EPOCH]}))
    assert bench.recorder.stopped_before("t", TRIAL)
    assert bench.journal.state.stopped["t"] == {"epoch": 1, "reason": "behind"}
    told = Told()
    for delivery in bench.sent:
        delivery(told)
    assert [call[0] for call in told.calls][-3:] == ["start", "curves", "stop_early"]


def test_a_pruned_model_over_a_limit_is_no_failure(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    result = {"history": [], "complete": False, "refusal": "after pruning, 9.80 MB are above --max-size-mb 9"}
    bench.recorder.on_trial_result(trial=bench.trial, result=result)
    assert bench.journal.state.stopped["t"] == {"epoch": 0, "reason": result["refusal"]}
    assert (bench.ends, bench.journal.state.failed) == (1, {})
    assert "9.80 MB are above" in bench.screen.getvalue()


FULL = "OSError: [Errno 28] No space left on device"


@pytest.mark.parametrize(
    ("said", "disk"),
    [
        (f"on node-7:\nTraceback\n{FULL}", f"a disk of node-7 ({FULL})"),
        (f"on {platform.node()}:\nTraceback\n{FULL}", "the disk of "),
        (f"Traceback\n{FULL}", "the disk of "),
        ("", "the disk of "),
    ],
)
def test_a_full_disk_is_no_fault_of_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, disk: str
) -> None:
    """With its traceback, or with none because that could not be written either."""
    bench = Bench(tmp_path)
    closed: list[str] = []
    bench.recorder.on_full_disk = lambda: closed.append("plan")
    monkeypatch.setattr(room, "is_short", lambda _: True)
    (bench.folder / ERROR_FILE).write_text(said)
    bench.recorder.on_trial_error(trial=bench.trial)
    assert (closed, bench.retried) == (["plan"], [])
    assert bench.recorder.full_disk.startswith(disk)
    assert bench.journal.state.failed == {}
    assert bench.recorder.open == {"t"}  # the next launch takes it up


@pytest.mark.parametrize("said", ["torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError"])
def test_what_runs_out_of_memory_is_tried_again_at_half_its_micro_batch_down_to_single_crops(
    tmp_path: Path, said: str
) -> None:
    bench = Bench(tmp_path)
    for attempt, micro_batch in enumerate((16, 8, 4, 2, 1), start=2):
        (bench.folder / ERROR_FILE).write_text(f"Traceback\n{said}: CUDA out of memory. Tried to allocate\n")
        bench.recorder.on_trial_error(trial=bench.trial)
        assert bench.journal.state.micro_batches == {"t": micro_batch}
        assert (len(bench.retried), bench.journal.state.failed) == (attempt - 1, {})
        bench.start(attempt)
    assert "goes on with a micro-batch of 16, not 32" in bench.screen.getvalue()
    assert open_journal(bench.journal.path).state.micro_batches == {"t": 1}
    assert table({"t": TRIAL}, bench.journal.state)[1][0][0] == "alpha=0 (micro-batch 1)"
    (bench.folder / ERROR_FILE).write_text(f"Traceback\n{said}: CUDA out of memory.\n")
    bench.recorder.on_trial_error(trial=bench.trial)
    assert "CUDA out of memory" in bench.journal.state.failed["t"]


def test_another_error_that_speaks_of_memory_is_a_failure(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (bench.folder / ERROR_FILE).write_text("Traceback\nValueError: torch.OutOfMemoryError is what we fear\n")
    bench.recorder.on_trial_error(trial=bench.trial)
    assert (bench.journal.state.micro_batches, list(bench.journal.state.failed)) == ({}, ["t"])

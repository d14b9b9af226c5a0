"""What a driver keeps in a bucket, and how two of them get along, on a local S3 server and without Ray."""

import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from data_store.errors import InputError
from data_store.folders import open_folder
from sweeps.engine import bucket, cluster
from sweeps.engine.bucket import Keeper
from sweeps.engine.journal import Journal, open_journal, read_state
from sweeps.engine.places import Places
from sweeps.engine.terminal import Terminal
from sweeps.kd_alpha import SWEEP
from tests.sweeps.test_cluster import refuse
from tests.sweeps.test_plan import name_of, planned
from tests.sweeps.test_recorder import Bench
from tests.sweeps.test_shelf import opened
from tests.trainables.test_mirror import checkpoint
from trainables.attempts import RESULT_FILE
from trainables.mirror import Mirror


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("BEAT_S", 0.1), ("STALE_S", 5.0), ("SETTLE_S", 0.1)):
        monkeypatch.setattr(bucket, name, seconds)


@contextmanager
def driver(address: str, folder: Path, **changes: Any) -> Iterator[tuple[Keeper, Journal]]:  # noqa: ANN401
    """Drive the sweep at an address from a folder of a machine."""
    folder.mkdir(exist_ok=True)
    keeper = Keeper(address, folder, Terminal(io.StringIO()), **changes)
    try:
        bucket.pull_journal(address, folder)
        journal = open_journal(folder / "journal.jsonl")
        keeper.follow(journal)
        yield keeper, journal
    finally:
        keeper.stop()


def die(keeper: Keeper) -> None:
    """End a driver without a word."""
    keeper._tend = lambda: None  # type: ignore[method-assign]


def test_another_machine_goes_on_with_the_journal(address: str, tmp_path: Path) -> None:
    with driver(address, tmp_path / "a") as (_, journal):
        journal.append("started", trial="t", attempt=1)
        journal.secure()
        assert open_folder(address).read("journal.jsonl") == journal.path.read_bytes()
        journal.append("finished", trial="t", result={})
    assert "lease.json" not in open_folder(address).names()
    with driver(address, tmp_path / "b") as (_, journal):
        assert (journal.state.attempts, list(journal.state.finished)) == ({"t": 1}, ["t"])
        journal.append("recorded", trial="t")
    with driver(address, tmp_path / "a") as (_, journal):
        assert journal.state.recorded == {"t"}
        bucket.record_again(journal, "http://tracking:5000")
        assert journal.state.recorded == {"t"}
        bucket.record_again(journal, "sqlite:////a/mlflow.db")  # the other machine's file has it
        assert journal.state.recorded == set()


def test_what_this_machine_alone_wrote_is_kept_and_sent(address: str, tmp_path: Path) -> None:
    with driver(address, tmp_path / "a") as (_, journal):
        journal.append("started", trial="t", attempt=1)
    with journal.path.open("a") as file:  # a power cut came before the bucket had it
        file.write('{"event":"finished","trial":"t","result":{}}\n{"event":"rec')
    with driver(address, tmp_path / "a") as (_, journal):
        assert list(journal.state.finished) == ["t"]
        assert not (tmp_path / "a" / "driven-elsewhere").exists()
    assert open_folder(address).read("journal.jsonl") == journal.path.read_bytes()


def test_a_bucket_that_lost_its_journal_is_named(address: str, tmp_path: Path) -> None:
    with driver(address, tmp_path / "a") as (_, journal):
        journal.append("started", trial="t", attempt=1)
    open_folder(address).delete("journal.jsonl")
    with pytest.raises(
        InputError, match="must have its journal in the bucket, but .* has none and .* move that folder"
    ):
        bucket.pull_journal(address, tmp_path / "a")


def test_a_driver_that_lives_keeps_its_sweep(address: str, tmp_path: Path) -> None:
    with driver(address, tmp_path / "a") as (first, _):
        (tmp_path / "b").mkdir()
        with pytest.raises(InputError, match=r"one driver at a time, but process \d+ on \S+ has s3://.*; wait for it"):
            Keeper(address, tmp_path / "b", first.terminal)


def test_a_dead_drivers_sweep_is_taken_over_after_a_while_or_at_once_in_its_own_folder(
    address: str, tmp_path: Path
) -> None:
    with driver(address, tmp_path / "a") as (dead, _):
        die(dead)
        began = time.monotonic()
        with driver(address, tmp_path / "b") as (heir, _):
            assert time.monotonic() - began >= bucket.STALE_S
            die(heir)
            began = time.monotonic()
            with driver(address, tmp_path / "b"):
                assert time.monotonic() - began < bucket.STALE_S


def test_two_that_begin_at_once_do_not_both_begin(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "SETTLE_S", 1.0)
    said: list[object] = []

    def begin(name: str) -> None:
        (tmp_path / name).mkdir()
        try:
            said.append(Keeper(address, tmp_path / name, Terminal(io.StringIO())))
        except InputError as error:
            said.append(str(error))

    threads = [threading.Thread(target=begin, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    holders = [one for one in said if isinstance(one, Keeper)]
    for holder in holders:
        holder.stop()
    assert len(holders) == 1


def test_a_driver_whose_sweep_was_taken_over_ends_and_sends_nothing(address: str, tmp_path: Path) -> None:
    left: list[int] = []
    other = {"node": "n7", "process": 1, "token": "other"}
    with driver(address, tmp_path / "a", leave=left.append) as (keeper, journal):
        deadline = time.monotonic() + 30
        while not left and time.monotonic() < deadline:  # a beat that has begun may still be written over it
            open_folder(address).write("lease.json", json.dumps(other).ljust(bucket.LEASE_BYTES).encode())
            time.sleep(0.2)
        journal.append("started", trial="t", attempt=9)
        keeper._thread.join(0.5)
        assert set(left) == {75}
        assert isinstance(keeper.terminal.stream, io.StringIO)
        assert "process 1 on n7 has taken this sweep over" in keeper.terminal.stream.getvalue()
    assert "journal.jsonl" not in open_folder(address).names()
    assert json.loads(open_folder(address).read("lease.json"))["token"] == "other"


def test_a_bucket_that_goes_away_gets_the_journal_when_it_is_back(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with driver(address, tmp_path / "a") as (keeper, journal):
        with monkeypatch.context() as patch:
            patch.setattr(keeper, "_lease", lambda: (_ for _ in ()).throw(OSError("AWS Error NETWORK_CONNECTION")))
            patch.setattr(bucket, "PATIENCE_S", 0.3)
            journal.append("started", trial="t", attempt=1)
            with pytest.raises(InputError, match="journal must reach its bucket, but .* has not answered for 0.3 s"):
                journal.secure()
        journal.secure()
        assert isinstance(keeper.terminal.stream, io.StringIO)
        assert "the bucket does not answer (NETWORK_CONNECTION)" in keeper.terminal.stream.getvalue()
    assert read_state(journal.path).attempts == {"t": 1}
    assert open_folder(address).read("journal.jsonl") == journal.path.read_bytes()


@pytest.mark.parametrize(
    ("place", "variable", "code"),
    [("s3://nobucket/a", None, "NO_SUCH_BUCKET"), (None, "AWS_SECRET_ACCESS_KEY", "SIGNATURE_DOES_NOT_MATCH")],
)
def test_a_bucket_that_takes_nothing_is_one_clear_line(
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str | None,
    variable: str | None,
    code: str,
) -> None:
    """By the command line, and by a node that is asked to look around."""
    from sweeps.engine.launch import run

    if variable is not None:
        monkeypatch.setenv(variable, "guessed-secret")
    where = place or f"{address}-{variable}"
    with pytest.raises(InputError, match=rf"must take what is written, but {where} does not \({code}\)") as told:
        run(SWEEP, ["--results", where, "--scratch", str(tmp_path)])
    assert "guessed-secret" not in str(told.value)
    if variable is not None:
        said = cluster.look(where, "mark", None)
        with pytest.raises(InputError, match=rf"write to the results' bucket, but .* refuses node-7 \({code}\)"):
            refuse(tmp_path, said | {"sees_store": True})


def test_a_node_sees_the_drivers_mark_in_the_bucket(address: str) -> None:
    open_folder(address).write("mark", b"")
    assert cluster.look(address, "mark", None)["sees_results"]
    assert not cluster.look(address, "other", None)["sees_results"]
    assert sorted(open_folder(address).names()) == ["mark"]


def test_a_bucket_that_cannot_be_found_is_named_as_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    error = OSError("When resolving region for bucket 'missing': AWS Error NETWORK_CONNECTION")
    monkeypatch.setattr("pyarrow.fs.FileSystem", Mock(from_uri=Mock(side_effect=error)))
    with pytest.raises(
        InputError, match=r"--results must .*, but s3://missing is not \(When resolving .*AWS_DEFAULT_REG"
    ):
        bucket.check("s3://missing")


def test_a_started_trial_is_in_the_bucket_before_a_worker_hears_of_it(address: str, tmp_path: Path) -> None:
    """Nothing that it is told lies on the driver's machine; a model that was given from there is brought over."""
    from sweeps.engine.plan import Plan
    from sweeps.engine.resources import Capacity

    sweep, rows = tmp_path / "a", planned()
    first, second, *_ = rows
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "recipe.json").write_text("{}")
    with driver(address, sweep) as (_, journal):
        journal.append("opened", **opened("a"))
        places = Places(sweep=sweep, models={first: bucket.given_place(sweep, first)}, bucket=address)
        bucket.give({first: str(tmp_path / "given")}, places)
        trial = places.trial(second)
        worker = Mirror(local=tmp_path / "node", address=address)
        worker.push(checkpoint(worker.local / trial.relative_to(sweep) / "attempt-0001", 3))
        have = Capacity(workers=9, cpus=1, gpus=0.0, budget_bytes=100, per_card=9)
        plan = Plan(dict(list(rows.items())[1:]), dict.fromkeys(rows, 10), have, journal, places, lambda *_: None)
        told = [plan.suggest("1"), plan.suggest("2")]
        written = open_folder(address).read("journal.jsonl").decode()
    assert [name_of(row) for row in told] == ["alpha=0", "alpha=0.25"]
    plain, student = (row["assignment"] for row in told if isinstance(row, dict))
    assert (plain["folder"], plain["bucket"]) == (f"trials/{second[:16]}", address)
    assert plain["checkpoint"] == f"trials/{second[:16]}/attempt-0001/epoch-0003"
    assert (student["teacher"], student["signals"]) == (f"given/{first[:16]}/model", "signals")
    assert written.count('"started"') == 2
    assert open_folder(f"{address}/{plain['folder']}").read("attempt") == b"1"
    assert open_folder(f"{address}/{student['teacher']}").names() == {"recipe.json": 2}
    assert plain["scratch"] == student["scratch"] != ""


def test_a_result_is_taken_from_the_bucket(address: str, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "a")
    bench.recorder.places = Places(sweep=tmp_path / "a", bucket=address)
    bench.report(complete=True)
    worker = Mirror(local=tmp_path / "node", address=address)
    attempt = worker.local / bench.folder.relative_to(tmp_path / "a")
    (attempt / "model").mkdir(parents=True)
    (attempt / "model" / "weights.safetensors").write_bytes(b"weights")
    (attempt / RESULT_FILE).write_text(json.dumps({"metrics": {"val_accuracy": 0.75}}))
    worker.push(attempt)
    bench.recorder.take_results(last=True)
    assert bench.journal.state.finished["t"]["metrics"]["val_accuracy"] == 0.75
    assert (bench.folder / "model" / "weights.safetensors").read_bytes() == b"weights"


def test_a_machine_that_has_nothing_lists_the_buckets_sweeps(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sweeps.engine.launch import run

    (tmp_path / "tiny").mkdir()
    with driver(f"{address}/sweeps/tiny-demo-1a2b3c4d", tmp_path / "tiny") as (_, journal):
        journal.append("opened", **opened("tiny-demo-1a2b3c4d"))
        journal.append("started", trial="t", attempt=1)
    assert run(SWEEP, ["--results", address, "--scratch", str(tmp_path / "fresh"), "--list"]) == 0
    assert "tiny-demo-1a2b3c4d  stopped" in capsys.readouterr().out

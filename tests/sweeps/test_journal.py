import errno
import json
import os
from pathlib import Path

import pytest

from data_store.errors import InputError
from sweeps.engine.journal import Journal, open_journal
from sweeps.engine.room import is_full, refusal


def test_state_is_rebuilt_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "journal.jsonl"
    journal = open_journal(path)
    journal.append("started", trial="a", attempt=1, name="A")
    journal.append("failed", trial="a", reason="out of luck")
    journal.append("started", trial="b", attempt=1, name="B")
    journal.append("finished", trial="b", result={"metrics": {"val_accuracy": 0.5}})
    journal.append("recorded", trial="b")
    journal.append("latency", graph="g", latency={"latency_ms_p50": 1.0}, cpu="Xeon")
    state = open_journal(path).state
    assert state == journal.state
    assert state.attempts == {"a": 1, "b": 1}
    assert state.failed == {"a": "out of luck"}
    assert state.finished["b"]["metrics"]["val_accuracy"] == 0.5
    assert state.recorded == {"b"}
    assert state.latencies == {"g": {"latency_ms_p50": 1.0}}
    assert state.latency_cpus == {"g": "Xeon"}


def test_a_new_start_forgets_a_failure_and_reopens_a_closed_sweep(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal.jsonl")
    journal.append("failed", trial="a", reason="x")
    journal.append("closed")
    assert journal.state.closed is not None
    journal.append("started", trial="a", attempt=2, name="A")
    assert journal.state.failed == {}
    assert journal.state.closed is None


@pytest.mark.parametrize("tail", ['{"event": "finished", "tri', "{", "\x00\x00"])
def test_a_torn_last_line_is_dropped_and_said(tmp_path: Path, tail: str) -> None:
    path = tmp_path / "journal.jsonl"
    open_journal(path).append("started", trial="a", attempt=1, name="A")
    whole = path.read_bytes()
    path.write_bytes(whole + tail.encode())
    journal = open_journal(path)
    assert journal.dropped_tail
    assert journal.state.attempts == {"a": 1}
    assert path.read_bytes() == whole
    journal.append("recorded", trial="a")
    assert not open_journal(path).dropped_tail


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        '{"event": "started"}',
        "[]",
        '{"trial": "a"}',
        '{"event": "finishee"}',
        '{"event": "opened"}',
        '{"event": "opened", "sweep": "", "question": "", "label": "", "uri": "", "fresh": false, "tags": 3}',
        '{"event": "recorded", "trial": ["a"]}',
    ],
)
def test_a_damaged_line_in_the_middle_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "journal.jsonl"
    good = json.dumps({"event": "recorded", "trial": "a"})
    path.write_text(f"{good}\n{line}\n{good}\n")
    with pytest.raises(InputError, match=r"line 2 of .*journal.jsonl"):
        open_journal(path)


def test_a_full_disk_leaves_whole_lines_and_what_follows_is_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal(tmp_path / "journal.jsonl")
    journal.append("started", trial="a", attempt=1, name="A")
    whole = journal.path.read_bytes()

    def full(_: int) -> None:
        assert len(journal.path.read_bytes()) > len(whole)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left") as told:
            journal.append("recorded", trial="a")
    assert is_full(told.value)
    assert is_full(_caused_by(told.value))
    assert not is_full(OSError(errno.EACCES, "Permission denied"))
    assert (journal.path.read_bytes(), journal.state.recorded) == (whole, set())
    journal.append("recorded", trial="a")  # after room was made
    assert open_journal(journal.path).state.recorded == {"a"}


def _caused_by(error: BaseException) -> Exception:
    try:
        raise RuntimeError("a library's own") from error
    except RuntimeError as wrapped:
        return wrapped


def test_a_journal_on_a_device_that_is_always_full_is_refused_in_words() -> None:
    journal = Journal(Path("/dev/full"))
    with pytest.raises(OSError, match="No space left on device"):
        journal.append("recorded", trial="a")
    assert "make room, then give the same command again" in str(refusal("the disk of /results"))

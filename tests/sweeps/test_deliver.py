"""Which sweeps ``sweeps.engine.deliver`` passes over, and that one of them keeps none of the others from being sent."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data_store.errors import InputError
from sweeps.engine import deliver
from sweeps.engine.journal import open_journal
from sweeps.engine.lock import sweep_lock
from tests.sweeps.launching import runs


def sweep(results: Path, label: str, **opened: str) -> Path:
    """Write the journal of a sweep that was opened, and of which nothing was sent."""
    folder = results / "sweeps" / label
    folder.mkdir(parents=True)
    journal = open_journal(folder / "journal.jsonl")
    uri = f"sqlite:///{results / 'mlflow.db'}"
    told = {"sweep": "tiny", "question": "?", "label": label, "uri": uri, "tags": {"profile": "demo"}, "fresh": False}
    journal.append("opened", **{**told, **opened})
    return folder


def test_a_sweep_that_runs_or_cannot_be_sent_keeps_no_other_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = sweep(tmp_path, "a-runs")
    sweep(tmp_path, "b-in-a-bucket", bucket="s3://bucket/path")
    sweep(tmp_path, "c-waits")
    with sweep_lock(held), pytest.raises(InputError, match="b-in-a-bucket is kept in s3://bucket/path"):
        deliver.main(["--results", str(tmp_path)])
    said = capsys.readouterr().out
    assert "a-runs: it delivers its own records" in said
    assert "b-in-a-bucket: a sweep in a bucket delivers its records itself" in said
    assert "c-waits: 0 results" in said
    assert [run.info.run_name for run in runs(tmp_path, "sweep")] == ["c-waits"]


def test_what_mlflow_says_meanwhile_is_kept_off_the_screen(tmp_path: Path) -> None:
    sweep(tmp_path, "waits")
    command = [sys.executable, "-m", "sweeps.engine.deliver", "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("sent     waits: 0 results\n", "")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".launch")) == []


def test_a_folder_without_sweeps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must hold sweeps, but"):
        deliver.main(["--results", str(tmp_path)])


@pytest.mark.parametrize("old_place", ["gone", "copied"])
def test_records_of_a_folder_that_was_moved_go_to_its_own_file(old_place: str, tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    sweep(before, "waits")
    (before / "mlflow.db").touch()
    shutil.copytree(before, after)
    if old_place == "gone":
        shutil.rmtree(before)
    assert deliver.main(["--results", str(after)]) == 0
    assert [run.info.run_name for run in runs(after, "sweep")] == ["waits"]
    assert before.exists() == (old_place == "copied")
    assert old_place == "gone" or (before / "mlflow.db").stat().st_size == 0


def test_records_go_to_the_file_that_the_user_named(tmp_path: Path) -> None:
    results, named = tmp_path / "results", tmp_path / "named" / "mlflow.db"
    named.parent.mkdir()
    named.touch()
    sweep(results, "waits", uri=f"sqlite:///{named}")
    assert deliver.main(["--results", str(results)]) == 0
    assert [run.info.run_name for run in runs(named.parent, "sweep")] == ["waits"]
    assert not (results / "mlflow.db").exists()

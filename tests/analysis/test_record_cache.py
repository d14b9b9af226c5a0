from pathlib import Path

import pytest

from analysis.runs import Record, read_runs
from tests.analysis.conftest import Planted, kd_alpha_runs, plant


def names(uri: str, cache: Path | None, sweeps: tuple[str, ...] = ()) -> list[str]:
    return [trial.name for trial in read_runs(uri, sweeps, cache=cache).trials]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every search for trials that returned one or more."""
    searches: list[str] = []
    plain = Record._trials

    def counted(record: Record, condition: str, experiments: list[str] | None = None) -> list[object]:
        found = plain(record, condition, experiments)
        searches.extend([condition] * bool(found))
        return list(found)

    monkeypatch.setattr(Record, "_trials", counted)
    return searches


def test_a_second_reading_asks_for_nothing_and_says_the_same(
    kd_alpha_store: str, tmp_path: Path, asked: list[str]
) -> None:
    first = read_runs(kd_alpha_store, cache=tmp_path)
    assert len(asked) == 1
    second = read_runs(kd_alpha_store, cache=tmp_path)
    assert len(asked) == 1
    assert first == second == read_runs(kd_alpha_store)


def test_only_a_new_sweep_is_read(empty_store: str, tmp_path: Path, asked: list[str]) -> None:
    plant(empty_store, kd_alpha_runs()[:2])
    assert names(empty_store, tmp_path) == ["teacher B0", "alpha=0"]
    plant(empty_store, [Planted(name="ratio=0.3", skill=2.0)], sweep="prune_ratio")
    del asked[:]
    assert names(empty_store, tmp_path) == ["teacher B0", "alpha=0", "ratio=0.3"]
    assert "prune_ratio-demo" in asked[0]


def test_a_sweep_that_went_on_is_read_again(empty_store: str, tmp_path: Path) -> None:
    """What the engine does: the sweep's run is running again, a value is added to an old trial, and it ends."""
    from mlflow import MlflowClient

    plant(empty_store, kd_alpha_runs()[:2])
    before = read_runs(empty_store, cache=tmp_path).trials[0]
    client = MlflowClient(empty_store)
    sweep = Record(client).sweeps[0].run_id
    client.update_run(sweep, "RUNNING")
    client.log_metric(before.run_id, "latency_noise", 0.02)
    assert read_runs(empty_store, cache=tmp_path).trials[0].metrics["latency_noise"] == 0.02
    client.log_metric(before.run_id, "peak_memory_mb", 7.0)
    client.set_terminated(sweep)
    assert read_runs(empty_store, cache=tmp_path).trials[0].metrics["peak_memory_mb"] == 7.0


def test_what_was_deleted_is_gone(empty_store: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    plant(empty_store, kd_alpha_runs()[:2])
    first = read_runs(empty_store, cache=tmp_path).trials[0]
    MlflowClient(empty_store).delete_run(first.run_id)
    assert names(empty_store, tmp_path) == ["alpha=0"]


def test_a_store_made_anew_at_the_same_place_is_not_mixed_with_the_old(
    empty_store: str, blank_database: Path, tmp_path: Path
) -> None:
    plant(empty_store, kd_alpha_runs()[:2])
    assert len(names(empty_store, tmp_path)) == 2
    Path(empty_store.removeprefix("sqlite:///")).write_bytes(blank_database.read_bytes())
    plant(empty_store, [Planted(name="alpha=1", skill=2.0)])
    assert names(empty_store, tmp_path) == ["alpha=1"]


def test_a_named_sweep_is_read_alone_and_spoils_nothing(empty_store: str, tmp_path: Path) -> None:
    plant(empty_store, kd_alpha_runs()[:2])
    plant(empty_store, [Planted(name="ratio=0.3", skill=2.0)], sweep="prune_ratio")
    assert names(empty_store, tmp_path, ("prune_ratio",)) == ["ratio=0.3"]
    assert len(names(empty_store, tmp_path)) == 3
    assert names(empty_store, tmp_path, ("kd_alpha",)) == ["teacher B0", "alpha=0"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 0}', b'{"version": 2, "sweeps": {"a": 1}, "newest": 1}'])
def test_a_broken_file_is_an_empty_one(kd_alpha_store: str, tmp_path: Path, content: bytes) -> None:
    assert len(names(kd_alpha_store, tmp_path)) == 6
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert len(names(kd_alpha_store, tmp_path)) == 6


def test_a_folder_that_cannot_be_written_only_costs_time(kd_alpha_store: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert len(names(kd_alpha_store, tmp_path / "file")) == 6

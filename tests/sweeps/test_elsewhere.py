"""Which stores ``--test-store`` takes, and what is asked of them; nothing is scored."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from data_store.errors import InputError
from data_store.manifest import read_manifest
from sweeps.engine import elsewhere, ending
from sweeps.engine.elsewhere import columns, other_store, score_elsewhere, untested
from sweeps.engine.journal import State, open_journal
from sweeps.engine.places import Places
from sweeps.engine.space import PROFILES, PlannedTrial, Setting
from sweeps.engine.terminal import Terminal
from tests.stores import write_store
from trainables.metrics import Scores

SETTING = Setting(profile=PROFILES["demo"], seed=0, store_digest="s", device="cpu", num_threads=1)


def test_the_trained_store_and_one_without_a_test_split_are_refused(store: Path, tmp_path: Path) -> None:
    trained_on = read_manifest(str(store))
    copy = shutil.copytree(store, tmp_path / "copy")
    with pytest.raises(InputError, match=f"must be another data set than the one .* but got {copy} for both"):
        other_store(str(copy), trained_on)
    empty = write_store(tmp_path / "empty", rows={"train": 8, "val": 8})
    with pytest.raises(InputError, match="must have a test split, but .* has no crop in it"):
        other_store(str(empty), trained_on)
    (empty / "verified.json").unlink()
    with pytest.raises(InputError, match="must be verified"):
        other_store(str(empty), trained_on)
    with pytest.raises(InputError, match=r"store\.json"):
        other_store("/nowhere", trained_on)


def test_what_a_store_has_not_scored_is_asked_for_and_the_table_shows_the_rest(store: Path, tmp_path: Path) -> None:
    other = other_store(str(write_store(tmp_path / "Celeb DF", seed=3)), read_manifest(str(store)))
    assert other.name == f"Celeb_DF_{other.manifest.digest[:6]}"
    state = State(finished={"a": {}, "b": {}})
    assert untested(None, state) == []
    assert untested(other, state) == ["a", "b"]
    values = {f"{other.prefix}_accuracy": 0.75}
    state.apply(json.loads(json.dumps({"event": "elsewhere", "trial": "a", "name": other.name, "metrics": values})))
    assert untested(other, state) == ["b"]
    planned = {name: PlannedTrial(name=name, role="model", config=SETTING.config("B0")) for name in ("a", "b")}
    assert columns(planned, state) == {
        f"{other.name} acc": {"a": "0.750", "b": ""},
        f"{other.name} AUC": {"a": "-", "b": ""},
    }


def test_each_models_scores_are_written_down_when_they_come_and_none_is_asked_for_again(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop after the first of two models: the next launch asks for the second alone; then all is recorded."""
    other = other_store(str(write_store(tmp_path / "other", seed=3)), read_manifest(str(store)))
    journal, places = open_journal(tmp_path / "journal.jsonl"), Places(sweep=tmp_path)
    for trial in ("a", "b"):
        journal.append("started", trial=trial, attempt=1, name=trial)
        journal.append("finished", trial=trial, result={"graph": {"digest": "g"}})
    asked: list[list[Path]] = []

    def scored(folders: list[Path], address: str, prefix: str, **_: object) -> Iterator[Scores]:
        assert (address, prefix) == (str(tmp_path / "other"), other.prefix)
        asked.append(folders)
        yield Scores(values={f"{prefix}_accuracy": 0.5})
        if len(asked) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(elsewhere, "scored_elsewhere", scored)
    terminal = Terminal(io.StringIO())
    with pytest.raises(KeyboardInterrupt):
        score_elsewhere(other, SETTING, journal, places, terminal)
    again = open_journal(tmp_path / "journal.jsonl")
    for _ in range(2):
        score_elsewhere(other, SETTING, again, places, terminal)
    assert asked == [[places.model(trial, again.state) for trial in names] for names in (("a", "b"), ("b",))]
    told: list[tuple[str, dict[str, float]]] = []
    tracking = SimpleNamespace(
        costs=lambda *cost: told.append(cost),
        name_found=lambda _: None,
        knows=lambda _: True,
        forget_deleted=lambda: None,
    )
    again.state.recorded.update("ab")
    rows = {name: PlannedTrial(name=name, role="model", config=SETTING.config("B0")) for name in ("a", "b")}
    ending.catch_up(again, rows, places, tracking)  # type: ignore[arg-type]
    assert told == [(name, {f"{other.prefix}_accuracy": 0.5}) for name in ("a", "b")]

"""Which stores ``--test-store`` takes, and what is asked of them; nothing is scored."""

import json
import shutil
from pathlib import Path

import pytest

from data_store.errors import InputError
from data_store.manifest import read_manifest
from sweeps.engine.elsewhere import columns, other_store, untested
from sweeps.engine.journal import State
from sweeps.engine.space import PROFILES, PlannedTrial, Setting
from tests.stores import write_store

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

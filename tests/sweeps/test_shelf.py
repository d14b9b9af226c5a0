"""Which sweeps there are, and under which name one goes on."""

from dataclasses import replace
from pathlib import Path

import pytest

from data_store.errors import InputError
from sweeps.engine.journal import open_journal
from sweeps.engine.lock import sweep_lock
from sweeps.engine.shelf import HEADER, listing, next_name, to_extend
from sweeps.engine.space import PROFILES, recipe_digest
from sweeps.engine.terminal import text_table

TAGS = {"profile": "demo", "seed": "0", "store_digest": "d", "store": "/faces", "recipe": "r"}


def opened(label: str, **tags: str) -> dict[str, object]:
    said = {"sweep": "kd_alpha", "question": "?", "label": label, "uri": "u", "fresh": False}
    return {**said, "tags": {**TAGS, **tags}}


def plant(results: Path, label: str, **tags: str) -> None:
    journal = open_journal(results / "sweeps" / label / "journal.jsonl")
    journal.append("opened", **opened(label, **tags))
    for trial in ("a", "b"):
        journal.append("planned", trial=trial, name=trial, role="student", config={})
    journal.append("started", trial="a", attempt=1, name="a")
    journal.append("finished", trial="a", result={})


def test_a_listing_says_how_far_each_sweep_is(tmp_path: Path) -> None:
    plant(tmp_path, "kd_alpha-demo-1")
    file = tmp_path / "sweeps" / "kd_alpha-demo-1" / "journal.jsonl"
    with file.open("ab") as stream:
        stream.write(b'{"event": "fini')  # another process is writing: it is not cut off
    size = file.stat().st_size
    (row,) = listing(tmp_path)
    assert row == ["kd_alpha-demo-1", "stopped", "2", "1", "0", "0", "demo", "0", "/faces"]
    assert file.stat().st_size == size
    with sweep_lock(file.parent):
        assert listing(tmp_path)[0][1] == "running"
    open_journal(file).append("closed")
    assert listing(tmp_path)[0][1] == "done"


def test_a_damaged_journal_keeps_no_other_sweep_from_the_list(tmp_path: Path) -> None:
    plant(tmp_path, "kd_alpha-demo-1")
    plant(tmp_path, "kd_alpha-demo-2")
    file = tmp_path / "sweeps" / "kd_alpha-demo-1" / "journal.jsonl"
    file.write_text('{"event":"opened"}\n')
    rows = {row[0]: row for row in listing(tmp_path)}
    assert rows["kd_alpha-demo-1"] == ["kd_alpha-demo-1", "damaged", *[""] * 7]
    assert rows["kd_alpha-demo-2"][1] == "stopped"
    assert "kd_alpha-demo-1  damaged" in text_table(HEADER, listing(tmp_path))


def test_a_fresh_start_gets_a_name_that_is_free(tmp_path: Path) -> None:
    assert next_name(tmp_path, "kd_alpha") == "kd_alpha-2"
    plant(tmp_path, "kd_alpha-2-demo-1")
    assert next_name(tmp_path, "kd_alpha") == "kd_alpha-3"


def test_extending_needs_a_sweep_of_the_same_store_seed_and_profile(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has none of kd_alpha-demo; leave it out"):
        to_extend(tmp_path, "kd_alpha-demo", TAGS, [])
    plant(tmp_path, "kd_alpha-demo-1")
    plant(tmp_path, "kd_alpha-2-demo-1", seed="5")
    assert to_extend(tmp_path, "kd_alpha-demo", TAGS, []) == "kd_alpha-demo-1"
    with pytest.raises(InputError, match='same store_digest, but kd_alpha-demo-1 has "d" and this command "e"'):
        to_extend(tmp_path, "kd_alpha-demo", {**TAGS, "store_digest": "e"}, [])
    with pytest.raises(InputError, match='same recipe, but kd_alpha-demo-1 has "r" and .* "q"; leave --extend out'):
        to_extend(tmp_path, "kd_alpha-demo", {**TAGS, "recipe": "q"}, [])


def test_extending_a_search_needs_the_same_axes(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "sweeps" / "search-demo-1" / "journal.jsonl")
    journal.append("opened", **opened("search-demo-1"))
    journal.append("suggested", point={"network": "Lite0", "alpha": 0.5}, notes={}, trial="a")
    assert to_extend(tmp_path, "search-demo", TAGS, ["network", "alpha"]) == "search-demo-1"
    with pytest.raises(InputError, match="search-demo-1 has network, alpha and this command network, alpha, seed"):
        to_extend(tmp_path, "search-demo", TAGS, ["network", "alpha", "seed"])


def test_whatever_decides_the_training_changes_a_profiles_recipe() -> None:
    demo = PROFILES["demo"]
    assert recipe_digest(replace(demo, note="other words")) == recipe_digest(demo)
    changed = [
        replace(demo, recipe=replace(demo.recipe, learning_rate=0.5)),
        replace(demo, fine_tuning=replace(demo.fine_tuning, epochs=9)),
        replace(demo, weights="imagenet"),
    ]
    assert len({recipe_digest(profile) for profile in [demo, *changed]}) == 4

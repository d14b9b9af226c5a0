"""Which sweeps there are, and under which name one goes on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_store.errors import InputError
from sweeps.engine.journal import open_journal
from sweeps.engine.lock import sweep_lock
from sweeps.engine.shelf import BUDGET, HEADER, listing, may_run, next_name, shared, to_extend
from sweeps.engine.space import PROFILES, PlannedTrial, Setting, recipe_digest
from sweeps.engine.terminal import text_table
from trainables.recipes import to_dict

TAGS = {"profile": "demo", "seed": "0", "store_digest": "d", "store": "/faces", "recipe": "r"}
SETTING = Setting(profile=PROFILES["demo"], seed=0, store_digest="d", device="cpu", num_threads=1)
CONFIGS = {"a": SETTING.config("B0"), "b": SETTING.config("Lite0", alpha=0.5, teacher="a")}
OWN = shared({trial: PlannedTrial(name=trial, role="student", config=config) for trial, config in CONFIGS.items()})


def opened(label: str, **tags: str) -> dict[str, object]:
    said = {"sweep": "kd_alpha", "question": "?", "label": label, "uri": "u", "fresh": False}
    return {**said, "tags": {**TAGS, **tags}}


def plant(results: Path, label: str, **tags: str) -> None:
    journal = open_journal(results / "sweeps" / label / "journal.jsonl")
    journal.append("opened", **opened(label, **tags))
    for trial, config in CONFIGS.items():
        journal.append("planned", trial=trial, name=trial, role="student", config=to_dict(config))
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
        to_extend(tmp_path, "kd_alpha-demo", TAGS, [], OWN)
    plant(tmp_path, "kd_alpha-demo-1")
    plant(tmp_path, "kd_alpha-2-demo-1", seed="5")
    assert to_extend(tmp_path, "kd_alpha-demo", TAGS, [], OWN) == "kd_alpha-demo-1"
    with pytest.raises(InputError, match='same store_digest, but kd_alpha-demo-1 has "d" and this command "e"'):
        to_extend(tmp_path, "kd_alpha-demo", {**TAGS, "store_digest": "e"}, [], OWN)
    with pytest.raises(InputError, match='same recipe, but kd_alpha-demo-1 has "r" and .* "q"; leave --extend out'):
        to_extend(tmp_path, "kd_alpha-demo", {**TAGS, "recipe": "q"}, [], OWN)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"device": "cuda"}, 'same device, but kd_alpha-demo-1 has "cpu" and this command "cuda"'),
        ({"--threads": 2}, "same --threads, but kd_alpha-demo-1 has 1 and this command 2"),
        ({"--teacher": "12345678"}, 'same --teacher, but kd_alpha-demo-1 has "none" and this command "12345678"'),
    ],
)
def test_extending_needs_trials_of_the_same_device_threads_and_teacher(
    other: dict[str, object], words: str, tmp_path: Path
) -> None:
    plant(tmp_path, "kd_alpha-demo-1")
    assert to_extend(tmp_path, "kd_alpha-demo", TAGS, [], {}) == "kd_alpha-demo-1"
    with pytest.raises(InputError, match=words):
        to_extend(tmp_path, "kd_alpha-demo", TAGS, [], {**OWN, **other})


def test_a_given_teacher_is_what_trials_need_and_none_of_them_makes() -> None:
    student = PlannedTrial(name="b", role="student", config=CONFIGS["b"])
    assert OWN["--teacher"] == "none"
    assert shared({"b": replace(student, config=replace(student.config, teacher="1234567890"))}) == {
        "device": "cpu",
        "--threads": 1,
        "--teacher": "12345678",
    }
    assert shared({}) == {}


def test_extending_a_search_needs_the_same_axes(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "sweeps" / "search-demo-1" / "journal.jsonl")
    journal.append("opened", **opened("search-demo-1"))
    journal.append("suggested", point={"network": "Lite0", "alpha": 0.5}, notes={}, trial="a")
    assert to_extend(tmp_path, "search-demo", TAGS, ["network", "alpha"], {}) == "search-demo-1"
    with pytest.raises(InputError, match="search-demo-1 has network, alpha and this command network, alpha, seed"):
        to_extend(tmp_path, "search-demo", TAGS, ["network", "alpha", "seed"], {})
    assert to_extend(tmp_path, "search-demo", TAGS, ["network", "alpha"], {BUDGET: 4.0}) == "search-demo-1"
    journal.append("opened", **opened("search-demo-1"), gpu_memory_gb=8.0)
    with pytest.raises(InputError, match=r"same --gpu-memory-gb, but search-demo-1 has 8.0 and this command 4.0"):
        to_extend(tmp_path, "search-demo", TAGS, ["network", "alpha"], {BUDGET: 4.0})


def test_whatever_decides_the_training_changes_a_profiles_recipe() -> None:
    demo = PROFILES["demo"]
    assert recipe_digest(replace(demo, note="other words")) == recipe_digest(demo)
    changed = [
        replace(demo, recipe=replace(demo.recipe, learning_rate=0.5)),
        replace(demo, fine_tuning=replace(demo.fine_tuning, epochs=9)),
        replace(demo, weights="imagenet"),
    ]
    assert len({recipe_digest(profile) for profile in [demo, *changed]}) == 4


def test_a_sweep_is_dead_only_where_its_own_journal_is_here_and_no_driver_holds_it(tmp_path: Path) -> None:
    """Another results folder may record in the same store, with a sweep of the same name."""
    mine, theirs = "a" * 32, "b" * 32
    for name in ("dead", "runs"):
        told: dict[str, Any] = {"sweep": "tiny", "question": "?", "label": name, "uri": "u", "tags": {}, "fresh": False}
        open_journal(tmp_path / name / "journal.jsonl").append("opened", owner=mine, **told)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "journal.jsonl").write_text("no event\n")
    with sweep_lock(tmp_path / "runs"):
        found = {
            (sweep, owner): may_run(tmp_path, sweep, owner, mine="mine", local=True)
            for sweep in ("dead", "dead-aaaaaa", "runs", "damaged", "elsewhere", "mine")
            for owner in (mine, theirs)
        }
    closed = {case for case, may in found.items() if not may}
    assert closed == {("dead", mine), ("dead-aaaaaa", mine), ("mine", mine), ("mine", theirs)}
    assert not may_run(tmp_path, "runs", mine, mine="mine", local=True)  # its driver has ended by now
    assert may_run(tmp_path, "dead", mine, mine="mine", local=False)

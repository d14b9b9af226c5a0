"""The collector of the benchmarks: what it runs, keeps and refuses."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import benchmarks
from benchmarks import __main__ as collector
from benchmarks.measure import Bar, interleaved, median_ratio, row
from data_store.errors import InputError

Run = Callable[..., int]

FAST = """from benchmarks.measure import Bar, row
def rows():
    return [row('speed', 'z', 6.0, Bar('>=', 5), '6 to 1')]
"""
SLOW = "def rows():\n    return [{'name': 'memory', 'peer': 'a', 'ratio': 0.2, 'bar': '<= 0.05', 'pass': False}]\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the collector on two benchmarks of our own, one of which misses its bar."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "bench_fast.py").write_text(FAST)
    (folder / "bench_slow.py").write_text(SLOW)
    monkeypatch.setattr(collector, "FOLDER", folder)
    monkeypatch.setattr(benchmarks, "__path__", [*benchmarks.__path__, str(folder)])
    for name in ("fast", "slow", "peerless"):
        monkeypatch.delitem(sys.modules, f"benchmarks.bench_{name}", raising=False)
    return lambda *argv: collector.main(argv, tmp_path / "results.json")


def kept(tmp_path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((tmp_path / "results.json").read_text())["rows"]
    return rows


def test_all_run_sorted_by_name_and_a_missed_bar_is_exit_code_1(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 1
    assert [(each["name"], each["benchmark"], each["pass"]) for each in kept(tmp_path)] == [
        ("memory", "slow", False),
        ("speed", "fast", True),
    ]
    shown = capsys.readouterr().out
    assert "MISSED  memory" in shown
    assert "2 measured, 1 below their bar" in shown
    machines = json.loads((tmp_path / "results.json").read_text())["machines"]
    assert {each["machine"] for each in kept(tmp_path)} == set(machines)
    (machine,) = machines.values()
    assert machine["cores"] > 0
    assert machine["cpu"]


def test_only_replaces_the_rows_of_one_benchmark(run: Run, tmp_path: Path) -> None:
    run()
    (tmp_path / "folder" / "bench_fast.py").write_text(FAST.replace("6.0", "7.0"))
    sys.modules.pop("benchmarks.bench_fast")
    assert run("--only", "fast") == 0
    assert [each["ratio"] for each in kept(tmp_path)] == [0.2, 7.0]


def test_rows_say_which_machine_they_are_of(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    monkeypatch.setattr(collector, "machine", lambda: {"cpu": "another", "cores": 2, "gpu": None, "system": "Linux"})
    run("--only", "fast")
    slow, fast = kept(tmp_path)
    assert fast["machine"] == "another, 2 cores, no GPU, Linux"
    machines = json.loads((tmp_path / "results.json").read_text())["machines"]
    assert set(machines) == {slow["machine"], fast["machine"]}
    run()
    assert {each["machine"] for each in kept(tmp_path)} == {fast["machine"]}


def test_an_unknown_name_is_refused(run: Run) -> None:
    with pytest.raises(InputError, match="fast, slow, but got speed"):
        run("--only", "speed")


def test_a_missing_peer_stops_before_anything_runs(run: Run, tmp_path: Path) -> None:
    (tmp_path / "folder" / "bench_peerless.py").write_text("PEERS = ('no_such_library',)\n" + FAST)
    with pytest.raises(InputError, match=r"no_such_library is missing; .*\[bench\]"):
        run()
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize(
    ("relation", "value", "ratio", "holds"),
    [(">=", 5, 5.0, True), (">=", 5, 4.99, False), ("<=", 0.05, 0.05, True), ("<=", 0.05, 0.0501, False)],
)
def test_a_bar_holds_on_its_side(relation: str, value: float, ratio: float, holds: bool) -> None:
    made = row("claim", "peer", ratio, Bar(relation, value), "")
    assert made["pass"] is holds
    assert made["bar"] == f"{relation} {value:g}"


def test_runs_are_timed_in_turn_after_one_round_that_does_not_count() -> None:
    order: list[str] = []
    seconds = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3)
    assert order == ["a", "b"] * 4
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}
    assert median_ratio([2, 9, 8], [1, 3, 1]) == 3


def test_the_projects_own_benchmarks_have_rows() -> None:
    found = sorted(path.stem for path in collector.FOLDER.glob("bench_*.py"))
    assert {"bench_augmentation", "bench_memory", "bench_read"} <= set(found)
    for name in found:
        assert re.search(r"^def rows\(.*\) -> list\[", (collector.FOLDER / f"{name}.py").read_text(), re.MULTILINE), (
            name
        )

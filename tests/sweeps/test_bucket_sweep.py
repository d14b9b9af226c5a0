"""A whole sweep that is kept in a bucket: a node dies, the driver's machine dies, another one with nothing ends it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from data_store.folders import open_folder
from sweeps.engine.bucket import STALE_S
from tests.sweeps.alone import trained_alone
from tests.sweeps.launching import (
    TINY,
    command,
    events,
    finished_results,
    has_come_to,
    runs,
    steps,
    wait_until,
)
from tests.sweeps.test_nodes import STORE_BYTES, running_at_once
from tests.sweeps.test_nodes import nodes as nodes

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture
def node_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the workers a folder of their own, apart from every driver's."""
    folder = tmp_path / "nodes"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # the paths of sockets must be short
    return folder


def checkpoints(address: str) -> list[str]:
    return [name for name in open_folder(address).names_below() if "/epoch-" in name and name.endswith("state.json")]


def test_a_sweep_in_a_bucket_survives_a_node_and_its_drivers_machine(
    address: str,
    node_folder: Path,
    nodes: Any,  # noqa: ANN401 - Ray's cluster
    store: Path,
    tmp_path: Path,
) -> None:
    def start(machine: str) -> "subprocess.Popen[str]":
        flags = ("--address", nodes.address, "--scratch", str(tmp_path / machine))
        where = command(TINY, store, tmp_path, *flags, "--results", address)  # of two the last one counts
        return subprocess.Popen(where, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    first = nodes.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    nodes.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    results = tmp_path / "machine1"
    driver = start("machine1")
    with driver:
        try:
            wait_until(lambda: running_at_once(results) == 2 and checkpoints(address) or driver.poll() is not None)
            nodes.remove_node(first, allow_graceful=False)
            wait_until(lambda: has_come_to(results, 0, 1) or driver.poll() is not None)
            assert driver.poll() is None, driver.communicate()
        finally:
            driver.kill()
    results.rename(tmp_path / "gone")  # that machine's disk is lost, and with it what its journal knew
    results = tmp_path / "machine2"
    driver = start("machine2")
    with driver:
        try:
            out, err = driver.communicate(timeout=900)
        finally:
            driver.kill()
    assert driver.returncode == 0, out + err
    assert err == ""
    assert f"had this sweep; looking for {STALE_S:g} s whether it lives" in out
    assert "2 nodes answer, with the same versions, clocks and bucket" in out  # the head, and the second
    assert finished_results(results) == trained_alone(store, tmp_path)
    (journal,) = [name for name in open_folder(address).names_below() if name.endswith("journal.jsonl")]
    written = open_folder(address).read(journal).decode()
    assert [json.loads(line) for line in written.splitlines()] == events(results)
    assert max(event["attempt"] for event in events(results) if event["event"] == "started") >= 2
    assert not any(name.endswith("lease.json") for name in open_folder(address).names_below())
    for run in runs(results, "trial"):  # those that the lost machine had recorded, too
        assert run.info.status == "FINISHED"
        assert steps(results, run.info.run_id) == [1, 2, 3, 4]
    assert len(runs(results, "trial")) == 3
    saved = [name.split("/trials/")[1].split("/") for name in checkpoints(address)]
    trained = [(trial, epoch) for trial, _, epoch, _ in saved if epoch != "epoch-0004"]  # the end may be made again
    assert len(trained) == len(set(trained)), "an epoch was trained twice"
    assert list(node_folder.rglob("result.json")), "the workers wrote elsewhere"

"""What is asked of a cluster's nodes before a sweep starts, and how its cards are shared; without Ray."""

import inspect
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any
from unittest.mock import Mock

import pytest
from ray._private import ray_constants
from ray._private.node import Node

from data_store.errors import InputError
from sweeps.engine import cluster, revision
from sweeps.engine.resources import CUDA_CONTEXT_BYTES

GIB = 2**30


def report(folder: Path, **changes: object) -> dict[str, Any]:
    mark = folder / "mark"
    mark.touch()
    return {**cluster.look(str(folder), "mark", None), **changes}


def refuse(folder: Path, said: dict[str, Any], began: float | None = None) -> None:
    at = said["clock_s"] if began is None else began
    store = "/data/faces"
    cluster.refuse({"node-7": said}, began=at, ended=at + 1, results=str(folder), store=store)


def test_a_node_like_the_driver_is_accepted(tmp_path: Path) -> None:
    refuse(tmp_path, report(tmp_path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sees_results": False}, r"shared by all nodes, but node-7 does not see .*; mount the same folder there"),
        ({"sees_store": False}, r"but node-7 sees none at /data/faces; .* use --residency object-store"),
        ({"full": {"/tmp": "No space left on device"}}, r"but /tmp on node-7 takes none \(No space left on device\)"),
    ],
)
def test_what_a_node_lacks_is_named(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        refuse(tmp_path, report(tmp_path, **changes))


def test_other_versions_are_named(tmp_path: Path) -> None:
    said = report(tmp_path)
    ours = said["versions"]["torch"]
    said["versions"] = {**said["versions"], "torch": "1.0"}
    with pytest.raises(InputError, match=rf"but node-7 has torch 1\.0 \(here {ours}\); install requirements\.lock"):
        refuse(tmp_path, said)


def test_other_code_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = report(tmp_path)
    monkeypatch.setattr(revision, "MODULES", ("data_store", "sweeps"))
    assert revision.code_digest() != said["versions"]["our code"]
    with pytest.raises(InputError, match=r"but node-7 has our code [0-9a-f]{12} \(here [0-9a-f]{12}\)"):
        refuse(tmp_path, said)


@pytest.mark.parametrize(("shift_s", "side"), [(3600, "ahead"), (-3600, "behind")])
def test_clocks_an_hour_apart_are_refused(tmp_path: Path, shift_s: float, side: str) -> None:
    said = report(tmp_path)
    with pytest.raises(InputError, match=rf"within 60 s, but that of node-7 is 3,[56]\d\d s {side}"):
        refuse(tmp_path, said | {"clock_s": said["clock_s"] + shift_s}, began=said["clock_s"])


@pytest.mark.hosts
def test_a_full_disk_is_seen(tmp_path: Path) -> None:
    """A real file system of 1 MB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], check=True)
    try:
        assert cluster.full(tmp_path) == "No space left on device"
        assert cluster.full(tmp_path, 1000) is None
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "head:port", "head:99999"])
def test_an_address_without_a_port_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="--address must be HOST:PORT or auto, but got"):
        cluster.connect(address)


def test_a_cluster_that_does_not_answer_is_named_in_seconds() -> None:
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9 does not answer within 5 s .* ray start --head"):
        cluster.connect("127.0.0.1:9")


class Web(BaseHTTPRequestHandler):
    """A server of web pages, such as Ray's dashboard."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize("greeting", [None, b"SSH-2.0-other\r\n", b"-ERR unknown command\r\n"])
def test_another_kind_of_server_is_named_in_seconds(greeting: bytes | None) -> None:
    class Greets(BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(greeting or b"")
            self.request.recv(1000)

    with ThreadingTCPServer(("127.0.0.1", 0), Greets if greeting else Web) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = f"127.0.0.1:{server.server_address[1]}"
        began = time.monotonic()
        with pytest.raises(InputError, match=f"but at {where} is another kind of server; give the port that ray start"):
            cluster.connect(where)
        assert time.monotonic() - began < cluster.ANSWER_S
        server.shutdown()


def test_an_encrypted_cluster_is_left_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USE_TLS", "1")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert cluster._speaks_grpc(ours)


def test_a_silent_server_is_asked_once_by_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray asks 20 times by itself, for 40 s each."""
    asked: list[int] = []

    def init(**_: object) -> None:
        asked.append(ray_constants.NUM_REDIS_GET_RETRIES)
        raise RuntimeError("Failed to connect to GCS")

    monkeypatch.setattr(cluster, "ANSWER_S", 0.2)
    monkeypatch.setattr("ray.init", init)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(InputError, match=f"but {where} takes its connection and no more"):
            cluster.connect(where)
    assert asked == [1]
    assert ray_constants.NUM_REDIS_GET_RETRIES > 1
    assert "ray_constants.NUM_REDIS_GET_RETRIES" in inspect.getsource(Node), "where Ray reads it"


def test_auto_without_a_cluster_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", Mock(return_value=set()))
    monkeypatch.setattr("ray._private.services.find_bootstrap_address", lambda _: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(InputError, match="--address auto must .*, but none runs on this machine; .* ray start --head"):
        cluster.connect("auto")


def test_a_cluster_to_which_no_worker_has_come_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head without CPUs: whether the workers will have GPUs, and so which trials these are, is not known."""
    monkeypatch.setattr("ray.cluster_resources", lambda: {"memory": 1e9, "node:__internal_head__": 1.0})
    with pytest.raises(InputError, match="none has joined; start workers with ray start --address"):
        cluster.device_kind()
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 16.0})
    assert cluster.device_kind() == "cpu"
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 16.0, "GPU": 2.0})
    assert cluster.device_kind() == "cuda"


def node(**resources: float) -> dict[str, Any]:
    return {"Alive": True, "Resources": resources}


def test_without_gpus_the_slots_of_all_nodes_count_and_none_is_split() -> None:
    nodes = [node(CPU=3.0), node(CPU=5.0), node(), {**node(CPU=8.0), "Alive": False}]
    have = cluster.capacity("cpu", nodes, num_threads=2, gpu_memory_gb=8, predicted=[GIB] * 9)
    assert (have.workers, have.per_card, have.gpus, have.budget_bytes) == (3, 2, 0.0, 8 * GIB)
    assert cluster.capacity("cpu", nodes, num_threads=2, gpu_memory_gb=8, predicted=[GIB] * 2).workers == 2


def test_each_card_holds_the_largest_trials_that_can_meet_on_it() -> None:
    """Four cards of 8 GiB, 8 threads each: 2 + 2 GiB and two contexts fit, a third of 4 GiB would not."""
    nodes = [node(CPU=16.0, GPU=2.0), node(CPU=16.0, GPU=2.0), node(CPU=4.0)]
    predicted = [2 * GIB] * 8 + [4 * GIB] * 2
    have = cluster.capacity("cuda", nodes, num_threads=1, gpu_memory_gb=10, predicted=predicted)
    assert have.per_card == 2  # 4 + 4 + 1 GiB; with a third of 2 GiB it would be 11.5
    assert have.workers == 8
    assert have.gpus == 0.5
    largest = sorted(predicted)[-have.per_card :]
    assert sum(largest) <= have.budget_bytes == 10 * GIB - 2 * CUDA_CONTEXT_BYTES


def test_a_trial_that_fills_a_card_has_it_alone() -> None:
    nodes = [node(CPU=16.0, GPU=1.0)] * 4
    have = cluster.capacity("cuda", nodes, num_threads=2, gpu_memory_gb=8, predicted=[7 * GIB] * 12)
    assert (have.workers, have.per_card, have.gpus) == (4, 1, 1.0)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_more_threads_than_any_node_has_cpus_are_refused(device: str) -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0}}]
    with pytest.raises(InputError, match="--threads must not exceed the CPUs of a machine, 2, but got 3"):
        cluster.capacity(device, nodes, num_threads=3, gpu_memory_gb=8, predicted=[1])

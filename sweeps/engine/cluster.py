"""A Ray cluster of several machines: reach it, look at every node before work starts, divide it among trials.

The driver's own code travels to the workers, as modules of the job's runtime environment, so that every node runs
what the driver runs. The packages (torch, ray, ...) are those that each node has installed: they must be the same
versions, which is checked. Nodes share the results folder, or a bucket; the crops come by the object store.
"""

import importlib.metadata
import logging
import os
import platform
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants
from ray.exceptions import AuthenticationError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from data_store.errors import InputError
from data_store.folders import open_folder
from sweeps.engine import bucket
from sweeps.engine.interruption import own_signals
from sweeps.engine.nodes import Node
from sweeps.engine.replaced import replaced
from sweeps.engine.resources import CUDA_CONTEXT_BYTES, Capacity, cpu_name, refuse_too_many_threads
from sweeps.engine.revision import MODULES, code_digest

ANSWER_S = 5
"""Seconds within which the cluster's address must take a connection."""

_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What a client of gRPC, which Ray speaks, begins with: the preface of HTTP/2 and empty settings."""

LOOK_S = 180
"""Seconds within which every node must have looked around itself; a first worker has to start for that."""

CLOCK_S = 60
"""Seconds by which the clocks of nodes may differ: signatures of requests to S3 and tokens expire by the clock."""

NEEDED_BYTES = 16 * 2**20
"""Bytes that must be writable in each node's temporary folder and in the results folder."""

PACKAGES = ("ray", "torch", "torchvision", "numpy", "pyarrow", "safetensors", "timm")
"""Packages that a trial's numbers or files depend on: their versions must be the driver's on every node."""

_ROOT = Path(__file__).parents[2]


def connect(address: str) -> None:
    """Join a running cluster as a driver, from one of its nodes; leave a running connection alone.

    Args:
        address: ``HOST:PORT``, or ``auto`` for the cluster that this machine is a node of.

    Raises:
        InputError: It does not answer, refuses this process's token, has other versions, or this is none of its
            nodes.
    """
    if ray.is_initialized():
        return
    if address != "auto":
        _check_port(address)
    try:
        # Ray would try 20 times, for 40 s each.
        with own_signals(), replaced(ray_constants, {"NUM_REDIS_GET_RETRIES": 1}):
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"py_modules": [str(_ROOT / name) for name in MODULES]},
            )
    except (AuthenticationError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise InputError(_refusal(address, error)) from error


def _check_port(address: str) -> None:
    """See who answers: in seconds, where Ray itself would try for a minute.

    Raises:
        InputError: Nobody does, or another kind of server.
    """
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdigit() and 0 < int(port) < 65536):
        raise InputError(f"--address must be HOST:PORT or auto, but got {address!r}; use e.g. 10.0.0.1:6379")
    try:
        with socket.create_connection((host, int(port)), timeout=ANSWER_S) as connection:
            speaks = _speaks_grpc(connection)
    except OSError as error:
        raise InputError(
            f"--address must be a running Ray cluster, but {address} does not answer within {ANSWER_S} s "
            f"({error.strerror or error}); start it with ray start --head, or leave --address out"
        ) from error
    if not speaks:
        raise InputError(
            f"--address must be a running Ray cluster, but at {address} is another kind of server; give the port that "
            "ray start --head names, 6379 by default (8265 is the dashboard's)"
        )


def _speaks_grpc(connection: socket.socket) -> bool:
    """Tell whether a server's first word is one of gRPC; who says nothing, or goes without a word, may be."""
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):  # such a server listens to ciphers alone
        return True
    said = b""
    try:
        connection.sendall(_GREETING)
        while len(said) < 4 and (more := connection.recv(4 - len(said))):
            said += more
    except OSError:
        return True
    return len(said) < 4 or said[3] == 4  # three bytes of length, then the kind of a frame, of which 4 are settings


def _refusal(address: str, error: Exception) -> str:
    """Say in one line why Ray did not connect; never a token."""
    text = " ".join(str(error).split())
    lower = text.lower()
    if "could not find any running ray" in lower:
        return (
            "--address auto must be given on a node of a Ray cluster, but none runs on this machine; start one with "
            "ray start --head, or name another's address as HOST:PORT"
        )
    if isinstance(error, AuthenticationError) or "unauthenticated" in lower or "authentication" in lower:
        return (
            f"this process must hold the cluster's token, but {address} refused the one it has, or it has none; set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the file that the head was started with"
        )
    if "version mismatch" in lower:
        return (
            f"driver and cluster must run the same Ray and Python, but {address} does not ({text}); install the "
            "versions of requirements.lock on both"
        )
    if "raylet" in lower or "node_ip_address" in lower:
        return (
            f"a sweep must be started on a node of its cluster, but this machine is none of {address}'s "
            f"({text[:200]}); log in to one, run ray start --address here first, or use ray job submit"
        )
    return (  # a cluster that asks for a token says no more to a process that has none
        f"--address must be a Ray cluster that this process may join, but {address} takes its connection and no more "
        f"({text[:200]}); start it with ray start --head, and where it asks for a token set RAY_AUTH_MODE=token and "
        "RAY_AUTH_TOKEN_PATH to the file that the head was started with"
    )


def device_kind() -> str:
    """Return ``cuda`` when the cluster has GPUs, else ``cpu``: the driver's own machine says nothing about it.

    Raises:
        InputError: No node runs trials; with workers that are yet to join, what the sweep runs on is not known.
    """
    have = ray.cluster_resources()
    if not have.get("CPU"):
        raise InputError(
            "a cluster must have a node with CPUs for trials, but none has joined; start workers with ray start "
            "--address=HEAD:6379, then run the same command again"
        )
    return "cuda" if have.get("GPU", 0) > 0 else "cpu"


def look(results: str, mark: str, store: str | None) -> dict[str, Any]:
    """Look around on this node; runs in a worker of each.

    Args:
        results: The results folder, or the bucket.
        mark: Name of a file that the driver has just written there.
        store: A store that this node must read by itself, or None.
    """
    folder = open_folder(results)
    folders = [tempfile.gettempdir(), *([results] if folder.local is not None else [])]
    refused = bucket.refusal(results) if folder.local is None else None
    return {
        "node": socket.gethostname(),
        "versions": versions(),
        "clock_s": time.time(),
        "cpu": cpu_name(),
        "bucket": refused,
        "sees_results": refused is not None or mark in folder.names(),
        "sees_store": store is None or (Path(store) / "store.json").is_file(),
        "full": {folder: reason for folder in folders if (reason := full(Path(folder)))},
    }


def versions() -> dict[str, str]:
    """Return the versions of Python, ``PACKAGES`` and our code here; what is not installed is called missing."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found | {"our code": code_digest()}


def full(folder: Path, num_bytes: int = NEEDED_BYTES) -> str | None:
    """Write and delete a file of ``num_bytes``; return why that failed, or None."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(num_bytes))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror or str(error)
    return None


def inspect(
    results: str, *, store: str | None, nodes: Sequence[Node], given_up: Callable[[], bool] = lambda: False
) -> list[str]:
    """Let every node look around, refuse what would only fail hours later, and return what is worth a line.

    Args:
        results: The results folder, which all nodes must share, or the bucket.
        store: A store that the workers read by themselves (``--residency mmap``), or None.
        nodes: Those that look.
        given_up: Tells whether their answers are still wanted.

    Raises:
        InputError: A node does not answer, has other versions, another clock, a full disk, or does not see the
            results or the store; names it.
    """
    began = time.time()
    reports = ask(results, store=store, nodes=nodes, given_up=given_up)
    refuse(reports, began=began, ended=time.time(), results=results, store=store)
    kinds = {report["cpu"] for report in reports.values()}
    shared = "bucket" if bucket.named(results) else "results folder"
    lines = [f"{len(reports)} nodes answer, with the same versions, clocks and {shared}"]
    if len(kinds) > 1:
        lines.append(f"CPUs differ ({', '.join(sorted(kinds))}): a trial that moves between them may end in other bits")
    return lines


def ask(
    results: str, *, store: str | None, nodes: Sequence[Node], given_up: Callable[[], bool]
) -> dict[str, dict[str, Any]]:
    """Let nodes look around, all at the same time, and return what each saw, by its name and address.

    Args:
        results: The results folder, or the bucket, in which a file is made for them to see.
        store: A store that the workers read by themselves, or None.
        nodes: Those that look.
        given_up: Tells whether their answers are still wanted.

    Raises:
        InputError: A node does not answer, or cannot run a task.
    """
    mark, folder = f".cluster-{uuid.uuid4().hex}", open_folder(results)
    folder.write(mark, b"")
    try:
        task = ray.remote(num_cpus=0, max_retries=0)(look)
        asked = {
            task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                results, mark, store
            ): f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}:{node['NodeManagerPort']})"
            for node in nodes
        }
        answered, silent, deadline = [], list(asked), time.monotonic() + LOOK_S
        while silent and time.monotonic() < deadline and not given_up():
            done, silent = ray.wait(silent, num_returns=len(silent), timeout=1.0)
            answered += done
        if silent:
            raise InputError(
                f"every node must answer within {LOOK_S} s, but {asked[silent[0]]} does not; look at its disk and at "
                "its logs below /tmp/ray, or take it out of the cluster"
            )
        reports = {}
        for answer in answered:
            try:
                reports[asked[answer]] = ray.get(answer)
            except RayError as error:
                raise InputError(
                    f"every node must run a task, but {asked[answer]} does not "
                    f"({' '.join(str(error).split())[-300:]}); look at its disk and at its logs below /tmp/ray"
                ) from error
        return reports
    finally:
        folder.delete(mark)


def refuse(
    reports: Mapping[str, Mapping[str, Any]], *, began: float, ended: float, results: str, store: str | None
) -> None:
    """Check what the nodes said against this driver.

    Args:
        reports: Of ``look``, by the node's name.
        began: The driver's clock, in seconds, when the nodes were asked.
        ended: When they had answered.
        results: The results folder, or the bucket.
        store: A store that each node reads by itself, or None.

    Raises:
        InputError: The first rule that a node breaks.
    """
    ours = versions()
    for node, said in sorted(reports.items()):
        theirs = said["versions"]
        other = [f"{name} {theirs[name]} (here {ours[name]})" for name in ours if theirs[name] != ours[name]]
        if other:
            raise InputError(
                f"every node must run the driver's versions, but {node} has {', '.join(other)}; install "
                "requirements.lock and the same code on all nodes"
            )
        ahead = max(began - said["clock_s"], said["clock_s"] - ended)
        if ahead > CLOCK_S:
            side = "ahead" if said["clock_s"] > ended else "behind"
            raise InputError(
                f"clocks must agree within {CLOCK_S} s, but that of {node} is {ahead:,.0f} s {side} of the driver's; "
                "synchronise both, e.g. by NTP"
            )
        if said["bucket"]:
            raise InputError(
                f"every node must write to the results' bucket, but {results} refuses {node} ({said['bucket']}); set "
                "the driver's AWS_... variables where ray start runs on that node, too"
            )
        if not said["sees_results"]:
            raise InputError(
                f"the results folder must be shared by all nodes, but {node} does not see what was just written to "
                f"{results}; mount the same folder there, or name one that is shared with --results"
            )
        if not said["sees_store"]:
            raise InputError(
                f"with --residency mmap every node reads the store by itself, but {node} sees none at {store}; mount "
                "or copy it there, or use --residency object-store"
            )
        for folder, reason in said["full"].items():
            raise InputError(
                f"every node needs {NEEDED_BYTES / 1e6:.0f} MB free for each of its folders, but {folder} on {node} "
                f"takes none ({reason}); make room there, or take the node out of the cluster"
            )


def capacity(
    device: str,
    nodes: Sequence[Node],
    *,
    num_threads: int,
    gpu_memory_gb: float,
    predicted: Sequence[int],
) -> Capacity:
    """Divide a cluster among trials that all ask for the same, each card's memory within its budget.

    Ray chooses the card on which a trial runs, so the budget must hold wherever it goes: at most ``per_card``
    trials share one, and the ``per_card`` largest together fit it. Without GPUs a node counts as one card.

    Args:
        device: ``cuda`` or ``cpu``.
        nodes: As ``ray.nodes()`` returns them.
        num_threads: CPU threads of a trial.
        gpu_memory_gb: Budget of one card, in GiB.
        predicted: Peak bytes of each pending trial.

    Raises:
        InputError: A trial asks for more threads than any node has CPUs.
    """
    have = [node["Resources"] for node in nodes if node["Alive"]]
    refuse_too_many_threads(num_threads, int(max((node.get("CPU", 0) for node in have), default=0)))
    budget = int(gpu_memory_gb * 2**30)
    if device == "cpu":
        slots = [int(node.get("CPU", 0)) // num_threads for node in have]
        return Capacity(
            workers=max(1, min(sum(slots), len(predicted))),
            cpus=num_threads,
            gpus=0.0,
            budget_bytes=budget,
            per_card=max(1, *slots),
        )
    cards = [(int(node["GPU"]), int(node.get("CPU", 0)) // num_threads) for node in have if node.get("GPU", 0) >= 1]
    most = max(1, min((threads // gpus for gpus, threads in cards), default=1))
    largest = sorted(predicted, reverse=True)
    fitting = [k for k in range(1, most + 1) if sum(largest[:k]) + k * CUDA_CONTEXT_BYTES <= budget]
    per_card = max(fitting, default=1)
    return Capacity(
        workers=max(1, min(per_card * sum(gpus for gpus, _ in cards), len(predicted))),
        cpus=num_threads,
        gpus=1 / per_card,
        budget_bytes=budget - per_card * CUDA_CONTEXT_BYTES,
        per_card=per_card,
    )

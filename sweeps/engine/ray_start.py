"""Ray's start, before anything else of Ray or torch is imported: its workers load while the driver goes on."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import ray
from ray._private import ray_constants, services, utils
from ray._private.node import Node

from data_store.errors import InputError
from sweeps.engine import cluster
from sweeps.engine.interruption import own_signals
from sweeps.engine.replaced import replaced

PRELOADED = "trainables.preload"
"""What a worker needs before its first step: Ray's workers load it while the driver still plans."""
MOST_CPUS_LOADED = 8
"""Ray starts a worker a CPU, whether it will have a trial or not: on a larger machine most would load in vain."""
RAY_STARTS = 5
"""Tries: on a busy machine Ray may take longer to start than the 30 s that it allows itself."""


def start_ray(address: str | None) -> None:
    """Connect to a cluster, or start Ray on this machine; leave a running connection alone.

    Raises:
        InputError: The cluster cannot be used; see ``cluster.connect``. Or this machine is too busy.
    """
    if address is not None:
        cluster.connect(address)
        return
    if (os.cpu_count() or 1) <= MOST_CPUS_LOADED:
        os.environ.setdefault("RAY_preload_python_modules", PRELOADED)
    for _ in range(RAY_STARTS):
        if ray.is_initialized():
            return
        try:
            with own_signals(), _on_loopback(), _without_idle_helpers():
                ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            _end_half_started()
    if not ray.is_initialized():
        raise InputError(
            f"Ray must start within 30 s, but did not {RAY_STARTS} times in a row: this machine is too busy; "
            "run the same command again when it is less so"
        )


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Let Ray's processes listen on 127.0.0.1 alone, as they do on macOS and Windows.

    By default they listen on every address of the machine, and run what anybody sends them. Given as the node's
    address, 127.0.0.1 is replaced by another one.
    """
    with replaced(ray_constants, {"ENABLE_RAY_CLUSTER": False}):
        yield


@contextmanager
def _without_idle_helpers() -> Iterator[None]:
    """Leave out those of Ray's processes that have no work here, but load for seconds on the CPUs that workers need.

    The API server and the larger part of the agent serve the dashboard, which is off: Ray does without them where the
    dashboard's packages are not installed. The log monitor copies the workers' output to the driver, which is off as
    well, and the monitor scales clusters. Ray has no setting for any of these.
    """
    with (
        replaced(utils, {"get_dashboard_dependency_error": lambda: ImportError("the dashboard is off")}),
        replaced(services, {"start_api_server": lambda *_, **__: (None, None)}),
        replaced(Node, {"start_log_monitor": lambda _: None, "start_monitor": lambda _: None}),
    ):
        yield


def _end_half_started() -> None:
    """End the processes of a Ray that did not come up: left alone, they would slow its successor down."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "/ray/" in " ".join(child.cmdline()):
                child.kill()

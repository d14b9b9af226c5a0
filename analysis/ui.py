"""Browse the recorded runs in MLflow's own pages, on this machine only.

    python -m analysis.ui              # or `make ui`
    python -m analysis.ui --port 5001

MLflow opens an experiment as a list of sweeps without a single metric. A view is therefore saved with each
experiment (an experiment tag, as MLflow's own "Save as new view" does): its trials, best validation accuracy
first, with the columns that matter. The printed links open it.
"""

import argparse
import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zlib
from collections.abc import Sequence

from analysis.addresses import TRACKING_HELP, check_tracking_uri, default_tracking_uri, ui_address
from data_store.errors import InputError, run_command
from trainables import metric_keys as keys

HOST = "127.0.0.1"
START_SECONDS = 120
VIEW = "trials"
METRICS = (
    keys.scored("val", keys.ACCURACY),
    keys.scored("test", keys.ACCURACY),
    keys.scored("val", keys.AUC),
    keys.scored("test", keys.VIDEO_AUC),
    keys.SIZE_MB,
    keys.LATENCY_RATIO,
    keys.PARAMETERS,
    keys.SECONDS,
)
PARAMETERS = ("architecture", "alpha", "pruning.ratio", "quantisation", "resolution_px")


def server_command(tracking_uri: str, port: int) -> list[str]:
    """Return the command line that serves a store on loopback."""
    options = ["--backend-store-uri", tracking_uri, "--host", HOST, "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "server", *options]


def check_port(port: int) -> None:
    """Raise `InputError` unless the port is one that can be listened on now."""
    if not 0 < port < 65536:
        raise InputError(f"--port must lie between 1 and 65535, but got {port}; leave it out for 5000")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise InputError(
                f"--port must be free, but {HOST}:{port} is not ({error.strerror}); open http://{HOST}:{port} "
                f"if it is MLflow already, or choose another: --port {port % 65535 + 1}"
            ) from error


def experiment_tags() -> dict[str, str]:
    """Return the tags that make MLflow show an experiment as training runs, with our view of it."""
    columns = [*(f"metrics.`{name}`" for name in METRICS), *(f"params.`{name}`" for name in PARAMETERS)]
    state = {
        "searchFilter": "",
        "orderByKey": f"metrics.`{METRICS[0]}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": columns,
        "runsHiddenMode": "FIRST_10_RUNS",
        "hideEmptyCharts": True,
        "groupBy": None,
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    view = {"name": "trials, best first", "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"}
    return {
        "mlflow.experimentKind": "custom_model_development",
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view),
    }


def save_views(tracking_uri: str) -> dict[str, str]:
    """Save our view with each experiment that holds a sweep; return its page, by the experiment's name."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri)
    pages = {}
    for experiment in client.search_experiments():
        if client.search_runs([experiment.experiment_id], "tags.kind = 'sweep'", max_results=1):
            for key, value in experiment_tags().items():
                if experiment.tags.get(key) != value:
                    client.set_experiment_tag(experiment.experiment_id, key, value)
            path = f"#/experiments/{experiment.experiment_id}/runs"
            pages[experiment.name] = f"{path}?workflowType=machine_learning&viewStateShareKey={VIEW}"
    return pages


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the store and the port, serve, say the addresses once they answer, and end on Ctrl-C."""
    parser = argparse.ArgumentParser(description="Browse the recorded runs in MLflow, on this machine only.")
    parser.add_argument("--port", type=int, default=5000, help="port on 127.0.0.1 (default: 5000)")
    parser.add_argument("--tracking-uri", help=TRACKING_HELP)
    options = parser.parse_args(arguments)
    uri = options.tracking_uri or default_tracking_uri()
    check_tracking_uri(uri)
    if uri.startswith(("http://", "https://")):
        sys.stdout.write(f"This store is served already: {ui_address(uri)}\n")
        return 0
    check_port(options.port)
    sys.stdout.write(f"Starting MLflow for {uri} ...\n")
    sys.stdout.flush()
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    server = subprocess.Popen(
        server_command(uri, options.port),
        env=os.environ | quiet,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,  # MLflow starts a server of its own: both end together, as one group
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _serve(server, uri, f"http://{HOST}:{options.port}")
    except KeyboardInterrupt:
        sys.stdout.write("\n")
        return 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def _serve(server: "subprocess.Popen[str]", uri: str, address: str) -> int:
    """Say the addresses once the server answers, then wait for its end."""
    pages = save_views(uri)
    _await_answer(server, address)
    lines = [f"  {name:16} {address}/{page}" for name, page in pages.items()]
    sys.stdout.write("\n".join([f"Browse the runs at {address} (Ctrl-C ends it)", *lines, ""]))
    sys.stdout.flush()
    assert server.stderr is not None
    for line in server.stderr:
        if " ERROR " in line:
            sys.stderr.write(line)
    return server.wait()


def _await_answer(server: "subprocess.Popen[str]", address: str) -> None:
    """Return when the server answers; `InputError` when it ends or stays silent."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    last = (server.stderr.read().strip().splitlines() or ["no message"])[-1] if server.stderr else "no message"
    raise InputError(f"MLflow must answer at {address} within {START_SECONDS} s, but it did not ({last}); try --port")


if __name__ == "__main__":
    run_command(main)

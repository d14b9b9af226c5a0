"""Browse the recorded runs in MLflow's own pages, on this machine only.

python -m analysis.ui              # or `make ui`
python -m analysis.ui --port 5001
"""

import argparse
import socket
import subprocess
import sys
from collections.abc import Sequence

from analysis.addresses import TRACKING_HELP, check_tracking_uri, default_tracking_uri, ui_address
from data_store.errors import InputError, run_command

HOST = "127.0.0.1"


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the store and the port, say the address, and serve until Ctrl-C."""
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
    sys.stdout.write(f"MLflow shows {uri}\nat http://{HOST}:{options.port} in some seconds; Ctrl-C ends it.\n")
    sys.stdout.flush()
    try:
        return subprocess.call(server_command(uri, options.port))
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    run_command(main)

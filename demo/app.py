"""The demo's web page: drop a video, see who is fake.

    python demo/app.py                        # the Pareto points in MLflow; http://127.0.0.1:7860
    python demo/app.py --models exports       # and every model below exports/

It listens on this machine only, needs nothing from the network, and removes a video and its results when the page
that sent it is closed.
"""

import argparse
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from analysis.addresses import TRACKING_HELP
from data_store.errors import InputError, run_command
from demo.annotate import MAX_MINUTES
from demo.choosing import TRAIN_FIRST
from demo.examples import Examples
from demo.jobs import Jobs, work_folder
from demo.scoring import PRECISIONS, RUNTIMES
from demo.server import LOOPBACK, Models, Server, ServerSettings

PORT = 7860
MAX_MB = 500.0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description="A web page that marks deepfakes in videos.")
    options.add_argument("--models", type=Path, metavar="DIR", help="folder of exported models, one folder each")
    options.add_argument("--examples", type=Path, metavar="DIR", help="videos to try (default: two that are drawn)")
    options.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    options.add_argument("--port", type=int, default=PORT, help=f"default: {PORT}; 0: any that is free")
    options.add_argument("--max-minutes", type=float, default=MAX_MINUTES, metavar="N", help="longest video")
    options.add_argument("--max-mb", type=float, default=MAX_MB, metavar="N", help=f"largest upload ({MAX_MB:g})")
    options.add_argument("--runtime", default="onnx", choices=RUNTIMES, help="what runs the models (default: onnx)")
    options.add_argument("--precision", default="float", choices=PRECISIONS, help="int8: model.int8.onnx")
    options.add_argument("--tracking-uri", help=TRACKING_HELP)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C."""
    options = parser().parse_args(arguments)
    check(options)
    settings = ServerSettings(
        models=options.models,
        tracking_uri=options.tracking_uri,
        runtime=options.runtime,
        precision=options.precision,
        max_minutes=options.max_minutes,
        max_mb=options.max_mb,
        host=options.host,
    )
    with work_folder() as root, listening(options.host, options.port) as listener:
        models = Models(settings)
        examples = Examples(root, options.examples)
        jobs = Jobs(root, models.open, max_minutes=options.max_minutes)
        try:
            _greet(listener, options.host)
            threading.Thread(target=_count, args=(models,), daemon=True).start()  # MLflow takes seconds to load
            _serve(Server(settings, models, jobs, examples), listener)
        finally:
            jobs.close()
    return 0


def check(options: argparse.Namespace) -> None:
    """Check the command line's values.

    Raises:
        InputError: one is out of its range.
    """
    if options.max_minutes <= 0:
        raise InputError(f"--max-minutes must be above 0, but got {options.max_minutes:g}; use {MAX_MINUTES:g}")
    if options.max_mb <= 0:
        raise InputError(f"--max-mb must be above 0, but got {options.max_mb:g}; use {MAX_MB:g}")
    if not 0 <= options.port < 65536:
        raise InputError(f"--port must lie between 0 and 65535, but got {options.port}; leave it out for {PORT}")
    if options.models is not None and not options.models.is_dir():
        raise InputError(
            f"--models must be a folder of exported models, but {options.models} is not one; make it with: "
            "python analysis/pick.py --export MODELS/NAME"
        )
    if options.examples is not None and not options.examples.is_dir():
        raise InputError(f"--examples must be a folder of videos, but {options.examples} is not one; check the path")


def listening(host: str, port: int) -> socket.socket:
    """Listen on an address.

    Raises:
        InputError: it is taken, or not this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen()  # who opens the address at once waits, and is not refused
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise InputError(
            f"--host and --port must be free on this machine, but {host}:{port} is not ({error.strerror or error}); "
            "use --port 0 for any free one"
        ) from error
    return listener


def _greet(listener: socket.socket, host: str) -> None:
    address, port = listener.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    sys.stdout.write(f"open     http://{shown}:{port}\n")
    if host not in LOOPBACK:
        sys.stdout.write(
            f"warning  --host {host}: everyone who reaches this address can send videos here and use this machine's\n"
            "         time and disk; there is no password and no encryption, and browsers give no camera to such a\n"
            "         page. Use it in a network that you trust, or behind a proxy that asks who comes.\n"
        )
    sys.stdout.write("stop     Ctrl-C\n")
    sys.stdout.flush()


def _count(models: Models) -> None:
    """Say how many models there are, when that is known."""
    try:
        found, why = models.offers()
    except InputError as error:
        found, why = [], str(error)
    train = "" if found else f"; train one: {TRAIN_FIRST}"
    sys.stdout.write(f"models   {len(found)} on offer{train}\n" + (f"note     {why}\n" if why else ""))
    sys.stdout.flush()


def _serve(server: Server, listener: socket.socket) -> None:
    import uvicorn

    # uvicorn raises a signal again when it has shut down: this way the files are removed then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    settings = uvicorn.Config(
        server.app(), log_level="warning", access_log=False, timeout_graceful_shutdown=1, server_header=False
    )
    uvicorn.Server(settings).run(sockets=[listener])


if __name__ == "__main__":
    run_command(main)

"""Send to MLflow what sweeps could not, because the tracking server was away when they ended.

    python -m sweeps.engine.deliver                    # of all sweeps below results/
    python -m sweeps.engine.deliver --results FOLDER

Sends each record that the server lacks, in order, and doubles none, however often it runs. A sweep that runs delivers
its own. Exit code 0: nothing is left. 2: a server does not answer.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_store.errors import InputError, run_command
from sweeps.engine import ending
from sweeps.engine.agenda import out_of_reach, planned_in
from sweeps.engine.journal import open_journal
from sweeps.engine.launch_log import launch_log
from sweeps.engine.lock import is_held, sweep_lock
from sweeps.engine.options import RESULTS
from sweeps.engine.places import Places
from sweeps.engine.terminal import Terminal
from sweeps.engine.tracking import default_uri


def deliver(folder: Path, results: Path, terminal: Terminal) -> bool:
    """Send what one sweep's tracking store lacks; return whether there was anything to send.

    Raises:
        InputError: The store does not answer, the sweep runs or is kept in a bucket, or its journal is damaged.
    """
    with sweep_lock(folder):
        journal = open_journal(folder / "journal.jsonl")
        opened, state = journal.state.opened, journal.state
        if opened is None or state.closed is not None:
            return False
        if opened.get("bucket"):  # another machine may have gone on with it
            raise InputError(
                f"a sweep in a bucket delivers its records itself, but {opened['label']} is kept in "
                f"{opened['bucket']}; give its command again"
            )
        from sweeps.engine.tracking import Tracking

        uri = _uri_now(opened, results)
        tracking = Tracking(
            uri,
            experiment=opened["sweep"],
            sweep=opened["label"],
            question=opened["question"],
            results=results,
            tags=opened["tags"],
            owner=state.owner,
        )
        planned = planned_in(state)
        before = len(state.recorded)
        places = Places(sweep=folder)
        with ending.exporting(journal, places) as exporter:
            exporter.finish()
        ending.catch_up(journal, planned, places, tracking)
        tracking.stop([])
        ended = state.failed.keys() | state.stopped.keys()
        done = planned.keys() <= state.finished.keys() | ended | out_of_reach(planned, ended)
        measured = {row["graph"]["digest"] for row in state.finished.values()} <= state.latencies.keys()
        if done and measured:
            ending.close(journal, planned, folder, uri, tracking)
        terminal.line("sent", f"{opened['label']}: {len(state.recorded) - before} results")
        return True


def _uri_now(opened: Mapping[str, Any], results: Path) -> str:
    """Return where a sweep's records go: a results folder that was moved or copied has taken its file along."""
    uri, mine = str(opened["uri"]), default_uri(results)
    file, own = (Path(address.removeprefix("sqlite:///")) for address in (uri, mine))
    if not uri.startswith("sqlite:") or file.name != own.name:
        return uri
    # One of that name may lie elsewhere because the user said so: it is there, and no results folder of this sweep.
    was_beside = not file.exists() or (file.parent / "sweeps" / opened["label"]).is_dir()
    return mine if was_beside else uri


def main(arguments: Sequence[str] | None = None) -> int:
    """Deliver the records of every sweep below the results folder."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description="Send to MLflow what sweeps could not.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the sweeps (default: results/)")
    results = parser.parse_args(arguments).results.resolve()
    if not (results / "sweeps").is_dir():
        raise InputError(f"--results must hold sweeps, but {results} has none; name the folder that a sweep wrote to")
    terminal = Terminal()
    with launch_log(results, terminal):  # MLflow says what it does
        sent, errors = _deliver_all(results, terminal)
    if errors:
        raise errors[0]
    if not any(sent):
        terminal.line("done", "nothing was left to send")
    return 0


def _deliver_all(results: Path, terminal: Terminal) -> tuple[list[bool], list[InputError]]:
    """Deliver what can be delivered; return for each such sweep whether there was anything, and what kept others."""
    sent, errors = [], []
    for folder in sorted(path.parent for path in results.glob("sweeps/*/journal.jsonl")):
        if is_held(folder):
            terminal.line("runs", f"{folder.name}: it delivers its own records")
            continue
        try:
            sent.append(deliver(folder, results, terminal))
        except InputError as error:  # the next one may have another server
            errors.append(error)
            terminal.line("left", f"{folder.name}: {error}")
    return sent, errors


if __name__ == "__main__":
    run_command(main)

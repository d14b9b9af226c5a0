"""Measure speed and memory beside their peers: ``python -m benchmarks [--only NAME]``.

Runs ``rows()`` of each ``benchmarks/bench_*.py``, shows the table, keeps it in ``benchmarks/results.json`` and
exits with 1 when a bar is missed.
"""

import argparse
import datetime
import importlib
import importlib.util
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from data_store.errors import InputError, run_command
from sweeps.engine.resources import cpu_name

FOLDER = Path(__file__).parent
KEYS = {"name", "peer", "ratio", "bar", "pass"}


def main(argv: Sequence[str] | None = None, results: Path = FOLDER / "results.json") -> int:
    """Run the benchmarks.

    Args:
        argv: The command line.
        results: Where the table is kept; with ``--only``, other benchmarks' rows stay. Each row names its machine.

    Raises:
        InputError: There is no benchmark of that name, or a peer is not installed.
    """
    names = sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure every claim.")
    parser.add_argument("--only", metavar="NAME", help=f"one of: {', '.join(names)}")
    only = parser.parse_args(argv).only
    if only is not None and only not in names:
        raise InputError(f"--only must name one of {', '.join(names)}, but got {only}; leave it out to run all")
    chosen = names if only is None else [only]
    modules = {name: importlib.import_module(f"benchmarks.bench_{name}") for name in chosen}
    _refuse_missing_peers(modules)
    here = machine()
    label = f"{here['cpu']}, {here['cores']} cores, {here['gpu'] or 'no GPU'}, {here['system']}"
    measured: list[dict[str, Any]] = []
    for name, module in modules.items():
        sys.stdout.write(f"{name} ...\n")
        sys.stdout.flush()
        measured += [_checked(name, row) | {"machine": label} for row in module.rows()]
    earlier = {"machines": {}, "rows": []} if only is None else _earlier(results)
    kept = [row for row in earlier["rows"] if row["benchmark"] != only]
    table = sorted(kept + measured, key=lambda row: (row["name"], row["peer"]))
    used = {row["machine"] for row in table}
    machines = {name: each for name, each in (earlier["machines"] | {label: here}).items() if name in used}
    results.write_text(json.dumps({"machines": machines, "rows": table}, indent=1) + "\n")
    sys.stdout.write(_shown(sorted(measured, key=lambda row: (row["name"], row["peer"]))))
    missed = sum(not row["pass"] for row in measured)
    sys.stdout.write(f"{len(measured)} measured, {missed} below their bar; kept in {results}\n")
    return 1 if missed else 0


def machine() -> dict[str, Any]:
    """Describe the machine: without it a figure means nothing."""
    import psutil

    return {
        "cpu": cpu_name(),
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
        "threads": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": _gpu(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _refuse_missing_peers(modules: dict[str, ModuleType]) -> None:
    """Refuse to start without what the benchmarks compare with: a peer that is not run is no peer."""
    peers = {peer for module in modules.values() for peer in getattr(module, "PEERS", ())}
    missing = sorted(peer for peer in peers if importlib.util.find_spec(peer) is None)
    if missing:
        raise InputError(
            f"every peer of a benchmark must be installed, but {', '.join(missing)} is missing; "
            "install them with: pip install --editable .[bench]"
        )


def _checked(benchmark: str, row: dict[str, Any]) -> dict[str, Any]:
    assert set(row) >= KEYS, f"bench_{benchmark} gave a row without {KEYS - set(row)}"
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {**row, "benchmark": benchmark, "date": today}


def _earlier(results: Path) -> dict[str, Any]:
    """Return what earlier runs have kept; each ratio is of one run, on the machine that its row names."""
    kept: dict[str, Any] = json.loads(results.read_text()) if results.is_file() else {"machines": {}, "rows": []}
    return kept


def _shown(rows: list[dict[str, Any]]) -> str:
    """Lay the rows out as a table."""
    cells = [("", "claim", "peer", "ratio", "bar", "figures")]
    for row in rows:
        mark = "ok" if row["pass"] else "MISSED"
        cells.append((mark, row["name"], row["peer"], f"{row['ratio']:g}", str(row["bar"]), row.get("detail", "")))
    widths = [max(len(line[column]) for line in cells) for column in range(6)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    return "\n".join(line.rstrip() for line in lines) + "\n"


if __name__ == "__main__":
    run_command(main)

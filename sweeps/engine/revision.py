"""Which code a run was made by: a git commit, or where there is none, a digest of the modules."""

import hashlib
import importlib
import os
import subprocess
from pathlib import Path

MODULES = ("data_store", "trainables", "sweeps")
"""What a trial may run."""


def revision() -> str:
    """Return the code's git commit, with a mark when files differ from it; ``digest:`` and its digest where none is.

    An image holds no repository: it is told its commit when it is built, by the variable ``SWEEPS_REVISION``.
    """
    told = os.environ.get("SWEEPS_REVISION")
    if told:
        return told
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return f"digest:{code_digest()}"
    return done.stdout.strip()


def code_digest() -> str:
    """Return a digest of the modules that a trial may run, as they are imported here.

    They are shipped, but a folder that lies at the driver's own path on a node comes first there.
    """
    digest = hashlib.sha256()
    for name in MODULES:
        root = Path(importlib.import_module(name).__path__[0])
        for file in sorted(root.rglob("*.py")):
            digest.update(f"{name}/{file.relative_to(root).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]

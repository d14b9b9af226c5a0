"""Programs of the system that some tests need; where one is missing, ``conftest.py`` skips its tests and says why."""

import os
import shutil
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
"""Its path, or nothing."""
POSTGRES = max((path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None, key=str)
"""The folder of PostgreSQL's programs, or None."""


def missing() -> dict[str, str]:
    """Return why the tests of a marker cannot run here, by the marker."""
    lacking = {
        "browser": None if CHROMIUM else "no Chromium: apt-get install chromium",
        "postgres": None if POSTGRES else "no PostgreSQL: apt-get install postgresql",
        "hosts": None if os.geteuid() == 0 and shutil.which("ip") else "hosts are made by root, with iproute2",
    }
    return {marker: reason for marker, reason in lacking.items() if reason}

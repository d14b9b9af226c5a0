"""Programs of the system that some tests need; where one is missing, ``conftest.py`` skips its tests and says why."""

import os
import shutil
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
"""Its path, or nothing."""
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
"""Where PostgreSQL's programs lie; of several versions the last one is the newest."""


def missing() -> dict[str, str]:
    """Return why the tests of a marker cannot run here, by the marker."""
    lacking = {
        "browser": None if CHROMIUM else "no Chromium: apt-get install chromium",
        "postgres": None if POSTGRES else "no PostgreSQL: apt-get install postgresql",
        "hosts": None if os.geteuid() == 0 and shutil.which("ip") else "hosts are made by root, with iproute2",
    }
    return {marker: reason for marker, reason in lacking.items() if reason}

"""What Ray's workers load while the driver plans."""

import subprocess
import sys


def test_what_workers_load_is_set_aside_and_garbage_is_collected_again() -> None:
    code = (
        "import gc, sys, trainables.preload; "
        "print(gc.isenabled(), gc.get_freeze_count() > 100_000, 'trainables.steps' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "True"]

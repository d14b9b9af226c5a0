import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_store.errors import InputError
from sweeps.engine.lock import sweep_lock

HOLDER = """
import sys, time
from pathlib import Path
from sweeps.engine.lock import sweep_lock
with sweep_lock(Path(sys.argv[1])):
    sys.stdout.write("held\\n"); sys.stdout.flush()
    time.sleep(60)
"""


def test_the_second_driver_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"process {holder.pid} holds"), sweep_lock(tmp_path):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with sweep_lock(tmp_path):
            assert (tmp_path / "lock").read_text() == str(os.getpid())

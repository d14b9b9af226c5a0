import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from data_store.errors import InputError
from sweeps.engine.lock import is_held, sweep_lock

AS_NOBODY = """
import os, sys
from pathlib import Path
from sweeps.engine.lock import is_held
os.setuid(65534)
sys.stdout.write(str(is_held(Path(sys.argv[1]))))
"""
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


def test_looking_whether_a_sweep_is_held_writes_nothing(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with sweep_lock(tmp_path):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)


@pytest.mark.hosts
@pytest.mark.parametrize("mode", [0o644, 0o600], ids=["readable", "closed"])
def test_a_lock_of_another_user_counts_as_held_while_it_is(mode: int) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        with sweep_lock(folder):
            (folder / "lock").chmod(mode)
            done = subprocess.run([sys.executable, "-c", AS_NOBODY, name], capture_output=True, text=True, check=True)
            assert done.stdout == "True"

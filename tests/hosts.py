"""Separate hosts on one machine, of network, mount, process and name spaces: what containers are, without images.

Each host has an address of its own on a private switch, its own processes, ``/tmp``, ``/dev/shm`` and user, and
finds the others by name. Killing a host kills all that runs on it at once. Needs root and iproute2.
"""

import itertools
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[1]
USER = 1000
VENV = Path(sys.prefix)


@dataclass(kw_only=True)
class Host:
    """A running host.

    Attributes:
        name: Under which the others find it.
        address: On the switch.
        namespace: Of its network.
        init: Its first process: all others die with it.
        pid: Of the process that holds its spaces, as seen from outside.
        started: What was started on it.
    """

    name: str
    address: str
    namespace: str
    init: subprocess.Popen[bytes]
    pid: int
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        user: int = USER,
        cwd: str = "/app",
        out: IO[Any] | int | None = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        """Start a command on the host, as an unprivileged user, with no variable but those given."""
        variables = {
            "PATH": "/opt/venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": "/tmp/home",
            "PYTHONPATH": "/app",
            "PYTHONUNBUFFERED": "1",
            **(env or {}),
        }
        given = [f"{key}={value}" for key, value in variables.items()]
        words = [
            "nsenter",
            "-t",
            str(self.pid),
            "-m",
            "-n",
            "-p",
            "-u",
            "-r",
            "setpriv",
            f"--reuid={user}",
            f"--regid={user}",
        ]
        process = subprocess.Popen(
            [*words, "--clear-groups", "env", "-i", f"--chdir={cwd}", *given, *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
        )  # fmt: skip
        self.started.append(process)
        return process

    def check(self, command: Sequence[str], **options: Any) -> str:  # noqa: ANN401 - handed on
        """Run a command on the host to its end, and return what it printed; a failure raises with it."""
        with self.run(command, **options) as process:
            text, _ = process.communicate()
        assert process.returncode == 0, text
        return text

    def received(self) -> int:
        """Return the bytes that the host's network card has taken in."""
        counter = ["ip", "netns", "exec", self.namespace, "cat", "/sys/class/net/eth0/statistics/rx_bytes"]
        return int(subprocess.run(counter, capture_output=True, text=True, check=True).stdout)

    def kill(self) -> None:
        """Cut the power: every process of the host dies at once, and its address answers no more."""
        os.kill(self.pid, signal.SIGKILL)
        self.init.wait()
        for process in self.started:
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@dataclass(kw_only=True)
class Switch:
    """A private network; ``close`` it to end every host."""

    name: str
    hosts: dict[str, Host] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def add(self, name: str, mounts: Mapping[str, Path], *, shm_mb: int = 512, tmp_mb: int = 1024) -> Host:
        """Boot a host, in place of an earlier one of its name if there is one; its address is a new one.

        Args:
            name: By which others find it.
            mounts: Folder or file outside, by its place on the host, where it is made if need be.
            shm_mb: Of ``/dev/shm``.
            tmp_mb: Of ``/tmp``, where Ray keeps its logs and what does not fit into memory.
        """
        if name in self.hosts:
            self._remove(self.hosts.pop(name))
        number = next(self.numbers)
        namespace, address = f"{self.name}-{number}", f"10.231.7.{number}"
        link = f"v{self.name[-8:]}{number}"
        ip("netns", "add", namespace)
        ip("-n", self.name, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        ip("-n", self.name, "link", "set", link, "master", "switch", "up")
        ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            ip("-n", namespace, "link", "set", device, "up")
        root = "/mnt/root"
        # The environment also stands where it was made, which its commands name in their first line.
        script = [
            "mount --make-rprivate /",
            "mount -t tmpfs -o size=256m tmpfs /mnt",  # what the host changes on its disk, gone with it
            "mkdir /mnt/upper /mnt/work /mnt/root",
            f"mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work {root}",
            f"mount -t proc proc {root}/proc && mount --rbind /dev {root}/dev && mount --rbind /sys {root}/sys",
            f"chmod 755 {root}/root",  # Python itself may live there
            f"mount -t tmpfs -o size={shm_mb}m,mode=1777 tmpfs {root}/dev/shm",
            f"mount -t tmpfs -o size={tmp_mb}m,mode=1777 tmpfs {root}/tmp",
            f"install -d -o {USER} -g {USER} {root}/tmp/home",
            f"hostname {name} && touch {root}/etc/hosts",
            *(f"{_mount_point(root + place, source)} && mount --bind {shlex.quote(str(source))} {root}{place}"
              for place, source in {"/app": ROOT, "/opt/venv": VENV, str(VENV): VENV, **mounts}.items()),
            # Up is what is in its own root: before that, it would write to this machine's files.
            f"exec chroot {root} sh -c 'echo up && exec sleep infinity'",
        ]  # fmt: skip
        init = subprocess.Popen(
            ["ip", "netns", "exec", namespace, "unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child",
             "--mount-proc", "sh", "-ec", "\n".join(script)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert init.stdout is not None
        assert init.stdout.readline() == b"up\n"
        children = Path(f"/proc/{init.pid}/task/{init.pid}/children").read_text().split()
        host = Host(name=name, address=address, namespace=namespace, init=init, pid=int(children[0]))
        self.hosts[name] = host
        lines = "".join(f"{each.address} {each.name}\n" for each in self.hosts.values())
        for each in self.hosts.values():
            own = subprocess.run(
                ["nsenter", "-t", str(each.pid), "-m", "-r", "sh", "-c", "cat > /etc/hosts"],
                input=f"127.0.0.1 localhost\n{lines}".encode(), check=False, cwd="/", stderr=subprocess.DEVNULL,
            )  # fmt: skip
            assert own.returncode == 0 or each.init.poll() is not None
        return host

    def close(self) -> None:
        """End every host and the network."""
        for host in self.hosts.values():
            self._remove(host)
        ip("netns", "delete", self.name)

    def _remove(self, host: Host) -> None:
        if host.init.poll() is None:
            host.kill()
        if host.init.stdout is not None:
            host.init.stdout.close()
        ip("netns", "delete", host.namespace)


def open_switch() -> Switch:
    """Make an empty network."""
    switch = Switch(name=f"sweeps-{os.getpid()}-{time.monotonic_ns() % 10**5:05d}")
    ip("netns", "add", switch.name)
    ip("-n", switch.name, "link", "add", "switch", "type", "bridge")
    ip("-n", switch.name, "link", "set", "switch", "up")
    return switch


def _mount_point(place: str, source: Path) -> str:
    """Return the command that makes the folder or file on which ``source`` is mounted."""
    return f"mkdir -p {place}" if source.is_dir() else f"mkdir -p {Path(place).parent} && touch {place}"


def ip(*words: str) -> None:
    """Run iproute2's command."""
    subprocess.run(["ip", *words], check=True)


def wait_until(condition: Callable[[], object], seconds: float = 400, what: str = "it") -> None:
    """Wait for a condition; fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come so far within {seconds:g} s"
        time.sleep(0.2)

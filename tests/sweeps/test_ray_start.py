"""Which of Ray's processes run on this machine while a sweep does, and who can reach them."""

from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address

import psutil
import pytest
import ray

from sweeps.engine.ray_start import start_ray

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def processes() -> Iterator[list[psutil.Process]]:
    """Start Ray as a sweep does, and return this process and all that it has started, a worker among them."""
    ray.shutdown()
    start_ray(None)
    try:
        assert ray.get(ray.remote(lambda: "works").remote()) == "works"
        yield [psutil.Process(), *psutil.Process().children(recursive=True)]
    finally:
        ray.shutdown()


def test_ray_starts_without_the_helpers_that_would_have_no_work(processes: list[psutil.Process]) -> None:
    commands = [" ".join(process.cmdline()) for process in processes[1:]]
    (raylet,) = [line for line in commands if "raylet/raylet" in line]
    assert "dashboard/agent.py" in raylet
    assert "--minimal" in raylet
    assert not [line for line in commands if "dashboard.py" in line or "monitor.py" in line]


def test_nothing_of_ray_listens_to_other_machines(processes: list[psutil.Process]) -> None:
    connections = [connection for process in processes for connection in process.net_connections()]
    listening = {ip_address(row.laddr.ip) for row in connections if row.status == psutil.CONN_LISTEN}
    assert listening
    for ip in listening:
        plain = ip.ipv4_mapped if isinstance(ip, IPv6Address) and ip.ipv4_mapped else ip
        assert plain.is_loopback, f"{ip} is reached from elsewhere"

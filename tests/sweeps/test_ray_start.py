"""Which of Ray's processes run on this machine while a sweep does, and who can reach them."""

from ipaddress import ip_address

import psutil
import pytest
import ray

from sweeps.engine.ray_start import start_ray


@pytest.mark.ray
@pytest.mark.timeout(180)
def test_ray_starts_without_the_helpers_that_would_have_no_work() -> None:
    ray.shutdown()
    start_ray(None)
    try:
        children = [" ".join(process.cmdline()) for process in psutil.Process().children(recursive=True)]
        assert ray.get(ray.remote(lambda: "works").remote()) == "works"
    finally:
        ray.shutdown()
    (raylet,) = [line for line in children if "raylet/raylet" in line]
    assert "dashboard/agent.py" in raylet
    assert "--minimal" in raylet
    assert not [line for line in children if "dashboard.py" in line or "monitor.py" in line]


@pytest.mark.ray
@pytest.mark.timeout(180)
def test_nothing_of_ray_listens_to_other_machines() -> None:
    ray.shutdown()
    start_ray(None)
    try:
        assert ray.get(ray.remote(lambda: "works").remote()) == "works"  # so that there is a worker, too
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        listening = {
            connection.laddr.ip
            for process in processes
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN
        }
    finally:
        ray.shutdown()
    mapped = {getattr(ip_address(ip), "ipv4_mapped", None) or ip_address(ip) for ip in listening}
    assert mapped
    assert all(ip.is_loopback for ip in mapped)

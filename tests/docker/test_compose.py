"""What compose.yaml's containers run, run on hosts made of Linux name spaces: a cluster's life without an engine.

Every command and every variable is read from compose.yaml. Images are not built and volumes are folders.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hosts import ROOT, Host, Switch, open_switch, wait_until
from tests.programs import POSTGRES
from tests.stores import write_store
from tests.sweeps.alone import trained_alone
from tests.sweeps.launching import epochs_trained_twice, events, finished_results, has_come_to

pytestmark = [
    pytest.mark.ray,
    pytest.mark.postgres,
    pytest.mark.hosts,
    pytest.mark.slow,
    pytest.mark.timeout(900),
]
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
SMALL = ("--object-store-memory=80000000",)
WORKER = ("--num-cpus=1", *SMALL)


def resolved(text: str, given: dict[str, str]) -> str:
    """Fill in ``${NAME:-default}`` as compose does."""
    return re.sub(r"\$\{(\w+):[-?]([^}]*)\}", lambda match: given.get(match[1], match[2]), text)


@dataclass
class Cluster:
    """The services, by the names of their hosts, and the folders that stand for volumes."""

    switch: Switch
    folder: Path
    given: dict[str, str]
    running: dict[str, "subprocess.Popen[str]"] = field(default_factory=dict)

    def mounts(self, service: str) -> dict[str, Path]:
        """Return the folders and secrets of a service, by their place in it."""
        found = {f"/run/secrets/{name}": self.folder / "secrets" / name for name in SERVICES[service]["secrets"]}
        for volume in SERVICES[service]["volumes"]:
            source, place = resolved(volume, self.given).split(":")[:2]
            found[place] = self.folder / source if source in COMPOSE["volumes"] else Path(source)
        return found

    def env(self, service: str) -> dict[str, str]:
        """Return the variables of a service; those without a value come from the shell, as compose has it."""
        values = SERVICES[service]["environment"]
        filled = {key: self.given.get(key) if value is None else value for key, value in values.items()}
        return {key: resolved(value, self.given) for key, value in filled.items() if value is not None}

    def command(self, service: str) -> list[str]:
        """Return what a service runs."""
        told = SERVICES[service]
        words: list[str] = told.get("entrypoint", []) + told["command"]
        return [resolved(word, self.given) for word in words]

    def start(self, service: str, name: str | None = None, *more: str) -> Host:
        """Boot a service's host, in place of an earlier one of that name, and start its command."""
        host = self.switch.add(name or service, self.mounts(service))
        with (self.folder / "logs" / f"{host.name}.log").open("a") as log:
            self.running[host.name] = host.run([*self.command(service), *more], env=self.env(service), out=log)
        return host

    def await_healthy(self, services: Mapping[str, tuple[str, Sequence[str]]]) -> None:
        """Wait until all health checks succeed; a service that ends meanwhile is restarted, as compose does.

        Args:
            services: The service and the further words of its command, by the name of its host.
        """

        def healthy() -> bool:
            for name, (service, more) in services.items():
                if self.running[name].poll() is not None:  # on a busy machine Ray may not start within its 30 s
                    self.start(service, name, *more)
            return all(
                self.healthy(service, self.switch.hosts[name]) and self.running[name].poll() is None
                for name, (service, _) in services.items()
            )

        wait_until(healthy, 600, what="all services")

    def healthy(self, service: str, host: Host) -> bool:
        """Run a service's health check."""
        command: list[str] = SERVICES[service]["healthcheck"]["test"][1:]
        with host.run(command, env=self.env(service), out=subprocess.DEVNULL) as check:
            check.communicate()
        return check.returncode == 0

    def log(self, name: str) -> str:
        return (self.folder / "logs" / f"{name}.log").read_text()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    for name in ("database", "artifacts", "results", "logs"):
        (folder / name).mkdir()
        os.chown(folder / name, 1000, 1000)
    subprocess.run(["sh", ROOT / "docker" / "make_secrets.sh", folder / "secrets"], check=True)
    store = write_store(folder / "store", rows={"train": 4000, "val": 16, "test": 16})
    given = {
        "STORE": str(store),
        "SWEEP": "../tests/sweeps/tiny",
        "ARTIFACTS": "s3://artifacts/sweeps",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "kept-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_S3_ENDPOINT_URL": "http://s3:9000",
        "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE": "path",
    }
    switch = open_switch()
    try:
        yield Cluster(switch, folder, given)
    finally:
        switch.close()


def start_postgres(cluster: Cluster) -> Host:
    """Do what PostgreSQL's own image does with its variables: a cluster, a user and a database of that name."""
    user = int(subprocess.run(["id", "-u", "postgres"], capture_output=True, text=True, check=True).stdout)
    os.chown(cluster.folder / "database", user, user)
    host = cluster.switch.add("postgres", cluster.mounts("postgres"))
    assert not cluster.healthy("postgres", host)
    data, secret = "/var/lib/postgresql/data", SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD_FILE"]
    name = SERVICES["postgres"]["environment"]["POSTGRES_USER"]
    host.check([f"{POSTGRES}/initdb", "-D", data, "-U", name, "--auth=scram-sha-256", f"--pwfile={secret}"], user=user)
    host.check(["sh", "-c", f"echo host all all 10.231.7.0/24 scram-sha-256 >> {data}/pg_hba.conf"], user=user)
    words = [f"{POSTGRES}/postgres", "-D", data, "-c", "listen_addresses=*", "-c", "unix_socket_directories=/tmp"]
    with (cluster.folder / "logs" / "postgres.log").open("w") as log:
        host.run(words, user=user, out=log)
    wait_until(lambda: cluster.healthy("postgres", host), what="PostgreSQL")
    password = (cluster.folder / "secrets" / "postgres_password").read_text()
    database = SERVICES["postgres"]["environment"]["POSTGRES_DB"]
    host.check([f"{POSTGRES}/createdb", "-h", "/tmp", "-U", name, database], env={"PGPASSWORD": password})
    return host


def start_s3(cluster: Cluster) -> None:
    host = cluster.switch.add("s3", {})
    with (cluster.folder / "logs" / "s3.log").open("w") as log:
        host.run(["moto_server", "--host", "0.0.0.0", "--port", "9000"], out=log)
    make = (
        "import boto3, time\n"
        "from botocore.config import Config\n"
        "client = boto3.client('s3', endpoint_url='http://s3:9000', config=Config(s3={'addressing_style': 'path'}))\n"
        "for _ in range(200):\n"
        "    try: client.create_bucket(Bucket='artifacts'); break\n"
        "    except Exception as error: last = error; time.sleep(0.3)\n"
        "else: raise last"
    )
    keys = {key: value for key, value in cluster.given.items() if key.startswith("AWS_")}
    host.check(["python", "-c", make], env=keys)


RECORD = """
import json
from mlflow import MlflowClient
client = MlflowClient('http://mlflow:5000')
ids = [experiment.experiment_id for experiment in client.search_experiments()]
rows = []
for run in client.search_runs(ids, max_results=1000):
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, 'epoch/train_loss')]
    files = sorted(file.path for folder in ('', 'model') for file in client.list_artifacts(run.info.run_id, folder))
    rows.append({
        'kind': run.data.tags['kind'], 'name': run.info.run_name, 'status': run.info.status, 'steps': steps,
        'sweep': run.data.tags['sweep'], 'files': files, 'uri': run.info.artifact_uri,
    })
print('RECORD' + json.dumps(rows))
"""


def record(host: Host) -> list[dict[str, Any]]:
    """Return what the tracking server knows, asked from a host."""
    line = next(line for line in host.check(["python", "-c", RECORD]).splitlines() if line.startswith("RECORD"))
    rows: list[dict[str, Any]] = json.loads(line.removeprefix("RECORD"))
    return rows


@pytest.fixture(scope="module")
def cluster(empty: Cluster) -> Cluster:
    """Return the cluster with every service up, and two workers of one CPU each."""
    cluster = empty
    start_s3(cluster)
    start_postgres(cluster)
    services = {
        "ray-head": ("ray-head", SMALL),
        "mlflow": ("mlflow", ()),
        "worker-1": ("ray-worker", WORKER),
        "worker-2": ("ray-worker", WORKER),
    }
    for name in ("ray-head", "mlflow"):
        cluster.start(services[name][0], name, *services[name][1])
    wait_until(lambda: cluster.healthy("ray-head", cluster.switch.hosts["ray-head"]), what="the head")
    idle = cluster.switch.add("idle", cluster.mounts("ray-worker"))
    assert not cluster.healthy("ray-worker", idle)  # the head answers it, but it has joined nothing
    idle.kill()
    for name in ("worker-1", "worker-2"):
        cluster.start(services[name][0], name, *services[name][1])
    cluster.await_healthy(services)
    return cluster


def submit(cluster: Cluster, name: str, *flags: str) -> "subprocess.Popen[str]":
    """Do what ``docker compose run --rm sweep FLAGS`` does."""
    host = cluster.switch.add(name, cluster.mounts("sweep"))
    with (cluster.folder / "logs" / f"{name}.log").open("w") as log:
        return host.run([*cluster.command("sweep"), "--profile=demo", *flags], env=cluster.env("sweep"), out=log)


def test_a_sweep_survives_the_death_of_a_node_and_of_its_tracking_server(cluster: Cluster, tmp_path: Path) -> None:
    """A worker's and the MLflow server's power is cut in mid-sweep, a worker joins: nothing is lost or doubled.

    And on the way: a shard crosses the network once for each node, and latency is measured on the head.
    """
    head, second = cluster.switch.hosts["ray-head"], cluster.switch.hosts["worker-2"]
    results = cluster.folder / "results"
    had = second.received()
    sweep = submit(cluster, "sweep")
    wait_until(lambda: has_come_to(results, 2, 0) or sweep.poll() is not None, 300, "the sweep")
    assert sweep.poll() is None, cluster.log("sweep")
    cluster.switch.hosts["worker-1"].kill()
    cluster.switch.hosts["mlflow"].kill()
    third = cluster.start("ray-worker", "worker-3", *WORKER)
    before = saved(results)
    wait_until(lambda: saved(results) > before or sweep.poll() is not None, 300, "an epoch without the server")
    cluster.start("mlflow")
    code = sweep.wait(timeout=500)
    said = cluster.log("sweep")
    assert code == 0, said
    assert "a worker was lost: starting its successor" in said
    assert "the tracking store answers again" in said
    assert "runs nothing else" in said
    assert finished_results(results) == trained_alone(cluster.folder / "store", tmp_path)
    assert epochs_trained_twice(results) == []
    store_bytes = sum(path.stat().st_size for path in (cluster.folder / "store").glob("*.arrow"))
    assert store_bytes > 4e7
    for taken in (second.received() - had, third.received()):
        assert 1.0 <= taken / store_bytes <= 1.3, (taken, store_bytes)
    assert {event["node"] for event in events(results) if event["event"] == "latency"} == {"ray-head"}
    rows = record(head)
    assert sorted(row["name"] for row in rows if row["kind"] == "trial") == ["seed=0", "seed=1", "seed=2"]
    for row in rows:
        assert row["status"] == "FINISHED"
        assert row["uri"].startswith("mlflow-artifacts:")
        if row["kind"] == "trial":
            assert row["steps"] == [1, 2, 3, 4]
            assert {"model/recipe.json", "model/weights.safetensors", "predictions.arrow"} <= set(row["files"])


def saved(results: Path) -> int:
    """Return the sum over all trials of the epochs that are saved."""
    return sum(
        max(int(path.name.removeprefix("epoch-")) for path in trial.glob("attempt-*/epoch-*"))
        for trial in results.glob("sweeps/*/trials/*")
        if list(trial.glob("attempt-*/epoch-*"))
    )


REFUSED = {
    "no token": ({"RAY_AUTH_MODE": "disabled"}, "where it asks for a token set RAY_AUTH_MODE=token"),
    "another token": ({"RAY_AUTH_TOKEN_PATH": "/results/token"}, "where it asks for a token set RAY_AUTH_MODE=token"),
    "another Ray": ({"PYTHONPATH": "/app:/results/older"}, "must run the same Ray and Python"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_driver_that_does_not_fit_the_cluster_is_told_why(cluster: Cluster, what: str) -> None:
    """One line, exit code 2, and never the token."""
    changed, words = REFUSED[what]
    results = cluster.folder / "results"
    (results / "token").write_text("0123456789abcdef" * 4)
    (results / "older").mkdir(exist_ok=True)
    (results / "older" / "sitecustomize.py").write_text("import ray\nray.__version__ = '2.59.0'\n")
    command = [
        "python",
        "sweeps/kd_alpha.py",
        "--address=ray-head:6379",
        "--store=/store",
        "--results=/results/refused",
    ]
    head = cluster.switch.hosts["ray-head"]
    with head.run(command, env={**cluster.env("ray-head"), **changed}) as driver:
        said, _ = driver.communicate(timeout=300)
    last = said.strip().splitlines()[-1]
    assert driver.returncode == 2, said
    assert last.startswith("error: ")
    assert words in last
    assert "0123456789abcdef" not in said
    assert (cluster.folder / "secrets" / "ray_token").read_text() not in said


def test_no_secret_is_shown(cluster: Cluster) -> None:
    secrets = [path.read_text() for path in (cluster.folder / "secrets").iterdir()]
    secrets.append(cluster.given["AWS_SECRET_ACCESS_KEY"])
    logs = {path.name: path.read_text() for path in (cluster.folder / "logs").iterdir()}
    assert len(logs) >= 6
    for secret in secrets:
        assert [name for name, text in logs.items() if secret in text] == []
    written = [
        path for path in (cluster.folder / "results").rglob("*") if path.is_file() and path.stat().st_size < 2**20
    ]
    assert len(written) > 10
    for path in written:
        assert not any(secret.encode() in path.read_bytes() for secret in secrets), path

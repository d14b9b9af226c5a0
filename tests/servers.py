"""Throwaway servers of this machine: PostgreSQL, S3, and the tracking server of docker/ in front of both."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hosts import ROOT, wait_until
from tests.programs import POSTGRES

PASSWORD = "kept-from-everybody"
ANONYMOUS_REQUESTS = "INITIAL_NO_AUTH_ACTION_COUNT"
"""moto's variable: so many requests are taken before keys are asked for."""

MAY_WRITE = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'


def postgres_binaries() -> Path:
    """Return the folder of PostgreSQL's programs."""
    assert POSTGRES is not None
    return POSTGRES


def free_port() -> int:
    """Return a port that nobody listens to."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
    return port


@contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL with user and database ``mlflow``; yields ``127.0.0.1:PORT``. It refuses to run as root."""
    programs, port = postgres_binaries(), free_port()
    user = pwd.getpwnam("postgres")
    folder = Path(tempfile.mkdtemp(prefix="postgres_"))  # pytest's own folders are closed to other users
    as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    as_user = as_user if os.getuid() == 0 else []
    data, secret = folder / "data", folder / "password"
    secret.write_text(PASSWORD)
    if as_user:
        for path in (folder, secret):
            os.chown(path, user.pw_uid, user.pw_gid)
    make = [f"{programs}/initdb", "-D", str(data), "-U", "mlflow", "--auth=scram-sha-256", f"--pwfile={secret}"]
    subprocess.run([*as_user, *make, "--no-sync"], check=True, capture_output=True, cwd="/")
    options = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [*as_user, f"{programs}/postgres", "-D", str(data), "-p", str(port), *options],
            stdout=log, stderr=log, cwd="/",
        )  # fmt: skip
    where = ["-h", "127.0.0.1", "-p", str(port), "-U", "mlflow"]
    try:
        ready = [f"{programs}/pg_isready", *where]
        wait_until(lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0, 60, "PostgreSQL")
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        subprocess.run([f"{programs}/createdb", *where, "mlflow"], check=True, env=environment)
        yield f"127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
        server.wait()
        shutil.rmtree(folder)


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A bucket on an S3 server that takes one key alone.

    Attributes:
        address: ``s3://artifacts``.
        environment: What lets a process write to it.
    """

    address: str
    environment: Mapping[str, str]


@contextmanager
def bucket(folder: Path) -> Iterator[Bucket]:
    """Run an S3 server with one bucket and one user, whose key it asks for."""
    import boto3

    port = free_port()
    with (folder / "s3.log").open("w") as log:
        server = subprocess.Popen(
            [f"{sys.prefix}/bin/moto_server", "--host", "127.0.0.1", "--port", str(port)],
            stdout=log, stderr=log, env={**os.environ, ANONYMOUS_REQUESTS: "4"},
        )  # fmt: skip
    try:
        endpoint = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(f"{endpoint}/moto-api/"), 60, "S3")
        anybody = {
            "endpoint_url": endpoint,
            "region_name": "us-east-1",
            "aws_access_key_id": "anybody",
            "aws_secret_access_key": "anybody",
        }
        boto3.client("s3", **anybody).create_bucket(Bucket="artifacts")
        users = boto3.client("iam", **anybody)
        users.create_user(UserName="mlflow")
        users.put_user_policy(UserName="mlflow", PolicyName="write", PolicyDocument=MAY_WRITE)
        key = users.create_access_key(UserName="mlflow")["AccessKey"]
        yield Bucket(
            address="s3://artifacts",
            environment={
                "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
                "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
                "AWS_DEFAULT_REGION": "us-east-1",
                "MLFLOW_S3_ENDPOINT_URL": endpoint,
            },
        )
    finally:
        server.kill()
        server.wait()


@contextmanager
def bucket_at_hand(folder: Path) -> Iterator[str]:
    """Run such a server with its keys in this process's environment, and yield the bucket's address."""
    with bucket(folder) as found, pytest.MonkeyPatch.context() as patch:
        endpoint = found.environment["MLFLOW_S3_ENDPOINT_URL"]
        extra = {"AWS_ENDPOINT_URL": endpoint, "AWS_EC2_METADATA_DISABLED": "true"}
        for name, value in {**found.environment, **extra}.items():
            patch.setenv(name, value)
        yield found.address


def answers(address: str) -> bool:
    """Whether a server takes a request and says that all is well."""
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except OSError:
        return False


class TrackingServer:
    """``docker/mlflow_server.sh`` on a port of its own; to be killed and started again."""

    def __init__(self, folder: Path, database: str, artifacts: str, environment: Mapping[str, str]) -> None:
        secret = folder / "postgres_password"
        secret.write_text(environment.get("PASSWORD", PASSWORD))
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.log = folder / "mlflow.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = {
            "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "POSTGRES_HOST": database,
            "POSTGRES_PASSWORD_FILE": str(secret),
            "ARTIFACTS": artifacts,
            "PORT": str(self.port),
            **{key: value for key, value in environment.items() if key != "PASSWORD"},
        }

    def start(self) -> "subprocess.Popen[bytes]":
        """Start it, in a process group of its own, and return at once."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                ["sh", "docker/mlflow_server.sh"],
                cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        return self.process

    def await_answer(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Wait until it answers."""
        process = self.process

        def up() -> bool:
            meanwhile()
            assert process is not None
            assert process.poll() is None, self.log.read_text()
            return answers(f"{self.uri}/health")

        wait_until(up, 240, "the tracking server")

    def kill(self) -> None:
        """End it with all its workers, at once."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

"""Whether the stores of the record take the credentials at hand: one clear line where they do not, and never a secret.

    python -m sweeps.engine.access postgresql+psycopg2://mlflow@HOST/mlflow s3://bucket/path

is what the tracking server of ``docker/`` asks before it starts. Passwords come by the environment alone.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from data_store.errors import InputError, run_command
from data_store.folders import holds_password

ANSWER_S = 5
"""Seconds within which a database or a bucket must answer."""

_PROBE = ".write-check"


def refuse_secrets(uri: str) -> None:
    """Check that an address, which is written to journals and shown, holds no password.

    Raises:
        InputError: It does, and the password is not in the message; or it is no address.
    """
    scheme, _, rest = uri.partition("://")
    token = scheme in ("http", "https") and "@" in rest.partition("/")[0]
    if holds_password(uri) or token or {"password", "sslpassword"} & parse_qs(uri.partition("?")[2]).keys():
        raise InputError(
            f"an address must hold no password, for it is written down and shown, but that of {scheme}:// does; take "
            "it out and set PGPASSWORD (PostgreSQL), or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (server)"
        )
    try:
        urlsplit(uri)
    except ValueError as error:
        raise InputError(
            f"an address must be like http://HOST:PORT, but got {uri.partition('?')[0]} ({error}); correct it"
        ) from error


def check_database(uri: str) -> None:
    """Log in to PostgreSQL and out again.

    Args:
        uri: ``postgresql+psycopg2://user@host:port/database``; the password is in PGPASSWORD or ``~/.pgpass``.

    Raises:
        InputError: It does not answer, or refuses the password; or it is to be reached by another driver.
    """
    if not uri.startswith("postgresql+psycopg2://"):
        raise InputError(
            f"an address of PostgreSQL must name the driver that is used here, but got {_place(uri)}; write "
            "postgresql+psycopg2://user@host/database"
        )
    try:
        import psycopg2
    except ModuleNotFoundError:
        raise InputError(
            f"psycopg2 must be installed where PostgreSQL is used, but is not here, and {_place(uri)} was given; "
            "install psycopg2-binary, or name an MLflow server"
        ) from None
    try:
        psycopg2.connect(f"postgresql://{uri.partition('://')[2]}", connect_timeout=ANSWER_S).close()
    except psycopg2.Error as error:
        said = " ".join(str(error).split()).removesuffix("?")
        if "password authentication failed" in said:
            rule = "PostgreSQL must know the user and its password, but {} refuses them; correct PGPASSWORD or the user"
        elif "no password supplied" in said:
            rule = "PostgreSQL must be given a password, but {} got none; set PGPASSWORD"
        else:
            rule = f"PostgreSQL must let this process in within {ANSWER_S} s, but {{}} does not ({said}); "
            rule += "start it, or correct the address"
        raise InputError(rule.format(_place(uri))) from None


def check_artifacts(address: str) -> None:
    """Write a small object below a bucket's path, or look whether a folder can be written.

    Args:
        address: ``s3://bucket/path``, or a local folder.

    Raises:
        InputError: It cannot be written with the credentials at hand.
    """
    if not address.startswith("s3://"):
        if not os.access(Path(address), os.W_OK):
            raise InputError(
                f"the folder of artifacts must be writable, but {address} is not; make it or change its owner"
            )
        return
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

    bucket, _, path = address.removeprefix("s3://").partition("/")
    key = f"{path.strip('/')}/{_PROBE}".lstrip("/")
    client = boto3.client(
        "s3",
        endpoint_url=os.environ.get("MLFLOW_S3_ENDPOINT_URL") or None,
        config=Config(
            s3={"addressing_style": os.environ.get("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE") or "auto"},
            connect_timeout=ANSWER_S,
            read_timeout=ANSWER_S,
            retries={"total_max_attempts": 1},
        ),
    )
    try:
        client.put_object(Bucket=bucket, Key=key, Body=b"")
        client.delete_object(Bucket=bucket, Key=key)
    except (NoCredentialsError, PartialCredentialsError):
        raise InputError(
            f"a bucket must be written with credentials, but {address} got none; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        ) from None
    except ClientError as error:  # its text may name the key
        code = error.response["Error"]["Code"]
        raise InputError(
            f"a bucket must take what is written, but {address} refuses it ({code}); correct AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, their rights, or the bucket's name"
        ) from None
    except BotoCoreError as error:
        raise InputError(
            f"a bucket must answer within {ANSWER_S} s, but {address} does not ({type(error).__name__}); correct "
            "MLFLOW_S3_ENDPOINT_URL or AWS_DEFAULT_REGION"
        ) from None


def _place(uri: str) -> str:
    """Return where an address leads, without user, password and query."""
    parts = urlsplit(uri)
    return f"{parts.scheme.partition('+')[0]}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a database and a place for artifacts."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description="Do the tracking server's stores let it in?")
    parser.add_argument("database", help="postgresql+psycopg2://user@host/database; password in PGPASSWORD")
    parser.add_argument("artifacts", help="s3://bucket/path, or a folder")
    given = parser.parse_args(arguments)
    refuse_secrets(given.database)
    check_database(given.database)
    check_artifacts(given.artifacts)
    return 0


if __name__ == "__main__":
    run_command(main)

"""A store's folder: local, or on a file system of pyarrow's; tried on a local S3 server."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_store.build import build
from data_store.errors import InputError
from data_store.folders import open_folder
from data_store.manifest import read_manifest
from data_store.settings import BuildSettings, FaceSettings
from data_store.shards import open_shard, shard_faces
from data_store.verified import require_verified
from data_store.verify import verify
from tests.data_store.clips import ffpp

SETTINGS = BuildSettings(real="every:7", fake="random:5", crop_px=64, faces=FaceSettings(detector="none"))


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """Address of an empty bucket on an S3 server of this process."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    patch = pytest.MonkeyPatch()
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ):  # fmt: skip
        patch.setenv(name, value)
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="faces")
    patch.setenv("AWS_ENDPOINT_URL", endpoint)
    yield "s3://faces"
    patch.undo()
    server.stop()


def test_a_store_on_s3_equals_the_local_one(bucket: str, tmp_path: Path) -> None:
    videos = ffpp(tmp_path / "videos", frames=16)
    local = build(videos, str(tmp_path / "store"), SETTINGS, workers=0)
    remote = build(videos, f"{bucket}/a/store", SETTINGS, workers=0)
    assert remote.digest == local.digest
    assert open_folder(remote.store).names() == {
        name: size for name, size in open_folder(local.store).names().items() if name != ".lock"
    }
    for shard in remote.shards:
        ours = shard_faces(open_shard(local.store, shard))
        assert (shard_faces(open_shard(remote.store, shard, verify=True)) == ours).all()
    assert verify(remote.store).faults == []
    require_verified(read_manifest(remote.store))


def test_a_killed_build_on_s3_goes_on(bucket: str, tmp_path: Path) -> None:
    videos = ffpp(tmp_path / "videos", frames=16)

    def stop(done: int, _: int) -> None:
        if done == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(videos, f"{bucket}/b", SETTINGS, stop, workers=0)
    with pytest.raises(InputError, match="half-written"):
        read_manifest(f"{bucket}/b")
    again = build(videos, f"{bucket}/b", SETTINGS, workers=0)
    assert again.digest == build(videos, str(tmp_path / "store"), SETTINGS, workers=0).digest


def test_a_damaged_shard_on_s3_is_named(bucket: str, tmp_path: Path) -> None:
    manifest = build(ffpp(tmp_path / "videos", frames=16), f"{bucket}/c", SETTINGS, workers=0)
    folder = open_folder(manifest.store)
    data = bytearray(folder.read(manifest.shards[0].name))
    data[1000] ^= 1
    folder.write(manifest.shards[0].name, bytes(data))
    with pytest.raises(InputError, match=manifest.shards[0].name):
        open_shard(manifest.store, manifest.shards[0], verify=True)


def test_no_store_on_s3_is_named(bucket: str) -> None:
    with pytest.raises(InputError, match="has none"):
        read_manifest(f"{bucket}/nothing")
    with pytest.raises(InputError, match="nobucket"):
        read_manifest("s3://nobucket/faces")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_folder(str(tmp_path))
    folder.write("a", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        folder.write("a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert folder.read("a") == b"old"


def test_local_addresses(tmp_path: Path) -> None:
    assert open_folder(f"file://{tmp_path}").local == tmp_path
    assert open_folder("~/faces").local == Path.home() / "faces"
    assert open_folder(str(tmp_path)).below("x/y").local == tmp_path / "x/y"
    assert open_folder(str(tmp_path / "nothing")).names() == {}


@pytest.mark.parametrize("address", ["foo://bar", "s3:///", "http://example/faces"])
def test_a_strange_address_is_named(address: str) -> None:
    with pytest.raises(InputError, match=f"but got {address}"):
        open_folder(address)


@pytest.mark.parametrize("address", ["s3://name:hidden@bucket/faces", "s3://name:a/hidden@bucket/faces"])
def test_an_address_that_holds_a_key_is_refused_without_showing_it(address: str) -> None:
    with pytest.raises(InputError, match="an address must hold no key, .* but that of s3:// does") as caught:
        open_folder(address)
    assert "hidden" not in str(caught.value)

"""A build that is killed, starved of disk or given hostile videos: the next run ends with the same store."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from data_store.build import build
from data_store.errors import InputError
from data_store.ledger import read_ledger
from data_store.manifest import read_manifest
from data_store.settings import BuildSettings, FaceSettings
from data_store.verify import verify
from tests.data_store.clips import ffpp, number_of, numbered, write_clip

FLAGS = ("--detector", "none", "--crop-px", "64", "--real", "every:2", "--fake", "random:20", "--shard-mb", "1",
         "--workers", "0")  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ffpp(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def whole(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a store whose build nothing disturbed."""
    target = tmp_path_factory.mktemp("whole") / "store"
    assert finished(start(dataset, target)) == 0
    return files_of(target)


def start(videos: Path, store: Path, *, file_limit: int | None = None) -> subprocess.Popen[str]:
    def limit() -> None:
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    command = [sys.executable, "data_store/build.py", "--videos", str(videos), "--store", str(store), *FLAGS]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=limit)


def finished(process: subprocess.Popen[str]) -> int:
    """Wait for a build to end and give its exit code."""
    _, errors = process.communicate()
    assert "Traceback" not in errors, errors
    return process.returncode


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.startswith(".")}


def num_files(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


@pytest.mark.parametrize("moment", [1, 4, 12, 19, 21, 23])
def test_kill_9_and_the_same_command_again(dataset: Path, whole: dict[str, bytes], tmp_path: Path, moment: int) -> None:
    """Killed when the folder holds so many files: while videos are read, while shards are written, at the end."""
    store = tmp_path / "store"
    process = start(dataset, store)
    while num_files(store) < moment and process.poll() is None:
        time.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if "store.json" not in files_of(store):
        with pytest.raises(InputError):
            read_manifest(str(store))
    assert finished(start(dataset, store)) == 0
    assert files_of(store) == whole
    assert not (store / ".build").exists()


def test_a_kill_while_a_store_grows_leaves_the_old_one_whole(dataset: Path, tmp_path: Path) -> None:
    """The new shards stand beside the old ones until the manifest is replaced."""
    part = tmp_path / "part"
    shutil.copytree(dataset, part, ignore=shutil.ignore_patterns("FaceSwap"))
    settings = BuildSettings(real="every:2", fake="random:20", crop_px=64, faces=FaceSettings(detector="none"))
    old = build(part, str(tmp_path / "store"), settings, workers=0)
    shutil.copytree(dataset, part, dirs_exist_ok=True)
    import data_store.build as module

    class Killed(BaseException):
        pass

    patch = pytest.MonkeyPatch()
    patch.setattr(module, "manifest_bytes", lambda _: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        build(part, str(tmp_path / "store"), settings, workers=0)
    patch.undo()
    assert read_manifest(str(tmp_path / "store")) == old
    assert verify(str(tmp_path / "store")).faults == []
    grown = build(part, str(tmp_path / "store"), settings, workers=0)
    assert grown.digest == build(dataset, str(tmp_path / "fresh"), settings, workers=0).digest
    assert len([name for name in files_of(tmp_path / "store") if name.endswith(".arrow")]) == len(grown.shards)


@pytest.mark.parametrize(("limit", "files"), [(20_000, 0), (400_000, 18)], ids=["scratch", "shards"])
def test_a_full_disk_is_named_and_the_build_goes_on_later(
    dataset: Path, whole: dict[str, bytes], tmp_path: Path, limit: int, files: int
) -> None:
    """A limit on the size of files stands for the full disk: the write fails half-way, as it does there."""
    store = tmp_path / "store"
    process = start(dataset, store, file_limit=limit)
    _, errors = process.communicate()
    assert process.returncode == 2, errors
    assert [line for line in errors.splitlines() if "of 18 videos" not in line] == [
        f"error: a store's folder must be writable, but writing {store} fails (File too large); mend that or choose "
        "another --store; the same command then goes on where it was"
    ]
    assert [name for name in files_of(store) if not name.endswith(".arrow")] == []
    assert len(list((store / ".build").glob("*/*"))) == files  # nothing torn is left under a good name
    assert finished(start(dataset, store)) == 0
    assert files_of(store) == whole


def test_two_builds_on_one_folder(dataset: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    first = start(dataset, tmp_path / "store")
    while num_files(tmp_path / "store") < 2:
        time.sleep(0.001)
    first.send_signal(signal.SIGSTOP)
    second = start(dataset, tmp_path / "store")
    _, errors = second.communicate()
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 2
    assert f"process {first.pid} is writing {tmp_path / 'store'}" in errors
    first.communicate()
    assert first.returncode == 0
    assert files_of(tmp_path / "store") == whole


def test_hostile_videos(tmp_path: Path) -> None:
    """One frame, portrait, 4K, names of every kind, and files that are no videos: each is read or named."""
    folder = tmp_path / "videos/real"
    write_clip(folder / "one frame.mp4", 1)
    write_clip(folder / "portrait.mp4", [numbered(index, width=96, height=160) for index in range(4)])
    write_clip(folder / "4k.mp4", [numbered(index, width=3840, height=2160) for index in range(2)],
               options={"preset": "ultrafast"})  # fmt: skip
    write_clip(folder / 'l\'été "été" 映画 😀.mp4', 3)
    write_clip(folder / "upper.MP4", 3)
    for number in range(30):
        write_clip(folder / f"ok{number}.mp4", 2)
    with av.open(str(folder / "sound only.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    (folder / "no frames.mp4").write_bytes(b"\0" * 64)
    (tmp_path / "videos/fake").mkdir()
    settings = BuildSettings(real="every:1", crop_px=64, faces=FaceSettings(detector="none"))
    with pytest.raises(InputError, match="at most 5% of the videos may be unreadable"):
        build(tmp_path / "videos", str(tmp_path / "store"), settings, workers=0)
    manifest = build(tmp_path / "videos", str(tmp_path / "store"), settings, workers=0, allow_unreadable=True)
    entries = {entry.video_id.removeprefix("real/"): entry for entry in read_ledger(manifest)}
    assert {name: entry.unreadable for name, entry in entries.items() if entry.unreadable} == {
        "no frames.mp4": "Invalid data found when processing input",
        "sound only.mp4": "the file has no video stream",
    }
    assert {name: entry.record.num_frames for name, entry in entries.items() if entry.record and name[:2] != "ok"} == {
        "one frame.mp4": 1, "portrait.mp4": 4, "4k.mp4": 2, "l'été \"été\" 映画 😀.mp4": 3, "upper.MP4": 3,
    }  # fmt: skip


@pytest.mark.ray
def test_a_decoder_that_kills_its_process_costs_one_video(tmp_path: Path) -> None:
    """Some broken files crash a decoder outright; Ray then loses a worker, and the build lists the video."""
    videos = ffpp(tmp_path / "videos", frames=8)
    code = f"""
import os
from pathlib import Path
import data_store.build as module
from data_store.settings import BuildSettings, FaceSettings

def deadly(ref, settings, scratch):
    from data_store.extraction import extract
    if ref.relative.endswith("FaceSwap/c23/videos/000_003.mp4"):
        os.abort()
    return extract(ref, settings, scratch)

module.extract = deadly
settings = BuildSettings(crop_px=64, faces=FaceSettings(detector="none"))
manifest = module.build(Path({str(videos)!r}), {str(tmp_path / "store")!r}, settings, workers=1, allow_unreadable=True)
assert manifest.summary["unreadable"] == 1, manifest.summary
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    reasons = [entry.unreadable for entry in read_ledger(read_manifest(str(tmp_path / "store"))) if entry.unreadable]
    assert reasons == ["reading it ended its process (WorkerCrashedError)"]


def test_clips_carry_their_numbers() -> None:
    assert [number_of(numbered(index)) for index in (0, 1, 77, 4095)] == [0, 1, 77, 4095]
    assert number_of(np.zeros((16, 96, 3), np.uint8)) == 0

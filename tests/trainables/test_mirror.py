"""What driver and workers of a sweep in a bucket send and bring, on a local S3 server."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data_store.errors import InputError
from data_store.folders import open_folder
from data_store.resident import Crops
from trainables import mirror as mirrors
from trainables import training
from trainables.architectures import build
from trainables.artifacts import load_model, recipe_for, save_model
from trainables.attempts import ON_HOST, claim, latest_checkpoint
from trainables.distillation import signal_for_epoch
from trainables.fit import restore_best
from trainables.mirror import Mirror, tried
from trainables.recipes import DEMO_TRAINING, TrialConfig
from trainables.trainable import Assignment, DetectorTrial

CONFIG = TrialConfig(
    architecture="Lite0",
    resolution_px=64,
    recipe=replace(DEMO_TRAINING, epochs=3, warmup_epochs=0, batch_size=8, max_steps_per_epoch=1),
)


def checkpoint(folder: Path, epoch: int) -> Path:
    place = folder / f"epoch-{epoch:04d}"
    place.mkdir(parents=True)
    (place / "model.safetensors").write_bytes(b"tensors")
    (place / "state.json").write_text(f'{{"history": [{epoch}]}}')
    return place


def test_a_checkpoint_comes_whole_or_not_at_all(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = Mirror(local=tmp_path / "a", address=address), Mirror(local=tmp_path / "b", address=address)
    driver = Mirror(local=tmp_path / "driver", address=address)
    trial = Path("trials/t")
    here.push(checkpoint(here.local / trial / "attempt-0001", 1))
    second = checkpoint(here.local / trial / "attempt-0001", 2)
    send = Mirror._write

    def killed(mirror: Mirror, name: str, content: bytes) -> None:
        if name.endswith("state.json"):
            raise KeyboardInterrupt
        send(mirror, name, content)

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            here.push(second)
    assert any("epoch-0002/model" in name for name in open_folder(address).names_below())
    driver.refresh(driver.local / trial)
    latest = latest_checkpoint(driver.local / trial)
    assert latest == driver.local / trial / "attempt-0001" / "epoch-0001"
    assert not (latest / "model.safetensors").exists()  # a driver needs no tensors
    place = there.local / latest.relative_to(driver.local)
    there.pull(place)
    assert (place / "model.safetensors").read_bytes() == b"tensors"
    with pytest.raises(FileNotFoundError, match="epoch-0009 must be there, but is not"):
        there.pull(place.with_name("epoch-0009"))
    assert [path.name for path in place.parent.iterdir()] == ["epoch-0001"]


def test_checkpoints_that_were_dropped_are_dropped_in_the_bucket(address: str, tmp_path: Path) -> None:
    mirror = Mirror(local=tmp_path, address=address)
    first, second = (checkpoint(tmp_path / "attempt-0001", epoch) for epoch in (1, 2))
    for place in (first, second):
        mirror.push(place)
    first.rename(tmp_path / "gone")
    mirror.prune(second.parent)
    names = [name for name in open_folder(address).names_below() if "epoch" in name]
    assert names == [f"attempt-0001/epoch-0002/{name}" for name in ("model.safetensors", "state.json")]


def test_a_bucket_that_is_away_is_asked_again_and_one_that_refuses_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    answers = [OSError("AWS Error NETWORK_CONNECTION during PutObject operation"), None]

    def ask() -> str:
        error = answers.pop(0)
        if error is not None:
            raise error
        return "there"

    assert tried("s3://b", ask) == "there"
    answers += [OSError("AWS Error INVALID_ACCESS_KEY_ID during PutObject operation: AKIASECRET"), None]
    with pytest.raises(InputError, match=r"but s3://b refuses that, .* \(INVALID_ACCESS_KEY_ID\)") as told:
        tried("s3://b", ask)
    assert "AKIASECRET" not in str(told.value)
    answers[:] = [OSError("AWS Error SLOW_DOWN during PutObject operation")] * 2
    with pytest.raises(InputError, match=r"has not answered for 0 s \(SLOW_DOWN\)"):
        tried("s3://b", ask, patience_s=0)


def test_what_went_wrong_is_told_though_the_disk_here_or_the_bucket_is_what_went_wrong(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = Mirror(local=tmp_path / "a", address=address), Mirror(local=tmp_path / "b", address=address)
    (tmp_path / "a").touch()  # no folder can be made below it
    here.tell(tmp_path / "a" / "t" / "error.txt", "the disk is full")
    assert there.pull_file(tmp_path / "b" / "t" / "error.txt")
    assert (tmp_path / "b" / "t" / "error.txt").read_text() == "the disk is full"
    monkeypatch.setattr(mirrors, "tried", lambda *_: (_ for _ in ()).throw(InputError("it is away")))
    there.tell(tmp_path / "b" / "u" / "error.txt", "the bucket is away")
    assert (tmp_path / "b" / "u" / "error.txt").read_text() == "the bucket is away"


def test_a_teachers_signal_is_computed_once_for_all_nodes(address: str, crops: Crops, tmp_path: Path) -> None:
    torch.manual_seed(3)
    save_model(tmp_path / "teacher", build("Lite0"), recipe_for("Lite0", 64))
    config = replace(CONFIG, alpha=0.5, teacher="cd")
    teacher, recipe = load_model(tmp_path / "teacher")
    first, second = (Mirror(local=tmp_path / name, address=address) for name in ("a", "b"))
    made = signal_for_epoch(teacher, recipe, config, crops, folder=first.local / "signals", epoch=1, mirror=first)
    teacher.forward = lambda *_: pytest.fail("it is computed again")
    found = signal_for_epoch(teacher, recipe, config, crops, folder=second.local / "signals", epoch=1, mirror=second)
    assert np.array_equal(made, found, equal_nan=True)


def worker(crops: Crops, node: Path, assignment: Assignment, monkeypatch: pytest.MonkeyPatch) -> DetectorTrial:
    """Return a trial as a worker on a node of its own has it after ``setup``."""
    node.mkdir(exist_ok=True)
    monkeypatch.setattr("tempfile.tempdir", str(node))
    trial = DetectorTrial.__new__(DetectorTrial)  # what Tune's own constructor does needs a session
    trial.crops = crops
    trial.setup({"assignment": asdict(assignment)})
    return trial


def test_a_trial_moves_between_nodes_that_share_nothing_but_the_bucket(
    address: str, crops: Crops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Mirror(local=tmp_path / "driver", address=address)
    folder = driver.local / "trials" / "t"

    def start(attempt: int, checkpoint: str | None = None) -> Assignment:
        claim(folder, attempt)
        driver.push(folder / "attempt")
        told = Assignment(config=asdict(CONFIG), trial="t", attempt=attempt, folder="trials/t", checkpoint=checkpoint)
        return replace(told, bucket=address, scratch="x")

    first = worker(crops, tmp_path / "node1", start(1), monkeypatch)
    assert first.step()["epoch"] == 1
    driver.refresh(folder)
    latest = latest_checkpoint(folder)
    assert latest is not None
    again = start(2, checkpoint=str(latest.relative_to(driver.local)))
    second = worker(crops, tmp_path / "node2", again, monkeypatch)
    with pytest.raises(RuntimeError, match="attempt 1 at t was superseded by attempt 2"):
        first.step()  # an orphan, which the first node's own files do not tell
    assert [second.step()["complete"] for _ in range(2)] == [False, True]
    second.cleanup()
    driver.refresh(folder)
    said = (folder / "attempt-0001" / "error.txt").read_text()
    assert "superseded" in said
    assert ON_HOST.match(said)
    assert {path.name for path in (folder / "attempt-0002").iterdir()} >= {"model", "predictions.arrow", "result.json"}
    alone = training.train(CONFIG, crops)
    restore_best(alone)
    expected, found = alone.model.state_dict(), second.fit.model.state_dict()
    assert [key for key, value in expected.items() if not torch.equal(value, found[key])] == []
    left = [path.name for path in (tmp_path / "node2").rglob("*") if path.is_file()]
    assert left == ["result.json"]  # a node's disk is not filled by what is in the bucket


def test_another_users_folder_is_no_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert mirrors.scratch("x").is_dir()
    (taken,) = tmp_path.iterdir()
    taken.rename(tmp_path / "theirs")
    taken.symlink_to(tmp_path / "theirs")
    with pytest.raises(InputError, match="must be this user's own folder, but is not"):
        mirrors.scratch("x")

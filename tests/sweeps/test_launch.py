"""Whole sweeps by their command lines, with a real Ray and a real MLflow file."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import ray

from data_store.errors import InputError
from data_store.verified import MARK_NAME
from sweeps import kd_alpha
from sweeps.engine.launch import run as run_sweep
from sweeps.engine.resources import cpu_name
from tests.stores import write_store
from tests.sweeps import tiny
from tests.sweeps.launching import (
    KD_ALPHA,
    TINY,
    command,
    events,
    knowing,
    launch,
    runs,
)
from trainables import metric_keys as keys

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def smoke(store: Path, forecasts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = knowing(forecasts, tmp_path_factory.mktemp("smoke"))
    done = launch(KD_ALPHA, store, results, "--smoke")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "128 crops of 64 px, 1.6 MB, into Ray's object store: the object store has" in done.stdout
    assert "teacher B0" in done.stdout
    assert "alpha=0.5" in done.stdout
    return results


def test_a_smoke_run_is_recorded_and_drawn(smoke: Path) -> None:
    trials = runs(smoke, "trial")
    assert sorted(run.info.run_name for run in trials) == ["alpha=0.5", "teacher B0"]
    (parent,) = runs(smoke, "sweep")
    for run in trials:
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert {"val_accuracy", "test_accuracy", "size_mb", "latency_ratio", "macs"} <= run.data.metrics.keys()
        assert run.data.tags[keys.LATENCY_CPU] == cpu_name()
        assert run.data.params["recipe.learning_rate"] == "0.002"
        files = Path(run.info.artifact_uri.removeprefix("file://"))
        assert {path.name for path in files.glob("**/*") if path.is_file()} == {
            "recipe.json",
            "weights.safetensors",
            "model.onnx",
            "predictions.arrow",
        }
    assert parent.info.status == "FINISHED"
    plots = Path(parent.info.artifact_uri.removeprefix("file://")) / "plots"
    assert {path.suffix for path in plots.iterdir()} >= {".png", ".html"}


def test_a_second_run_has_nothing_to_do_and_loads_nothing(store: Path, smoke: Path) -> None:
    code = [*command(KD_ALPHA, store, smoke, "--smoke")]
    done = subprocess.run([code[0], "-X", "importtime", *code[1:]], capture_output=True, text=True, check=True)
    assert "nothing left to do: neither torch nor ray was loaded" in done.stdout
    assert "alpha=0.5" in done.stdout
    imported = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if line.count("|") == 2}
    assert "sweeps.engine.launch" in imported
    assert not imported & {"torch", "ray", "mlflow", "timm", "pandas"}


def test_a_store_that_is_not_verified_or_not_sound_is_refused(store: Path, tmp_path: Path) -> None:
    """The same store without its mark, then with the mark of a verification that found the splits to leak."""
    unverified = shutil.copytree(store, tmp_path / "unverified")
    mark = json.loads((unverified / MARK_NAME).read_text())
    (unverified / MARK_NAME).unlink()
    arguments = command(KD_ALPHA, unverified, tmp_path / "results", "--smoke")[2:]
    rule = f"a store must be verified before it is used, but {unverified} is not; run: python data_store/verify.py"
    with pytest.raises(InputError, match=re.escape(rule)):
        run_sweep(kd_alpha.SWEEP, arguments)
    (unverified / MARK_NAME).write_text(json.dumps({**mark, "faults": ["no identity may be in two splits"]}))
    with pytest.raises(InputError, match="must find no fault.*no identity may be in two splits"):
        run_sweep(kd_alpha.SWEEP, arguments)


def test_a_store_that_does_not_fit_is_refused_before_ray_starts(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_store.resident.default_object_store_bytes", lambda: 1_000_000)
    arguments = command(TINY, store, tmp_path)[2:]
    with pytest.raises(InputError, match=r"128 crops of 64 px, 1\.6 MB do not: .* use --residency mmap"):
        run_sweep(tiny.SWEEP, arguments)
    assert not ray.is_initialized()
    assert [event["event"] for event in events(tmp_path)] == []


def test_a_given_teacher_is_scored_and_learned_from(store: Path, smoke: Path) -> None:
    """Over memory-mapped files this time: the teacher scores there what it scored over the object store."""
    (teacher,) = [run for run in runs(smoke, "trial") if run.data.tags["role"] == "teacher"]
    done = launch(KD_ALPHA, store, smoke, "--smoke", "--teacher", teacher.info.run_id, "--residency", "mmap")
    assert done.returncode == 0, done.stderr
    assert f"mapped from {store}" in done.stdout
    again = [run for run in runs(smoke, "trial") if run.data.params["recipe.epochs"] == "0"]
    assert [run.data.tags["role"] for run in again] == ["teacher"]
    assert again[0].data.metrics["val_accuracy"] == teacher.data.metrics["val_accuracy"]
    assert again[0].data.tags["model"] == teacher.data.tags["model"]


def test_a_trial_that_raises_is_one_failed_cell_with_its_reason(store: Path, tmp_path: Path) -> None:
    """Broken ImageNet files: every trial that needs one fails, its students are not run, and nothing else is said."""
    place = tmp_path / "torch" / "hub" / "checkpoints"
    place.mkdir(parents=True)
    for name in ("efficientnet_b0_rwightman-7f5810bc.pth", "tf_efficientnet_lite0-0aa007d2.pth"):
        (place / name).write_text("not weights")
    done = subprocess.run(
        command(KD_ALPHA, store, tmp_path / "results", "--weights", "imagenet"),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TORCH_HOME": str(tmp_path / "torch")},
    )
    assert done.returncode == 1
    assert done.stderr == ""
    assert "teacher B0: ImageNet weights must be the published file, whose SHA-256 begins with 7f5810bc" in done.stdout
    assert done.stdout.count("not run") == 4
    (trace,) = {*re.findall(r"^failed +teacher B0: .* \(log: (.*)\)$", done.stdout, re.MULTILINE)}
    assert "Traceback" in Path(trace).read_text()
    (log,) = re.findall(r"^log +(\S+): this launch", done.stdout, re.MULTILINE)
    assert "teacher B0" in Path(log).read_text()
    (parent,) = runs(tmp_path / "results", "sweep")
    assert "teacher B0 failed: ImageNet weights must be the published file" in parent.data.tags["mlflow.note.content"]
    trials = runs(tmp_path / "results", "trial")
    assert {run.info.run_name: run.info.status for run in trials} == {"teacher B0": "FAILED", "alpha=0": "FAILED"}
    assert all("must be the published file" in run.data.tags["reason"] for run in trials)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--store", "/nowhere"], "store.json"),
        (["--profile", "quick"], "--profile must be one of"),
        (["--results", "/proc/nothing"], "must be writable"),
        (["--tracking-uri", "http://127.0.0.1:9"], "must answer within"),
        (["--tracking-uri", "mlruns"], "sqlite"),
        (["--teacher", "/nowhere"], "--teacher must be a model folder or an MLflow run id"),
        (["--gpu-memory-gb", "0"], "--gpu-memory-gb must be above 0"),
    ],
)
def test_bad_input_is_refused(store: Path, tmp_path: Path, flags: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        run_sweep(kd_alpha.SWEEP, [*command(KD_ALPHA, store, tmp_path)[2:], *flags])  # of two the last one counts


@pytest.mark.parametrize(
    ("rows", "fakes", "words"),
    [
        ({"train": 30, "val": 8, "test": 8}, True, r"must hold a batch of 32 crops, but .* has 30; build a store of"),
        ({"train": 64, "val": 1, "test": 8}, True, r"but val of .* has no crop of Deepfakes; build the store"),
        ({"train": 64, "val": 8, "test": 8}, False, r"must hold real and fake crops, but train of .* has only real"),
    ],
)
def test_data_that_no_trial_could_use_is_one_clear_line_before_anything_starts(
    rows: dict[str, int], fakes: bool, words: str, tmp_path: Path
) -> None:
    """Nothing is loaded, so that this takes a second: neither in a first launch nor with a budget that is not known."""
    store = write_store(tmp_path / "store", rows=rows, fakes=fakes)
    done = launch(KD_ALPHA, store, tmp_path / "results")
    assert done.returncode == 2
    assert re.search(words, done.stderr)
    assert done.stderr.count("\n") == 1
    assert events(tmp_path / "results") == []
    assert not (tmp_path / "results" / "cache").exists()

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from trainables.architectures import forward
from trainables.artifact_files import ONNX_FILE, ModelRecipe
from trainables.artifacts import build_graph, load_model, recipe_for, save_model
from trainables.exporter import Exporter
from trainables.onnx_files import open_session, run_onnx
from trainables.pruning import thinned


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    one = Exporter()
    yield one
    one.stop()


def saved(folder: Path, share: float = 0.0) -> Path:
    torch.manual_seed(1)
    recipe = ModelRecipe(**{**vars(recipe_for("Lite0", 32)), "pruning": thinned("Lite0", share)})
    save_model(folder, build_graph(recipe), recipe)
    return folder


@pytest.mark.slow
def test_models_are_exported_one_after_another_by_one_process_that_may_die(exporter: Exporter, tmp_path: Path) -> None:
    told: list[str] = []
    whole, pruned = saved(tmp_path / "whole"), saved(tmp_path / "pruned", 0.3)
    exporter.put(whole, then=lambda: told.append("whole"))
    assert exporter.finish()
    assert exporter._process is not None
    process = exporter._process.pid
    assert (os.getsid(process), os.getpgid(process)) == (os.getsid(0), process)  # its priority counts; Ctrl-C spares it
    assert os.getpriority(os.PRIO_PROCESS, process) == 19
    os.kill(exporter._process.pid, signal.SIGKILL)
    state = torch.random.get_rng_state()
    exporter.put(pruned, then=lambda: told.append("pruned"))
    exporter.put(pruned, then=lambda: told.append("again"))
    assert exporter.finish()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert told == ["whole", "pruned", "again"]
    images = torch.rand(3, 3, 32, 32)
    for folder in (whole, pruned):
        model, _ = load_model(folder)
        with torch.inference_mode():
            expected = forward(model, images).numpy()
        np.testing.assert_allclose(run_onnx(open_session(folder / ONNX_FILE, 1), images.numpy()), expected, atol=1e-4)
    before = (whole / ONNX_FILE).stat().st_mtime_ns
    second = Exporter()
    second.put(whole)
    assert second.finish()
    assert second._process is None  # nothing to do, so none was started
    second.stop()
    assert (whole / ONNX_FILE).stat().st_mtime_ns == before
    exporter.put(tmp_path, then=lambda: told.append("no model"))
    assert exporter.finish()
    assert told == ["whole", "pruned", "again", "no model"]
    ((failed, reason),) = exporter.failed.items()
    assert failed == tmp_path
    assert re.fullmatch(r"InputError: .*recipe\.json is missing.*", reason)


def test_whatever_an_export_raises_is_told_of_its_folder(
    exporter: Exporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(_: Path) -> str:
        raise ValueError("no line")

    monkeypatch.setattr(exporter, "_ask", raises)
    told: list[str] = []
    exporter.put(tmp_path, then=lambda: told.append("told"))
    assert exporter.finish()
    assert told == ["told"]
    assert exporter.failed == {tmp_path: "ValueError: no line"}


def test_a_stopped_exporter_leaves_no_half_a_file_and_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, exporter = saved(tmp_path / "model"), Exporter()
    starting, start, processes = threading.Event(), exporter._started, []

    def started() -> subprocess.Popen[str]:
        process = start()
        processes.append(process)
        starting.set()
        time.sleep(0.2)  # it runs, and the exporter knows nothing of it yet
        return process

    monkeypatch.setattr(exporter, "_started", started)
    exporter.put(folder)
    assert not exporter.finish(0.0)
    assert starting.wait(30.0)
    exporter.stop()
    assert not (folder / ONNX_FILE).exists()
    assert [process.returncode for process in processes] == [-signal.SIGKILL]

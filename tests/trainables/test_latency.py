import shutil
from pathlib import Path

import numpy as np
import pytest

from trainables import latency
from trainables import metric_keys as keys
from trainables.architectures import build
from trainables.artifact_files import INT8_FILE
from trainables.artifacts import recipe_for, save_model
from trainables.latency import MODES, Latency, interleaved, measure, recorded, steadiest, summarise
from trainables.onnx_files import export_onnx

ONE = Latency(p50_ms=1.0, p90_ms=1.0, ratio=1.0, noise=1.0)


def test_a_summary_of_known_samples() -> None:
    seconds = np.column_stack([np.linspace(0.010, 0.020, 101), np.full(101, 0.030)])
    row = summarise(seconds)
    assert row.p50_ms == pytest.approx(15.0)
    assert row.p90_ms == pytest.approx(19.0)
    assert row.ratio == pytest.approx(0.5)
    assert row.noise == pytest.approx(5 / 15)


@pytest.mark.parametrize("settling", [5, 2])
def test_the_two_are_timed_in_turn_after_a_warm_up(settling: int) -> None:
    calls: list[str] = []
    samples = interleaved(lambda: calls.append("run"), lambda: calls.append("reference"), 8, settling)
    assert samples.shape == (8, 2)
    assert calls == ["run", "reference"] * (len(calls) // 2)
    assert len(calls) >= 2 * (8 + 2 * settling)  # the warm-up


def test_a_noisy_round_is_repeated_and_the_least_noisy_one_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def rounds(*noises: float) -> list[Latency]:
        left = [Latency(p50_ms=1.0, p90_ms=1.0, ratio=1.0, noise=noise) for noise in noises]
        monkeypatch.setattr(latency, "summarise", lambda _: left.pop(0))
        monkeypatch.setattr(latency, "interleaved", lambda *_: np.zeros((1, 2)))
        assert steadiest(lambda: None, lambda: None, MODES[0]).noise == min(noises)
        return left

    assert rounds(0.3, 0.05) == []
    assert rounds(0.3, 0.2, 0.4) == []  # three rounds and no more: the figure stays marked
    with pytest.raises(AssertionError):
        rounds(0.05, 0.01)  # a quiet first round is not repeated


def test_modes_and_keys() -> None:
    values: dict[str, float] = {}
    for mode in MODES:
        values |= recorded(mode, Latency(p50_ms=1.0, p90_ms=2.0, ratio=3.0, noise=4.0))
    assert len(values) == 4 * len(MODES) == 24
    assert tuple(values)[:4] == (keys.LATENCY_MS_P50, keys.LATENCY_MS_P90, keys.LATENCY_RATIO, keys.LATENCY_NOISE)
    assert {"latency_batch32_ms_p50", "latency_onnx_ratio", "latency_int8_batch32_noise"} <= values.keys()
    assert all(mode.num_samples >= 64 for mode in MODES if mode.batch_size == 1)


def test_a_larger_graph_takes_longer_in_a_process_of_its_own(tmp_path: Path) -> None:
    save_model(tmp_path, build("B0"), recipe_for("B0", 96))
    small, large = measure(
        [recipe_for("Lite0", 32), tmp_path], reference=recipe_for("Lite0", 32), num_samples=6, runtimes=["eager"]
    )
    for batch_size in (1, 32):
        key = keys.latency("ms_p50", batch_size=batch_size)
        assert 0 < small[key] < large[key]
        assert large[keys.latency("ratio", batch_size=batch_size)] > 1.3
    assert large.keys() == small.keys()
    assert len(large) == 4 * 2 + 1
    assert large[keys.LATENCY_THREADS] == 1


@pytest.mark.slow
def test_a_models_onnx_files_are_timed_as_they_lie_in_its_folder(tmp_path: Path) -> None:
    save_model(tmp_path, build("Lite0"), recipe_for("Lite0", 32))
    shutil.copy(export_onnx(tmp_path), tmp_path / INT8_FILE)  # timed by its name, whatever is in it
    before = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    (row,) = measure([tmp_path], reference=tmp_path, num_samples=4)
    assert row.keys() == {keys.LATENCY_THREADS}.union(*(recorded(mode, ONE).keys() for mode in MODES))
    for runtime in ("onnx", "int8"):
        assert 0 < row[keys.latency("ms_p50", runtime)] < row[keys.latency("ms_p50", runtime, 32)]
    assert {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before


def test_a_failed_measurement_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="recipe.json"):
        measure([tmp_path], reference=tmp_path)

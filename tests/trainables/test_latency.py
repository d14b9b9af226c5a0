import shutil
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from trainables import latency
from trainables import metric_keys as keys
from trainables.architectures import build
from trainables.artifact_files import INT8_FILE, ONNX_FILE, ModelRecipe
from trainables.artifacts import recipe_for, save_model
from trainables.latency import MODES, Latency, interleaved, measure, recorded, steadiest, summarise
from trainables.onnx_files import export_onnx

ONE = Latency(p50_ms=1.0, p90_ms=1.0, ratio=1.0, noise=1.0)


def test_a_summary_of_known_samples() -> None:
    row = summarise(np.linspace(0.010, 0.020, 101), np.full(101, 0.030))
    assert row.p50_ms == pytest.approx(15.0)
    assert row.p90_ms == pytest.approx(19.0)
    assert row.ratio == pytest.approx(0.5)
    assert row.noise == pytest.approx(5 / 15)
    beside_a_noisy_reference = summarise(np.full(101, 0.030), np.linspace(0.010, 0.020, 101))
    assert beside_a_noisy_reference.p50_ms == pytest.approx(30.0)
    assert beside_a_noisy_reference.noise == pytest.approx(5 / 15)  # the ratio has it


@pytest.mark.parametrize("settling", [5, 2])
def test_all_are_timed_in_turn_after_a_warm_up(settling: int) -> None:
    calls: list[str] = []
    names = ["reference", "first", "second"]
    samples = interleaved([partial(calls.append, name) for name in names], 8, settling)
    assert samples.shape == (8, 3)
    assert calls == names * (len(calls) // 3)
    assert len(calls) >= 3 * (8 + 2 * settling)  # the warm-up


def test_the_warm_up_goes_on_until_no_median_drifts(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1.0, 0.9, 0.8, 0.8] + [0.5] * 4)
    monkeypatch.setattr(latency, "seconds_of", lambda run: run())
    assert interleaved([lambda: next(times)], 4, 1).tolist() == [[0.5]] * 4
    climbing = count(1)
    assert interleaved([lambda: 2.0 ** next(climbing)], 1, 3)[0, 0] == 2.0**61  # 20 medians, and no end


def test_a_noisy_graph_is_repeated_without_the_quiet_ones_and_its_least_noisy_round_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def rounds(*noises: dict[str, float]) -> list[float]:
        """Return the noise kept of each graph, of what each round finds by graph."""
        left = list(noises)

        def timed(runs: list[str], *_: object) -> np.ndarray:
            assert runs == ["reference", *(name for name in left[0] if name != "reference")]
            found = {"reference": 0.0, **left.pop(0)}
            return np.array([[1 - found[name], 1, 1, 1, 1 + found[name]] for name in runs]).T

        monkeypatch.setattr(latency, "interleaved", timed)
        monkeypatch.setattr(
            latency, "summarise", lambda own, _: Latency(p50_ms=1, p90_ms=1, ratio=1, noise=own.max() - 1)
        )
        kept = steadiest(list(noises[0]), "reference", MODES[0])  # type: ignore[arg-type] # names for functions
        assert left == []
        return [round(row.noise, 6) for row in kept]

    assert rounds({"a": 0.05, "b": 0.01}) == [0.05, 0.01]  # a quiet first round is not repeated
    assert rounds({"a": 0.05, "b": 0.3}, {"b": 0.08}) == [0.05, 0.08]
    assert rounds({"a": 0.3}, {"a": 0.2}, {"a": 0.4}) == [0.2]  # three rounds and no more: the figure stays marked
    assert rounds({"reference": 0.2, "a": 0.01}, {"reference": 0.02}) == [0.02, 0.01]


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
    assert len(large) == 4 * 2 + 3
    assert large[keys.LATENCY_THREADS] == 1
    assert large[keys.LATENCY_REFERENCE_PX] == 32
    assert large[keys.LATENCY_SAMPLES] == 6


def test_a_model_that_is_the_reference_is_timed_once_for_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference, large = recipe_for("Lite0", 32), recipe_for("B0", 96)
    save_model(tmp_path, build("Lite0"), reference)
    (tmp_path / ONNX_FILE).touch()  # eager alone is timed here
    made: list[object] = []
    runners = latency._runners

    def noted(graph: Path | ModelRecipe, scratch: Path, num_threads: int, runtimes: list[latency.Runtime]) -> object:
        made.append(graph)
        return runners(graph, scratch, num_threads, runtimes)

    monkeypatch.setattr(latency, "_runners", noted)
    own, other = latency._measure_here([tmp_path, large], reference, 1, 2, ["eager"])
    assert made == [tmp_path, large]
    assert own[keys.LATENCY_RATIO] == own[keys.latency("ratio", batch_size=32)] == 1
    assert other[keys.latency("ratio", batch_size=32)] > 1.3
    assert own.keys() == other.keys()


@pytest.mark.slow
def test_a_models_onnx_files_are_timed_as_they_lie_in_its_folder(tmp_path: Path) -> None:
    save_model(tmp_path, build("Lite0"), recipe_for("Lite0", 32))
    shutil.copy(export_onnx(tmp_path), tmp_path / INT8_FILE)  # timed by its name, whatever is in it
    before = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    (row,) = measure([tmp_path], reference=tmp_path, num_samples=4)
    assert row.keys() == {keys.LATENCY_THREADS, keys.LATENCY_REFERENCE_PX, keys.LATENCY_SAMPLES}.union(
        *(recorded(mode, ONE).keys() for mode in MODES)
    )
    for runtime in ("onnx", "int8"):
        assert 0 < row[keys.latency("ms_p50", runtime)] < row[keys.latency("ms_p50", runtime, 32)]
    assert {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before


def test_a_failed_measurement_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="recipe.json"):
        measure([tmp_path], reference=tmp_path)

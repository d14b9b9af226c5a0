"""Energy is read from counters that are made up here, dealt to the trials that run, and left out where none is."""

from pathlib import Path

import pynvml
import pytest

from sweeps.engine.energy import Energy, counter, nvml, rapl


def zone(root: Path, name: str, kind: str, energy_uj: int, most: int = 1_000_000) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{kind}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    return folder


def test_packages_are_summed_parts_are_not_and_a_counter_that_starts_over_goes_on(tmp_path: Path) -> None:
    first, second = zone(tmp_path, "intel-rapl:0", "package-0", 900_000), zone(tmp_path, "intel-rapl:1", "package-1", 0)
    zone(tmp_path, "intel-rapl:0:0", "core", 5)
    zone(tmp_path, "intel-rapl:2", "psys", 5)
    read = rapl(tmp_path)
    assert read is not None
    assert read() == 0.0
    (first / "energy_uj").write_text("100000")  # it started over at 1 J
    (second / "energy_uj").write_text("50000")
    assert read() == pytest.approx(0.25)
    (first / "energy_uj").unlink()
    assert read() is None


def test_a_machine_that_counts_nothing_has_no_counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rapl(tmp_path) is None
    folder = zone(tmp_path, "intel-rapl:0", "package-0", 1)
    (folder / "energy_uj").unlink()  # as for those who may not read it
    assert rapl(tmp_path) is None
    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    assert counter("cuda") is None


def refuse(*_: object) -> int:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


def test_cards_are_summed_and_old_ones_that_do_not_count_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    counted_mj = {0: iter([1000, 2000, 3000]), 1: iter([2000, 3000, 4000])}
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: len(counted_mj))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", lambda card: next(counted_mj[card]))
    read = nvml()
    assert read is not None
    assert [read(), read()] == [2.0, 4.0]
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", refuse)
    assert read() is None
    assert nvml() is None


def test_what_is_counted_is_dealt_to_the_trials_that_run() -> None:
    joules = iter([0.0, 3600.0, 3600.0 * 4, 3600.0 * 5])
    energy = Energy(lambda: next(joules))
    energy.started("a", anew=True)
    energy.count(["a"])
    energy.started("b", anew=True)
    energy.started("c", anew=False)
    energy.count(["a", "b", "c"])
    assert energy.of("a") == pytest.approx(2.0)
    assert energy.of("b") == pytest.approx(1.0)
    assert energy.of("c") is None  # its earlier attempt was not counted
    energy.count([])
    assert energy.of("a") == pytest.approx(2.0)


def test_nothing_is_told_where_nothing_is_counted_or_the_counter_goes_away() -> None:
    silent = Energy(None)
    silent.started("a", anew=True)
    silent.count(["a"])
    assert silent.of("a") is None
    readings = iter([0.0, 10.0, None])
    lost = Energy(lambda: next(readings))
    lost.started("a", anew=True)
    lost.count(["a"])
    assert lost.of("a") is not None
    lost.count(["a"])
    assert lost.of("a") is None

"""A trial that runs out of memory goes on with half its micro-batch; the error is made here, on a CPU, without Ray."""

import io
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from data_store.resident import Crops
from sweeps.engine.energy import Energy
from sweeps.engine.journal import open_journal
from sweeps.engine.places import Places
from sweeps.engine.plan import Plan
from sweeps.engine.progress import Progress
from sweeps.engine.recorder import Recorder
from sweeps.engine.resources import Capacity
from sweeps.engine.result import table
from sweeps.engine.space import PROFILES, PlannedTrial, Setting
from sweeps.engine.terminal import Terminal
from tests.stores import make_crops
from trainables import architectures, steps
from trainables.trainable import DetectorTrial

SETTING = Setting(profile=PROFILES["demo"], seed=0, store_digest="s", device="cpu", num_threads=1)
WHOLE = SETTING.config("Lite0")
CONFIG = replace(WHOLE, recipe=replace(WHOLE.recipe, epochs=1, warmup_epochs=0, batch_size=16, max_steps_per_epoch=1))
ROW = PlannedTrial(name="alpha=0", role="student", config=CONFIG)
HAVE = Capacity(workers=1, cpus=1, gpus=0.0, budget_bytes=100, per_card=1)


class Sweep:
    """Plan and recorder of a sweep of one trial, which is stepped in this process."""

    def __init__(self, folder: Path, crops: Crops) -> None:
        self.crops, self.screen = crops, io.StringIO()
        self.journal, self.places = open_journal(folder / "journal.jsonl"), Places(sweep=folder)
        terminal = Terminal(self.screen)
        progress = Progress(terminal, self.journal, lambda: {"t": ROW}, lambda _: 10, HAVE)
        aside: Any = SimpleNamespace(put=lambda _: None)
        self.recorder = Recorder(
            self.journal, self.places, aside, aside, terminal, progress, Energy(None), max_failures=0
        )
        self.plan = Plan({"t": ROW}, {"t": 10}, HAVE, self.journal, self.places, self.recorder.started)
        self.recorder.on_retry = self.plan.retry

    def attempt(self) -> dict[str, Any]:
        """Run the next attempt as Tune and a worker do; return what it reports, or raise what it raises."""
        told = self.plan.suggest("1")
        assert isinstance(told, dict)
        trial = DetectorTrial.__new__(DetectorTrial)  # Tune's own constructor needs a session
        trial.crops = self.crops
        trial.setup(told)
        try:
            return trial.step()
        except torch.OutOfMemoryError:
            self.recorder.on_trial_error(trial=SimpleNamespace(config=told))  # type: ignore[arg-type]
            raise
        finally:
            self.plan.on_trial_complete("1")
            trial.cleanup()


def short_of_memory(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Let a forward pass of more than ``most`` crops run out of memory; note the sizes of those that do not."""
    passed: list[int] = []
    real = architectures.forward

    def forward(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        if model.training and len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        passed.append(len(images)) if model.training else None
        return real(model, images)

    monkeypatch.setattr(steps, "forward", forward)
    return passed


def test_half_the_micro_batch_trains_the_same_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    whole = Sweep(tmp_path / "whole", make_crops()).attempt()
    passed = short_of_memory(monkeypatch, 8)
    sweep = Sweep(tmp_path / "short", make_crops())
    with pytest.raises(torch.OutOfMemoryError):
        sweep.attempt()
    assert sweep.journal.state.micro_batches == {"t": 8}
    assert sweep.journal.state.failed == {}
    assert "ran out of memory: goes on with a micro-batch of 8, not 16" in sweep.screen.getvalue()
    narrowed = sweep.attempt()
    assert passed == [8, 8]
    assert narrowed["complete"]
    # The same 16 crops; each half has batch statistics of its own.
    assert narrowed["history"][0]["epoch/train_loss"] == pytest.approx(whole["history"][0]["epoch/train_loss"], rel=0.2)
    state = open_journal(tmp_path / "short" / "journal.jsonl").state
    assert (state.micro_batches, state.attempts) == ({"t": 8}, {"t": 2})
    assert table({"t": ROW}, state)[1][0][0] == "alpha=0 (micro-batch 8)"


def test_it_is_halved_down_to_single_crops_and_then_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short_of_memory(monkeypatch, 0)
    sweep = Sweep(tmp_path, make_crops())
    for micro_batch in (8, 4, 2, 1):
        with pytest.raises(torch.OutOfMemoryError):
            sweep.attempt()
        assert sweep.journal.state.micro_batches == {"t": micro_batch}
    with pytest.raises(torch.OutOfMemoryError):
        sweep.attempt()
    assert "CUDA out of memory" in sweep.journal.state.failed["t"]
    assert sweep.plan.suggest("9") == "FINISHED"


def test_a_worker_is_told_its_share_of_the_memory(tmp_path: Path) -> None:
    """All of the budget where it is alone, what it was admitted for beside others."""
    for per_card, share in ((1, 100), (2, 10)):
        journal = open_journal(tmp_path / str(per_card) / "journal.jsonl")
        have = replace(HAVE, per_card=per_card)
        plan = Plan({"t": ROW}, {"t": 10}, have, journal, Places(sweep=journal.path.parent), lambda *_: None)
        told = plan.suggest("1")
        assert isinstance(told, dict)
        assert told["assignment"]["memory_bytes"] == share
        assert told["assignment"]["config"] == asdict(CONFIG)

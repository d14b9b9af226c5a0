"""What pruning has left of a model is held against the limits before anything is trained on."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from data_store.resident import Crops
from trainables import training
from trainables.architectures import build
from trainables.artifacts import recipe_for, save_model
from trainables.footprint import work
from trainables.limits import Limits, OverLimitError, refuse_over_limit
from trainables.predicted_latency import LatencyFit, predict
from trainables.pruning import weights_bytes
from trainables.recipes import DEMO_FINE_TUNING, Pruning, TrialConfig
from trainables.trainable import Assignment, DetectorTrial

FIT = LatencyFit(
    ms_per_mac=1e-7,
    ms_per_byte=0.0,
    ms_per_operation=0.0,
    error=0.1,
    worst_error=0.2,
    num_graphs=8,
    num_threads=1,
)
CONFIG = TrialConfig(
    architecture="Lite0",
    resolution_px=64,
    weights="ab",
    recipe=replace(DEMO_FINE_TUNING, epochs=1, warmup_epochs=0, batch_size=8, max_steps_per_epoch=1),
    pruning=Pruning(ratio=0.4, by="size", calibration_batches=1),
)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(11)
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, build("Lite0"), recipe_for("Lite0", 64))
    return folder


def test_size_and_predicted_latency_are_those_of_the_model_as_it_is() -> None:
    model = build("Lite0").train()
    size_mb, latency_ms = weights_bytes(model) / 1e6, predict(FIT, work(model, 64))
    assert size_mb == pytest.approx(13.6, abs=0.3)
    refuse_over_limit(model, 64, Limits(max_size_mb=size_mb, max_latency_ms=latency_ms, fit=FIT))
    assert model.training
    with pytest.raises(OverLimitError, match=rf"{size_mb:.2f} MB are above --max-size-mb 13$"):
        refuse_over_limit(model, 64, Limits(max_size_mb=13))
    with pytest.raises(OverLimitError, match=rf"predicted {latency_ms:.2f} ms are above --max-latency-ms 0\.1"):
        refuse_over_limit(model, 64, Limits(max_size_mb=14, max_latency_ms=0.1, fit=FIT))


def trial_of(crops: Crops, folder: Path, start: Path, limits: Limits) -> DetectorTrial:
    """Return a trial as a worker has it after ``setup``."""
    trial = DetectorTrial.__new__(DetectorTrial)  # what Tune's own constructor does needs a session
    assignment = Assignment(
        config=asdict(CONFIG), trial="t", attempt=1, folder=str(folder), start=str(start), limits=asdict(limits)
    )
    trial.crops = crops
    (folder / "attempt").write_text("1")
    trial.setup({"assignment": asdict(assignment)})
    return trial


def test_a_pruned_model_over_a_limit_ends_before_its_first_step(
    crops: Crops, tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "train_epoch", lambda *_: pytest.fail("it is trained on"))
    told = trial_of(crops, tmp_path, model_folder, Limits(max_size_mb=8.0)).step()
    assert told["refusal"].startswith("after pruning, before training it on, 8.")
    assert told["refusal"].endswith(" MB are above --max-size-mb 8")
    assert (told["done"], told["complete"], told["epoch"]) == (True, False, 0)
    assert not list(tmp_path.glob("attempt-*/epoch-*"))
    json.dumps(told)


def test_one_that_keeps_to_the_limits_is_trained_to_the_same_bits(
    crops: Crops, tmp_path: Path, model_folder: Path
) -> None:
    trial = trial_of(crops, tmp_path, model_folder, Limits(max_size_mb=8.5, max_latency_ms=100, fit=FIT))
    told = trial.step()
    trial.cleanup()
    assert (told["refusal"], told["complete"], told["epoch"]) == (None, True, 1)
    alone = training.train(CONFIG, crops, start_folder=model_folder).model.state_dict()
    found = trial.fit.model.state_dict()
    assert [key for key, value in alone.items() if not torch.equal(value, found[key])] == []

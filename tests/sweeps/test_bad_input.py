"""What a user or a sweep's author gets wrong about models is one clear line and exit code 2, before anything starts."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from data_store.errors import run_command
from sweeps.engine.launch import run
from sweeps.engine.space import PlannedTrial, Setting, Sweep
from sweeps.kd_alpha import SWEEP as KD_ALPHA
from sweeps.transfer import SWEEP as TRANSFER
from tests.sweeps.launching import events
from trainables.architectures import build
from trainables.artifact_files import RECIPE_FILE, WEIGHTS_FILE, ModelRecipe, recipe_text
from trainables.artifacts import save_model
from trainables.recipes import Pruning, TrialConfig

RECIPE = ModelRecipe(architecture="B0", resolution_px=64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def refused(capsys: pytest.CaptureFixture[str], results: Path, sweep: Sweep, *flags: str) -> str:
    """Run a sweep's command line that must be refused, and return what it says."""
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: run(sweep, ["--results", str(results), "--profile", "demo", *flags]))
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert events(results) == []
    assert not ray.is_initialized()
    return said


def pruned(setting: Setting, ratio: float) -> TrialConfig:
    return setting.config("Lite0", weights="a" * 64, pruning=Pruning(ratio=ratio))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda setting: setting.config("B9"), "the architecture must be one of B0, B1"),
        (lambda setting: setting.config("B0", resolution_px=16), "the resolution must be at least 32 px"),
        (lambda setting: pruned(setting, 1.0), "prune ratio must lie in [0, 1), but got 1.0"),
        (lambda setting: pruned(setting, -0.2), "prune ratio must lie in [0, 1), but got -0.2"),
        (lambda setting: setting.config("Lite0", alpha=1.5, teacher="a" * 64), "alpha must lie in [0, 1], but got 1.5"),
    ],
)
def test_a_config_that_cannot_be(
    make: Callable[[Setting], TrialConfig],
    words: str,
    store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def trials(setting: Setting) -> list[PlannedTrial]:
        return [PlannedTrial(name="one", role="model", config=make(setting))]

    sweep = Sweep(name="wrong", question="What is wrong?", trials=trials)
    assert words in refused(capsys, tmp_path, sweep, "--store", str(store))


@pytest.mark.parametrize(
    ("flag", "recipe", "words"),
    [
        ("--weights", RECIPE, "alpha=0 is Lite0 and"),
        ("--teacher", replace(RECIPE, labels=("fake", "real")), "must be ('real', 'fake'), but"),
        ("--weights", replace(RECIPE, quantisation="static"), "--weights must be a float model, but"),
        ("--teacher", replace(RECIPE, quantisation="static"), "--teacher must be a float model, but"),
        ("--teacher", None, "must be a model's recipe of schema"),
    ],
)
def test_a_model_that_does_not_fit(
    flag: str,
    recipe: ModelRecipe | None,
    words: str,
    store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name in (WEIGHTS_FILE, "model.int8.onnx"):
        (model / name).write_bytes(b"weights")
    (model / RECIPE_FILE).write_text(recipe_text(recipe) if recipe else json.dumps({}))
    said = refused(capsys, tmp_path / "results", KD_ALPHA, "--store", str(store), flag, str(model))
    assert words in said


@pytest.mark.parametrize(("flag", "sweep"), [("--teacher", KD_ALPHA), ("--weights", TRANSFER)])
def test_weights_of_another_network_than_the_recipe_names(
    flag: str, sweep: Sweep, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(tmp_path / "model", build("Lite2"), RECIPE)
    said = refused(capsys, tmp_path / "results", sweep, "--store", str(store), flag, str(tmp_path / "model"))
    assert f"{flag} must be a model with the weights of the network that its recipe names" in said
    assert f"{tmp_path / 'model'} names B0 and its weights lack" in said

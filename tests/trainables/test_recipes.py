import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from data_store.errors import InputError
from trainables import recipes
from trainables.recipes import (
    DEMO_TRAINING,
    THESIS_FINE_TUNING,
    THESIS_TRAINING,
    Pruning,
    TrialConfig,
    from_dict,
    to_dict,
)

EVALUATION = dataclasses.replace(DEMO_TRAINING, epochs=0, warmup_epochs=0)
CONFIG = TrialConfig(architecture="Lite0", resolution_px=64, recipe=DEMO_TRAINING, alpha=0.5, teacher="ab")


def test_thesis_recipes_are_the_published_settings() -> None:
    training = THESIS_TRAINING
    assert (training.optimizer, training.learning_rate, training.weight_decay) == ("sgd", 5e-4, 1e-5)
    assert (training.epochs, training.patience, training.batch_size) == (30, 5, 32)
    assert (training.schedule, training.warmup_epochs, training.warmup_start_factor) == ("warmup_cosine", 10, 0.1)
    tuning = THESIS_FINE_TUNING
    assert (tuning.optimizer, tuning.learning_rate, tuning.weight_decay) == ("adam", 2e-4, 1e-5)
    assert (tuning.epochs, tuning.patience, tuning.schedule, tuning.warmup_epochs) == (20, 3, "constant", 0)


def test_a_config_survives_json() -> None:
    assert from_dict(json.loads(json.dumps(to_dict(CONFIG)))) == CONFIG


def test_a_pruning_config_survives_json() -> None:
    pruned = dataclasses.replace(CONFIG, weights="ab", pruning=Pruning(ratio=0.3, scope="local", iterations=5))
    assert from_dict(json.loads(json.dumps(to_dict(pruned)))) == pruned


@pytest.mark.parametrize(
    "change",
    [
        {"alpha": 0.75},
        {"data_seed": 1},
        {"init_seed": 1},
        {"teacher": "cd"},
        {"weights": "ab"},
        {"weights": "ab", "pruning": Pruning(ratio=0.3)},
        {"quantisation": "static"},
        {"weights": "ab", "quantisation": "aware"},
        {"precision": "amp"},
        {"micro_batch": 8},
    ],
)
def test_identity_moves_with_every_setting(change: dict[str, Any]) -> None:
    assert recipes.identity(dataclasses.replace(CONFIG, **change), "s") != recipes.identity(CONFIG, "s")


def test_identity_moves_with_the_store_and_the_recipe_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = recipes.identity(CONFIG, "s")
    assert recipes.identity(CONFIG, "t") != before
    monkeypatch.setattr(recipes, "RECIPE_VERSION", recipes.RECIPE_VERSION + 1)
    assert recipes.identity(CONFIG, "s") != before


def test_identity_ignores_what_a_recipe_is_called() -> None:
    renamed = dataclasses.replace(CONFIG, recipe=dataclasses.replace(CONFIG.recipe, name="other"))
    assert recipes.identity(renamed, "s") == recipes.identity(CONFIG, "s")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alpha": 1.5}, r"alpha must lie in \[0, 1\], but got 1.5"),
        ({"alpha": -0.1}, r"alpha must lie in \[0, 1\], but got -0.1"),
        ({"alpha": 0.0}, "a teacher is named exactly when alpha is above 0"),
        ({"teacher": None}, "a teacher is named exactly when alpha is above 0"),
        ({"temperature": 0.0}, "temperature must be above 0, but got 0.0"),
        ({"quantisation": "int4"}, "quantisation must be one of none, static, aware, but got 'int4'"),
        ({"quantisation": "aware"}, "quantisation-aware fine-tuning starts from a trained model, but got 'none'"),
        (
            {"quantisation": "aware", "weights": "imagenet"},
            "quantisation-aware fine-tuning starts from a trained model, but got 'imagenet'",
        ),
        (
            {"quantisation": "aware", "weights": "ab", "recipe": EVALUATION},
            "quantisation-aware fine-tuning trains, but got '0 epochs'",
        ),
        (
            {"quantisation": "aware", "weights": "ab", "pruning": Pruning(ratio=0.3)},
            "a trial prunes or trains for int8, not both",
        ),
        ({"precision": "fp8"}, "precision must be fp32 or amp, but got 'fp8'"),
        ({"micro_batch": 64}, r"micro_batch must lie in \[1, 32\] \(the batch size\), but got 64"),
        ({"weights": "none", "pruning": Pruning(ratio=0.3)}, "pruning starts from trained weights, but got 'none'"),
        ({"architecture": "B9"}, "must be one of B0, .*, but got 'B9'"),
        ({"resolution_px": 31}, "at least 32 px, by which Lite0 shrinks its input, but got 31; use 224"),
        ({"device": "tpu"}, "device must be cpu or cuda, but got 'tpu'"),
    ],
)
def test_a_bad_setting_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        dataclasses.replace(CONFIG, **change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ratio": 1.0}, r"prune ratio must lie in \[0, 1\), but got 1.0"),
        ({"ratio": -0.1}, r"prune ratio must lie in \[0, 1\), but got -0.1"),
        ({"by": "weight"}, "pruning is by one of channels, macs, size, latency, but got 'weight'"),
        ({"scope": "layer"}, "scope must be local or global, but got 'layer'"),
        ({"iterations": 0}, "iterations must be at least 1, but got 0"),
    ],
)
def test_a_bad_pruning_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Pruning(**{"ratio": 0.3, **change})


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(InputError, match="alhpa"):
        from_dict({**to_dict(CONFIG), "alhpa": 0.5})
    with pytest.raises(InputError, match="recipe"):
        from_dict({key: value for key, value in to_dict(CONFIG).items() if key != "recipe"})


def test_planning_a_sweep_imports_neither_torch_nor_ray() -> None:
    code = (
        "import sys, trainables.recipes, trainables.attempts, trainables.artifact_files, sweeps.kd_alpha, "
        "sweeps.engine.result; print(sorted({'torch', 'ray', 'mlflow', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == "[]"

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data_store.resident import open_mmap
from tests.stores import write_store
from trainables.architectures import build
from trainables.artifacts import load_model, recipe_for, save_model
from trainables.elsewhere import scored_elsewhere
from trainables.evaluation import evaluate
from trainables.fit import laid_out
from trainables.metrics import score


def test_models_are_scored_on_another_stores_test_split_one_after_another(tmp_path: Path) -> None:
    """Crops of another size than the models'; one model is broken: those before it are told, and it is named."""
    store = write_store(tmp_path / "other", crop_px=48, seed=5, rows={"train": 2, "val": 2, "test": 24})
    good, broken = tmp_path / "good", tmp_path / "broken"
    torch.manual_seed(1)
    save_model(good, build("Lite0"), replace(recipe_for("Lite0", 32)))
    broken.mkdir()
    found = scored_elsewhere([good, broken], str(store), "test_on_other")
    scores = next(found)
    test = open_mmap(str(store)).split("test")
    model, recipe = load_model(good)
    logits = evaluate(laid_out(model, "cpu"), recipe, test, device="cpu")
    again = score("test_on_other", logits, test.labels, np.asarray(test.categories), np.asarray(test.video_ids))
    assert scores == again
    assert "test_on_other_video_auc" in scores.values
    with pytest.raises(RuntimeError, match=r"(?s)scoring models on .*other failed: .*recipe\.json is missing"):
        next(found)

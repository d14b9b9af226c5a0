from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from trainables.architectures import forward
from trainables.artifact_files import ONNX_FILE, PruningHistory
from trainables.artifacts import build_graph, load_model, recipe_for, save_model
from trainables.onnx_files import export_onnx, open_session, run_onnx


@pytest.mark.parametrize(
    ("architecture", "pruning"),
    [("B0", ()), ("Lite0", (("conv_head", True, tuple(range(1000))), ("blocks.0.0.conv_pw", True, (1, 3))))],
)
def test_onnx_gives_pytorchs_logits(architecture: str, pruning: PruningHistory, tmp_path: Path) -> None:
    torch.manual_seed(1)
    recipe = replace(recipe_for(architecture, 64), pruning=pruning)
    save_model(tmp_path, build_graph(recipe), recipe)
    file = export_onnx(tmp_path)
    assert file == tmp_path / ONNX_FILE
    session = open_session(file, 1)
    model, _ = load_model(tmp_path)
    for batch in (1, 5):
        images = torch.randn(batch, 3, 64, 64)
        logits = run_onnx(session, images.numpy())
        assert logits.shape == (batch,)
        assert logits.dtype == np.float32
        with torch.inference_mode():
            np.testing.assert_allclose(logits, forward(model, images).numpy(), atol=1e-4)
    graph = onnx.load(file).graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["images", "logits"]
    before = file.stat().st_mtime_ns
    export_onnx(tmp_path)
    assert file.stat().st_mtime_ns == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "recipe.json", "weights.safetensors"]

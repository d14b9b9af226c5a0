from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from trainables import onnx_files
from trainables.architectures import forward
from trainables.artifact_files import ONNX_FILE, PruningHistory
from trainables.artifacts import build_graph, load_model, recipe_for, save_model
from trainables.onnx_files import Traces, export_onnx, open_session, run_onnx, write_model, write_onnx


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


def test_a_model_whose_graph_was_traced_before_gets_its_own_weights(tmp_path: Path) -> None:
    """The second file of a graph is the one that it gets by itself, and the first is left as it was."""
    traces = Traces()
    folders = [tmp_path / name for name in ("first", "second")]
    recipe = recipe_for("Lite0", 64)
    for seed, folder in enumerate(folders):
        torch.manual_seed(seed)
        model = build_graph(recipe)
        for name, value in model.state_dict().items():  # statistics that are folded into the weights
            if name.endswith(("running_mean", "running_var")):
                value.uniform_(0.5, 1.5)
        save_model(folder, model, recipe)
        write_model(folder, traces)
    alone = tmp_path / "alone.onnx"
    write_onnx(load_model(folders[1])[0], 64, alone)
    assert (folders[1] / ONNX_FILE).read_bytes() == alone.read_bytes()
    images = torch.randn(3, 3, 64, 64)
    for folder in folders:
        with torch.inference_mode():
            expected = forward(load_model(folder)[0], images).numpy()
        np.testing.assert_allclose(run_onnx(open_session(folder / ONNX_FILE, 1), images.numpy()), expected, atol=1e-4)
    assert len({folder.joinpath(ONNX_FILE).read_bytes() for folder in folders}) == 2


def test_only_the_last_graphs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_files, "_traced", lambda *_: object())
    traces = Traces()
    recipes = [recipe_for("Lite0", px) for px in (32, 64, 96, 128, 160)]
    model = build_graph(recipes[0])
    first = traces.of(model, recipes[0])
    assert traces.of(model, recipes[0]) is first
    for recipe in recipes[1:]:
        traces.of(model, recipe)
    assert traces.of(model, recipes[1]) is traces.of(model, recipes[1])
    assert traces.of(model, recipes[0]) is not first

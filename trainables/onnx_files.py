"""A model as ONNX files: written from its folder, and run by ONNX Runtime on the CPU.

Input ``images``, float32 (batch, 3, resolution_px, resolution_px), already normalised; output ``logits``, (batch,).
Run as ``python -m trainables.onnx_files FOLDER ...``: writes ``model.onnx`` into each model folder that lacks it.
"""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_store.errors import run_command
from data_store.folders import secure
from trainables.apart import run_apart
from trainables.artifact_files import ONNX_FILE, ModelRecipe

if TYPE_CHECKING:
    import onnx
    import onnxruntime
    import torch
    from torch import nn

    from trainables.footprint import Graph

INPUT, OUTPUT = "images", "logits"
MOST_TRACES = 4
"""Kept at a time; each holds its network's weights."""


def export_onnx(folder: Path) -> Path:
    """Write ``model.onnx`` into a model's folder and return its path; a file that is there is left alone.

    It takes seconds, and a process of its own: the exporter draws from torch's global generator and puts it back,
    which would change what a trial in the same process draws.

    Raises:
        InputError: The folder holds no model.
        RuntimeError: The process failed.
    """
    file = folder / ONNX_FILE
    if not file.exists():
        run_apart("trainables.onnx_files", str(folder.resolve()), failure=f"exporting {folder} to ONNX failed")
    return file


class Traces:
    """The graphs of models that were exported: another model of the same graph only brings its own weights.

    Tracing a network takes seconds, its weights a tenth of that, and a sweep's models are mostly of one graph.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._kept: dict[Graph, _Trace] = {}

    def of(self, model: "nn.Module", recipe: ModelRecipe) -> "_Trace":
        """Return a model's trace, made now or when the first model of its graph came."""
        from trainables.footprint import graph_of

        graph = graph_of(recipe)
        trace = self._kept.pop(graph, None) or _traced(model, recipe.resolution_px)
        self._kept[graph] = trace
        if len(self._kept) > MOST_TRACES:
            del self._kept[next(iter(self._kept))]
        return trace


def write_model(folder: Path, traces: Traces) -> None:
    """Do what ``export_onnx`` does, in this process.

    Args:
        folder: The model's.
        traces: Looked through for the model's graph, and given it.

    Raises:
        InputError: The folder holds no model.
    """
    from trainables.artifacts import load_model

    file = folder / ONNX_FILE
    if not file.exists():
        model, recipe = load_model(folder)
        _write(traces.of(model, recipe), model, file)


def write_onnx(model: "nn.Module", resolution_px: int, file: Path) -> None:
    """Write a network on the CPU as an ONNX file that takes any number of images, whole or not at all."""
    _write(_traced(model, resolution_px), model, file)


@dataclass(frozen=True, kw_only=True)
class _Trace:
    """A network's graph, before anything in it is folded into its weights.

    Attributes:
        program: What torch's exporter gave; its model is replaced.
        proto: The model, weights and all.
    """

    program: "torch.onnx.ONNXProgram"
    proto: "onnx.ModelProto"


def _traced(model: "nn.Module", resolution_px: int) -> _Trace:
    import torch
    from torch import nn

    class Logits(nn.Module):
        """The network with (batch,) logits."""

        def __init__(self) -> None:
            super().__init__()
            self.network = model

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.network(images).squeeze(1)  # type: ignore[no-any-return]

    images = torch.zeros(2, 3, resolution_px, resolution_px)
    with _quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            Logits().eval(),
            (images,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[INPUT],
            output_names=[OUTPUT],
            optimize=False,
            verbose=False,
        )
    assert program is not None
    return _Trace(program=program, proto=program.model_proto)


def _write(trace: _Trace, model: "nn.Module", file: Path) -> None:
    """Put a model's weights into the trace of its graph, and what results into a file."""
    import onnx_ir

    program = trace.program
    program.model = onnx_ir.from_proto(trace.proto)
    weights = {f"network.{name}": value for name, value in model.state_dict().items()}
    missing = program.model.graph.initializers.keys() - weights.keys()
    assert not missing, f"{missing} are no weights of the model: another model's values would stay"
    program.apply_weights({name: weights[name] for name in program.model.graph.initializers})
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    with _quiet_exporter():
        program.optimize()
        program.save(partial, external_data=False)
    secure(partial)
    partial.replace(file)


def open_session(file: Path, num_threads: int) -> "onnxruntime.InferenceSession":
    """Open an ONNX file for the CPU; the bits of its results depend on the number of threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # trials run beside it
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def run_onnx(session: "onnxruntime.InferenceSession", images: np.ndarray) -> np.ndarray:
    """Return logits (batch,) float32 of normalised images (batch, 3, resolution_px, resolution_px) float32."""
    (logits,) = session.run([OUTPUT], {INPUT: images})
    return np.asarray(logits, np.float32)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep the exporter's remarks to itself: it warns of opset conversions and of its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _main() -> int:
    traces = Traces()
    for folder in sys.argv[1:]:
        write_model(Path(folder), traces)
    return 0


if __name__ == "__main__":
    run_command(_main)

"""Int8 by ONNX Runtime: activations and weights of 8 bits, from ranges seen on validation crops.

Weights are quantised by output channel, activations by tensor, in the QDQ form that ONNX Runtime fuses into integer
kernels; a ReLU6 is part of the convolution before it, as the range of its output says the same. Weights keep 7 of
their 8 bits: CPUs without VNNI add products of 8 bits in 16 and saturate (ONNX Runtime's guide to quantisation).
"""

import ast
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from data_store.resident import SplitCrops, batches
from trainables.architectures import normalise
from trainables.artifact_files import INT8_FILE, ModelRecipe
from trainables.augmentation import to_float
from trainables.evaluation import EVALUATION_BATCH, evaluated_positions
from trainables.fake_quantisation import Ranges
from trainables.onnx_files import INPUT, export_onnx, open_session, run_onnx

CALIBRATION_CROPS = 256
_CALIBRATION_BATCH = 32
_SCOPES = "pkg.torch.onnx.name_scopes"


def quantise(folder: Path, recipe: ModelRecipe, val: SplitCrops, ranges: Ranges | None = None) -> Path:
    """Write ``model.int8.onnx`` into a model's folder, beside ``model.onnx``, and return its path.

    Args:
        folder: Of the float model.
        recipe: Its resolution and normalisation.
        val: The validation split: activations get the ranges that they take on crops spread evenly over it.
        ranges: Those that a fine-tuned model has learned, by the module; they go before what is seen on the crops.
    """
    source, file = export_onnx(folder), folder / INT8_FILE
    num_crops = min(CALIBRATION_CROPS, len(val))
    positions = np.linspace(0, len(val) - 1, num_crops).astype(np.int64)
    with tempfile.TemporaryDirectory(prefix="int8_") as scratch, _quiet():
        prepared, quantised = Path(scratch) / "prepared.onnx", Path(scratch) / "int8.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantised,
            _Images(images(val, positions, recipe, _CALIBRATION_BATCH)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"TensorQuantOverrides": _overrides(prepared, ranges or {})},
        )
        partial = file.with_name(f".{file.name}.partial")
        partial.write_bytes(quantised.read_bytes())
        partial.replace(file)
    return file


def tensor_ranges(graph: onnx.GraphProto, ranges: Ranges) -> Ranges:
    """Return the ranges of the tensors in an ONNX graph that are what a network's modules return.

    The exporter notes at each node the modules that it comes from: a module returns what its last node makes.

    Args:
        graph: Of a float network, as ``trainables.onnx_files`` writes it.
        ranges: By module; of the images by the empty name.
    """
    made: dict[str, str] = {}
    for node in graph.node:
        noted = next((row.value for row in node.metadata_props if row.key == _SCOPES), "[]")
        made |= dict.fromkeys(ast.literal_eval(noted), node.output[0])
    found = {made[f"network.{name}"] if name else INPUT: values for name, values in ranges.items()}
    for node in graph.node:  # what keeps its input's values has its range; a ReLU6 gives its own to what it cuts
        if node.op_type in ("Reshape", "Squeeze") and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
        if node.op_type == "Clip" and node.output[0] in found:
            found[node.input[0]] = found[node.output[0]]
    return found


def _overrides(file: Path, ranges: Ranges) -> dict[str, list[dict[str, np.float32]]]:
    """Return ranges in the quantiser's own words."""
    return {
        tensor: [{"rmin": np.float32(low), "rmax": np.float32(high)}]
        for tensor, (low, high) in tensor_ranges(onnx.load(file).graph, ranges).items()
    }


def evaluate_onnx(
    file: Path, recipe: ModelRecipe, crops: SplitCrops, *, num_threads: int, max_batches: int | None = None
) -> np.ndarray:
    """Return what an ONNX file says of a split: logits (n,) float32, as ``evaluation.evaluate`` returns a model's.

    Args:
        file: ``model.onnx`` or ``model.int8.onnx``.
        recipe: Resolution and normalisation of the input.
        crops: A split.
        num_threads: CPU threads.
        max_batches: As of ``evaluation.evaluate``.
    """
    session = open_session(file, num_threads)
    positions = evaluated_positions(len(crops), batch_size=EVALUATION_BATCH, max_batches=max_batches)
    return np.concatenate([run_onnx(session, batch) for batch in images(crops, positions, recipe, EVALUATION_BATCH)])


def images(crops: SplitCrops, positions: np.ndarray, recipe: ModelRecipe, batch_size: int) -> Iterator[np.ndarray]:
    """Yield normalised images (batch, 3, resolution_px, resolution_px) float32 of crops, without augmentation."""
    for _, crops_u8 in batches(crops, positions, batch_size):
        pixels = normalise(to_float(crops_u8, recipe.resolution_px), recipe.mean, recipe.std)
        yield pixels.contiguous(memory_format=torch.contiguous_format).numpy()


class _Images(CalibrationDataReader):  # type: ignore[misc] # the library asks for its own base class
    """Hands batches to the calibration one by one."""

    def __init__(self, batches_of_images: Iterator[np.ndarray]) -> None:
        self._batches = batches_of_images

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch by the input's name, or None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's advice off the root logger; it has been taken."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)

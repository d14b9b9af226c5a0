"""A trial that trains nothing: what is left of a sweep's time is the engine's own."""

import json
import time
from pathlib import Path
from typing import Any

from ray import tune

from trainables.artifact_files import ONNX_FILE
from trainables.attempts import MODEL_FOLDER, PREDICTIONS_FILE, RESULT_FILE, STATE_FILE, attempt_folder
from trainables.trainable import Assignment

EPOCH = {
    "epoch/train_loss": 0.7,
    "epoch/val_loss": 0.7,
    "epoch/val_accuracy": 0.5,
    "epoch/learning_rate": 1e-3,
    "epoch/seconds": 0.01,
}
METRICS = {"val_accuracy": 0.5, "test_accuracy": 0.5, "parameters": 1, "size_mb": 1.0, "epochs": 1, "seconds": 0.01}


class FakeTrial(tune.Trainable):
    """Stands in for ``DetectorTrial``: the same assignment, the same files, the same reports."""

    def setup(self, config: dict[str, Any], store: object = None) -> None:
        """Take the assignment."""
        self.assignment, self.store = Assignment(**config["assignment"]), store

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up another trial in this process."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Write a checkpoint's state and a result."""
        folder = attempt_folder(Path(self.assignment.folder), self.assignment.attempt)
        epoch = {**EPOCH, "epoch/train_loss": time.time() % 1}
        for name in ("epoch-0001", MODEL_FOLDER):
            (folder / name).mkdir(exist_ok=True)
        (folder / "epoch-0001" / STATE_FILE).write_text(json.dumps({"history": [epoch]}))
        (folder / MODEL_FOLDER / "recipe.json").write_text("{}")
        (folder / MODEL_FOLDER / ONNX_FILE).touch()  # there is nothing to export
        (folder / PREDICTIONS_FILE).touch()
        result = {
            "metrics": METRICS,
            "undefined": {},
            "graph": {"digest": "fake", "architecture": "Lite0", "resolution_px": 64},
            "model": "fake",
            "origin": "fake",
            "alarm": None,
        }
        partial = folder / f".{RESULT_FILE}"
        partial.write_text(json.dumps(result))
        partial.replace(folder / RESULT_FILE)
        return {"epoch": 1, "history": [epoch], "complete": True, "refusal": None, "done": True}

    def alive(self) -> None:
        """Answer the driver."""

    def cleanup(self) -> None:
        """Have nothing to clean."""

"""Trained models scored on the test split of another store: does a detector hold on data of another origin?

Run as ``python -m trainables.elsewhere REQUEST``, which is JSON: scores of one model after another on standard output,
a JSON object a line.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from trainables.artifact_files import INT8_FILE
from trainables.metrics import Scores, score


def scored_elsewhere(
    folders: Sequence[Path],
    store: str,
    prefix: str,
    *,
    device: str = "cpu",
    num_threads: int = 1,
    max_batches: int | None = None,
) -> Iterator[Scores]:
    """Score models in a process of their own, each when it is done, in order.

    Args:
        folders: Of the models; a quantised one is run as the int8 file that it is.
        store: Whose test split is read; crops of another size are brought to each model's.
        prefix: Of the keys, in place of a split's name.
        device: ``cpu`` or ``cuda``.
        num_threads: CPU threads.
        max_batches: As of ``evaluation.evaluate``.

    Raises:
        RuntimeError: The process failed.
    """
    request = {
        "folders": [str(folder.resolve()) for folder in folders],
        "store": store,
        "prefix": prefix,
        "device": device,
        "num_threads": num_threads,
        "max_batches": max_batches,
    }
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            [sys.executable, "-m", "trainables.elsewhere", json.dumps(request)],
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            cwd=Path(__file__).parents[1],
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                yield Scores(**json.loads(line))
            code = process.wait()
        finally:
            process.kill()  # whoever asked may have stopped asking
        if code:
            said.seek(0)
            raise RuntimeError(f"scoring models on {store} failed: {said.read().strip()[-500:]}")


def _main() -> None:
    from data_store.resident import open_mmap
    from trainables.allocator import keep_freed
    from trainables.artifacts import load_model
    from trainables.evaluation import EVALUATION_BATCH, evaluate, evaluated_positions
    from trainables.fit import fix_threads, laid_out
    from trainables.quantisation import evaluate_onnx

    request = json.loads(sys.argv[1])
    fix_threads(request["num_threads"])
    keep_freed()
    limit = request["max_batches"]
    crops = open_mmap(request["store"]).split("test")
    at = evaluated_positions(len(crops), batch_size=EVALUATION_BATCH, max_batches=limit)
    for folder in map(Path, request["folders"]):
        model, recipe = load_model(folder)
        if recipe.quantisation == "none":
            model = laid_out(model, request["device"])
            logits = evaluate(model, recipe, crops, device=request["device"], max_batches=limit)
        else:
            logits = evaluate_onnx(
                folder / INT8_FILE, recipe, crops, num_threads=request["num_threads"], max_batches=limit
            )
        found = score(request["prefix"], logits, crops.labels[at], crops.categories[at], crops.video_ids[at])
        sys.stdout.write(json.dumps(asdict(found)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()

import numpy as np
import torch

from data_store.resident import Crops
from trainables.architectures import build
from trainables.artifacts import recipe_for
from trainables.evaluation import evaluate, evaluated_positions
from trainables.fit import laid_out

MODEL = recipe_for("Lite0", 64)


def test_evaluation_does_not_depend_on_the_batch_size_and_reports_a_capped_part(crops: Crops) -> None:
    torch.manual_seed(2)
    model = laid_out(build("Lite0"), "cpu")
    val = crops.split("val")
    whole = evaluate(model, MODEL, val, device="cpu")
    np.testing.assert_allclose(evaluate(model, MODEL, val, device="cpu", batch_size=3), whole, atol=1e-5)
    some = evaluate(model, MODEL, val, device="cpu", batch_size=2, max_batches=2)
    at = evaluated_positions(len(val), batch_size=2, max_batches=2)
    assert at.tolist() == [0, 5, 10, 15]
    np.testing.assert_allclose(some, whole[at], atol=1e-5)

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from data_store.resident import Crops
from tests.stores import make_crops, make_shards
from trainables.artifacts import recipe_for
from trainables.finish import finish
from trainables.fit import start
from trainables.footprint import work
from trainables.recipes import DEMO_TRAINING, TrialConfig

CONFIG = TrialConfig(
    architecture="Lite0", resolution_px=64, recipe=replace(DEMO_TRAINING, batch_size=16), data_seed=3, init_seed=4
)


def test_a_trial_whose_shared_crops_were_changed_is_not_scored(tmp_path: Path) -> None:
    changed = Crops(make_crops(seed=0).manifest, [*make_shards(seed=0)[0][:2], make_shards(seed=1)[0][2]])
    with pytest.raises(RuntimeError, match=r"crops shared by all trials must never change, but test\.arrow"):
        finish(start(CONFIG), CONFIG, recipe_for("Lite0", 64), changed, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_work_of_the_graph_is_recorded_from_which_its_latency_can_be_predicted(
    crops: Crops, tmp_path: Path
) -> None:
    fit = start(CONFIG)
    metrics = finish(fit, CONFIG, recipe_for("Lite0", 64), crops, tmp_path)["metrics"]
    done = work(fit.model, 64)
    assert (metrics["macs"], metrics["operations"]) == (done.macs, done.num_operations)
    assert metrics["traffic_mb"] == pytest.approx(done.traffic_bytes / 1e6)
    assert metrics["denormals"] == 0
    table = pa.ipc.open_file(tmp_path / "predictions.arrow").read_all()
    assert table.column("target_id").to_pylist() == [*crops.split("val").target_ids, *crops.split("test").target_ids]
    assert {"val_brier", "test_video_average_precision"} <= metrics.keys()

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_store.errors import InputError
from data_store.manifest import read_manifest
from data_store.resident import Crops
from tests.stores import write_store
from trainables.data_rules import check_counts, check_crops, check_store
from trainables.recipes import DEMO_TRAINING, TrialConfig

CONFIG = TrialConfig(architecture="Lite0", resolution_px=64, recipe=DEMO_TRAINING)


def test_a_sound_store_passes(crops: Crops) -> None:
    check_crops(crops, CONFIG)


def test_fewer_crops_than_a_batch_are_refused(crops: Crops) -> None:
    with pytest.raises(InputError, match="must hold a batch of 49 crops, but memory has 48; build a store of more"):
        check_counts(crops.manifest, replace(CONFIG, recipe=replace(DEMO_TRAINING, batch_size=49)))


def at_32_px(num_train: int, batch_size: int, max_steps: int | None = None) -> tuple[TrialConfig, dict[str, int]]:
    recipe = replace(DEMO_TRAINING, batch_size=batch_size, max_steps_per_epoch=max_steps)
    return replace(CONFIG, resolution_px=32, recipe=recipe), {
        "youtube": num_train // 2,
        "Deepfakes": num_train // 2 + 1,
    }


@pytest.mark.parametrize(("num_train", "batch_size", "max_steps"), [(33, 32, None), (65, 32, 3), (33, 1, None)])
def test_a_batch_of_one_crop_is_refused_where_a_crop_is_one_pixel_in_the_end(
    num_train: int, batch_size: int, max_steps: int | None, crops: Crops
) -> None:
    config, train = at_32_px(num_train, batch_size, max_steps)
    manifest = replace(crops.manifest, counts={**crops.manifest.counts, "train": train})
    words = (
        rf"at 32 px must have 2 crops .* the {num_train} training crops of memory in batches of {batch_size} leave 1; "
    )
    with pytest.raises(InputError, match=words):
        check_counts(manifest, config)
    check_counts(manifest, replace(config, resolution_px=33))
    check_counts(manifest, replace(config, recipe=replace(config.recipe, epochs=0, warmup_epochs=0)))


@pytest.mark.parametrize(("num_train", "batch_size", "max_steps"), [(33, 31, None), (65, 32, 2), (33, 32, 1)])
def test_batches_of_more_crops_are_not(num_train: int, batch_size: int, max_steps: int | None, crops: Crops) -> None:
    config, train = at_32_px(num_train, batch_size, max_steps)
    check_counts(replace(crops.manifest, counts={**crops.manifest.counts, "train": train}), config)


def test_a_store_is_checked_for_each_kind_of_batch(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", rows={"train": 33, "val": 8, "test": 8})
    small, _ = at_32_px(33, 32)
    check_store(read_manifest(str(store)), [CONFIG])
    for configs in ([CONFIG, small], [small, CONFIG]):
        with pytest.raises(InputError, match="each batch at 32 px must have 2 crops"):
            check_store(read_manifest(str(store)), configs)


def test_a_category_that_a_split_lacks_is_named(crops: Crops) -> None:
    counts = {**crops.manifest.counts, "val": {"youtube": 8}}
    with pytest.raises(InputError, match="but val of memory has no crop of Deepfakes; build"):
        check_counts(replace(crops.manifest, counts=counts), CONFIG)


def test_one_class_only_is_refused(crops: Crops) -> None:
    crops.split("test").labels = np.ones(16, np.int64)
    with pytest.raises(InputError, match="must hold real and fake crops, but test of memory has only fake ones"):
        check_crops(crops, CONFIG)

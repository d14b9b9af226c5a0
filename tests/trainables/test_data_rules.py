from dataclasses import replace

import numpy as np
import pytest

from data_store.errors import InputError
from data_store.resident import Crops
from trainables.data_rules import check_counts, check_crops
from trainables.recipes import DEMO_TRAINING, TrialConfig

CONFIG = TrialConfig(architecture="Lite0", resolution_px=64, recipe=DEMO_TRAINING)


def test_a_sound_store_passes(crops: Crops) -> None:
    check_crops(crops, CONFIG)


def test_fewer_crops_than_a_batch_are_refused(crops: Crops) -> None:
    with pytest.raises(InputError, match="must hold a batch of 49 crops, but memory has 48; build a store of more"):
        check_counts(crops.manifest, replace(CONFIG, recipe=replace(DEMO_TRAINING, batch_size=49)))


def test_a_category_that_a_split_lacks_is_named(crops: Crops) -> None:
    counts = {**crops.manifest.counts, "val": {"youtube": 8}}
    with pytest.raises(InputError, match="but val of memory has no crop of Deepfakes; build"):
        check_counts(replace(crops.manifest, counts=counts), CONFIG)


def test_one_class_only_is_refused(crops: Crops) -> None:
    crops.split("test").labels = np.ones(16, np.int64)
    with pytest.raises(InputError, match="must hold real and fake crops, but test of memory has only fake ones"):
        check_crops(crops, CONFIG)

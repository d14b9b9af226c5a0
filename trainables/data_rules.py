"""What a store must hold so that a trial on it means something; checked before anything is trained."""

from collections.abc import Iterable

import numpy as np

from data_store.errors import InputError
from data_store.folders import open_folder
from data_store.manifest import Manifest
from data_store.resident import Crops, open_mmap
from data_store.shards import SPLITS
from trainables.architectures import STRIDE_PX, fewest_crops
from trainables.recipes import TrialConfig


def check_counts(manifest: Manifest, config: TrialConfig) -> None:
    """Check what the store's manifest can tell, without reading a crop.

    Raises:
        InputError: There are fewer training crops than a batch, or the last batch has fewer than the network can train
            with, or a split lacks a category that another one has.
    """
    num_train, batch_size = sum(manifest.counts.get("train", {}).values()), config.recipe.batch_size
    if num_train < batch_size:
        raise InputError(
            f"the training split must hold a batch of {batch_size} crops, but {manifest.store} has {num_train}; "
            "build a store of more frames or videos"
        )
    limit = config.recipe.max_steps_per_epoch
    rest = num_train % batch_size if limit is None or limit * batch_size > num_train else 0
    smallest, fewest = rest or batch_size, _fewest(config)
    if smallest < fewest:
        raise InputError(
            f"each batch at {config.resolution_px} px must have {fewest} crops or more, as batch normalisation sees "
            f"one pixel of each, but the {num_train} training crops of {manifest.store} in batches of {batch_size} "
            f"leave {smallest}; use more than {STRIDE_PX} px, or a store with another number of crops"
        )
    everywhere = sorted({category for split in SPLITS for category in manifest.counts.get(split, {})})
    for split in SPLITS:
        missing = [category for category in everywhere if not manifest.counts.get(split, {}).get(category)]
        if missing:
            raise InputError(
                f"every category must be in every split, but {split} of {manifest.store} has no crop of "
                f"{', '.join(missing)}; build the store from more videos, by another --split, or without that category"
            )


def check_store(manifest: Manifest, configs: Iterable[TrialConfig]) -> None:
    """Check a store for all trials that are to be trained on it, before torch or Ray is loaded.

    Raises:
        InputError: As ``check_counts``, and as ``check_crops`` where the store's files can be mapped; of any other
            store the trials check it.
    """
    by_batches = {
        (config.recipe.batch_size, config.recipe.max_steps_per_epoch, _fewest(config)): config for config in configs
    }
    crops = open_mmap(manifest.store) if open_folder(manifest.store).local is not None else None
    for config in by_batches.values():
        if crops is None:
            check_counts(manifest, config)
        else:
            check_crops(crops, config)


def check_crops(crops: Crops, config: TrialConfig) -> None:
    """Check a store that is at hand.

    Raises:
        InputError: As ``check_counts``; or a split has real crops only, or fakes only.
    """
    check_counts(crops.manifest, config)
    for split in SPLITS:
        labels = np.unique(crops.split(split).labels)
        if len(labels) < 2:
            raise InputError(
                f"every split must hold real and fake crops, but {split} of {crops.manifest.store} has only "
                f"{'fake' if labels[0] else 'real'} ones; build the store from more videos or by another --split"
            )


def _fewest(config: TrialConfig) -> int:
    """Return how many crops each batch must have; nothing is asked of a trial that only evaluates."""
    return fewest_crops(config.resolution_px) if config.recipe.epochs > 0 else 1

"""The tiny sweep without Ray: what every disturbed sweep is held against."""

from pathlib import Path
from typing import Any

from data_store.resident import open_mmap
from sweeps.engine.resources import device_kind
from sweeps.engine.space import PROFILES, Setting
from tests.sweeps import tiny
from tests.sweeps.launching import timeless
from trainables.artifacts import recipe_for
from trainables.finish import finish
from trainables.training import train


def trained_alone(store: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Train the trials of the tiny sweep one after another in this process, without Ray and undisturbed."""
    crops = open_mmap(str(store))
    setting = Setting(
        profile=PROFILES["demo"], seed=0, store_digest=crops.manifest.digest, device=device_kind(), num_threads=1
    )
    found = {}
    for planned in tiny.trials(setting):
        recipe = recipe_for(planned.config.architecture, planned.config.resolution_px)
        fit = train(planned.config, crops)
        place = folder / planned.name
        place.mkdir()
        found[setting.identity(planned.config)] = timeless(finish(fit, planned.config, recipe, crops, place))
    assert len(found) == 3
    return found

"""A contact sheet: some crops of each category of a store, as one picture to look at."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data_store.errors import InputError
from data_store.manifest import Manifest
from data_store.shards import open_shard, shard_faces

SUFFIXES = (".png", ".jpg", ".jpeg")
TILE_PX = 112
TITLE_PX = 22
COLUMNS = 12
ROWS_PER_CATEGORY = 2


def write_sheet(manifest: Manifest, path: Path) -> None:
    """Write a contact sheet as PNG or JPEG: of each category 24 crops, spread evenly over the store.

    Raises:
        InputError: the file cannot be written.
    """
    check_name(path)
    done, data = cv2.imencode(path.suffix.lower(), cv2.cvtColor(contact_sheet(manifest), cv2.COLOR_RGB2BGR))
    assert done
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise InputError(f"a preview must be writable, but {path} is not ({error.strerror}); choose another") from error


def check_name(path: Path) -> None:
    """Tell early that a contact sheet cannot be written under a name.

    Raises:
        InputError: it is no picture's name, or its folder is not there.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"a preview is a .png or .jpg file, but got {path}; use e.g. preview.png")
    if not path.absolute().parent.is_dir():
        raise InputError(f"a preview's folder must be there, but {path.absolute().parent} is not; make it")


def contact_sheet(manifest: Manifest) -> NDArray[np.uint8]:
    """Draw the contact sheet: ``(height, width, 3)`` uint8 RGB."""
    chosen = _chosen(manifest, COLUMNS * ROWS_PER_CATEGORY)
    strips = []
    for category in manifest.categories:
        tiles = chosen[category]
        if not tiles:
            continue
        title = np.full((TITLE_PX, COLUMNS * TILE_PX, 3), 255, np.uint8)
        cv2.putText(title, category, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        strips.append(title)
        for start in range(0, len(tiles), COLUMNS):
            strip = np.full((TILE_PX, COLUMNS * TILE_PX, 3), 255, np.uint8)
            for column, tile in enumerate(tiles[start : start + COLUMNS]):
                small = cv2.resize(tile, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA)
                strip[:, column * TILE_PX : (column + 1) * TILE_PX] = small
            strips.append(strip)
    return np.concatenate(strips)


def _chosen(manifest: Manifest, amount: int) -> dict[str, list[NDArray[np.uint8]]]:
    """Up to ``amount`` crops of each category, at even distances in the store's order."""
    places: dict[str, list[tuple[int, int]]] = {category: [] for category in manifest.categories}
    batches = [open_shard(manifest.store, shard) for shard in manifest.shards]
    for number, batch in enumerate(batches):
        for row, category in enumerate(batch.column("category").to_pylist()):
            places[category].append((number, row))
    faces = [shard_faces(batch) for batch in batches]
    chosen = {}
    for category, rows in places.items():
        num = min(amount, len(rows))
        chosen[category] = [faces[shard][row] for shard, row in (rows[k * len(rows) // num] for k in range(num))]
    return chosen

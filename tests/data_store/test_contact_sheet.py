"""The contact sheet shows crops of every category, spread over the store."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from data_store.contact_sheet import COLUMNS, TILE_PX, TITLE_PX, contact_sheet, write_sheet
from data_store.errors import InputError
from data_store.manifest import read_manifest
from data_store.shards import open_shard, shard_faces
from tests.stores import write_store


def test_it_shows_each_category_at_its_size(tmp_path: Path) -> None:
    manifest = read_manifest(str(write_store(tmp_path / "store", crop_px=TILE_PX)))
    sheet = contact_sheet(manifest)
    assert sheet.shape == (2 * (TITLE_PX + 2 * TILE_PX), COLUMNS * TILE_PX, 3)
    batch = open_shard(manifest.store, manifest.shards[0])
    first = batch.column("category").to_pylist().index(manifest.categories[0])
    np.testing.assert_array_equal(sheet[TITLE_PX : TITLE_PX + TILE_PX, :TILE_PX], shard_faces(batch)[first])


def test_it_is_written_as_a_picture_in_the_right_colours(tmp_path: Path) -> None:
    manifest = read_manifest(str(write_store(tmp_path / "store", crop_px=8)))
    write_sheet(manifest, tmp_path / "sheet.png")
    read = cv2.imread(str(tmp_path / "sheet.png"))
    assert read is not None
    np.testing.assert_array_equal(read[..., ::-1], contact_sheet(manifest))


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    manifest = read_manifest(str(write_store(tmp_path / "store", crop_px=8)))
    with pytest.raises(InputError, match=r"sheet\.txt"):
        write_sheet(manifest, tmp_path / "sheet.txt")
    with pytest.raises(InputError, match="nowhere is not"):
        write_sheet(manifest, tmp_path / "nowhere/sheet.png")

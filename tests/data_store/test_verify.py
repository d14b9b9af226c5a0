"""Verification proves what a store claims, or says what is wrong, and a sweep can ask for its mark."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from data_store.errors import InputError
from data_store.ledger import encode
from data_store.manifest import MANIFEST_NAME, SPLITS, Manifest, ShardInfo, manifest_bytes, read_manifest, videos_name
from data_store.settings import BuildSettings
from data_store.shards import CropRow, encode_shard
from data_store.verified import MARK_NAME, require_verified
from data_store.verify import main, report_lines, verify

Crop = tuple[str, str, str, str]
"""(split, category, target, source)."""
CLEAN: list[Crop] = [
    ("train", "youtube", "000", "000"), ("train", "Deepfakes", "000", "003"), ("train", "youtube", "003", "003"),
    ("val", "youtube", "001", "001"), ("val", "Deepfakes", "001", "002"), ("test", "youtube", "004", "004"),
    ("test", "Deepfakes", "004", "005"),
]  # fmt: skip


def write(
    folder: Path, crops: Sequence[Crop], *, guarantee: str = "identity", kind: str = "official", same: bool = False
) -> Manifest:
    """Write a store of the given crops: noise, or, with ``same``, one picture for all."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    picture = generator.integers(0, 256, (16, 16, 3), np.uint8)
    infos, counts = [], {split: dict[str, int]() for split in SPLITS}
    categories = sorted({category for _, category, _, _ in crops})
    for split in SPLITS:
        rows = []
        for place, (_, category, target, source) in enumerate(crop for crop in crops if crop[0] == split):
            counts[split][category] = counts[split].get(category, 0) + 1
            name = target if category == "youtube" else f"{target}_{source}"
            rows.append(CropRow(label=int(category != "youtube"), category=category, video_id=name, target_id=target,
                                source_id=source, frame_index=place, box=(0, 0, 16, 16)))  # fmt: skip
        if not rows:
            continue
        faces = generator.integers(0, 256, (len(rows), 16, 16, 3), np.uint8)
        if same:
            faces[:] = picture
        data = encode_shard(faces, rows, split=split, categories=categories)
        digest = hashlib.sha256(memoryview(data)).hexdigest()
        infos.append(ShardInfo(name=f"{split}-00000-{digest[:12]}.arrow", split=split, num_rows=len(rows),
                               num_bytes=data.size, sha256=digest))  # fmt: skip
        (folder / infos[-1].name).write_bytes(data)
    ledger = encode([])
    ledger_sha256 = hashlib.sha256(ledger).hexdigest()
    (folder / videos_name(ledger_sha256)).write_bytes(ledger)
    values = {
        "crop_px": 16, "settings": BuildSettings().as_dict(), "layout": "ffpp", "split_kind": kind,
        "guarantee": guarantee, "categories": categories, "counts": counts, "num_crops": len(crops), "summary": {},
        "libraries": [], "videos_sha256": ledger_sha256, "shards": [asdict(info) for info in infos],
    }  # fmt: skip
    (folder / MANIFEST_NAME).write_bytes(manifest_bytes(values))
    return read_manifest(str(folder))


def test_a_sound_store_is_marked(tmp_path: Path) -> None:
    manifest = write(tmp_path, CLEAN)
    with pytest.raises(InputError, match=r"is not; run: python data_store/verify\.py"):
        require_verified(manifest)
    report = verify(str(tmp_path))
    assert report.faults == []
    assert report.shared == {"videos": 0, "targets": 0, "sources": 0, "identities": 0}
    assert report.near_duplicates == 0
    require_verified(manifest)


def test_the_mark_is_of_one_state_of_the_store(tmp_path: Path) -> None:
    write(tmp_path, CLEAN)
    verify(str(tmp_path))
    with pytest.raises(InputError, match="has changed since"):
        require_verified(write(tmp_path, CLEAN[:-1]))


@pytest.mark.parametrize("content", ["", "[]", '{"faults": []}', "\xff"])
def test_a_broken_mark_is_no_mark(tmp_path: Path, content: str) -> None:
    manifest = write(tmp_path, CLEAN)
    (tmp_path / MARK_NAME).write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"verify\.py"):
        require_verified(manifest)


PLANTED: dict[str, tuple[Crop, str, str]] = {
    "a video": (("test", "youtube", "000", "000"), "no video may be in two splits, .* youtube 000", "videos"),
    "a target": (("test", "Deepfakes", "000", "005"), "no identity may be in two splits, .* 000", "targets"),
    "a source": (("val", "Deepfakes", "001", "003"), "no identity may be in two splits, .* 003", "sources"),
    "a target that is a source elsewhere": (("test", "youtube", "002", "002"), "identity .* 002", "identities"),
    "an unknown donor": (("test", "Deepfakes", "004", "unknown"), "every donor known, but 1 crops", ""),
}


@pytest.mark.parametrize("name", list(PLANTED))
def test_a_broken_guarantee_is_a_fault(tmp_path: Path, name: str) -> None:
    crop, fault, kind = PLANTED[name]
    manifest = write(tmp_path, [*CLEAN, crop])
    report = verify(str(tmp_path))
    assert any(re.search(fault, text) for text in report.faults), report.faults
    if kind:
        assert report.shared[kind] >= 1
    with pytest.raises(InputError, match="must find no fault"):
        require_verified(manifest)


def test_a_weaker_guarantee_allows_what_it_does_not_claim(tmp_path: Path) -> None:
    shared_person: Crop = ("test", "Deepfakes", "000", "005")
    assert verify(str(write(tmp_path / "video", [*CLEAN, shared_person], guarantee="video").store)).faults == []
    shared_video: Crop = ("test", "youtube", "000", "000")
    assert len(verify(str(write(tmp_path / "broken", [*CLEAN, shared_video], guarantee="video").store)).faults) == 1
    frame = write(tmp_path / "frame", [*CLEAN, shared_video], guarantee="none", kind="frame")
    report = verify(frame.store)
    assert report.faults == []
    assert report.shared["videos"] == 1  # told, though nothing was claimed


def test_unknown_donors_leave_the_known_people_to_be_proved(tmp_path: Path) -> None:
    unknown: Crop = ("test", "Deepfakes", "004", "unknown")
    other: Crop = ("train", "Deepfakes", "000", "unknown")
    store = write(tmp_path / "a", [*CLEAN, unknown, other], guarantee="unknown", kind="identity").store
    assert verify(store).faults == []  # two unknown donors are not one person
    crossing: Crop = ("test", "Deepfakes", "000", "unknown")
    store = write(tmp_path / "b", [*CLEAN, crossing], guarantee="unknown", kind="identity").store
    assert len(verify(store).faults) == 1


def test_near_duplicates_across_splits_are_counted_and_shown(tmp_path: Path) -> None:
    manifest = write(tmp_path, CLEAN, same=True)
    report = verify(str(tmp_path))
    assert report.near_duplicates == 3 * 2 + 3 * 2 + 2 * 2
    assert "train youtube 000 ~ val youtube 001" in report.near_duplicate_examples
    assert "similar   16 pairs" in "\n".join(report_lines(report, manifest))


def test_two_videos_that_look_the_same_are_one_example_however_many_their_crops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops: list[Crop] = [("train", "youtube", "000", "000")] * 4 + [("val", "youtube", "001", "001")] * 4
    store = write(tmp_path, crops).store
    hashes = iter([1, 2, 4, 8] * 2)
    monkeypatch.setattr("data_store.verify.perceptual_hash", lambda _: next(hashes))
    report = verify(store)
    assert report.near_duplicates == 16
    assert report.near_duplicate_examples == ["train youtube 000 ~ val youtube 001"]


def test_a_damaged_shard_and_a_damaged_ledger_are_faults(tmp_path: Path) -> None:
    manifest = write(tmp_path, CLEAN)
    path = tmp_path / manifest.shards[1].name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (tmp_path / manifest.videos_name).write_bytes(b"\n")
    faults = verify(str(tmp_path)).faults
    assert len(faults) == 2
    assert manifest.shards[1].name in faults[0]
    assert manifest.videos_name in faults[1]


def test_counts_that_are_not_those_of_the_shards_are_a_fault(tmp_path: Path) -> None:
    write(tmp_path, CLEAN)
    values = json.loads((tmp_path / MANIFEST_NAME).read_text())
    del values["schema_version"], values["content_sha256"]
    values["counts"]["train"]["youtube"] += 1
    (tmp_path / MANIFEST_NAME).write_bytes(manifest_bytes(values))
    assert verify(str(tmp_path)).faults == ["the manifest's counts must be those of the shards, but differ"]


def test_a_shard_of_two_splits_is_a_fault(tmp_path: Path) -> None:
    write(tmp_path, CLEAN)
    values = json.loads((tmp_path / MANIFEST_NAME).read_text())
    del values["schema_version"], values["content_sha256"]
    values["shards"][1]["split"] = "test"
    (tmp_path / MANIFEST_NAME).write_bytes(manifest_bytes(values))
    assert "must hold rows of test alone, but holds {'val'}" in verify(str(tmp_path)).faults[0]


def test_the_naive_leak_of_an_ffpp_like_set(tmp_path: Path) -> None:
    """Pairs dealt by target: a test fake's source is in train with the probability of train, 70 %."""
    crops: list[Crop] = []
    for number in range(0, 400, 2):
        for target, source in ((number, number + 1), (number + 1, number)):
            crops += [("train", "youtube", f"{target}", f"{target}")] * 4
            crops += [("train", "Deepfakes", f"{target}", f"{source}")] * 4
    manifest = write(tmp_path, crops)
    report = verify(str(tmp_path))
    assert 0.60 < report.naive["target"] < 0.80
    assert 0.93 < report.naive["frame"] <= 1.0
    text = "\n".join(report_lines(report, manifest))
    assert "split by frame: " in text
    assert "split by target: " in text


def test_the_command_tells_sound_from_unsound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a", CLEAN)
    assert main([str(tmp_path / "a")]) == 0
    assert capsys.readouterr().out.endswith("\nsound\n")
    write(tmp_path / "b", [*CLEAN, ("test", "youtube", "000", "000")])
    assert main([str(tmp_path / "b")]) == 1
    assert "FAULT     no video may be in two splits" in capsys.readouterr().out


def test_an_unwritable_store_is_named(tmp_path: Path) -> None:
    write(tmp_path, CLEAN)
    (tmp_path / MARK_NAME).mkdir()
    with pytest.raises(InputError, match="is not writable"):
        verify(str(tmp_path))

"""From videos to a store: what is in it, that the same input gives the same bytes, and what goes wrong clearly."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data_store.build import build, main
from data_store.errors import InputError
from data_store.ledger import read_ledger
from data_store.listing import VideoRef
from data_store.manifest import Manifest, read_manifest
from data_store.options import summary_lines
from data_store.sampling import parse_sampling
from data_store.settings import BuildSettings, FaceSettings
from data_store.shards import open_shard, shard_faces
from tests.data_store.clips import ffpp, number_of, write_clip

WHOLE = BuildSettings(
    real="every:7", fake="random:5", crop_px=64, shard_mb=1, faces=FaceSettings(detector="none", margin=0.0)
)
"""The whole frame is the face, so that a test needs no face and can read a frame's number from the crop."""


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ffpp(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="session")
def store(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return build(dataset, str(tmp_path_factory.mktemp("store") / "faces"), WHOLE, workers=0)


def rows_of(manifest: Manifest) -> list[dict[str, object]]:
    names = ["label", "category", "video_id", "target_id", "source_id", "frame_index", "box", "split"]
    return [row for shard in manifest.shards for row in open_shard(manifest.store, shard).select(names).to_pylist()]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.startswith(".")}


def test_a_store_holds_the_sampled_frames_of_each_video(store: Manifest) -> None:
    rows = rows_of(store)
    assert len(rows) == store.num_crops == 6 * 6 + 12 * 5
    for video in ("000", "003"):
        frames = [row["frame_index"] for row in rows if row["video_id"] == video]
        assert frames == [0, 7, 14, 21, 28, 35]
    relative = "manipulated_sequences/FaceSwap/c23/videos/000_003.mp4"
    fake = [row for row in rows if (row["category"], row["video_id"]) == ("FaceSwap", "000_003")]
    expected = parse_sampling("random:5").frame_indices(40, seed=0, key=relative)
    assert [row["frame_index"] for row in fake] == expected
    assert {(row["label"], row["target_id"], row["source_id"]) for row in fake} == {(1, "000", "003")}


def test_the_pixels_are_those_of_the_frame(tmp_path: Path) -> None:
    pairs = [("000", "003"), ("001", "002"), ("004", "005")]
    videos = ffpp(tmp_path / "videos", pairs=pairs, categories=["FaceSwap"], size=(96, 96))
    settings = BuildSettings(real="every:3", fake="even:4", crop_px=96, faces=FaceSettings(detector="none"))
    manifest = build(videos, str(tmp_path / "s"), settings, workers=0)
    assert manifest.num_crops == 6 * 14 + 6 * 4
    for shard in manifest.shards:
        batch = open_shard(manifest.store, shard)
        numbers = [number_of(face) for face in shard_faces(batch)]
        assert numbers == batch.column("frame_index").to_pylist()


def test_official_pairs_decide_the_split(store: Manifest) -> None:
    assert (store.split_kind, store.guarantee, store.layout) == ("official", "identity", "ffpp")
    split_by_target = {str(row["target_id"]): row["split"] for row in rows_of(store)}
    assert split_by_target == dict.fromkeys(["000", "003"], "train") | dict.fromkeys(["001", "002"], "val") | (
        dict.fromkeys(["004", "005"], "test")
    )
    assert store.counts["val"] == {"Deepfakes": 10, "FaceSwap": 10, "youtube": 12}


def test_a_shard_holds_one_split_and_its_rows_are_sorted(store: Manifest) -> None:
    assert [shard.split for shard in store.shards] == sorted(
        (shard.split for shard in store.shards), key=["train", "val", "test"].index
    )
    for shard in store.shards:
        rows = open_shard(store.store, shard).select(["split", "category", "video_id", "frame_index"]).to_pylist()
        assert {row["split"] for row in rows} == {shard.split}
        places = [(row["category"] == "youtube", row["category"], row["video_id"], row["frame_index"]) for row in rows]
        assert places == sorted(places)


def test_shards_are_filled_evenly(dataset: Path, tmp_path: Path) -> None:
    manifest = build(dataset, str(tmp_path / "s"), BuildSettings(
        real="every:1", fake="random:1", crop_px=128, shard_mb=1, faces=FaceSettings(detector="none")
    ), workers=0)  # fmt: skip
    sizes = [shard.num_rows for shard in manifest.shards if shard.split == "train"]
    assert sum(sizes) == 84
    assert len(sizes) == 5
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) * 128 * 128 * 3 <= 1_000_000


def test_the_same_input_gives_the_same_bytes(dataset: Path, store: Manifest, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(dataset, moved)
    again = build(moved, str(tmp_path / "s"), WHOLE, workers=0)
    assert again.digest == store.digest
    assert files_of(tmp_path / "s") == files_of(Path(store.store))


@pytest.mark.ray
def test_ray_workers_give_the_same_bytes(dataset: Path, store: Manifest, tmp_path: Path) -> None:
    done = run(
        "--videos", str(dataset), "--store", str(tmp_path / "s"), "--detector", "none", "--crop-px", "64",
        "--real", "every:7", "--fake", "random:5", "--shard-mb", "1", "--workers", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / "s") == files_of(Path(store.store))


def test_a_finished_store_is_left_alone(dataset: Path, store: Manifest) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(store.store).glob("[!.]*")}
    again = build(dataset, store.store, WHOLE, lambda *_: pytest.fail("a video was read again"), workers=0)
    assert again.digest == store.digest
    assert {path: path.stat().st_mtime_ns for path in Path(store.store).glob("[!.]*")} == before


def test_a_killed_build_goes_on_and_gives_the_same_bytes(dataset: Path, store: Manifest, tmp_path: Path) -> None:
    def stop(done: int, _: int) -> None:
        if done == 11:
            raise KeyboardInterrupt

    target = tmp_path / "s"
    with pytest.raises(KeyboardInterrupt):
        build(dataset, str(target), WHOLE, stop, workers=0)
    assert files_of(target) == {}
    with pytest.raises(InputError, match="half-written"):
        read_manifest(str(target))
    torn = sorted((target / ".build").glob("*/*"))[0]
    torn.write_bytes(torn.read_bytes()[:-1])
    assert build(dataset, str(target), WHOLE, workers=0).digest == store.digest
    assert files_of(target) == files_of(Path(store.store))
    assert not (target / ".build").exists()


def test_new_videos_are_added_without_reading_the_old_ones(
    dataset: Path, store: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = tmp_path / "part"
    shutil.copytree(dataset, part, ignore=shutil.ignore_patterns("FaceSwap", "00[45]*.mp4"))
    target = tmp_path / "s"
    build(part, str(target), WHOLE, workers=0)
    shutil.copytree(dataset, part, dirs_exist_ok=True)
    import data_store.extraction as extraction

    read: list[str] = []
    crops_of = extraction.crops_of

    def noted(ref: VideoRef, settings: BuildSettings, mark: str) -> object:
        read.append(ref.relative)
        return crops_of(ref, settings, mark)

    monkeypatch.setattr(extraction, "crops_of", noted)
    grown = build(part, str(target), WHOLE, workers=0)
    assert len(read) == 6 + 4
    assert all("FaceSwap" in name or "004" in name or "005" in name for name in read)
    assert grown.digest == store.digest
    assert files_of(target) == files_of(Path(store.store))


def test_caps_survive_adding(dataset: Path, tmp_path: Path) -> None:
    capped = BuildSettings(
        real="every:7", fake="random:5", crop_px=64, faces=FaceSettings(detector="none"),
        cap_real=10, cap_fake=7, split="frame", category_caps=(("FaceSwap", 3),),
    )  # fmt: skip
    whole = build(dataset, str(tmp_path / "whole"), capped, workers=0)
    assert (whole.split_kind, whole.guarantee) == ("frame", "none")
    counts = {name: sum(count.get(name, 0) for count in whole.counts.values()) for name in whole.categories}
    assert counts == {"Deepfakes": 7, "FaceSwap": 3, "youtube": 10}
    assert [whole.counts[split]["youtube"] for split in ("train", "val", "test")] == [7, 2, 1]
    part = tmp_path / "part"
    shutil.copytree(dataset, part, ignore=shutil.ignore_patterns("00[03]*.mp4"))
    build(part, str(tmp_path / "grown"), capped, workers=0)
    shutil.copytree(dataset, part, dirs_exist_ok=True)
    assert build(part, str(tmp_path / "grown"), capped, workers=0).digest == whole.digest


def test_a_changed_video_is_read_again_though_caps_dropped_its_neighbours(dataset: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    shutil.copytree(dataset, videos)
    capped = BuildSettings(real="every:2", crop_px=64, faces=FaceSettings(detector="none"), cap_real=30)
    build(videos, str(tmp_path / "grown"), capped, workers=0)
    write_clip(videos / "original_sequences/youtube/c23/videos/000.mp4", 9)
    grown = build(videos, str(tmp_path / "grown"), capped, workers=0)
    assert grown.digest == build(videos, str(tmp_path / "new"), capped, workers=0).digest


def test_a_video_that_is_gone_is_named(dataset: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    shutil.copytree(dataset, videos)
    build(videos, str(tmp_path / "s"), WHOLE, workers=0)
    (videos / "original_sequences/youtube/c23/videos/000.mp4").unlink()
    with pytest.raises(InputError, match=r"1 of its videos are gone \(first: original_sequences/youtube.*000\.mp4\)"):
        build(videos, str(tmp_path / "s"), WHOLE, workers=0)


def test_other_settings_need_another_folder(dataset: Path, store: Manifest) -> None:
    with pytest.raises(InputError, match="crop_px = 64 and 32 is asked for"):
        build(dataset, store.store, BuildSettings(crop_px=32, faces=FaceSettings(detector="none")), workers=0)


def test_every_setting_is_recorded_and_resolved(store: Manifest) -> None:
    assert store.settings["layout"] == "ffpp"
    assert store.settings["compression"] == "c23"
    assert store.settings["split"] == "official"
    assert store.settings["faces"]["detector"] == "none"
    assert set(store.settings) == set(BuildSettings().as_dict())


def test_unreadable_videos_stop_the_build_or_are_listed(dataset: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    shutil.copytree(dataset, videos)
    folder = videos / "manipulated_sequences/Deepfakes/c23/videos"
    (folder / "000_003.mp4").write_bytes(b"")
    (folder / "003_000.mp4").write_text("no video at all")
    with pytest.raises(InputError, match="--allow-unreadable") as stopped:
        build(videos, str(tmp_path / "s"), WHOLE, workers=0)
    assert "of 18 videos" in str(stopped.value)
    assert "000_003.mp4: the file is empty" in str(stopped.value)
    with pytest.raises(InputError, match="half-written"):
        read_manifest(str(tmp_path / "s"))
    manifest = build(videos, str(tmp_path / "s"), WHOLE, workers=0, allow_unreadable=True)
    assert manifest.summary["unreadable"] == 2
    reasons = {entry.relative.split("/")[-1]: entry.unreadable for entry in read_ledger(manifest) if entry.unreadable}
    assert reasons == {
        "000_003.mp4": "the file is empty",
        "003_000.mp4": "Invalid data found when processing input",
    }
    assert manifest.num_crops == 6 * 6 + 10 * 5


def test_five_percent_may_be_unreadable(tmp_path: Path) -> None:
    pairs = [(f"{number:03d}", f"{number + 1:03d}") for number in range(0, 10, 2)]
    videos = ffpp(tmp_path / "videos", pairs=pairs, categories=["FaceSwap"], frames=8)
    (videos / "original_sequences/youtube/c23/videos/000.mp4").write_bytes(b"")
    assert build(videos, str(tmp_path / "s"), WHOLE, workers=0).summary["unreadable"] == 1


def test_frames_without_a_face_are_counted(tmp_path: Path) -> None:
    videos = ffpp(tmp_path / "videos", frames=8)
    with pytest.raises(InputError, match=r"78 sampled frames of 18 videos hold none"):
        build(videos, str(tmp_path / "s"), BuildSettings(real="every:3", fake="random:5"), workers=0)
    assert not (tmp_path / "s/store.json").exists()


def test_a_split_that_lacks_a_class_is_told(tmp_path: Path) -> None:
    for name in ("train/real/a.mp4", "train/fake/b.mp4", "val/real/c.mp4", "test/fake/d.mp4"):
        write_clip(tmp_path / "videos" / name, 2)
    manifest = build(tmp_path / "videos", str(tmp_path / "s"), WHOLE, workers=0)
    told = [line for line in summary_lines(manifest, read_ledger(manifest)) if line.startswith("careful")]
    assert told == [
        "careful   val holds no fake crop: it can neither train nor judge a detector",
        "careful   test holds no real crop: it can neither train nor judge a detector",
    ]


def test_names_with_spaces_quotes_and_unicode(tmp_path: Path) -> None:
    videos = ffpp(tmp_path / "the \"videos\" of 'Zoë' 日本", frames=8)
    build(videos, str(tmp_path / "a store, with 空白"), WHOLE, workers=0)
    assert read_manifest(str(tmp_path / "a store, with 空白")).num_crops == 6 * 2 + 12 * 5


def test_one_build_at_a_time(dataset: Path, tmp_path: Path) -> None:
    def second(*_: int) -> None:
        with pytest.raises(InputError, match=r"one build at a time .* process \d+ is writing"):
            build(dataset, str(tmp_path / "s"), WHOLE, workers=0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(dataset, str(tmp_path / "s"), WHOLE, second, workers=0)
    build(dataset, str(tmp_path / "s"), WHOLE, workers=0)


def test_a_folder_of_other_things_is_refused(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.pdf").touch()
    with pytest.raises(InputError, match=r"thesis\.pdf"):
        build(dataset, str(tmp_path), WHOLE, workers=0)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.pdf"]


def test_an_unwritable_folder_is_named(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="must be writable"):
        build(dataset, str(tmp_path / "file/s"), WHOLE, workers=0)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "data_store/build.py", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.ray
def test_the_command_builds_and_says_what_it_did(dataset: Path, tmp_path: Path) -> None:
    done = run(
        "--videos", str(dataset), "--store", str(tmp_path / "s"), "--detector", "none", "--crop-px", "64",
        "--real", "every:7", "--fake", "random:5", "--sample", "FaceSwap=even:2", "--workers", "2",
        "--preview", str(tmp_path / "p.png"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "18 found (ffpp), 18 read, 0 unreadable" in done.stdout
    assert "official, guarantee: identity" in done.stdout
    assert "FaceSwap 4" in done.stdout
    assert all("of 18 videos" in line for line in done.stderr.splitlines()), done.stderr  # no foreign warnings
    assert (tmp_path / "p.png").stat().st_size > 1000


def test_the_command_tells_a_mistake_in_one_line(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = run("--videos", str(empty), "--store", str(tmp_path / "s"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert str(empty) in done.stderr
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("flags", "named"),
    [(["--layout", "imagenet"], "'imagenet'"), (["--real", "often"], "'often'"), (["--crop-px", "225"], "225"),
     (["--cap", "fake"], "'fake'"), (["--cap", "fake=many"], "'fake=many'"), (["--sample", "x"], "'x'"),
     (["--compression", "c40"], "'c40'"), (["--detector", "mtcnn"], "'mtcnn'"), (["--fractions", "1", "1", "1"], "1.0"),
     (["--preview", "x.txt"], "x.txt"), (["--workers", "-1"], "-1"), (["--seed", "-1"], "-1")],
)  # fmt: skip
def test_a_wrong_flag_is_named(dataset: Path, tmp_path: Path, flags: list[str], named: str) -> None:
    with pytest.raises(InputError, match=named.replace(".", r"\.")):
        main(["--videos", str(dataset), "--store", str(tmp_path / "s"), *flags])
    assert not (tmp_path / "s").exists()


def test_the_thesis_preset(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--thesis", "--detector", "none", "--crop-px", "32", "--workers", "0"]
    assert main(["--videos", str(dataset), "--store", str(tmp_path / "s"), *flags]) == 0
    manifest = read_manifest(str(tmp_path / "s"))
    values = {name: manifest.settings[name] for name in ("real", "fake", "cap_real", "cap_fake", "split", "fractions")}
    assert values == {
        "real": "every:30", "fake": "random:10", "cap_real": 10_000, "cap_fake": 3_000, "split": "frame",
        "fractions": [0.7, 0.15, 0.15],
    }  # fmt: skip
    assert "frame, guarantee: none" in capsys.readouterr().out


def test_an_identity_in_two_official_splits_is_named(dataset: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    shutil.copytree(dataset, videos)
    (videos / "splits/test.json").write_text(json.dumps([["004", "000"]]))
    with pytest.raises(InputError, match="puts 000 into train and test"):
        build(videos, str(tmp_path / "s"), WHOLE, workers=0)


@pytest.mark.samples
def test_real_videos_land_in_the_official_splits(samples: Path, tmp_path: Path) -> None:
    settings = BuildSettings(real="every:150", fake="random:2", crop_px=64)
    manifest = build(samples / "ffpp", str(tmp_path / "s"), settings, workers=0)
    assert (manifest.split_kind, manifest.guarantee) == ("official", "identity")
    splits: dict[str, set[object]] = {}
    for row in rows_of(manifest):
        splits.setdefault(str(row["split"]), set()).add(row["video_id"])
    assert splits == {"train": {"519", "519_515", "750_743"}, "val": {"004", "004_982"}, "test": {"634", "634_660"}}
    assert manifest.summary["faces"] >= 0.95 * manifest.summary["frames"]

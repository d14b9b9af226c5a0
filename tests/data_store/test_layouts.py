"""Each data set's folders are read as its authors laid them out: videos, people, splits and what those guarantee."""

import json
from pathlib import Path

import pytest

from data_store.errors import InputError
from data_store.layouts import LAYOUTS, find_videos
from data_store.listing import Listing, VideoRef

CELEB_TEST = "List_of_testing_videos.txt"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def by_name(listing: Listing) -> dict[str, VideoRef]:
    return {ref.relative: ref for ref in listing.videos}


def people(ref: VideoRef) -> tuple[str, str, int, str, str]:
    return ref.category, ref.video_id, ref.label, ref.target_id, ref.source_id


@pytest.fixture
def ffpp_root(tmp_path: Path) -> Path:
    touch(
        tmp_path,
        "original_sequences/youtube/c23/videos/000.mp4",
        "original_sequences/youtube/c23/videos/003.MP4",
        "original_sequences/youtube/c23/videos/.hidden.mp4",
        "original_sequences/youtube/c23/videos/notes.txt",
        "original_sequences/actors/c23/videos/01__walking_outside.mp4",
        "manipulated_sequences/FaceShifter/c23/videos/000_003.mp4",
        "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__walking_outside__YVGY8LOK.mp4",
        "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4",
    )
    (tmp_path / "splits").mkdir()
    for split, pairs in (("train", [["000", "003"]]), ("val", [["001", "002"]]), ("test", [["004", "005"]])):
        (tmp_path / f"splits/{split}.json").write_text(json.dumps(pairs))
    return tmp_path


def test_faceforensics(ffpp_root: Path) -> None:
    listing = find_videos(ffpp_root)
    videos = by_name(listing)
    assert (listing.layout, listing.guarantee, listing.compression) == ("ffpp", "identity", "c23")
    assert {name: people(ref) for name, ref in videos.items()} == {
        "original_sequences/youtube/c23/videos/000.mp4": ("youtube", "000", 0, "000", "000"),
        "original_sequences/youtube/c23/videos/003.MP4": ("youtube", "003", 0, "003", "003"),
        "original_sequences/actors/c23/videos/01__walking_outside.mp4": (
            "actors", "01__walking_outside", 0, "actor_01", "actor_01"
        ),
        "manipulated_sequences/FaceShifter/c23/videos/000_003.mp4": ("FaceShifter", "000_003", 1, "000", "003"),
        "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__walking_outside__YVGY8LOK.mp4": (
            "DeepFakeDetection", "01_02__walking_outside__YVGY8LOK", 1, "actor_01", "actor_02"
        ),
    }  # fmt: skip
    assert list(videos) == sorted(videos)
    assert all(ref.path == ffpp_root / name for name, ref in videos.items())
    assert listing.official is not None
    assert sorted(listing.official) == [
        name for name in sorted(videos) if "ctor" not in name and "Detection" not in name
    ]
    assert set(listing.official.values()) == {"train"}
    assert listing.ignored == {"no video by its suffix": 1}


def test_faceforensics_without_split_files_has_no_official_split(ffpp_root: Path) -> None:
    (ffpp_root / "splits/val.json").unlink()
    listing = find_videos(ffpp_root)
    assert listing.official is None
    assert "val.json" in listing.missing_split


def test_a_fake_across_official_pairs_is_in_no_split(ffpp_root: Path) -> None:
    touch(ffpp_root, "manipulated_sequences/FaceSwap/c23/videos/000_004.mp4")
    listing = find_videos(ffpp_root)
    assert listing.official is not None
    assert "manipulated_sequences/FaceSwap/c23/videos/000_004.mp4" not in listing.official


def test_two_compressions_must_be_chosen_between(ffpp_root: Path) -> None:
    touch(ffpp_root, "original_sequences/youtube/c40/videos/000.mp4")
    with pytest.raises(InputError, match=r"has c23, c40; choose one, e\.g\. --compression"):
        find_videos(ffpp_root)
    listing = find_videos(ffpp_root, compression="c40")
    assert list(by_name(listing)) == ["original_sequences/youtube/c40/videos/000.mp4"]
    with pytest.raises(InputError, match="but got 'raw'"):
        find_videos(ffpp_root, compression="raw")


@pytest.mark.parametrize("content", ["{", "{}", '["000"]', "[[1, 2]]", "[[]]"])
def test_a_broken_split_file_is_named(ffpp_root: Path, content: str) -> None:
    (ffpp_root / "splits/test.json").write_text(content)
    with pytest.raises(InputError, match=r"splits/test\.json must be"):
        find_videos(ffpp_root)


def test_an_identity_in_two_official_splits_is_named(ffpp_root: Path) -> None:
    (ffpp_root / "splits/test.json").write_text('[["004", "003"]]')
    with pytest.raises(InputError, match="puts 003 into train and test"):
        find_videos(ffpp_root)


@pytest.fixture
def celeb_root(tmp_path: Path) -> Path:
    touch(
        tmp_path,
        "Celeb-real/id0_0000.mp4",
        "Celeb-real/id1_0003.mp4",
        "Celeb-synthesis/id0_id1_0000.mp4",
        "YouTube-real/00170.mp4",
    )
    (tmp_path / CELEB_TEST).write_text("1 YouTube-real/00170.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n\n")
    return tmp_path


def test_celeb_df(celeb_root: Path) -> None:
    listing = find_videos(celeb_root)
    assert (listing.layout, listing.guarantee, listing.names_people) == ("celebdf", "video", True)
    assert {name: people(ref) for name, ref in by_name(listing).items()} == {
        "Celeb-real/id0_0000.mp4": ("Celeb-real", "id0_0000", 0, "id0", "id0"),
        "Celeb-real/id1_0003.mp4": ("Celeb-real", "id1_0003", 0, "id1", "id1"),
        "Celeb-synthesis/id0_id1_0000.mp4": ("Celeb-synthesis", "id0_id1_0000", 1, "id0", "id1"),
        "YouTube-real/00170.mp4": ("YouTube-real", "00170", 0, "youtube_00170", "youtube_00170"),
    }
    assert listing.official == {
        "Celeb-real/id0_0000.mp4": "train",
        "Celeb-real/id1_0003.mp4": "train",
        "Celeb-synthesis/id0_id1_0000.mp4": "test",
        "YouTube-real/00170.mp4": "test",
    }


def test_celeb_df_without_its_list(celeb_root: Path) -> None:
    (celeb_root / CELEB_TEST).unlink()
    assert find_videos(celeb_root).official is None


@pytest.mark.parametrize("line", ["YouTube-real/00170.mp4", "2 YouTube-real/00170.mp4"])
def test_a_broken_test_list_is_named(celeb_root: Path, line: str) -> None:
    (celeb_root / CELEB_TEST).write_text(f"{line}\n")
    with pytest.raises(InputError, match=f"but has '{line}'"):
        find_videos(celeb_root)


def metadata(root: Path, part: str, **videos: dict[str, str]) -> None:
    (root / part).mkdir(exist_ok=True)
    (root / part / "metadata.json").write_text(json.dumps({f"{name}.mp4": entry for name, entry in videos.items()}))


@pytest.fixture
def dfdc_root(tmp_path: Path) -> Path:
    touch(tmp_path, "dfdc_train_part_0/aaa.mp4", "dfdc_train_part_0/bbb.mp4", "dfdc_train_part_1/ccc.mp4",
          "dfdc_train_part_1/stray.mp4")  # fmt: skip
    metadata(tmp_path, "dfdc_train_part_0", aaa={"label": "REAL", "split": "train"},
             bbb={"label": "FAKE", "split": "train", "original": "aaa.mp4"}, absent={"label": "REAL"})  # fmt: skip
    metadata(tmp_path, "dfdc_train_part_1", ccc={"label": "FAKE", "split": "train", "original": "zzz.mp4"})
    return tmp_path


def test_dfdc(dfdc_root: Path) -> None:
    listing = find_videos(dfdc_root)
    assert listing.layout == "dfdc"
    assert {name: people(ref) for name, ref in by_name(listing).items()} == {
        "dfdc_train_part_0/aaa.mp4": ("real", "aaa", 0, "aaa", "aaa"),
        "dfdc_train_part_0/bbb.mp4": ("fake", "bbb", 1, "aaa", "unknown"),
        "dfdc_train_part_1/ccc.mp4": ("fake", "ccc", 1, "zzz", "unknown"),
    }
    assert listing.official is None  # all are "train": no split
    assert not listing.names_people
    assert listing.ignored == {"not in metadata.json": 1}


def test_dfdc_with_splits_in_one_folder(dfdc_root: Path) -> None:
    part = dfdc_root / "dfdc_train_part_0"
    metadata(part, "", aaa={"label": "REAL", "split": "validation"}, bbb={"label": "FAKE", "original": "aaa.mp4"})
    listing = find_videos(part)
    assert listing.official == {"aaa.mp4": "val", "bbb.mp4": "train"}
    assert listing.guarantee == "video"


@pytest.mark.parametrize("entry", [{"label": "MAYBE"}, {"label": "FAKE", "split": "holdout"}, {}])
def test_broken_dfdc_metadata_is_named(dfdc_root: Path, entry: dict[str, str]) -> None:
    metadata(dfdc_root, "dfdc_train_part_0", aaa=entry)
    with pytest.raises(InputError, match=r"gives aaa\.mp4"):
        find_videos(dfdc_root)


@pytest.mark.parametrize("content", ["[]", "not json", '{"aaa.mp4": 1}'])
def test_dfdc_metadata_of_another_kind_is_named(dfdc_root: Path, content: str) -> None:
    (dfdc_root / "dfdc_train_part_0/metadata.json").write_text(content)
    with pytest.raises(InputError, match=r"part_0/metadata\.json must"):
        find_videos(dfdc_root)


def test_wild_deepfake(tmp_path: Path) -> None:
    touch(tmp_path, "real_train/1/real/10/0.png", "real_train/1/real/10/1.png", "real_train/1/real/11/0.png",
          "fake_test/7/fake/3/5.png", "real_train/1.tar.gz")  # fmt: skip
    listing = find_videos(tmp_path)
    assert (listing.layout, listing.guarantee, listing.ready_crops) == ("wilddeepfake", "none", True)
    assert not listing.names_people
    assert listing.official == {
        "fake_test/7/fake/3": "test",
        "real_train/1/real/10": "train",
        "real_train/1/real/11": "train",
    }
    videos = by_name(listing)
    assert videos["real_train/1/real/10"].target_id == videos["real_train/1/real/11"].target_id
    assert people(videos["fake_test/7/fake/3"])[2:] == (1, "fake_test/7", "unknown")


def test_real_beside_fake(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.png", "real/clip/0.jpg", "real/clip/1.jpg", "fake/b.PNG", "fake/readme.txt")
    listing = find_videos(tmp_path)
    assert (listing.layout, listing.ready_crops, listing.official) == ("folders", True, None)
    assert not listing.names_people
    assert {name: ref.label for name, ref in by_name(listing).items()} == {
        "fake/b.PNG": 1,
        "real/a.png": 0,
        "real/clip": 0,
    }
    assert {ref.source_id for ref in listing.videos if ref.label} == {"unknown"}
    assert listing.ignored == {"neither image nor video by its suffix": 1}


def test_one_folder_a_category_in_split_folders(tmp_path: Path) -> None:
    touch(tmp_path, "train/original/a.mp4", "valid/original/b.mp4", "test/StyleGAN/c.mp4", "test/original/deep/d.mp4")
    listing = find_videos(tmp_path)
    assert (listing.layout, listing.ready_crops, listing.guarantee) == ("folders", False, "none")
    assert listing.official == {
        "train/original/a.mp4": "train",
        "valid/original/b.mp4": "val",
        "test/StyleGAN/c.mp4": "test",
        "test/original/deep/d.mp4": "test",
    }
    assert {ref.category: ref.label for ref in listing.videos} == {"original": 0, "StyleGAN": 1}


def test_videos_beside_crops_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.png", "fake/b.mp4")
    with pytest.raises(InputError, match="holds both"):
        find_videos(tmp_path)


def test_an_empty_faceforensics_is_not_taken_for_categories(tmp_path: Path) -> None:
    touch(tmp_path, "original_sequences/youtube/c23/000.mp4", "manipulated_sequences/x/000_003.mp4")
    with pytest.raises(InputError, match="holds no video in any of them"):
        find_videos(tmp_path)


def test_a_folder_without_videos_names_the_known_layouts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ffpp, celebdf, dfdc, wilddeepfake, folders"):
        find_videos(tmp_path)


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_an_asked_layout_that_finds_nothing_is_named(tmp_path: Path, layout: str) -> None:
    with pytest.raises(InputError, match=f"layout {layout} finds no video"):
        find_videos(tmp_path, layout)


def test_an_asked_layout_is_taken(celeb_root: Path) -> None:
    touch(celeb_root, "real/a.mp4")
    assert find_videos(celeb_root).layout == "celebdf"
    assert find_videos(celeb_root, "folders").layout == "folders"


def test_an_unknown_layout_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="but got 'imagenet'"):
        find_videos(tmp_path, "imagenet")


def test_a_missing_folder_and_a_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        find_videos(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is a file"):
        find_videos(touch(tmp_path, "file") / "file")


def test_the_same_name_twice_in_a_category_is_refused(ffpp_root: Path) -> None:
    touch(ffpp_root, "original_sequences/youtube/c23/videos/000.avi")
    with pytest.raises(InputError, match=r"000\.avi and .*000\.mp4 are both youtube 000"):
        find_videos(ffpp_root)

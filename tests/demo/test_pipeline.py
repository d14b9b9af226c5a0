"""A video in, a marked video out; what goes in is drawn by code, and what must come out is known."""

import dataclasses
import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_store.errors import InputError
from data_store.extraction import crops_of
from data_store.listing import VideoRef
from data_store.settings import BuildSettings, FaceSettings
from demo.footage import open_footage, pictures
from demo.pipeline import Annotation, Progress, StoppedError, annotate
from demo.scoring import open_scorer
from demo.watching import Watch, Watched
from tests.demo import films
from tests.demo.conftest import RESOLUTION_PX, write_model


def run(video: Path, model: Watched, out: Path, **more: object) -> tuple[Annotation, dict[str, Any]]:
    footage = open_footage(video, max_minutes=5)
    record = out.with_suffix(".json")
    result = annotate(footage, model, out, json_out=record, max_minutes=5, **more)  # type: ignore[arg-type]
    return result, json.loads(record.read_text())


def assert_same_crops(video: Path, model: Watched, *, per_s: float, until: int) -> None:
    """Watch a video, and hold every crop that is to be scored against the store's crop of that frame."""
    settings = BuildSettings(real="every:1", crop_px=model.crop_px, faces=model.faces)
    ref = VideoRef(
        path=video, relative=video.name, label=0, category="youtube", video_id="0", target_id="0", source_id="0"
    )
    seen: dict[int, np.ndarray] = {}
    footage = open_footage(video, max_minutes=5)
    watch = Watch(model, scale=footage.scale, per_s=per_s)
    for picture in pictures(footage):
        if picture.index >= until:
            break
        stretch = watch.take(picture)
        for found in stretch.found if stretch else ():
            if found.face is not None:
                seen.setdefault(picture.index, found.face.crop)  # the largest comes first
    assert len(seen) > 15
    assert watch.finder.num_limited > len(seen) / 2
    record, stored = crops_of(ref, settings, "mark")
    of_frame = dict(zip((crop[0] for crop in record.crops), stored, strict=True))
    assert [frame for frame in seen if not np.array_equal(seen[frame], of_frame[frame])] == []


@pytest.mark.parametrize("margin", [0.0, 0.15])
def test_crops_are_those_that_the_store_makes(drawn: Path, model_folder: Path, margin: float) -> None:
    faces = FaceSettings(margin=margin)
    model = Watched(scorer=open_scorer(model_folder), faces=faces, crop_px=RESOLUTION_PX)
    assert_same_crops(drawn, model, per_s=10, until=50)


@pytest.mark.samples
def test_crops_of_a_real_video_are_the_stores(samples: Path, model_folder: Path, tmp_path: Path) -> None:
    video = films.first_frames(samples / "ffpp/original_sequences/youtube/c23/videos/634.mp4", tmp_path / "634.mp4", 40)
    assert_same_crops(video, Watched(scorer=open_scorer(model_folder), crop_px=224), per_s=12.5, until=40)


def test_the_marked_video_keeps_frames_times_size_and_sound(drawn: Path, watched: Watched, tmp_path: Path) -> None:
    result, record = run(drawn, watched, tmp_path / "out.mp4")
    before, after = films.decoded(drawn), films.decoded(tmp_path / "out.mp4")
    assert [time_s for time_s, _ in after] == pytest.approx([time_s for time_s, _ in before], abs=1e-3)
    assert after[0][1].shape == before[0][1].shape
    assert films.sound_seconds(tmp_path / "out.mp4") == films.sound_seconds(drawn)
    assert result.sound == "sound copied (aac)"
    assert len(record["frames"]) == result.num_frames == len(before) == 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "out.mp4"]


def test_the_box_is_drawn_in_the_verdicts_colour_where_the_record_says(drawn: Path, tmp_path: Path) -> None:
    for shift, verdict, channel in ((6.0, "deepfake", 0), (-6.0, "authentic", 1)):
        folder = write_model(tmp_path / verdict, gain=1.0, shift=shift)
        model = Watched(scorer=open_scorer(folder), crop_px=RESOLUTION_PX)
        out = tmp_path / f"{verdict}.mp4"
        result, record = run(drawn, model, out)
        assert result.verdict.verdict == verdict
        assert result.verdict.frames_scored == result.num_keys == 14
        marked = films.decoded(out)
        for index in (0, 17, 49):
            (face,) = record["frames"][index]["faces"]
            left, top, width, height = (round(value) for value in face["box"])
            line = marked[index][1][top + height // 2, left : left + 2].astype(int).mean(axis=0)
            assert line.argmax() == channel, (verdict, index, line)
            assert line[channel] - np.sort(line)[1] > 20
            assert face["verdict"] == verdict
            assert width > 60


def test_a_manipulated_stretch_turns_the_box_red_there_alone(watched: Watched, tmp_path: Path) -> None:
    # the tiny model calls light faces fake: here the light goes up half-way
    pictures_ = [np.clip(picture * (0.55 if index < 50 else 1.5), 0, 255).astype(np.uint8)
                 for index, picture in enumerate(films.faces(100))]  # fmt: skip
    video = films.write(tmp_path / "two.mp4", pictures_)
    _, record = run(video, watched, tmp_path / "out.mp4")
    chances = [frame["faces"][0]["probability"] for frame in record["frames"] if frame["faces"]]
    assert len(chances) > 90
    assert chances[5] < 0.35
    assert chances[-5] > 0.65
    scores = [score for face in record["faces"] for score in face["scores"]]
    assert len(scores) >= 20


def test_no_face_is_said_and_never_guessed(watched: Watched, tmp_path: Path) -> None:
    video = films.write(tmp_path / "none.mp4", films.empty(30))
    result, record = run(video, watched, tmp_path / "out.mp4")
    assert (result.verdict.verdict, result.verdict.probability) == ("no face", None)
    assert record["faces"] == []
    assert result.num_without == result.num_keys > 0
    assert len(films.decoded(tmp_path / "out.mp4")) == 30


def test_a_small_face_is_called_too_small(watched: Watched, tmp_path: Path) -> None:
    pictures_ = []
    for picture in films.faces(40):
        wide = np.full((512, 768, 3), 127, np.uint8)
        wide[200:280, 300:380] = films.shrunk(picture, 80)
        pictures_.append(wide)
    result, record = run(films.write(tmp_path / "small.mp4", pictures_), watched, tmp_path / "out.mp4")
    assert (result.verdict.verdict, result.verdict.probability) == ("too small", None)
    assert "48 px" in result.verdict.reason
    assert any(face["verdict"] == "too small" for frame in record["frames"] for face in frame["faces"])


def test_uneven_times_stay_as_they_are(watched: Watched, tmp_path: Path) -> None:
    times = np.cumsum([0, *np.random.default_rng(0).integers(15, 120, 39)]).tolist()
    video = films.write(tmp_path / "vfr.mp4", films.faces(40), times=times)
    run(video, watched, tmp_path / "out.mp4")
    after = [round(1000 * time_s) for time_s, _ in films.decoded(tmp_path / "out.mp4")]
    assert after == times


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_phone_video_comes_out_upright(drawn: Path, watched: Watched, tmp_path: Path, degrees: int) -> None:
    # filmed lying: the pixels are turned, the header says by how much; upright it is the drawn face again
    turns = {90: 1, 180: 2, 270: 3}[degrees]
    upright = [picture[:, :192] for picture in films.faces(25)]
    lying = films.write(tmp_path / "lying.mp4", [np.ascontiguousarray(np.rot90(p, turns)) for p in upright])
    video = films.turned(lying, tmp_path / "turned.mp4", degrees)
    footage = open_footage(video, max_minutes=5)
    assert (footage.width, footage.height) == (192, 256)
    result, record = run(video, watched, tmp_path / "out.mp4")
    marked = films.decoded(tmp_path / "out.mp4")
    assert marked[10][1].shape == (256, 192, 3)
    difference = np.abs(marked[10][1][:40].astype(int) - upright[10][:40]).mean()
    assert difference < 12
    assert result.num_without == 0
    assert all(frame["faces"] for frame in record["frames"][:20])


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "sound", "kept"),
    [
        ("a.avi", "mpeg4", "yuv420p", "pcm_s16le", "sound turned from pcm_s16le into AAC"),
        ("a.mkv", "libx264", "yuv444p", "flac", "sound copied (flac)"),
        ("a.webm", "libvpx", "yuv420p", "libopus", "sound copied (opus)"),
        ("a.ts", "libx264", "yuv420p", "mp2", "sound turned from mp2 into AAC"),
        ("a.mov", "libx264", "yuv422p10le", "alac", "sound turned from alac into AAC"),
    ],
)
def test_other_containers_and_codecs_become_what_browsers_play(
    watched: Watched, tmp_path: Path, name: str, codec: str, pix_fmt: str, sound: str, kept: str
) -> None:
    video = films.write(tmp_path / name, films.faces(25), codec=codec, pix_fmt=pix_fmt, sound=sound)
    result, _ = run(video, watched, tmp_path / "out.mp4")
    assert result.sound.startswith(kept)
    with films.opened(tmp_path / "out.mp4") as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.format.name) == ("h264", "yuv420p")
    assert films.decoded(tmp_path / "out.mp4")[0][0] < 0.1
    codec_name, seconds = films.sound_seconds(tmp_path / "out.mp4")
    assert codec_name in ("aac", "flac", "opus")
    assert seconds == pytest.approx(1.0, abs=0.15)
    assert len(films.decoded(tmp_path / "out.mp4")) == 25


def test_large_frames_are_shown_smaller_and_judged_full(watched: Watched, tmp_path: Path) -> None:
    pictures_ = [films.enlarged(picture, 1000) for picture in films.faces(12)]
    video = films.write(tmp_path / "large.mp4", pictures_)
    footage = open_footage(video, max_minutes=5, shown_px=500)
    assert (footage.shown_width, footage.shown_height, footage.scale) == (500, 500, 0.5)
    record = tmp_path / "out.json"
    annotate(footage, watched, tmp_path / "out.mp4", json_out=record, max_minutes=5)
    assert films.decoded(tmp_path / "out.mp4")[0][1].shape == (500, 500, 3)
    (face,) = json.loads(record.read_text())["frames"][5]["faces"]
    assert face["box"][2] > 250  # in the full frame's pixels


def test_a_video_cut_short_is_marked_up_to_there_and_says_so(watched: Watched, tmp_path: Path) -> None:
    whole = films.write(tmp_path / "whole.mkv", films.faces(50))
    data = whole.read_bytes()
    part = tmp_path / "part.mkv"
    part.write_bytes(data[: len(data) * 6 // 10] + bytes(200))
    result, _ = run(part, watched, tmp_path / "out.mp4")
    assert 5 < result.num_frames < 50
    assert len(films.decoded(tmp_path / "out.mp4")) == result.num_frames


def test_work_that_is_called_off_stops_and_leaves_nothing(watched: Watched, tmp_path: Path) -> None:
    video = films.write(tmp_path / "long.mp4", [next(films.empty(1))] * 2000)
    stop = threading.Event()
    seen: list[Progress] = []

    def progress(now: Progress) -> None:
        seen.append(now)
        stop.set()

    began = time.perf_counter()
    threads = threading.active_count()
    with pytest.raises(StoppedError):
        annotate(open_footage(video, max_minutes=5), watched, tmp_path / "out.mp4", json_out=tmp_path / "out.json",
                 max_minutes=5, progress=progress, stop=stop)  # fmt: skip
    assert seen[0].frames < 2000
    assert time.perf_counter() - began < 20
    assert threading.active_count() == threads
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long.mp4"]


def test_a_video_that_is_longer_than_it_says_is_refused(drawn: Path, watched: Watched, tmp_path: Path) -> None:
    footage = dataclasses.replace(open_footage(drawn, max_minutes=5), duration_s=None)
    with pytest.raises(InputError, match=r"at most 0\.01 minutes"):
        annotate(footage, watched, tmp_path / "out.mp4", max_minutes=0.01)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(drawn: Path, watched: Watched, tmp_path: Path) -> None:
    footage = open_footage(drawn, max_minutes=5)
    with pytest.raises(InputError, match="--out must lie in a folder that exists"):
        annotate(footage, watched, tmp_path / "no" / "out.mp4", max_minutes=5)


def test_every_frame_scores_each_frame(drawn: Path, watched: Watched, tmp_path: Path) -> None:
    result, record = run(drawn, watched, tmp_path / "out.mp4", every_frame=True)
    assert result.verdict.frames_scored == result.num_keys == 50
    quick, _ = run(drawn, watched, tmp_path / "quick.mp4")
    assert result.verdict.probability is not None
    assert quick.verdict.probability == pytest.approx(result.verdict.probability, abs=0.02)
    assert all(frame["detected"] for frame in record["frames"])

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data_store.errors import InputError
from demo import jobs as jobs_module
from demo.choosing import ChosenModel
from demo.jobs import MOST_JOBS, FullError, Job, Jobs, shown_name, work_folder
from demo.watching import Watched
from tests.demo import films


@pytest.fixture
def gate() -> threading.Event:
    """Closed: whoever opens a model waits."""
    return threading.Event()


@pytest.fixture
def jobs(tmp_path: Path, watched: Watched, gate: threading.Event) -> Iterator[Jobs]:
    def open_model(key: str) -> ChosenModel:
        if key == "unknown":
            raise InputError("a model must be one of those on the page, but this one is not; load the page again")
        gate.wait(30)
        return ChosenModel(name="tiny", detail="tiny", watched=watched, notes=("a note",))

    made = Jobs(tmp_path, open_model, max_minutes=10)
    yield made
    gate.set()
    made.close()
    assert list(tmp_path.iterdir()) == []  # however a test ends, no file is left


def submit(jobs: Jobs, video: Path, name: str = "a.mp4", model: str = "tiny") -> Job:
    job = jobs.create(name, model)
    job.source.write_bytes(video.read_bytes())
    jobs.submit(job)
    return job


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_two_uploads_are_done_in_order_and_the_second_is_told_its_place(
    jobs: Jobs, drawn: Path, gate: threading.Event
) -> None:
    first, second, third = (submit(jobs, drawn, f"{name}.mp4") for name in "abc")
    until(lambda: first.state == "working")
    assert jobs.describe(second) == {"state": "queued", "name": "b.mp4", "position": 2}
    assert jobs.describe(third)["position"] == 3
    gate.set()
    until(lambda: third.state == "done")
    assert second.state == first.state == "done"
    result = jobs.describe(first)["result"]
    assert result["file"] == "a.mp4"
    assert result["model"]["notes"] == ["a note"]
    assert result["verdict"]["frames_scored"] == 14
    assert first.marked.is_file()
    assert first.record.is_file()
    assert (first.folder / "face-1.jpg").is_file()
    assert not first.source.exists()  # the upload itself is not kept longer than needed


def test_a_closed_page_stops_the_work_and_removes_the_files(
    jobs: Jobs, tmp_path: Path, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "GRACE_S", 0.05)
    gate.set()
    long = films.write(tmp_path.parent / "long.mp4", [next(films.empty(1))] * 6000)
    job = submit(jobs, long)
    jobs.watch(job)
    until(lambda: job.state == "working" and job.progress is not None)
    time.sleep(0.1)
    jobs.reap()
    assert jobs.get(job.key) is job  # a page still follows it
    jobs.unwatch(job)
    time.sleep(0.1)
    jobs.reap()
    assert jobs.get(job.key) is None
    until(lambda: not job.folder.exists())
    assert job.state == "failed"
    long.unlink()


def test_a_dropped_job_leaves_the_queue(jobs: Jobs, drawn: Path, gate: threading.Event) -> None:
    first, second, third = (submit(jobs, drawn) for _ in range(3))
    until(lambda: first.state == "working")
    jobs.drop(second)
    assert not second.folder.exists()
    assert jobs.describe(third)["position"] == 2
    gate.set()
    until(lambda: third.state == "done")
    assert second.state == "queued"


@pytest.mark.parametrize(("content", "model", "message"), [
    (b"words", "tiny", "must be readable, but holiday.mp4 is not"),
    (None, "unknown", "must be one of those on the page"),
])  # fmt: skip
def test_what_fails_is_said_and_the_worker_goes_on(
    jobs: Jobs, drawn: Path, gate: threading.Event, content: bytes | None, model: str, message: str
) -> None:
    gate.set()
    bad = jobs.create("holiday.mp4", model)
    bad.source.write_bytes(drawn.read_bytes() if content is None else content)
    jobs.submit(bad)
    good = submit(jobs, drawn)
    until(lambda: good.state == "done")
    assert bad.state == "failed"
    assert message in jobs.describe(bad)["error"]


def test_no_more_jobs_than_the_machine_bears(jobs: Jobs) -> None:
    for _ in range(MOST_JOBS):
        jobs.create("a", "tiny")
    with pytest.raises(FullError, match=f"at most {MOST_JOBS} videos"):
        jobs.create("a", "tiny")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\films\\me.mp4", "me.mp4"),
        ("a\r\nb\x00.mp4", "ab.mp4"),
        ("..", "video"),
        ("", "video"),
        ("x" * 500 + ".mp4", "x" * 116 + ".mp4"),
        ("Büro – 会议.mp4", "Büro – 会议.mp4"),
    ],
)
def test_a_path_in_a_name_is_only_a_name(name: str, shown: str) -> None:
    assert shown_name(name) == shown


def test_what_a_killed_server_left_is_removed_and_a_running_ones_is_not(tmp_path: Path) -> None:
    dead = tmp_path / f"{jobs_module.FOLDER}999999999-abc"
    dead.mkdir()
    with work_folder(tmp_path) as one:
        assert not dead.exists()
        with work_folder(tmp_path) as two:
            assert one.exists()
            assert one != two
    assert list(tmp_path.iterdir()) == []

"""The page in a real Chromium: what a user does, from dropping a video to reading the verdict."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.demo import films
from tests.demo.test_server import Running
from tests.programs import CHROMIUM

pytestmark = [pytest.mark.browser, pytest.mark.slow]
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--use-fake-ui-for-media-stream"),
    "--use-fake-device-for-media-stream",
)
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def faces_for_the_camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn face as the raw film that Chromium's pretended camera plays."""
    path = tmp_path_factory.mktemp("camera") / "face.mjpeg"
    path.write_bytes(b"".join(films.jpeg(picture) for picture in films.faces(40)))
    return path


@pytest.fixture(scope="module")
def browser(faces_for_the_camera: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[*FLAGS, f"--use-file-for-fake-video-capture={faces_for_the_camera}"],
        )
        yield started
        started.close()


@pytest.fixture
def running(tmp_path: Path, model_folder: Path, drawn: Path) -> Iterator[Running]:
    (tmp_path / "files").mkdir()
    server = Running(tmp_path / "files", model_folder.parent, examples=drawn.parent)
    yield server
    server.close()


@pytest.fixture
def page(browser: Browser, running: Running) -> Iterator[Page]:
    """The page, loaded; no error and no request elsewhere is allowed until the test ends."""
    context = browser.new_context(viewport={"width": 1100, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE_MS)
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda said: faults.append(said.text) if "Content Security" in said.text else None)
    opened.on("request", lambda asked: None if asked.url.startswith((running.address, "blob:", "data:")) else
              faults.append(asked.url))  # fmt: skip
    opened.goto(running.address)
    opened.locator("#start").wait_for()
    yield opened
    context.close()
    assert faults == []


def send(page: Page, video: Path) -> None:
    page.set_input_files("#file", str(video))
    page.locator("#result").wait_for()


def wait(page: Page, condition: str) -> None:
    """Wait until JavaScript says so; Playwright's own waiting asks for eval, which the page's policy refuses."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(50)


def watch_it_play(page: Page) -> None:
    wait(page, "video.readyState >= 3")
    page.evaluate("video.muted = true; video.play()")
    wait(page, "video.currentTime > 0.4 && video.videoWidth > 0")
    assert page.evaluate("video.error") is None


def test_upload_watch_play_and_read_the_verdict(page: Page, drawn: Path, tmp_path: Path) -> None:
    send(page, drawn)
    expect(page.locator("#verdict")).to_have_text("Deepfake 75 %")
    expect(page.locator("#basis")).to_contain_text("Mean over 14 scored frames; not calibrated")
    expect(page.locator("#faces li")).to_have_count(1)
    expect(page.locator("#faces")).to_contain_text("Face 1, mean over 14 frames")
    assert page.evaluate("document.querySelector('#faces img').decode().then(() => true)")
    watch_it_play(page)
    page.evaluate("video.pause()")

    strip = page.locator("#timeline")
    width = strip.evaluate("(svg) => svg.clientWidth")
    strip.click(position={"x": 46 + (width - 58) * 0.5, "y": 40})
    assert page.evaluate("video.currentTime") == pytest.approx(1.0, abs=0.03)
    expect(page.locator("#reading")).to_contain_text("1.0 s · ")
    expect(page.locator("#reading")).to_contain_text("% fake")

    with page.expect_download() as saved:
        page.click("#save-json")
    assert saved.value.suggested_filename == "drawn.json"
    saved.value.save_as(tmp_path / "saved.json")
    assert json.loads((tmp_path / "saved.json").read_text())["verdict"]["verdict"] == "deepfake"
    with page.expect_download() as saved:
        page.click("#save-video")
    assert saved.value.suggested_filename == "drawn-marked.mp4"
    saved.value.save_as(tmp_path / "saved.mp4")
    assert len(films.decoded(tmp_path / "saved.mp4")) == 50


@pytest.mark.samples
def test_a_real_video_plays_with_its_verdict(page: Page, samples: Path) -> None:
    send(page, samples / "ffpp/original_sequences/youtube/c23/videos/004.mp4")
    expect(page.locator("#verdict")).to_contain_text("%")
    expect(page.locator("#basis")).to_contain_text("Mean over 87 scored frames")
    expect(page.locator("#foot")).to_contain_text("1280 × 720, 309 frames")
    watch_it_play(page)


def test_all_by_keyboard(page: Page) -> None:
    for _ in range(20):
        if page.evaluate("document.activeElement.parentElement.id") == "examples":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("#result").wait_for()
    assert page.evaluate("document.activeElement.id") == "verdict"
    wait(page, "video.readyState >= 1")
    page.locator("#timeline").focus()
    page.keyboard.press("End")
    assert page.evaluate("video.currentTime") > 1.9
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("video.currentTime") == pytest.approx(0.2, abs=0.01)
    assert page.get_attribute("#timeline", "aria-valuetext") == page.inner_text("#reading")
    page.locator("#again").focus()
    page.keyboard.press("Enter")
    page.locator("#start").wait_for()


def test_a_file_that_is_no_video_is_said_in_one_line(page: Page, tmp_path: Path, running: Running) -> None:
    words = tmp_path / "words.mp4"
    words.write_text("no video")
    page.set_input_files("#file", str(words))
    expect(page.locator("#alert")).to_contain_text("A video must be readable, but words.mp4 is not")
    expect(page.locator("#start")).to_be_visible()
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(5_100_000))
    page.set_input_files("#file", str(large))
    expect(page.locator("#alert")).to_contain_text("at most 5 MB, but large.mp4 has 6")


def test_two_pages_are_queued_and_told_so(page: Page, browser: Browser, running: Running, tmp_path: Path) -> None:
    long = films.write(tmp_path / "long.mp4", [next(films.empty(1, width=640, height=480))] * 1400)
    page.set_input_files("#file", str(long))
    expect(page.locator("#work-title")).to_have_text("Marking the faces")
    other = browser.new_page()
    other.goto(running.address)
    other.locator("#start").wait_for()
    other.set_input_files("#file", str(long))
    expect(other.locator("#work-title")).to_have_text("Queued, number 2")
    page.click("#cancel")
    expect(other.locator("#work-title")).to_have_text("Marking the faces")
    other.click("#cancel")
    other.locator("#start").wait_for()
    other.close()


def test_a_reload_keeps_the_result(page: Page, drawn: Path) -> None:
    send(page, drawn)
    page.reload()
    page.locator("#result").wait_for()
    expect(page.locator("#verdict")).to_have_text("Deepfake 75 %")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_everything_within_its_width(page: Page, drawn: Path, scheme: str) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    send(page, drawn)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = sum(int(value) for value in ground.strip("rgb()").split(",")) < 3 * 80
    assert dark == (scheme == "dark")
    for button in page.locator("button:visible, a.button:visible").all():
        box = button.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360


def test_the_webcam_is_watched_live(page: Page) -> None:
    page.click("#webcam")
    expect(page.locator("#live-text")).to_contain_text("So far: ")
    wait(
        page,
        "boxes.width > 0 && boxes.getContext('2d').getImageData(0, 0, boxes.width, boxes.height).data.some((v) => v)",
    )
    page.click("#camera-off")
    page.locator("#start").wait_for()
    assert page.evaluate("live.srcObject") is None


def test_with_no_model_the_page_says_which_command_trains_one(browser: Browser, tmp_path: Path, drawn: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "models").mkdir()
    server = Running(tmp_path / "files", tmp_path / "models", examples=drawn.parent)
    try:
        page = browser.new_page()
        page.goto(server.address)
        expect(page.locator("#none")).to_be_visible()
        expect(page.locator("#train")).to_have_text("python sweeps/kd_alpha.py")
        expect(page.locator("#start")).to_be_hidden()
        page.close()
    finally:
        server.close()


def test_the_debian_browser_is_the_one_that_plays_h264() -> None:
    """Playwright's own build has no H.264: without Debian's these tests would fail for another reason than ours."""
    said = subprocess.run([CHROMIUM, "--version"], capture_output=True, text=True, check=True).stdout
    assert "Chromium" in said

"""The interactive page in a real browser, with nothing but the file: no network, no server."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from analysis.objectives import NOISE_NOTE
from analysis.pareto import draw
from analysis.runs import Trial, read_runs
from tests.programs import CHROMIUM

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def trials(kd_alpha_store: str) -> tuple[Trial, ...]:
    return read_runs(kd_alpha_store).trials


@pytest.fixture
def page(browser: "Browser", trials: tuple[Trial, ...], kd_alpha_store: str, tmp_path: Path) -> "Iterator[Page]":
    """The page of one sweep; the test fails when the page asks the network for anything or reports an error."""
    other = replace(trials[1], run_id="other", data=replace(trials[1].data, split_kind="frame"))
    pictures = draw([*trials, other], tmp_path, tracking_uri=kd_alpha_store)
    context = browser.new_context(viewport={"width": 1300, "height": 1000})
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("request", lambda request: wrong.append(request.url) if not request.url.startswith("file:") else None)
    page.goto(pictures.html.as_uri())
    yield page
    context.close()
    assert wrong == []


def shown(page: "Page") -> int:
    return page.locator("#plot [data-i]").count()


def centre(page: "Page", name: str) -> tuple[float, float]:
    """Where a trial's point is on the screen."""
    x, y = page.evaluate(
        "name => { const p = view.points.find((p) => R.trials.name[p.i] === name); return [p.x, p.y]; }", name
    )
    box = page.locator("#plot").bounding_box()
    assert box
    return box["x"] + x, box["y"] + y


def test_hover_shows_configuration_metrics_and_the_test_score(page: "Page") -> None:
    page.mouse.move(*centre(page, "alpha=0.5"))
    text = page.locator("#tip").inner_text()
    for words in ("alpha=0.5", "Lite0, student", "13.74 MB", "Validation accuracy", "Test accuracy", "dominated"):
        assert words in text


def test_click_pins_and_compares_and_links_to_the_run(page: "Page", trials: tuple[Trial, ...]) -> None:
    for name in ("alpha=0.5", "teacher B0"):
        page.mouse.click(*centre(page, name))
    links = page.locator("#pinned a")
    assert links.all_inner_texts() == ["alpha=0.5", "teacher B0"]
    assert (
        links.first.get_attribute("href")
        == f"http://127.0.0.1:5000/#/experiments/1/runs/{trials[3].run_id}?workflowType=machine_learning"
    )
    assert "16.31 MB" in page.locator("#pinned").inner_text()
    page.mouse.click(*centre(page, "alpha=0.5"))
    assert links.all_inner_texts() == ["teacher B0"]
    page.click("#unpin")
    assert page.locator("#compare").is_hidden()


def test_limits_models_and_words_filter(page: "Page") -> None:
    assert shown(page) == 6
    page.fill("#limit-size_mb", "14")
    assert shown(page) == 5
    page.fill("#limit-accuracy", "90")
    assert shown(page) == 2
    page.click("#reset")
    assert shown(page) == 6
    page.uncheck("#architectures input[value=B0]")
    assert shown(page) == 5
    page.fill("#words", "alpha=0.75")
    assert shown(page) == 1
    page.fill("#words", "no such trial")
    assert "No trial is within these limits" in page.locator("#plot").inner_html()


def test_axes_can_be_changed(page: "Page") -> None:
    page.select_option("#x", "latency")
    page.select_option("#y", "auc")
    page.check("#log")
    text = page.locator("#plot").text_content() or ""
    assert "CPU latency (ms)" in text
    assert "Validation AUC" in text
    page.select_option("#y", "accuracy")
    page.select_option("#x", "size_mb")
    page.check("#published")
    assert page.locator("#plot .published").count() == 10


def test_noisy_latencies_are_marked(
    browser: "Browser", trials: tuple[Trial, ...], kd_alpha_store: str, tmp_path: Path
) -> None:
    loud = replace(trials[0], metrics={**trials[0].metrics, "latency_noise": 0.2})
    page = browser.new_page()
    page.goto(draw([loud, *trials[1:]], tmp_path, tracking_uri=kd_alpha_store).html.as_uri())
    page.mouse.move(*centre(page, "teacher B0"))
    assert "~9.10 ms (p90 9.83)" in page.locator("#tip").inner_text()
    page.mouse.click(*centre(page, "teacher B0"))
    assert "~1.000" in page.locator("#pinned").inner_text()
    rows = page.locator("#trials").inner_text()
    assert "~9.10 ms\t~1.000" in rows
    assert rows.count("~") == 2
    assert NOISE_NOTE in page.locator("#reading").inner_text()
    page.uncheck("#architectures input[value=B0]")
    assert "~" not in page.locator("#reading").inner_text()
    page.close()


def test_stores_and_splits_are_chosen_between_never_mixed(page: "Page") -> None:
    page.select_option("#data", label="store 1a2b3c4d, frame split")
    assert shown(page) == 1
    assert "2 of 2 data sets" in page.locator("#subtitle").inner_text()


def test_the_page_finds_the_front_that_python_finds(
    browser: "Browser", trials: tuple[Trial, ...], kd_alpha_store: str, tmp_path: Path
) -> None:
    """600 trials with many ties, on two objectives and on three."""
    import random

    generator = random.Random(0)
    sizes = [generator.randrange(4, 30) for _ in range(600)]
    quick = [generator.randrange(1, 20) for _ in range(600)]
    many = [
        replace(
            trials[1],
            run_id=f"run{index}",
            artifact_uri=str(tmp_path / "none"),
            metrics={
                "size_mb": sizes[index],
                "latency_ratio": quick[index] / 10,
                "val_accuracy": (40 + sizes[index] + quick[index] // 2 + generator.randrange(5)) / 100,
            },
        )
        for index in range(600)
    ]
    pictures = draw(many, tmp_path, z="latency_ratio", tracking_uri=kd_alpha_store)
    page = browser.new_page()
    page.goto(pictures.html.as_uri())
    names = {trial.run_id: index for index, trial in enumerate(many)}
    compared = pictures.comparisons[0]
    assert 3 < len(compared.line) < len(compared.front) < 300
    for field, points in (("line", compared.line), ("front", compared.front)):
        found = page.evaluate(f"[...view.{field}]")
        assert sorted(found) == sorted(names[point.trial.run_id] for point in points), field
    page.close()

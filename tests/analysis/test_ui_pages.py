"""MLflow's own pages of a recorded sweep, as a person sees them in a real browser."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from analysis.addresses import run_link
from analysis.runs import read_runs
from tests.programs import CHROMIUM

if TYPE_CHECKING:
    from playwright.sync_api import Page

LINES = "path.js-line"
pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def served(kd_alpha_store: str) -> Iterator[dict[str, str]]:
    """Serve the store as `make ui` does; give the printed address of each experiment, and that of the server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "analysis.ui", "--port", str(port), "--tracking-uri", kd_alpha_store]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pages = {"": f"http://127.0.0.1:{port}"}
        for line in iter(process.stdout.readline, ""):
            words = line.split()
            if line.startswith("  ") and len(words) == 2:
                pages[words[0]] = words[1]
                break
        yield pages
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def page() -> "Iterator[Page]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": 1700, "height": 1000})
        page.set_default_timeout(120_000)
        # MLflow opens its assistant over a third of the page on the first visit.
        page.add_init_script("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")
        yield page
        browser.close()


def test_the_printed_link_lists_trials_by_validation_accuracy_with_their_columns(
    served: dict[str, str], page: "Page", kd_alpha_store: str
) -> None:
    page.goto(served["kd_alpha"])
    page.get_by_role("link", name="teacher B0").wait_for()
    shown = [name for name in page.locator("[role=row] a").all_inner_texts() if name]
    trials = sorted(read_runs(kd_alpha_store).trials, key=lambda trial: -trial.metrics["val_accuracy"])
    assert shown[: len(trials)] == [trial.name for trial in trials]
    places = "nodes => nodes.map((node) => [node.getBoundingClientRect().x, node.innerText.trim()])"
    heads = [name for _, name in sorted(page.locator("[role=columnheader]").evaluate_all(places))]
    wanted = ["val_accuracy", "test_accuracy", "val_auc", "size_mb", "latency_ratio"]
    assert list(dict.fromkeys(head for head in heads if head in wanted)) == wanted


def test_charts_draw_the_curves_of_every_trial(served: dict[str, str], page: "Page") -> None:
    page.goto(f"{served['kd_alpha']}&compareRunsMode=CHART")
    page.get_by_text("epoch/val_accuracy", exact=True).first.wait_for()
    page.locator(LINES).nth(5).wait_for(state="attached")
    assert page.locator(LINES).count() >= 6


def test_the_sweep_leads_to_its_trials_and_back(served: dict[str, str], page: "Page", kd_alpha_store: str) -> None:
    trial = next(trial for trial in read_runs(kd_alpha_store).trials if trial.name == "alpha=0.25")
    page.goto(run_link(served[""], trial.experiment_id, trial.run_id))
    page.get_by_role("link", name="kd_alpha-demo-1a2b3c4d").click()
    page.get_by_text("Child runs", exact=True).wait_for()
    for name in ("teacher B0", "alpha=0", "alpha=0.25", "alpha=0.5", "alpha=0.75", "alpha=1"):
        page.get_by_role("link", name=name, exact=True).wait_for()
    page.get_by_role("link", name="alpha=0.25", exact=True).click()
    page.get_by_role("heading", name="alpha=0.25").wait_for()


def test_a_trial_shows_its_settings_its_scores_and_its_files(
    served: dict[str, str], page: "Page", kd_alpha_store: str
) -> None:
    trial = next(trial for trial in read_runs(kd_alpha_store).trials if trial.name == "alpha=0.25")
    address = run_link(served[""], trial.experiment_id, trial.run_id)
    page.goto(address)
    page.get_by_text("Metrics (", exact=False).first.wait_for()
    text = page.locator("body").inner_text()
    assert "Parameters (" in text
    assert "GenAI" not in text.split("kd_alpha")[1]
    page.goto(address.replace("?", "/artifacts?"))
    page.get_by_text("predictions.arrow").wait_for()
    page.get_by_text("model", exact=True).first.click()
    for name in ("recipe.json", "weights.safetensors"):
        page.get_by_text(name).wait_for()

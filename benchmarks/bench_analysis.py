"""What the Pareto plot costs beside MLflow's own search, and exact sorting beside the plain quadratic way."""

import gc
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from analysis.fronts import hypervolume, non_dominated, ranks
from analysis.pareto import draw
from analysis.runs import read_runs
from benchmarks.measure import Bar, Row, row
from benchmarks.recorded_runs import copy_runs, make_store

NUM_SWEEPS, NUM_TRIALS = 20, 500
NEW_TRIALS = 50
ROUNDS = 3
NUM_POINTS = 100_000
QUADRATIC_POINTS = 4_000
"""The quadratic way is timed on this many points, and its time scaled by the square of their ratio."""
PAGE_TRIALS = 2_000
CHROMIUM = Path("/usr/bin/chromium")


def rows() -> list[Row]:
    """Measure reading, drawing, sorting and the page."""
    table = _sorting()
    with tempfile.TemporaryDirectory(prefix="bench_analysis_") as temporary:
        folder = Path(temporary)
        uri = make_store(folder, sweeps=NUM_SWEEPS, trials=NUM_TRIALS)
        table += _plots(folder, uri)
        if CHROMIUM.exists():
            table += _page(folder, uri)
    return table


def _plots(folder: Path, uri: str) -> list[Row]:
    """Time the first plot beside MLflow's search, and a second one after a few new trials."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    search_seconds: list[float] = []
    first_seconds: list[float] = []
    second_seconds: list[float] = []
    read_runs(uri)  # imports and the database's pages are paid for here
    for number in range(ROUNDS):
        with _timed(search_seconds):
            found = _search(client)
        cache = folder / f"cache{number}"
        with _timed(first_seconds):
            draw(read_runs(uri, cache=cache).trials, folder / "plots", tracking_uri=uri)
        _add_trials(folder, seed=number + 1)
        with _timed(second_seconds):
            second = read_runs(uri, cache=cache).trials
            draw(second, folder / "plots", tracking_uri=uri)
        assert len(second) == found + NEW_TRIALS
    ratio = statistics.median(f / s for f, s in zip(first_seconds, search_seconds, strict=True))
    search, first, second_plot = (statistics.median(s) for s in (search_seconds, first_seconds, second_seconds))
    shown = f"{found} runs: search {search:.1f} s, read and drawn {first:.1f} s, no predictions"
    again = f"{NEW_TRIALS} new runs beside {found}: {second_plot:.2f} s, beyond imports"
    return [
        row("first Pareto plot of 10,000 runs", "MLflow's paged search_runs", ratio, Bar("<=", 1.2), shown),
        row("second Pareto plot, only new runs read: seconds", "1 s", second_plot, Bar("<=", 3.0), again),
    ]


def _search(client: "object") -> int:
    """Page through every trial as MLflow's documentation shows it; return how many there are."""
    from mlflow import MlflowClient

    assert isinstance(client, MlflowClient)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    count, token = 0, None
    while True:
        page = client.search_runs(experiments, "tags.kind = 'trial'", max_results=1000, page_token=token)
        count, token = count + len(page), page.token
        if not token:
            return count


def _add_trials(folder: Path, *, seed: int) -> None:
    """Record one more sweep."""
    import sqlite3

    with sqlite3.connect(folder / "mlflow.db") as connection:
        ids = [found for (found,) in connection.execute("SELECT run_uuid FROM runs ORDER BY start_time LIMIT 2")]
    connection.close()
    copy_runs(folder / "mlflow.db", ids[0], ids[1], sweeps=1, trials=NEW_TRIALS, seed=seed)


def _sorting() -> list[Row]:
    """Time exact ranks of many points beside comparing each with each."""
    table = []
    generator = np.random.default_rng(0)
    for columns, limit in ((2, 0.5), (3, 5.0)):
        points = generator.random((NUM_POINTS, columns))
        seconds: list[float] = []
        plain: list[float] = []
        for _ in range(ROUNDS):
            with _timed(seconds):
                layers = ranks(points)
            with _timed(plain):
                marks = _quadratic(points[:QUADRATIC_POINTS])
            assert (marks == non_dominated(points[:QUADRATIC_POINTS])).all()
        assert ((layers == 0) == non_dominated(points)).all()
        took, whole = statistics.median(seconds), statistics.median(plain) * (NUM_POINTS / QUADRATIC_POINTS) ** 2
        began = time.perf_counter()
        hypervolume(points, np.full(columns, 1.1))
        volume = time.perf_counter() - began
        shown = f"{NUM_POINTS} points, {layers.max() + 1} fronts: {took:.3f} s; each with each {whole:.0f} s (scaled)"
        name = f"non-dominated sorting, {columns} objectives"
        table += [
            row(f"{name}: seconds", "1 s", took, Bar("<=", limit), f"{shown}; hypervolume {volume:.3f} s"),
            row(f"{name}: times faster", "each with each, the front alone", whole / took, Bar(">=", 10), shown),
        ]
    return table


def _quadratic(points: np.ndarray) -> np.ndarray:
    """Mark the front by comparing each point with each, a row at a time."""
    marks = np.empty(len(points), dtype=bool)
    for index, point in enumerate(points):
        marks[index] = not ((points <= point).all(axis=1) & (points < point).any(axis=1)).any()
    return marks


def _page(folder: Path, uri: str) -> list[Row]:
    """Weigh the interactive page, open it in Chromium and filter it."""
    from playwright.sync_api import sync_playwright

    trials = read_runs(uri, cache=folder / "cache0").trials[:PAGE_TRIALS]
    page_file = draw(trials, folder / "page", tracking_uri=uri).html
    script = """() => {
        const began = performance.now(), input = document.querySelector("#limit-size_mb");
        input.value = "9"; input.dispatchEvent(new Event("input")); document.body.offsetHeight;
        return (performance.now() - began) / 1000;
    }"""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        browser.new_page().goto("about:blank")
        opened: list[float] = []
        filtered: list[float] = []
        for _ in range(ROUNDS):
            page = browser.new_page()
            with _timed(opened):
                page.goto(page_file.as_uri())
                page.wait_for_selector("#plot [data-i]", state="attached")
            filtered.append(float(page.evaluate(script)))
            page.close()
        browser.close()
    megabytes = page_file.stat().st_size / 1e6
    open_s, filter_s = statistics.median(opened), statistics.median(filtered)
    shown = f"{PAGE_TRIALS} trials, Chromium"
    return [
        row("interactive page: megabytes", "1 MB", megabytes, Bar("<=", 5), shown),
        row("interactive page opens: seconds", "1 s", open_s, Bar("<=", 1), shown),
        row("interactive page filters: seconds", "1 s", filter_s, Bar("<=", 1), shown),
    ]


@contextmanager
def _timed(seconds: list[float]) -> Iterator[None]:
    """Append how long the block took."""
    gc.collect()
    began = time.perf_counter()
    yield
    seconds.append(time.perf_counter() - began)

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.findings import Evidence
from analysis.intervals import read_predictions
from analysis.objectives import NOISE_NOTE
from analysis.report import main, write
from analysis.report_thesis import _one_sweep_of_alphas
from analysis.runs import Runs, Trial, read_runs
from data_store.errors import InputError
from tests.analysis.conftest import Planted, kd_alpha_runs, plant
from trainables.metrics import NUM_BINS, score

LITE_DIGEST = "11" * 32
TUNED = {"recipe.name": "thesis fine-tuning"}


def every_experiment() -> list[Planted]:
    """One trial for most rows of the thesis, with findings that hold, fail and stay open."""
    constant = {"recipe.name": "thesis training, constant rate", "recipe.schedule": "constant"}
    runs = [
        Planted(name="B0 scratch", skill=1.2, graph="B0", params={"weights": "none"}),
        Planted(name="B0 imagenet", skill=3.0, graph="B0", params={"weights": "imagenet"}),
        Planted(name="Lite0 imagenet", skill=2.6, params={"weights": "imagenet", "alpha": "0.0"}),
        Planted(name="Lite0 tuned", skill=3.4, params={"weights": LITE_DIGEST, **TUNED}),
        Planted(name="Lite0 from B0", skill=2.7, params={"weights": "imagenet", "architecture": "B0-lite"}),
        Planted(name="no schedule", skill=1.4, params={"weights": "imagenet", **constant}),
        Planted(name="no schedule KD", skill=2.8, params={"weights": "imagenet", "alpha": "0.25", **constant}),
    ]
    start = {"weights": LITE_DIGEST, **TUNED}
    for scope, skill in (("local", 1.0), ("global", 2.7)):
        way = {**start, "pruning.by": "channels", "pruning.scope": scope, "pruning.iterations": "1"}
        runs.append(Planted(name=f"{scope} 5 %", skill=skill, graph="Lite0 p", params={**way, "pruning.ratio": "0.05"}))
        macs = {**way, "pruning.by": "macs", "pruning.ratio": "0.4"}
        runs.append(Planted(name=f"{scope} 40 % of macs", skill=skill, graph="Lite0 p", params=macs))
    for alpha, first in (("0.0", 2.6), ("0.25", 3.2)):
        for ratio in (0.2, 0.25, 0.3, 0.35, 0.4):
            skill = first - (1.4 if ratio > (0.3 if alpha == "0.0" else 0.35) else 0)
            way = {"pruning.by": "channels", "pruning.scope": "global", "pruning.iterations": "5"}
            params = {**start, **way, "pruning.ratio": str(ratio), "alpha": alpha}
            runs.append(Planted(name=f"ratio={ratio} alpha={alpha}", skill=skill, graph="Lite0 p", params=params))
    quick = {"size_mb": 3.6, "latency_int8_ratio": 0.31}
    int8 = {"quantisation": "static", "weights": LITE_DIGEST, "recipe.name": "no training", "precision": "fp32"}
    return [*runs, Planted(name="Lite0 int8", skill=2.5, params=int8, metrics=quick)]


@pytest.fixture(scope="module")
def whole(blank_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Runs of every experiment."""
    path = tmp_path_factory.mktemp("whole") / "mlflow.db"
    path.write_bytes(blank_database.read_bytes())
    uri = f"sqlite:///{path}"
    plant(uri, kd_alpha_runs()[1:])
    plant(uri, every_experiment(), sweep="everything")
    runs = read_runs(uri)
    named = {trial.name: trial for trial in runs.trials}
    source = replace(named["Lite0 imagenet"], tags={**named["Lite0 imagenet"].tags, "trial": LITE_DIGEST})
    return replace(runs, trials=tuple(source if t.name == source.name else t for t in runs.trials))


class Page(HTMLParser):
    """Which tags are open, what they ask for, and the ids."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in ("meta", "link", "br", "img", "input"):
            self.open.append(tag)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.links += [value for name, value in attrs if name in ("href", "src", "xlink:href") and value]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_offline_and_without_double_ids(whole: Runs, tmp_path: Path) -> None:
    page, _ = write(whole, tmp_path)
    parser = Page()
    parser.feed(page.read_text())
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids)) > 20
    assert [link for link in parser.links if not link.startswith(("#", "data:"))] == []
    assert {link[1:] for link in parser.links if link.startswith("#")} <= set(parser.ids)


def test_every_experiment_of_the_thesis_has_its_verdict(whole: Runs, tmp_path: Path) -> None:
    _, markdown = write(whole, tmp_path)
    text = markdown.read_text()
    for words in (
        "Held: ImageNet weights beat a random start, by +",
        "by true category; youtube is real.",
        "Not run: fine-tuning improves B0 (no trial for B0, fine-tuned).",
        "fine-tuning improves Lite0, by +",
        "Not run: Lite0's own weights beat trained B0's (no trial for Lite0, from trained B0 weights).",
        "Held: global pruning beats local, by +",
        "Lite0 without KD: Up to 30 % can be pruned",
        "Lite0 with KD: Up to 35 % can be pruned",
        "Held: at 35 %, pruning with the teacher beats pruning without, by +",
        "| Local or global pruning | \N{CHECK MARK} held | Global pruning beats local, by +",
        "| One-shot or iterative pruning | \N{EM DASH} not run | ",
        "Held: alpha 0.75 beats 0, by +",
        "Held: without a schedule, KD beats no KD, by +",
        "| Lite0 int8 | Lite0 imagenet | ",
        "| 13.74 to 3.60 MB | 0.760 eager to 0.310 int8 |",
        "| local, one-shot | 40 % of MACs | ",
        "Held: without KD, leaving the schedule out costs accuracy, by +",
        "Not run: distillation lifts fine-tuned Lite0 (no trial for Lite0, KD alpha 0.25, fine-tuned).",
        "| Lite0, KD, iterative pruning 35% | 91.9 | ",
        "| B0 | 4,008,829 / 4,008,829 | 16.31 / 16.31 | 1.00 / 1.00 |",
        "python sweeps/model_scaling.py",
    ):
        assert words in text, words


def test_figures_that_are_linked_exist(whole: Runs, tmp_path: Path) -> None:
    _, markdown = write(whole, tmp_path)
    linked = re.findall(r"\]\((figures/[^)]+)\)", markdown.read_text())
    assert len(linked) >= 10
    assert [name for name in linked if not (tmp_path / name).is_file()] == []


def test_the_row_beside_the_thesis_is_chosen_on_validation(whole: Runs, tmp_path: Path) -> None:
    """A second B0 from ImageNet that is best on test and worst on validation does not stand in the table."""
    given = next(trial for trial in whole.trials if trial.name == "B0 imagenet")
    lucky = {**given.metrics, "val_accuracy": 0.51, "test_accuracy": 0.9999}
    planted = replace(given, run_id="lucky", metrics=lucky)
    _, markdown = write(replace(whole, trials=(*whole.trials, planted)), tmp_path)
    rows = [line for line in markdown.read_text().splitlines() if line.startswith("| B0, ImageNet | 90.0")]
    assert len(rows) == 3
    assert [f"{100 * given.metrics['test_accuracy']:.1f} [" in row for row in rows] == [True] * 3


def test_the_calibration_error_is_the_recorded_one(kd_alpha_store: str, tmp_path: Path) -> None:
    runs = read_runs(kd_alpha_store)
    _, markdown = write(runs, tmp_path)
    best = max(runs.trials, key=lambda trial: trial.metrics["val_accuracy"])
    entry = read_predictions(best, kd_alpha_store, "test")
    assert entry is not None
    recorded = score("test", entry.logit, entry.label, entry.category, entry.video_id).values["test_calibration_error"]
    assert f"| model | expected calibration error ({NUM_BINS} bins) | log loss |" in markdown.read_text()
    assert f"\n| {best.name} | {recorded:.3f} | {best.metrics['test_log_loss']:.3f} |" in markdown.read_text()


def test_points_of_the_search_and_runs_of_another_profile_stand_in_no_row(whole: Runs, tmp_path: Path) -> None:
    """B1 of a search with twice the rate at 80 px, and a B0 of the thesis's profile, whose rows it then has alone."""
    given = next(trial for trial in whole.trials if trial.name == "B0 imagenet")
    params = {**given.params, "architecture": "B1", "resolution_px": "80", "recipe.learning_rate": "0.004"}
    point = replace(given, run_id="point", name="B1 80 px, rate x2", experiment="search", params=params)
    _, markdown = write(replace(whole, trials=(*whole.trials, point)), tmp_path)
    text = markdown.read_text()
    assert "Not run: B0 beats B1 (no trial for B1, ImageNet)." in text
    assert (
        text.count("Trials left out of the thesis's rows, since they do not compare with the rest: 1 of the joint") == 1
    )
    thesis = replace(given, run_id="thesis", tags={**given.tags, "profile": "thesis"})
    _, markdown = write(replace(whole, trials=(*whole.trials, thesis)), tmp_path)
    text = markdown.read_text()
    assert f"with the rest: {len(whole.trials)} of the demo profile." in text
    assert "Not run: ImageNet weights beat a random start (no trial for B0, no pretrained weights)." in text
    _, markdown = write(whole, tmp_path)
    assert "Trials left out" not in markdown.read_text()


def test_a_verdict_on_rows_of_two_seeds_is_on_two_trials_of_one_seed(whole: Runs, tmp_path: Path) -> None:
    """Seed 1 has B0 to B2 and seed 0 B0 and B3: the table shows seed 1's B0, which B3 is not compared with."""
    given = next(trial for trial in whole.trials if trial.name == "B0 imagenet")

    def planted(architecture: str, seed: int) -> Trial:
        own = {"architecture": architecture, "data_seed": str(seed), "init_seed": str(seed)}
        name = f"{architecture} of seed {seed}"
        return replace(given, run_id=name, name=name, params={**given.params, **own})

    trials = [planted(*row) for row in (("B0", 1), ("B1", 1), ("B2", 1), ("B0", 0), ("B3", 0))]
    _, markdown = write(replace(whole, trials=tuple(trials)), tmp_path)
    verdicts = [line for line in markdown.read_text().splitlines() if "B0 beats B" in line and not line.startswith("|")]
    assert ["Compared are" in line for line in verdicts] == [False, False, True]
    named = (
        "Compared are B0 of seed 0 (everything-demo-1a2b3c4d) and B3 of seed 0 (everything-demo-1a2b3c4d), of one seed"
    )
    assert named in verdicts[2]
    _, markdown = write(replace(whole, trials=(*trials[:3], trials[4])), tmp_path)
    assert "includes 0. Not of one seed and recipe: data_seed 1 and 0, init_seed 1 and 0." in markdown.read_text()


def test_a_noisy_time_is_marked_and_its_table_says_so(whole: Runs, tmp_path: Path) -> None:
    noise = {"latency_noise": 0.2, "latency_int8_noise": 0.2}
    loud = [replace(trial, metrics={**trial.metrics, **noise}) for trial in whole.trials]
    _, markdown = write(replace(whole, trials=tuple(loud)), tmp_path)
    text = markdown.read_text()
    for words in (
        "| B0 | 4,008,829 / 4,008,829 | 16.31 / 16.31 | 1.00 / ~1.00 |",
        "| 13.74 to 3.60 MB | ~0.760 eager to ~0.310 int8 |",
        "| 8.80 MB | ~0.480 |",
    ):
        assert words in text, words
    tables = [block for block in re.split(r"\n(?=\*)", text) if re.search(r"^\|.* ~\d", block, re.MULTILINE)]
    assert len(tables) == 5
    assert all(f"{NOISE_NOTE}.*\n" in table for table in tables)
    _, markdown = write(whole, tmp_path / "quiet")
    assert "~:" not in markdown.read_text()


def test_what_was_not_run_is_said_with_its_command(kd_alpha_store: str, tmp_path: Path) -> None:
    _, markdown = write(read_runs(kd_alpha_store), tmp_path)
    text = markdown.read_text()
    for command in ("transfer", "model_scaling", "lite", "prune_ratio", "kd_prune", "schedule", "quantise"):
        assert re.search(rf"(Not run|What is missing): .*`python sweeps/{command}\.py( --store ~/faces)?`", text), (
            command
        )
    assert "drawn faces at 64 px" in text


def test_random_starts_stand_in_where_no_run_starts_from_imagenet(kd_alpha_store: str, tmp_path: Path) -> None:
    _, markdown = write(read_runs(kd_alpha_store), tmp_path)
    text = markdown.read_text()
    assert "| B0, ImageNet (ours: random start) | 90.0 | " in text
    assert "No run here starts from ImageNet weights: ours start from random ones, all alike." in text
    transfer = text[text.index("## Transfer learning") : text.index("## Fine-tuning")]
    assert "| B0, ImageNet | 90.0 | not run |" in transfer


def test_alphas_of_two_seeds_are_not_taken_for_one_row(kd_alpha_store: str) -> None:
    """Of the second seed one alpha is missing, and each of the others is better than the first seed's."""
    first = read_runs(kd_alpha_store).trials
    second = [
        replace(
            trial,
            run_id=f"{trial.run_id}-1",
            params={**trial.params, "init_seed": "1"},
            metrics={**trial.metrics, "val_accuracy": 0.999},
        )
        for trial in first
        if trial.params.get("alpha") != "0.5"
    ]
    evidence = Evidence(trials=(*first, *second), tracking_uri=kd_alpha_store)
    found = _one_sweep_of_alphas(evidence)
    assert len(found) == 5
    assert {trial.run_id for trial in found.values() if trial} <= {trial.run_id for trial in first}
    assert all(found.values())


def test_other_stores_are_left_out_and_named(kd_alpha_store: str, tmp_path: Path) -> None:
    runs = read_runs(kd_alpha_store)
    other = replace(runs.trials[0], data=replace(runs.trials[0].data, split_kind="frame"))
    mixed = replace(runs, trials=(*runs.trials, other))
    _, markdown = write(mixed, tmp_path)
    assert "6 trials of store 1a2b3c4d, official split" in markdown.read_text()
    assert "do not compare: store 1a2b3c4d, frame split" in markdown.read_text()
    _, markdown = write(mixed, tmp_path, "1a2b3c4d/frame")
    assert "1 trial of store 1a2b3c4d, frame split" in markdown.read_text()


def test_runs_without_predictions_sizes_or_scores_still_make_a_report(kd_alpha_store: str, tmp_path: Path) -> None:
    runs = read_runs(kd_alpha_store)
    bare = [
        replace(runs.trials[0], artifact_uri=str(tmp_path), run_id="a"),
        replace(runs.trials[1], metrics={}),
        replace(runs.trials[2], metrics={"val_accuracy": float("nan"), "test_accuracy": 0.5}),
    ]
    page, _ = write(replace(runs, trials=tuple(bare)), tmp_path / "out")
    assert "What it cost" in page.read_text()


def test_a_folder_that_cannot_be_written_is_named(kd_alpha_store: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--out must be a folder that can be written"):
        write(read_runs(kd_alpha_store), tmp_path / "file" / "report")


def test_the_command_says_where_the_report_is(
    kd_alpha_store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analysis.report.project_root", lambda: tmp_path)
    assert main(["--tracking-uri", kd_alpha_store, "--sweep", "kd_alpha"]) == 0
    folder = tmp_path / "results" / "report"
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n{folder / 'report.md'}\n"

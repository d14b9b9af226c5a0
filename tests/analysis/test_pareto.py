import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

import analysis
from analysis.comparison import by_data, compare
from analysis.objectives import COSTS, NOISE_KEYS, NOISE_NOTE, cost, noise_mark, score
from analysis.pareto import _print_front, draw, main
from analysis.runs import Trial, read_runs
from data_store.errors import InputError
from tests.analysis.conftest import Planted, kd_alpha_runs, plant
from trainables import metric_keys as keys


@pytest.fixture(scope="session")
def trials(kd_alpha_store: str) -> tuple[Trial, ...]:
    return read_runs(kd_alpha_store).trials


def changed(trial: Trial, **metrics: float) -> Trial:
    return replace(trial, metrics={**trial.metrics, **metrics})


def record_of(page: Path) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="record">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    loaded: dict[str, object] = json.loads(found.group(1))
    return loaded


def test_every_kind_of_picture_is_written(trials: tuple[Trial, ...], kd_alpha_store: str, tmp_path: Path) -> None:
    pictures = draw(trials, tmp_path, tracking_uri=kd_alpha_store)
    assert [path.suffix for path in pictures.paths] == [".png", ".svg", ".html"]
    assert pictures.png[0].read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(pictures.svg[0]).getroot().tag.endswith("svg")
    addresses = set(re.findall(r"https?://[^\s\"'`]+", pictures.html.read_text()))
    assert addresses == {"http://www.w3.org/2000/svg", "http://127.0.0.1:5000"}  # a name, and the link to a run
    assert record_of(pictures.html)["title"] == "kd_alpha on demo-faces"


def test_a_picture_of_the_same_runs_is_the_same(trials: tuple[Trial, ...], kd_alpha_store: str, tmp_path: Path) -> None:
    first, second = (draw(trials, tmp_path / name, tracking_uri=kd_alpha_store) for name in ("a", "b"))
    for one, other in zip(first.paths, second.paths, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.suffix


def test_the_best_on_test_and_worst_on_validation_is_not_on_the_front(trials: tuple[Trial, ...]) -> None:
    planted = changed(trials[1], val_accuracy=0.5, test_accuracy=0.999)
    group = [planted, *trials[2:]]
    front = compare(group, cost("size_mb"), score("accuracy", group)).front
    assert [point.trial.name for point in front] == ["alpha=0.75"]


@pytest.mark.parametrize("asked", ["test_accuracy", "val_test_accuracy"])
def test_a_front_on_test_scores_is_refused(trials: tuple[Trial, ...], asked: str) -> None:
    with pytest.raises(InputError, match="use validation scores, .* use --y accuracy"):
        score(asked, trials)


def test_unknown_axes_offer_the_near_names(trials: tuple[Trial, ...]) -> None:
    with pytest.raises(InputError, match="'acuracy'; did you mean accuracy"):
        score("acuracy", trials)
    with pytest.raises(InputError, match="'sizemb'; did you mean size_mb"):
        cost("sizemb")


def test_trials_without_a_finite_value_are_left_out_and_named(trials: tuple[Trial, ...]) -> None:
    group = [changed(trials[1], val_accuracy=float("nan")), *trials[2:]]
    compared = compare(group, cost("size_mb"), score("accuracy", group))
    assert len(compared.points) == 4
    assert "left out without a finite val_accuracy: alpha=0" in compared.notes


def test_latencies_that_do_not_compare_are_left_out_and_named(trials: tuple[Trial, ...]) -> None:
    def points(axis: str, cpus: str, sides_px: list[int]) -> tuple[list[str], list[str]]:
        measured = [
            replace(
                changed(trial, latency_reference_px=side_px),
                tags={**trial.tags, keys.LATENCY_CPU: cpu},
                ended=100 + place,
            )
            for place, (trial, cpu, side_px) in enumerate(zip(trials, cpus, sides_px, strict=False))
        ]
        (group,) = by_data(measured)
        compared = compare(group, cost(axis), score("accuracy", group))
        return [point.trial.name for point in compared.points], [note for note in compared.notes if "left out" in note]

    names = [trial.name for trial in trials[:3]]
    assert points("latency", "AAA", [64, 64, 64]) == (names, [])
    assert points("latency_ratio", "AAB", [64, 64, 64]) == (names, [])
    assert points("latency", "AAA", [64, 64, 224]) == (names, [])
    note = f"left out, latency_ms_p50 of B where most are of A: {names[2]}"
    assert points("latency", "AAB", [64, 64, 64]) == (names[:2], [note])
    note = f"left out, latency_ratio to B0 at 64 px where most are to B0 at 224 px: {names[1]}"
    assert points("latency_ratio", "AAA", [224, 64, 224]) == ([names[0], names[2]], [note])
    assert points("latency", "AB", [64, 64])[0] == [names[1]]  # of equally many, the latest


def test_a_noisy_latency_is_marked_in_the_front_and_its_picture(
    trials: tuple[Trial, ...], kd_alpha_store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    group = [changed(trials[0], latency_noise=0.11), *(changed(trial, latency_noise=0.1) for trial in trials[1:])]
    pictures = draw(group, tmp_path, x="latency", z="latency_ratio", tracking_uri=kd_alpha_store)
    _print_front(pictures.comparisons[0])
    out = capsys.readouterr().out
    assert re.search(r"teacher B0 .* ~9\.10 +~1\.000 ", out)
    assert re.search(r"alpha=0\.75 .* 6\.90 +0\.760 ", out)
    assert NOISE_NOTE in out
    assert "Noisy (above 10 %): 1 of 6 latencies." in pictures.svg[0].read_text()
    record = record_of(pictures.html)
    assert record["metrics"]["latency_noise"] == [0.11, 0.1, 0.1, 0.1, 0.1, 0.1]  # type: ignore[index]


def test_without_noise_nothing_is_marked(
    trials: tuple[Trial, ...], kd_alpha_store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = draw(trials, tmp_path, x="latency", tracking_uri=kd_alpha_store)
    _print_front(pictures.comparisons[0])
    assert "~" not in capsys.readouterr().out
    assert "Noisy" not in pictures.svg[0].read_text()


def test_a_latency_that_was_taken_out_of_a_record_is_not_marked(trials: tuple[Trial, ...]) -> None:
    loud = changed(trials[0], latency_noise=0.3)
    assert noise_mark(loud, "latency_ratio") == "~"
    bare = replace(loud, metrics={key: value for key, value in loud.metrics.items() if key != "latency_ratio"})
    assert (noise_mark(bare, "latency_ratio"), COSTS["latency_ratio"].text(bare)) == ("", "-")


def test_every_cost_with_a_latency_knows_its_noise() -> None:
    known = {cost.key: NOISE_KEYS.get(cost.key) for cost in COSTS.values() if "latency" in cost.key}
    assert known == {
        "latency_ms_p50": "latency_noise",
        "latency_ratio": "latency_noise",
        "latency_batch32_ratio": "latency_batch32_noise",
        "latency_onnx_ms_p50": "latency_onnx_noise",
        "latency_onnx_ratio": "latency_onnx_noise",
    }


@pytest.mark.parametrize("count", [1, 4])
def test_one_point_and_equal_points_still_make_a_picture(
    trials: tuple[Trial, ...], kd_alpha_store: str, tmp_path: Path, count: int
) -> None:
    pictures = draw([trials[0]] * count, tmp_path, tracking_uri=kd_alpha_store)
    assert len(pictures.comparisons[0].front) == count
    assert pictures.comparisons[0].knee is None


def test_a_third_objective_keeps_what_it_alone_makes_worth_having(
    trials: tuple[Trial, ...], kd_alpha_store: str, tmp_path: Path
) -> None:
    group = [changed(trials[1], latency_ratio=0.1), *trials[2:]]  # the worst student, but the quickest
    flat = draw(group, tmp_path, tracking_uri=kd_alpha_store).comparisons[0]
    full = draw(group, tmp_path, z="latency_ratio", tracking_uri=kd_alpha_store).comparisons[0]
    assert [point.trial.name for point in flat.front] == ["alpha=0.75"]
    assert [point.trial.name for point in full.front] == ["alpha=0", "alpha=0.75"]
    assert [point.trial.name for point in full.line] == ["alpha=0.75"]
    assert len(full.reference) == 3
    with pytest.raises(InputError, match="another cost than --x, but both are size_mb"):
        draw(group, tmp_path, z="size_mb", tracking_uri=kd_alpha_store)


def test_published_points_are_drawn_only_where_they_have_both_values(
    trials: tuple[Trial, ...], kd_alpha_store: str, tmp_path: Path
) -> None:
    batched = [replace(trial, metrics={**trial.metrics, "latency_batch32_ratio": 0.9}) for trial in trials]

    def words(**options: str) -> str:
        picture = draw(batched, tmp_path, published=True, tracking_uri=kd_alpha_store, **options)  # type: ignore[arg-type]
        return picture.svg[0].read_text()

    assert "published, SCSE23-0504" in words()
    assert "published, SCSE23-0504" in words(x="latency_batch32_ratio")
    assert "published" not in words(x="latency_ratio")  # theirs are of 32 images
    assert "published" not in words(x="macs")
    assert "published" not in words(y="auc")


def test_no_point_with_both_values_is_an_error(trials: tuple[Trial, ...], tmp_path: Path) -> None:
    group = [changed(trial, size_mb=float("nan")) for trial in trials]
    with pytest.raises(InputError, match="finite size_mb and val_accuracy, but none of 6 trials"):
        draw(group, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("runs", "flags", "words"),
    [
        ([], (), "a finished trial is needed, but sqlite:.* holds no trials; make some with"),
        ([("RUNNING", ())], (), "holds 1 unfinished trials; let the sweep end, or run its command again"),
        ([("FAILED", ())], (), "holds 1 unfinished trials"),
        ([("FINISHED", ("val_auc",))], ("--y", "auc"), "must be a score that a run has recorded, but got 'auc'"),
        ([("FINISHED", ("size_mb",))], (), "finite size_mb and val_accuracy, but none of 1 trials has both"),
        ([("FINISHED", ())], ("--x", "latencyy"), "but got 'latencyy'; did you mean latency"),
        ([("FINISHED", ())], ("--sweep", "kd_alfa"), "but got 'kd_alfa'; did you mean kd_alpha"),
    ],
)
def test_bad_input_is_one_clear_line(
    empty_store: str, tmp_path: Path, runs: list[tuple[str, tuple[str, ...]]], flags: tuple[str, ...], words: str
) -> None:
    if runs:
        plant(empty_store, [Planted(name="one", skill=2.0, status=status, drop=drop) for status, drop in runs])
    with pytest.raises(InputError, match=words) as caught:
        main(["--tracking-uri", empty_store, "--out", str(tmp_path / "plots"), *flags])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "plots").exists()


def test_stores_and_splits_are_drawn_apart(
    empty_store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = empty_store
    plant(uri, kd_alpha_runs()[:3])
    plant(uri, [Planted(name="alpha=0", skill=3.5, store_digest="ffff" * 16)])
    plant(uri, [Planted(name="alpha=0", skill=3.5, split_kind="frame")])
    assert main(["--tracking-uri", uri, "--out", str(tmp_path / "plots")]) == 0
    assert sorted(path.name for path in (tmp_path / "plots").glob("*.png")) == [
        "pareto-size_mb-accuracy-1a2b3c4d-frame.png",
        "pareto-size_mb-accuracy-1a2b3c4d-official.png",
        "pareto-size_mb-accuracy-ffffffff-official.png",
    ]
    assert "drawn apart; their scores do not compare" in capsys.readouterr().out
    record = record_of(tmp_path / "plots" / "pareto-size_mb-accuracy.html")
    assert len(record["data"]) == 3  # type: ignore[arg-type]


def test_a_name_cannot_break_out_of_the_page(trials: tuple[Trial, ...], kd_alpha_store: str, tmp_path: Path) -> None:
    from dataclasses import replace

    name = "</script><img src=x onerror=alert(1)>{{CSS}}"
    pictures = draw([replace(trials[0], name=name, experiment=name)], tmp_path, tracking_uri=kd_alpha_store)
    text = pictures.html.read_text()
    assert "<img" not in text
    assert record_of(pictures.html)["trials"]["name"] == [name]  # type: ignore[index]


def test_a_title_names_the_questions_that_were_asked(
    trials: tuple[Trial, ...], kd_alpha_store: str, tmp_path: Path
) -> None:
    group = [replace(trials[0], experiment="model_scaling"), *trials[1:]]  # a teacher that another sweep had trained
    asked = draw(
        group, tmp_path, tracking_uri=kd_alpha_store, questions=read_runs(kd_alpha_store, ["kd_alpha"]).questions
    )
    assert record_of(asked.html)["title"] == "kd_alpha on demo-faces"
    everything = draw(group, tmp_path, tracking_uri=kd_alpha_store, questions=read_runs(kd_alpha_store).questions)
    assert record_of(everything.html)["title"] == "kd_alpha, model_scaling on demo-faces"


def test_an_out_folder_that_cannot_be_written_is_named(
    trials: tuple[Trial, ...], kd_alpha_store: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--out must be a folder that can be written"):
        draw(trials, tmp_path / "file" / "plots", tracking_uri=kd_alpha_store)


def modules() -> list[str]:
    assert analysis.__file__
    names = sorted(path.stem for path in Path(analysis.__file__).parent.glob("*.py") if path.stem != "__init__")
    assert len(names) >= 9
    return names


@pytest.mark.parametrize("module", modules())
def test_analysis_imports_neither_torch_nor_ray(module: str) -> None:
    program = f"""
import sys, analysis.{module}
heavy = [name for name in ("torch", "ray", "mlflow", "matplotlib") if name in sys.modules]
sys.exit(", ".join(heavy) or 0)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.slow
def test_drawing_imports_neither_torch_nor_ray(kd_alpha_store: str, tmp_path: Path) -> None:
    program = f"""
import sys
from analysis.pareto import main
main(["--tracking-uri", {kd_alpha_store!r}, "--out", {str(tmp_path)!r}])
sys.exit(", ".join(name for name in ("torch", "ray") if name in sys.modules) or 0)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "alpha=0.75" in result.stdout

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.objectives import NOISE_NOTE
from analysis.pick import main, one_data
from analysis.runs import DataIdentity, read_runs
from data_store.errors import InputError
from tests.analysis.conftest import kd_alpha_runs, plant
from trainables.artifact_files import content_digest, read_recipe


@pytest.fixture(autouse=True)
def _no_shared_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("analysis.pick.project_root", lambda: tmp_path)


def test_best_and_runner_up_are_said_with_the_confidence(
    kd_alpha_store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--tracking-uri", kd_alpha_store, "--max-size-mb", "14", "--min-category-accuracy", "0.7"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(
        "6 trials, 5 within the limits; store 1a2b3c4d, official split\nbest       alpha=0.75 (Lite0,"
    )
    for words in ("test accuracy 91.2 % [", "runner-up  alpha=0.5", "better than the runner-up in", "limit 14.00 MB"):
        assert words in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--min-accuracy", "90"], r"fraction in \[0, 1\], but got 90; write 0\.9"),
        (["--max-size-mb", "-1"], r"must not be negative, but got -1\.0"),
        (["--max-size-mb", "nan"], r"must not be negative, but got nan"),
        (["--y", "test_accuracy"], "use validation scores"),
        (["--data", "ffff"], "but got 'ffff'; there are: 1a2b3c4d/official"),
        (["--sweep", "kd"], "but got 'kd'; did you mean kd_alpha"),
    ],
)
def test_bad_input_is_one_clear_line(kd_alpha_store: str, arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        main(["--tracking-uri", kd_alpha_store, *arguments])
    assert "\n" not in str(caught.value)


def test_runs_of_two_stores_or_splits_are_not_chosen_among(kd_alpha_store: str) -> None:
    trials = read_runs(kd_alpha_store).trials
    frame = replace(trials[0], data=DataIdentity(store_digest=trials[0].data.store_digest, split_kind="frame"))
    mixed = [*trials, frame]
    with pytest.raises(InputError, match="one store and split, but there are 2: .* --data 1a2b3c4d/official"):
        one_data(mixed, None)
    assert one_data(mixed, "1a2b3c4d/frame") == (frame,)
    assert len(one_data(mixed, "1a2b/official")) == 6
    with pytest.raises(InputError, match="there are 2"):
        one_data(mixed, "1a2b")


def test_an_export_holds_the_measured_model_and_a_card(
    kd_alpha_store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "detector"
    assert main(["--tracking-uri", kd_alpha_store, "--max-size-mb", "14", "--export", str(folder)]) == 0
    best = next(trial for trial in read_runs(kd_alpha_store).trials if trial.name == "alpha=0.75")
    names = ["README.md", "deployment.json", "recipe.json", "weights.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert content_digest(folder) == best.tags["model"]
    assert read_recipe(folder).architecture == "Lite0"
    card = (folder / "README.md").read_text()
    for words in (
        "alpha=0.75 (Lite0)",
        best.run_id,
        "NeuralTextures",
        "--max-size-mb 14",
        "official split",
        "64 x 64 px",
    ):
        assert words in card
    assert "model.onnx is not among this run's files" in capsys.readouterr().out
    with pytest.raises(InputError, match="new or empty folder"):
        main(["--tracking-uri", kd_alpha_store, "--export", str(folder)])


def test_a_noisy_latency_is_marked_and_explained(
    empty_store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loud = [replace(run, metrics={**run.metrics, "latency_noise": 0.3}) for run in kd_alpha_runs()]
    plant(empty_store, loud)
    folder = tmp_path / "detector"
    limits = ["--max-latency-ratio", "0.8", "--max-size-mb", "14"]
    assert main(["--tracking-uri", empty_store, *limits, "--export", str(folder)]) == 0
    out = capsys.readouterr().out
    for words in ("latency ~6.90 ms", "latency / B0 ~0.760 (limit 0.800)", "size 13.74 MB", f"noise      {NOISE_NOTE}"):
        assert words in out
    card = (folder / "README.md").read_text()
    for words in ("| CPU latency | ~6.90 ms |", "| Model size | 13.74 MB |", f"\n{NOISE_NOTE}.\n"):
        assert words in card


def test_a_changed_model_is_not_exported(kd_alpha_store: str, tmp_path: Path) -> None:
    best = next(trial for trial in read_runs(kd_alpha_store).trials if trial.name == "teacher B0")
    weights = Path(best.artifact_uri.removeprefix("file://")) / "model" / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content + b" ")
    try:
        with pytest.raises(InputError, match=f"that was measured .{best.tags['model'][:8]}"):
            main(["--tracking-uri", kd_alpha_store, "--export", str(tmp_path / "out")])
    finally:
        weights.write_bytes(content)
    assert not (tmp_path / "out").exists()


def test_a_ratio_to_another_b0_keeps_no_limit(
    kd_alpha_store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = read_runs(kd_alpha_store)
    other = [
        replace(trial, metrics={**trial.metrics, "latency_reference_px": 224.0 if trial.name == "alpha=0.75" else 64.0})
        for trial in runs.trials
    ]
    monkeypatch.setattr("analysis.pick.read_runs", lambda *_, **__: replace(runs, trials=tuple(other)))
    assert main(["--tracking-uri", kd_alpha_store, "--max-latency-ratio", "0.9"]) == 0
    text = capsys.readouterr().out
    assert "6 trials, 4 within the limits" in text
    assert "best       alpha=0.5" in text
    assert "note       left out, latency_ratio to B0 at 224 px where most are to B0 at 64 px: alpha=0.75" in text
    assert main(["--tracking-uri", kd_alpha_store]) == 0
    assert "best       teacher B0" in capsys.readouterr().out

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, brier_score_loss, log_loss, roc_auc_score

from analysis.fronts import non_dominated
from analysis.intervals import (
    Predictions,
    draw_weights,
    front_probability,
    interval,
    interval_of,
    read_predictions,
    replicate_scores,
    shared_draws,
    source_of,
)
from analysis.runs import DataIdentity, Trial, read_runs
from trainables.metrics import equal_error_rate


def predictions(logit: np.ndarray, label: np.ndarray, source: list[str]) -> Predictions:
    names = np.array(source)
    return Predictions(
        source=names,
        category=np.where(label == 1, "Deepfakes", "youtube"),
        video_id=names,
        label=label,
        logit=logit.astype(float),
    )


def test_a_fake_belongs_to_the_video_it_was_made_from() -> None:
    names = ["000_003", "000", "id0_id1_0002", "id0_0002", "clip_1", "my_own_clip"]
    sources = ["000", "000", "id0_0002", "id0_0002", "clip_1", "my_own_clip"]
    assert source_of(np.array(names)).tolist() == sources


def test_a_column_with_the_target_is_believed_over_the_name(tmp_path: Path) -> None:
    table = pa.table(
        {
            "video_id": ["a", "b", "000_003"],
            "target_id": ["x", "x", "unknown"],
            "category": ["Celeb-real", "Celeb-synthesis", "Celeb-synthesis"],
            "split": ["val", "val", "val"],
            "label": [0, 1, 1],
            "logit": [1.0, 1.0, 1.0],
        }
    )
    with pa.OSFile(str(tmp_path / "predictions.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as out:
        out.write_table(table)
    entry = read_predictions(a_trial(tmp_path), "")
    assert entry is not None
    assert entry.source.tolist() == ["x", "x", "000"]
    assert entry.genuine == {"Celeb-real"}


def test_weights_are_whole_draws_of_as_many_videos() -> None:
    weights = draw_weights(7, replicates=50, seed=3)
    assert weights.sum(axis=1).tolist() == [7.0] * 50
    assert np.array_equal(weights, draw_weights(7, replicates=50, seed=3))
    assert not np.array_equal(weights, draw_weights(7, replicates=50, seed=4))


def test_scores_of_a_draw_are_those_of_the_drawn_crops() -> None:
    """Each draw is checked against the crops written out as often as their video was drawn."""
    generator = np.random.default_rng(0)
    label = generator.integers(0, 2, 60)
    logit = np.round(generator.normal(label, 1.0), 1)  # rounded: ties occur
    entry = predictions(logit, label, [f"{i // 5:03d}" for i in range(60)])
    weights = draw_weights(12, replicates=20, seed=0).astype(int)
    accuracy, auc = (replicate_scores([entry], name, replicates=20)[0] for name in ("accuracy", "auc"))
    fake = replicate_scores([entry], "accuracy_Deepfakes", replicates=20)[0]
    for draw in range(20):
        crops = np.repeat(np.arange(60), np.repeat(weights[draw], 5))
        right = (logit > 0) == (label == 1)
        assert accuracy[draw] == pytest.approx(right[crops].mean())
        assert fake[draw] == pytest.approx(right[crops][label[crops] == 1].mean())
        assert auc[draw] == pytest.approx(roc_auc_score(label[crops], logit[crops]))


SKLEARN = {
    "accuracy": lambda label, probability: accuracy_score(label, probability > 0.5),
    "log_loss": lambda label, probability: log_loss(label, probability, labels=[0, 1]),
    "brier": brier_score_loss,
    "auc": roc_auc_score,
    "eer": equal_error_rate,
    "average_precision": average_precision_score,
}


@pytest.mark.parametrize("name", SKLEARN)
def test_every_score_of_a_draw_is_the_fields_own_by_frame_and_by_video(name: str) -> None:
    """Crops, then the mean probabilities of their videos, written out as often as their source was drawn."""
    generator = np.random.default_rng(3)
    label = np.repeat(generator.integers(0, 2, 20), 4)  # 20 videos of 10 sources
    logit = np.round(generator.normal(label, 1.5), 1)
    entry = replace(
        predictions(logit, label, [f"{i // 8:03d}" for i in range(80)]),
        video_id=np.array([f"{i // 4:03d}" for i in range(80)]),
    )
    frames, by_video = (replicate_scores([entry], prefix + name, replicates=30)[0] for prefix in ("", "video_"))
    weights = draw_weights(10, replicates=30, seed=0).astype(int)
    probability = 1 / (1 + np.exp(-logit))
    for draw in range(30):
        for found, labels, values, each in (
            (frames, label, probability, 8),
            (by_video, label[::4], probability.reshape(20, 4).mean(axis=1), 2),
        ):
            at = np.repeat(np.arange(len(labels)), np.repeat(weights[draw], each))
            assert found[draw] == pytest.approx(SKLEARN[name](labels[at], values[at]), abs=1e-9)


def test_known_answers_where_every_draw_is_the_same() -> None:
    """All sources alike: a draw changes nothing, so that the interval is the score itself."""
    label, logit = np.array([0, 0, 1, 1]), np.log([0.1, 0.6, 0.4, 0.8]) - np.log([0.9, 0.4, 0.6, 0.2])
    entry = predictions(np.tile(logit, 5), np.tile(label, 5), [f"{i // 4:03d}" for i in range(20)])
    entry = replace(entry, video_id=np.array([f"{i // 2:03d}" for i in range(20)]))
    expected = {
        "accuracy": 0.5,
        "auc": 0.75,  # of 4 pairs, (0.6, 0.4) is in the wrong order
        "eer": 0.5,
        "average_precision": (1 + 2 / 3) / 2,
        "log_loss": -np.mean(np.log([0.9, 0.4, 0.4, 0.8])),
        "video_accuracy": 1.0,  # real 0.35, fake 0.6
        "video_auc": 1.0,
        "video_eer": 0.0,
        "video_average_precision": 1.0,
        "video_log_loss": -np.mean(np.log([0.65, 0.6])),
    }
    for name, value in expected.items():
        found = interval_of(entry, name)
        assert [found.low, found.high] == pytest.approx([value, value]), name
        assert found.undefined is None


def test_an_interval_that_is_undefined_is_nan_with_a_reason() -> None:
    ones = np.ones(4, dtype=np.int64)
    fakes = predictions(np.array([1.0, -1.0, 2.0, 0.5]), ones, ["a", "a", "b", "b"])
    for name in ("auc", "video_eer", "average_precision"):
        found = interval_of(fakes, name)
        assert np.isnan([found.low, found.high]).all()
        assert found.undefined == "it needs real and fake crops, and the split has one class only"
    assert interval_of(fakes, "log_loss").undefined is None
    one = replace(fakes, source=np.array(["a"] * 4))
    assert "one source video" in (interval_of(one, "accuracy").undefined or "")
    assert interval_of(fakes, "accuracy_youtube").undefined == "the split has no such crops"
    assert interval_of(fakes, "calibration_error").undefined == "calibration_error has none"
    # Real crops in one source and fake ones in the other: draws of one alone are left out.
    apart = predictions(np.array([1.0, -1.0, 2.0, 0.5]), np.array([1, 1, 0, 0]), ["a", "a", "b", "b"])
    assert np.isnan(replicate_scores([apart], "auc", replicates=20)).any()
    assert interval_of(apart, "auc", replicates=20).low == pytest.approx(0.25)
    assert np.isnan(interval(np.full(5, np.nan))).all()


def test_videos_are_drawn_not_crops() -> None:
    """Ten crops that are copies of one another tell no more than one."""
    generator = np.random.default_rng(1)
    label = generator.integers(0, 2, 30)
    logit = generator.normal(label - 0.3, 1.0)
    once = predictions(logit, label, [f"{i:03d}" for i in range(30)])
    copied = predictions(np.repeat(logit, 10), np.repeat(label, 10), [f"{i // 10:03d}" for i in range(300)])
    spans = [interval(replicate_scores([entry], "accuracy")[0]) for entry in (once, copied)]
    assert spans[0] == spans[1]
    assert spans[0][1] - spans[0][0] > 0.2


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """200 data sets from one known detector: a 95 % interval holds the true accuracy in most of them."""
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        easy = np.repeat(generator.beta(8, 2, 60), 5)  # a video's own chance to be called right; mean 0.8
        right = generator.random(300) < easy
        label = np.ones(300, dtype=np.int64)
        entry = predictions(np.where(right, 1.0, -1.0), label, [f"{i // 5:03d}" for i in range(300)])
        low, high = interval(replicate_scores([entry], "accuracy", replicates=400)[0])
        covered += low <= 0.8 <= high
    assert 180 <= covered <= 199


def test_front_probability_counts_the_draws_that_no_other_trial_dominates() -> None:
    cost = np.array([[1.0], [1.0], [2.0]])
    scores = np.array([[0.9, 0.8, 0.7, 0.7], [0.8, 0.9, 0.7, 0.6], [0.95, 0.9, 0.6, 0.8]])
    # Draw by draw: {0, 2}, {1}, {0, 1 equal}, {0, 2}.
    assert front_probability(cost, scores, maximise=True).tolist() == [0.75, 0.5, 0.5]
    assert front_probability(cost, -scores, maximise=False).tolist() == [0.75, 0.5, 0.5]


def test_draws_that_leave_a_trial_without_a_score_count_for_nobody() -> None:
    cost = np.array([[1.0], [1.0]])
    scores = np.array([[0.9, np.nan, 0.8, 0.7], [0.8, 0.9, np.nan, 0.9]])
    assert shared_draws(scores).tolist() == [[0.9, 0.7], [0.8, 0.9]]
    assert front_probability(cost, scores, maximise=True).tolist() == [0.5, 0.5]
    assert np.isnan(front_probability(cost, scores * np.nan, maximise=True)).all()


def test_front_probability_agrees_with_sorting_each_draw() -> None:
    generator = np.random.default_rng(2)
    costs = generator.integers(0, 4, (30, 2)).astype(float)
    scores = generator.integers(0, 6, (30, 40)) / 6
    marks = [non_dominated(np.column_stack([costs, -scores[:, draw]])) for draw in range(40)]
    assert front_probability(costs, scores, maximise=True) == pytest.approx(np.mean(marks, axis=0))


def test_predictions_of_a_run_reproduce_its_recorded_scores(kd_alpha_store: str) -> None:
    for trial in read_runs(kd_alpha_store).trials:
        for split in ("val", "test"):
            entry = read_predictions(trial, kd_alpha_store, split)
            assert entry is not None
            right = (entry.logit > 0) == (entry.label == 1)
            assert right.mean() == pytest.approx(trial.metrics[f"{split}_accuracy"])


def a_trial(folder: Path) -> Trial:
    return Trial(
        run_id="r",
        name="r",
        sweep="s",
        experiment="s",
        experiment_id="1",
        role="student",
        data=DataIdentity(store_digest="d", split_kind="official"),
        status="FINISHED",
        started=0,
        ended=1,
        artifact_uri=str(folder),
    )


def test_predictions_on_a_server_are_fetched_once(
    kd_alpha_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    local = read_runs(kd_alpha_store).trials[0]
    folder = Path(local.artifact_uri.removeprefix("file://"))
    fetched: list[str] = []

    def download(client: MlflowClient, run_id: str, path: str, to: str) -> str:
        fetched.append(run_id)
        if run_id == "none":
            raise OSError("there is no such artifact")
        return str(folder / path)

    monkeypatch.setattr(MlflowClient, "download_artifacts", download)
    monkeypatch.setattr("analysis.intervals.project_root", lambda: tmp_path)
    remote = replace(local, artifact_uri="mlflow-artifacts:/1/abc/artifacts")
    entries = [read_predictions(remote, "http://127.0.0.1:9") for _ in range(2)]
    assert fetched == [remote.run_id]
    given = read_predictions(local, "")
    for entry in entries:
        assert entry is not None
        assert given is not None
        assert np.array_equal(entry.logit, given.logit)
    assert read_predictions(replace(remote, run_id="none"), "http://127.0.0.1:9") is None
    assert not (tmp_path / "results" / "cache" / "predictions.arrow" / "none" / "predictions.arrow").exists()


def test_missing_or_broken_predictions_give_no_interval(tmp_path: Path) -> None:
    assert read_predictions(a_trial(tmp_path), "") is None
    (tmp_path / "predictions.arrow").write_bytes(b"half a file")
    assert read_predictions(a_trial(tmp_path), "") is None
    table = pa.table({"video_id": ["000"], "category": ["youtube"], "split": ["test"], "label": [0], "logit": [1.0]})
    with pa.OSFile(str(tmp_path / "predictions.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as out:
        out.write_table(table)
    assert read_predictions(a_trial(tmp_path), "", "val") is None
    assert read_predictions(a_trial(tmp_path), "", "test") is not None

import numpy as np
import pytest

from trainables.metrics import by_video, equal_error_rate, score


def logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


LOGITS = np.array([logit(p) for p in (0.1, 0.6, 0.8, 0.4, 0.9, 0.7)], dtype=np.float32)
LABELS = np.array([0, 0, 1, 1, 1, 1])
CATEGORIES = np.array(["youtube", "youtube", "Deepfakes", "Deepfakes", "FaceSwap", "FaceSwap"])
VIDEOS = np.array(["000", "000", "000_003", "000_003", "000_003", "000_003"])


def test_known_answers_by_frame() -> None:
    values = score("test", LOGITS, LABELS, CATEGORIES, VIDEOS).values
    assert values["test_accuracy"] == pytest.approx(4 / 6)
    assert values["test_accuracy_youtube"] == 0.5
    assert values["test_accuracy_Deepfakes"] == 0.5
    assert values["test_accuracy_FaceSwap"] == 1.0
    assert values["test_auc"] == pytest.approx(7 / 8)  # of 8 pairs only (0.6, 0.4) is in the wrong order
    expected = -np.mean(np.log([0.9, 0.4, 0.8, 0.4, 0.9, 0.7]))
    assert values["test_log_loss"] == pytest.approx(expected, rel=1e-6)


def test_a_video_is_keyed_by_category_and_name() -> None:
    labels, means = by_video(np.array([0.1, 0.6, 0.8, 0.4, 0.9, 0.7]), LABELS, CATEGORIES, VIDEOS)
    assert sorted(zip(labels.tolist(), means.round(6).tolist(), strict=True)) == [(0, 0.35), (1, 0.6), (1, 0.8)]


def test_four_manipulations_of_one_pair_are_four_videos() -> None:
    # 140 names, each real once and faked four times: pooled by name alone there would be 280 videos, not 700.
    names = [f"{i:03d}" for i in range(140)]
    categories = np.repeat(["youtube", "Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"], 140)
    videos = np.array(names + [f"{name}_x" for name in names] * 4)
    labels = (categories != "youtube").astype(int)
    video_labels, _ = by_video(np.full(700, 0.5), labels, categories, videos)
    assert len(video_labels) == 700
    assert video_labels.sum() == 560


def test_equal_error_rate() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    assert equal_error_rate(labels, np.array([0.1, 0.2, 0.3, 0.8, 0.4, 0.7, 0.9, 0.95])) == pytest.approx(0.25)
    assert equal_error_rate(labels, np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])) == 0.0
    assert equal_error_rate(labels, np.full(8, 0.5)) == pytest.approx(0.5)


def test_one_class_leaves_ranks_undefined_with_a_reason() -> None:
    scores = score("val", LOGITS[2:], LABELS[2:], CATEGORIES[2:], VIDEOS[2:])
    assert scores.values["val_accuracy"] == 0.75
    assert set(scores.undefined) == {"val_auc", "val_eer", "val_video_auc"}
    assert "one class" in scores.undefined["val_auc"]


def test_an_empty_split_has_no_scores() -> None:
    scores = score("val", LOGITS[:0], LABELS[:0], CATEGORIES[:0], VIDEOS[:0])
    assert scores.values == {}
    assert scores.undefined == {"val_accuracy": "the split is empty"}

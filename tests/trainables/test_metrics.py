import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score

from trainables.metrics import by_video, calibration_error, equal_error_rate, reliability, score


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
    # Ranked 0.9 1, 0.8 1, 0.7 1, 0.6 0, 0.4 1, 0.1 0: precision at each fake is 1, 1, 1 and 4/5.
    assert values["test_average_precision"] == pytest.approx((1 + 1 + 1 + 0.8) / 4)
    errors = np.array([0.1, 0.6, 0.2, 0.6, 0.1, 0.3])
    assert values["test_brier"] == pytest.approx(np.mean(errors**2), rel=1e-6)
    assert values["test_calibration_error"] == pytest.approx(errors.mean(), rel=1e-6)  # each in a bin of its own
    assert values["test_eer"] == pytest.approx(0.25)  # a miss in 4 and a false alarm in 2 meet between them


def test_known_answers_by_video() -> None:
    # Three videos: youtube 0.35 (real), Deepfakes 0.6 and FaceSwap 0.8 (fake).
    values = score("val", LOGITS, LABELS, CATEGORIES, VIDEOS).values
    for name in ("accuracy", "auc", "average_precision"):
        assert values[f"val_video_{name}"] == 1.0
    assert values["val_video_eer"] == 0.0
    assert values["val_video_log_loss"] == pytest.approx(-np.mean(np.log([0.65, 0.6, 0.8])), rel=1e-6)
    assert values["val_video_brier"] == pytest.approx(np.mean(np.square([0.35, 0.4, 0.2])), rel=1e-6)
    assert values["val_video_calibration_error"] == pytest.approx(np.mean([0.35, 0.4, 0.2]), rel=1e-6)


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


def test_pooling_manipulations_by_name_would_flatter_the_score() -> None:
    # Each manipulation of a pair gets its own evidence: pooled by name, four weak votes become one strong one.
    generator = np.random.default_rng(0)
    names = [f"{i:03d}" for i in range(140)]
    categories = np.repeat(["youtube", "Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"], 140)
    videos = np.array(names + [f"{name}_x" for name in names] * 4)
    labels = (categories != "youtube").astype(int)
    logits = generator.normal(1.5 * labels, np.where(labels == 1, 2.0, 0.5)).astype(np.float32)
    keyed = score("val", logits, labels, categories, videos).values["val_video_auc"]
    assert keyed == pytest.approx(roc_auc_score(labels, logits))  # one frame a video: the same by frame and video
    pooled_labels, pooled = by_video(1 / (1 + np.exp(-logits)), labels, np.full(700, "any"), videos)
    assert len(pooled_labels) == 280
    assert roc_auc_score(pooled_labels, pooled) > keyed + 0.1


def test_equal_error_rate() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    assert equal_error_rate(labels, np.array([0.1, 0.2, 0.3, 0.8, 0.4, 0.7, 0.9, 0.95])) == pytest.approx(0.25)
    assert equal_error_rate(labels, np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])) == 0.0
    assert equal_error_rate(labels, np.full(8, 0.5)) == pytest.approx(0.5)


def test_calibration_error() -> None:
    labels = np.array([1, 1, 0, 1, 0, 0])
    probabilities = np.array([0.9, 0.9, 0.9, 0.2, 0.2, 0.2])
    assert calibration_error(labels, probabilities) == pytest.approx((abs(2 / 3 - 0.9) + abs(1 / 3 - 0.2)) / 2)
    assert calibration_error(np.array([1, 1, 0, 0]), np.array([1.0, 1.0, 0.0, 0.0])) == 0.0
    assert calibration_error(np.array([1, 0]), np.array([0.5, 0.5])) == 0.0


def test_reliability_is_scikit_learns() -> None:
    generator = np.random.default_rng(1)
    probabilities = generator.random(500)
    labels = (generator.random(500) < probabilities**2).astype(int)
    shares, means = calibration_curve(labels, probabilities, n_bins=15)
    bins = reliability(labels, probabilities)
    assert bins.fake_shares == pytest.approx(shares)
    assert bins.mean_probabilities == pytest.approx(means)
    assert bins.counts.sum() == 500


def test_one_class_leaves_ranks_undefined_with_a_reason() -> None:
    scores = score("val", LOGITS[2:], LABELS[2:], CATEGORIES[2:], VIDEOS[2:])
    assert scores.values["val_accuracy"] == 0.75
    assert {"val_log_loss", "val_video_brier", "val_calibration_error"} <= scores.values.keys()
    ranks = {f"val_{level}{name}" for level in ("", "video_") for name in ("auc", "eer", "average_precision")}
    assert set(scores.undefined) == ranks
    assert not ranks & scores.values.keys()
    assert all("one class" in reason for reason in scores.undefined.values())


@pytest.mark.parametrize(
    ("logits", "reason"),
    [(LOGITS[:0], "the split is empty"), (np.append(LOGITS[:5], np.float32("nan")), "1 of 6 logits are not finite")],
)
def test_without_crops_or_with_broken_logits_there_is_a_reason_and_no_score(logits: np.ndarray, reason: str) -> None:
    num = len(logits)
    scores = score("val", logits, LABELS[:num], CATEGORIES[:num], VIDEOS[:num])
    assert scores.values == {}
    assert len(scores.undefined) == 14
    assert set(scores.undefined.values()) == {reason}

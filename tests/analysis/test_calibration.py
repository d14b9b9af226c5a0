import numpy as np
import pytest

from analysis.calibration import LEAST_CROPS, Calibration, calibration_from, fit, sigmoid


def overconfident(
    num_crops: int, *, slope: float, shift: float, share_fake: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose true chance of being fake, fakes as likely as not, is sigmoid(slope * logit + shift)."""
    generator = np.random.default_rng(0)
    labels = (generator.random(num_crops) < share_fake).astype(np.int64)
    # Two normals of unit variance, two apart: the log odds of x are 2 x.
    values = generator.normal(2.0 * labels - 1.0, 1.0)
    return (2.0 * values - shift) / slope, labels


@pytest.mark.parametrize("share_fake", [0.5, 0.83])
def test_the_fit_finds_the_line_whatever_the_share_of_fakes(share_fake: float) -> None:
    logits, labels = overconfident(40_000, slope=0.4, shift=0.3, share_fake=share_fake)
    found = fit(logits, labels)
    assert found.fitted
    assert found.num_crops == 40_000
    assert found.slope == pytest.approx(0.4, abs=0.02)
    assert found.intercept == pytest.approx(0.3, abs=0.05)


def test_calibrated_probabilities_come_true() -> None:
    logits, labels = overconfident(40_000, slope=0.25, shift=-0.5)
    chances = fit(logits, labels).probability(logits)
    for low in (0.1, 0.3, 0.5, 0.7):
        inside = (chances >= low) & (chances < low + 0.2)
        assert labels[inside].mean() == pytest.approx(chances[inside].mean(), abs=0.03)


def test_a_split_without_errors_gives_a_finite_line() -> None:
    labels = np.repeat([0, 1], 50)
    found = fit(np.where(labels, 30.0, -30.0), labels)
    assert found.fitted
    assert 0 < found.slope < 10


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.linspace(-1, 1, LEAST_CROPS), np.tile([0, 1], LEAST_CROPS // 2)),
        (np.linspace(-1, 1, 60), np.zeros(60, np.int64)),
        (np.linspace(1, -1, 60), np.repeat([0, 1], 30)),
    ],
    ids=["too few", "one label", "worse than chance"],
)
def test_what_tells_nothing_is_not_fitted(logits: np.ndarray, labels: np.ndarray) -> None:
    found = fit(logits, labels.astype(np.int64))
    assert found == Calibration()
    assert "not calibrated" in found.text
    assert found.probability(np.array([0.0])).item() == 0.5


def test_large_logits_do_not_overflow_and_json_goes_round() -> None:
    assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
    line = Calibration(slope=0.5, intercept=-0.25, num_crops=1234)
    assert calibration_from(line.as_dict()) == line
    assert "1,234" in line.text

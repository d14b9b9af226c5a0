import numpy as np
import pytest

from analysis.calibration import Calibration
from demo.verdicts import FEWEST_FRAMES, Face, named, of_video


def face(number: int, logits: list[float], *, slope: float = 1.0) -> Face:
    times = [0.2 * step for step in range(len(logits))]
    calibration = Calibration(slope=slope, num_crops=100)
    return Face(number=number, calibration=calibration, times_s=times, logits=logits, first_s=0.0, last_s=1.0)


def test_the_probability_is_the_mean_over_the_scored_frames_calibrated() -> None:
    one = face(1, [0.0, 2.0, 4.0, 4.0], slope=0.5)
    expected = np.mean(1 / (1 + np.exp(-0.5 * np.array([0.0, 2.0, 4.0, 4.0]))))
    assert one.probability == pytest.approx(expected)
    verdict = of_video([one], smallest_px=48)
    assert (verdict.verdict, verdict.face, verdict.frames_scored) == ("deepfake", 1, 4)
    assert verdict.probability == pytest.approx(expected)


def test_the_most_suspicious_face_decides_among_those_seen_long_enough() -> None:
    honest, fake, blink = face(1, [-3.0] * 40), face(2, [3.0] * 20), face(3, [9.0] * 5)
    verdict = of_video([honest, fake, blink], smallest_px=48)
    assert (verdict.verdict, verdict.face) == ("deepfake", 2)
    assert of_video([honest, blink], smallest_px=48).verdict == "authentic"


def test_what_cannot_be_judged_is_said() -> None:
    assert of_video([], smallest_px=48).verdict == "no face"
    small = of_video([face(1, [])], smallest_px=72)
    assert (small.verdict, small.probability) == ("too small", None)
    assert "72 px" in small.reason
    few = of_video([face(1, [5.0] * (FEWEST_FRAMES - 1))], smallest_px=48)
    assert few.verdict == "uncertain"
    assert f"{FEWEST_FRAMES} are needed" in few.reason
    assert of_video([face(1, [0.1] * 9)], smallest_px=48).verdict == "uncertain"


@pytest.mark.parametrize(("probability", "word"), [(0.34, "authentic"), (0.5, "uncertain"), (0.66, "deepfake")])
def test_words(probability: float, word: str) -> None:
    assert named(probability) == word


def test_a_label_shows_the_scores_around_its_time() -> None:
    one = face(1, [-4.0] * 10 + [4.0] * 10)
    early, late = one.around(0.0), one.around(3.8)
    assert early is not None
    assert late is not None
    assert early < 0.1 < 0.9 < late
    assert one.around(60.0) is None

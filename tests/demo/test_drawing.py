import numpy as np
import pytest

from demo.drawing import COLOURS, Mark, draw, label, yuv
from demo.footage import Planes


def blank(width: int = 320, height: int = 240) -> Planes:
    return (
        np.full((height, width), 100, np.uint8),
        np.full((height // 2, width // 2), 128, np.uint8),
        np.full((height // 2, width // 2), 128, np.uint8),
    )


def mark(left: float, top: float, side: float, verdict: str = "deepfake") -> Mark:
    return Mark(face=1, left=left, top=top, width=side, height=side, verdict=verdict, probability=0.9)


def test_a_box_is_drawn_on_its_edge_and_nowhere_inside() -> None:
    planes = blank()
    draw(planes, [mark(100, 80, 60)], 1.0, numbered=False)
    colour = yuv(COLOURS["deepfake"])
    assert planes[0][110, 100] == colour.y
    assert planes[0][110, 159] == colour.y
    assert planes[2][55, 50] == colour.v
    assert (planes[0][90:130, 110:150] == 100).all()
    assert (planes[0][80:, 170:] == 100).all()


@pytest.mark.parametrize("corner", [(-30, -30), (300, 220), (-500, 10), (1000, 1000), (100, -200)])
def test_what_sticks_out_is_cut_and_nothing_breaks(corner: tuple[int, int]) -> None:
    planes = blank()
    draw(planes, [mark(*corner, 60.7), mark(10, 10, 400)], 1.3, numbered=True)
    assert planes[0].shape == (240, 320)


def test_a_label_wider_than_the_frame_is_cut() -> None:
    planes = blank(32, 32)
    draw(planes, [mark(4, 4, 20)], 1.0, numbered=True)
    assert (planes[0] != 100).any()


def test_labels_say_how_probable_what_they_say_is() -> None:
    assert label("deepfake", 0.93) == "deepfake 93 %"
    assert label("authentic", 0.07) == "authentic 93 %"
    assert label("uncertain", 0.55) == "uncertain · 55 % fake"
    assert label("too small", None) == "too small"


def test_colours_are_limited_range() -> None:
    assert yuv((0, 0, 0)) == (16, 128, 128)
    assert yuv((255, 255, 255)) == (235, 128, 128)
    assert yuv((255, 0, 0)) == (81, 90, 240)

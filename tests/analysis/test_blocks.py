from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import pytest

from analysis import figures
from analysis.blocks import Figure, Heading, Table, Text, to_html, to_markdown

SVG = '<svg><defs><path id="a"/></defs><use href="#a" clip-path="url(#a)"/></svg>'


def test_what_runs_are_called_cannot_become_markup() -> None:
    evil = "<script>alert(1)</script>"
    page = to_html(evil, [Heading(text=evil), Text(text=evil), Table(header=(evil,), rows=((evil,),), caption=evil)])
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") == 8


def test_two_figures_keep_their_ids_apart() -> None:
    page = to_html("t", [Figure(name=name, svg=SVG, caption="") for name in ("one", "two")])
    for name in ("one", "two"):
        assert f'id="{name}-a"' in page
        assert f'href="#{name}-a" clip-path="url(#{name}-a)"' in page


def test_markdown_has_the_same_tables_and_escapes_their_bars() -> None:
    text = to_markdown("T", [Table(header=("a", "b"), rows=(("x|y", "1"),), caption="c")], "figures")
    assert text == "# T\n\n*c*\n\n| a | b |\n| :-- | --: |\n| x\\|y | 1 |\n"


def test_a_verdict_is_marked_in_words_and_by_a_sign() -> None:
    assert '<p class="verdict not-run"><b>\N{EM DASH}</b> Not run</p>' in to_html(
        "t", [Text(text="Not run", state="not run")]
    )


ONE = np.array([[0.0, np.nan]])
FIGURES: dict[str, Callable[[], str]] = {
    "lines": lambda: figures.lines(
        [figures.Series(name="a", x=[0.1], y=[0.9], spans=[(0.8, 0.95)])], x_label="x", y_label="y"
    ),
    "curves": lambda: figures.curves({"a": {"val_loss": [(1, 0.5)], "val_accuracy": [(1, 0.5), (2, 0.6)]}, "b": {}}),
    "heat map": lambda: figures.heat_map(["a"], ["x", "y"], np.array([[0.4, np.nan]])),
    "empty heat map": lambda: figures.heat_map(["a"], ["x"], np.array([[np.nan]])),
    "calibration": lambda: figures.calibration([("a", np.array([0.0, 0.5, 1.0]), np.array([0, 1, 1]))]),
    "confusion": lambda: figures.confusion("a", ["youtube", "empty"], [1, 0], [3, 0]),
    "parallel": lambda: figures.parallel(["x", "y"], ONE, [("0", "1"), ("0", "1")], np.array([0.5]), "s"),
    "bars": lambda: figures.bars(["a"], [0.0], "share"),
    "growth": lambda: figures.growth([0.0], "share"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_well_formed_whatever_it_is_given(name: str) -> None:
    svg = FIGURES[name]()
    assert ElementTree.fromstring(svg.replace("xlink:", "")).tag.endswith("svg")
    assert "<script" not in svg

"""Labelled lines, as a sweep writes them."""

import io

import pytest

from sweeps.engine.terminal import Terminal


@pytest.mark.parametrize(
    ("label", "line"),
    [
        ("lite", "lite     How much?\n"),
        ("schedule", "schedule How much?\n"),
        ("fine-tune", "fine-tune  How much?\n"),
        ("prune_ratio", "prune_ratio  How much?\n"),
    ],
)
def test_a_label_and_its_text_do_not_run_together(label: str, line: str) -> None:
    stream = io.StringIO()
    Terminal(stream).line(label, "How much?")
    assert stream.getvalue() == line

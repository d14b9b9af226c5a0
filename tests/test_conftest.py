"""The rules of what may be skipped, and why."""

import os

import pytest

from tests import programs
from tests.conftest import skips_not_allowed


def test_a_skip_is_allowed_only_by_a_marker_on_the_list() -> None:
    allowed = "gpu:this machine has none samples:not here"
    assert skips_not_allowed([{"gpu"}, {"samples", "slow"}], allowed) == 0
    assert skips_not_allowed([{"gpu"}, {"ray"}, set()], allowed) == 2
    assert skips_not_allowed([{"gpu"}], "") == 1


def test_what_a_machine_lacks_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "CHROMIUM", "")
    monkeypatch.setattr(programs, "POSTGRES", None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    lacking = programs.missing()
    assert lacking.keys() == {"browser", "postgres", "hosts"}
    assert "apt-get install chromium" in lacking["browser"]
    monkeypatch.setattr(programs, "CHROMIUM", "/usr/bin/chromium")
    assert "browser" not in programs.missing()

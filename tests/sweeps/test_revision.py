"""Which code a run says it was made by, with and without a repository."""

import subprocess
from pathlib import Path

import pytest

from sweeps.engine.revision import code_digest, revision

ROOT = Path(__file__).parents[2]


def test_an_image_names_the_commit_that_it_was_built_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds neither git nor a repository; where nobody told the build, the code's own digest tells it apart."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("SWEEPS_REVISION", "")  # as an image has it whose build was not told
    assert revision() == f"digest:{code_digest()}"
    monkeypatch.setenv("SWEEPS_REVISION", "1234567890abcdef-dirty")
    assert revision() == "1234567890abcdef-dirty"


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a clone")
def test_a_clone_names_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWEEPS_REVISION", raising=False)
    told = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert revision().removesuffix("-dirty") == told.stdout.strip()

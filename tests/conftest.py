"""What every test shares: where the real videos are, and which skips are allowed."""

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import programs

ALLOWED_SKIPS = "ALLOWED_SKIPS"
"""Environment variable of ``.ci/run``: ``marker:reason`` words; when set, any other skip fails the run."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, by marker."""
    import torch

    missing = programs.missing()
    if not torch.cuda.is_available():
        missing["gpu"] = "no CUDA device"
    if not os.environ.get("DEEPFAKE_SAMPLES"):
        missing["samples"] = "DEEPFAKE_SAMPLES names no folder of real videos"
    for item in items:
        for marker in missing:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=missing[marker]))


def skips_not_allowed(skipped: list[set[str]], allowed: str) -> int:
    """Return how many skipped tests, given by their marker names, carry no marker of the list ``allowed``."""
    names = {entry.split(":", 1)[0] for entry in allowed.split() if ":" in entry}
    return sum(not markers & names for markers in skipped)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember the markers of every skipped test."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):  # type: ignore[attr-defined]
        item.config.stash.setdefault(_SKIPPED, []).append({marker.name for marker in item.iter_markers()})
    return report


_SKIPPED: pytest.StashKey[list[set[str]]] = pytest.StashKey()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run whose skips the list in ``.ci/run`` does not name."""
    allowed = os.environ.get(ALLOWED_SKIPS)
    if allowed is None:
        return
    wrong = skips_not_allowed(session.config.stash.get(_SKIPPED, []), allowed)
    if wrong:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        assert reporter is not None
        reporter.write_line(f"{wrong} skipped tests are not on the list of allowed skips in .ci/run", red=True)


@pytest.fixture(scope="session")
def samples() -> Path:
    """Return the folder of real videos and weights; tests that use it carry the marker ``samples``."""
    return Path(os.environ["DEEPFAKE_SAMPLES"])


@pytest.fixture(scope="module")
def _s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from tests.servers import bucket_at_hand

    with bucket_at_hand(tmp_path_factory.mktemp("s3")) as address:
        yield address


@pytest.fixture
def address(_s3: str) -> str:
    """Return the address of an empty folder in a bucket, on an S3 server that lets this process in."""
    return f"{_s3}/{uuid.uuid4().hex}"


@pytest.fixture(autouse=True)
def _denormals() -> Iterator[None]:
    """Take back what a trial sets in its process: flushed denormals are seen by whatever is tested next."""
    yield
    if "torch" in sys.modules:
        import torch

        torch.set_flush_denormal(False)

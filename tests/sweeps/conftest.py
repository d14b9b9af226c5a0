"""A small store that every test of a whole sweep runs on."""

from pathlib import Path

import pytest

from tests.stores import write_store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("data") / "store", rows={"train": 96, "val": 16, "test": 16})


@pytest.fixture(scope="session")
def forecasts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first sweep of the session finds out about memory; ``launching.knowing`` gives it to the others."""
    return tmp_path_factory.mktemp("forecasts")

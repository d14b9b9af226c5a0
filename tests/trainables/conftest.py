from collections.abc import Iterator

import pytest
import torch

from data_store.resident import Crops
from tests.stores import make_crops


@pytest.fixture
def crops() -> Crops:
    """Return a store of 48 train, 16 val and 16 test crops of 64 px."""
    return make_crops()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Give tests the threads of a trial: the bits depend on it, and more only get in each other's way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

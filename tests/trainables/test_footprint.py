import pytest
import torch
from torch import nn

from trainables.architectures import build
from trainables.footprint import macs, num_denormals, work


def test_the_work_of_a_network_that_can_be_counted_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 1))
    model.train()
    done = work(model, 4)
    assert done.macs == macs(model, 4) == 8 * 16 * 27 + 128
    image, weight, maps, logit = 3 * 16, 8 * 27, 8 * 16, 1
    convolution, rectifier, linear = image + weight + maps, 2 * maps, maps + maps + 1 + logit
    assert done.traffic_bytes == 4 * (convolution + rectifier + linear)
    assert done.num_operations == 3  # flattening and transposing are views
    assert model.training


def test_work_grows_with_the_pixels_but_the_operations_do_not() -> None:
    model = build("Lite0")
    small, large = work(model, 64), work(model, 128)
    assert large.num_operations == small.num_operations > 100
    assert large.macs == pytest.approx(4 * small.macs, rel=0.01)
    assert small.traffic_bytes < large.traffic_bytes < 4 * small.traffic_bytes  # the weights are read once


@pytest.mark.parametrize("flushed", [False, True])
def test_denormals_are_counted_whether_or_not_they_are_flushed(flushed: bool) -> None:
    model = nn.Linear(4, 1, bias=False)
    model.weight.data = torch.tensor([[0.0, 1e-40, -1e-39, 1.2e-38]])
    try:
        torch.set_flush_denormal(flushed)
        assert num_denormals(model) == 2
    finally:
        torch.set_flush_denormal(False)

"""A network that computes as its int8 file will, for quantisation-aware fine-tuning (Jacob et al. 2018, 1712.05877).

Weights and activations are rounded to the values that 8 bits can hold, at the places where ONNX Runtime rounds them and
by its rules; all else stays in float32. Gradients pass the rounding as if it were not there, and stop at the range's
ends. The rounding is PyTorch's own (``fake_quantize_per_tensor_affine``, and its sibling by channel). The flows built
on it, torchao's among them, turn the network into a graph of theirs: its weights lose their names, and it is no input
for ONNX Runtime's quantiser, which makes the file of a static trial and of this one.

Batch normalisation is not folded into weights here, as it is in the file: weights are rounded by output channel, with
a scale relative to the channel's largest, so that a factor for each channel changes nothing.
"""

from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torchvision.ops import SqueezeExcitation

from trainables.architectures import is_squeeze_excitation

WEIGHT_STEPS = 64
"""Steps to either side of 0: 7 of 8 bits (see ``trainables.quantisation``)."""
ACTIVATION_STEPS = 255
AVERAGING = 0.05
"""Weight of a batch in the moving average of ranges."""
_TINY = torch.finfo(torch.float32).tiny
_ROUNDED = (
    nn.BatchNorm2d,
    nn.Linear,
    nn.AdaptiveAvgPool2d,
    nn.ReLU6,
    nn.SiLU,
    nn.Sigmoid,
    SqueezeExcitation,
)

Ranges = dict[str, tuple[float, float]]
"""Smallest and largest value of what a module returns, by the module's name; of the images by the empty name."""


class FakeQuantised(nn.Module):
    """A network with simulated int8 arithmetic; its parameters are the network's own.

    In training mode the ranges of activations follow the batches; in evaluation mode they stay.

    Attributes:
        network: The float network.
        points: Names of the modules whose outputs are rounded; the first, empty one stands for the images.
        ranges: (len(points), 2) float32: smallest and largest value so far, ``nan`` before the first batch.
    """

    ranges: Tensor

    def __init__(self, network: nn.Module) -> None:
        """Wrap a network, which is not changed."""
        super().__init__()
        self.network = network
        self.points = ["", *rounded_outputs(network)]
        self.register_buffer("ranges", torch.full((len(self.points), 2), torch.nan))
        self._weights = [
            f"{name}.weight" for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)
        ]

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (batch, 1) of normalised images (batch, 3, resolution_px, resolution_px)."""
        parameters = dict(self.network.named_parameters())
        rounded = {name: rounded_weight(parameters[name]) for name in self._weights}
        modules = dict(self.network.named_modules())
        hooks = [
            modules[name].register_forward_hook(partial(self._round_output, place))
            for place, name in enumerate(self.points)
            if name
        ]
        try:
            logits: Tensor = functional_call(self.network, rounded, (self._round(0, images),))
        finally:
            for hook in hooks:
                hook.remove()
        return logits

    def learned_ranges(self) -> Ranges:
        """Return the range of each point."""
        return {name: (low, high) for name, (low, high) in zip(self.points, self.ranges.tolist(), strict=True)}

    def _round_output(self, place: int, _module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        return self._round(place, output)

    def _round(self, place: int, values: Tensor) -> Tensor:
        """Round to 256 steps of the point's range, which takes the values in when the network trains."""
        if self.training:
            seen = torch.stack(torch.aminmax(values.detach())).float()
            before = self.ranges[place]
            self.ranges[place] = torch.where(before.isnan(), seen, torch.lerp(before, seen, AVERAGING))
        low, high = self.ranges[place].clone().unbind()  # a copy: the next batch's range is not this one's
        scale, zero_point = activation_scale(low, high)
        return torch.fake_quantize_per_tensor_affine(values.float(), scale, zero_point, 0, ACTIVATION_STEPS).to(
            values.dtype
        )


def rounded_weight(weight: Tensor) -> Tensor:
    """Return a weight (output channels, ...) at the values that int8 can hold of it, with its gradient."""
    flat = weight.detach().flatten(1)
    scale = (flat.abs().amax(1) / WEIGHT_STEPS).clamp(min=_TINY)
    zero_points = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero_points, 0, -WEIGHT_STEPS, WEIGHT_STEPS)


def activation_scale(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the step and the zero point (int32) of a range, widened to hold 0."""
    low, high = low.clamp(max=0), high.clamp(min=0)
    scale = ((high - low) / ACTIVATION_STEPS).clamp(min=_TINY)
    return scale, torch.round(-low / scale).to(torch.int32)


def rounded_outputs(network: nn.Module) -> list[str]:
    """Return the names of the modules whose outputs an int8 file of the network holds in 8 bits.

    These are what ONNX Runtime's quantiser rounds: results of convolutions with their batch normalisation and ReLU6,
    other activations, sums of residual branches, products of squeeze-and-excitation, pools and the logit. The factor
    within a SiLU is left in float here.
    """
    modules = dict(network.named_modules())
    within: set[str] = set()  # modules whose outputs the quantiser does not see
    for name, module in modules.items():
        children = [f"{name}.{child}".removeprefix(".") for child, _ in module.named_children()]
        if isinstance(module, nn.BatchNorm2d):  # timm's holds its activation
            within |= {*children}
        if isinstance(module, nn.Sequential):  # torchvision's are followed by it
            within |= {one for one, after in pairwise(children) if isinstance(modules[after], nn.ReLU6)}
    return [name for name, module in modules.items() if name and name not in within and _is_rounded(name, module)]


def _is_rounded(name: str, module: nn.Module) -> bool:
    if getattr(module, "has_skip", False) or getattr(module, "use_res_connect", False):
        return True  # timm's and torchvision's word for a residual branch
    return isinstance(module, _ROUNDED) or is_squeeze_excitation(f"{name}.")

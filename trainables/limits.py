"""What a model may cost: checked before training as far as it is known, and on what pruning has really left.

Nothing here imports torch before a model is looked at.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.predicted_latency import LatencyFit, predict

if TYPE_CHECKING:
    from torch import nn


class OverLimitError(Exception):
    """A pruned model costs more than it may; the message says what and how much."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a model may cost; None for no limit.

    Attributes:
        max_size_mb: 10^6 bytes of its weights.
        max_latency_ms: Predicted milliseconds of one image on this machine's CPU.
        fit: What latency is predicted by, once it is known.
    """

    max_size_mb: float | None = None
    max_latency_ms: float | None = None
    fit: LatencyFit | None = None

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return self.max_size_mb is not None or self.max_latency_ms is not None

    def allow(self, size_mb: float, latency_ms: float) -> bool:
        """Tell whether a model keeps to them."""
        most_mb = math.inf if self.max_size_mb is None else self.max_size_mb
        most_ms = math.inf if self.max_latency_ms is None else self.max_latency_ms
        return size_mb <= most_mb and latency_ms <= most_ms


def refuse_over_limit(model: "nn.Module", resolution_px: int, limits: Limits) -> None:
    """Check what pruning has left of a network, before it is trained on.

    Raises:
        OverLimitError: It costs more than it may.
    """
    from trainables.footprint import work
    from trainables.pruning import weights_bytes

    found = []
    size_mb = weights_bytes(model) / 1e6
    if limits.max_size_mb is not None and size_mb > limits.max_size_mb:
        found.append(f"{size_mb:.2f} MB are above --max-size-mb {limits.max_size_mb:g}")
    if limits.max_latency_ms is not None and limits.fit is not None:
        latency_ms = predict(limits.fit, work(model, resolution_px))
        if latency_ms > limits.max_latency_ms:
            found.append(f"predicted {latency_ms:.2f} ms are above --max-latency-ms {limits.max_latency_ms:g}")
    if found:
        raise OverLimitError(f"after pruning, before training it on, {' and '.join(found)}")

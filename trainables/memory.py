"""Peak memory of a trial, predicted without a GPU and without allocating anything.

Training steps and a batch of evaluation run on fake tensors, which have shapes but no data; a dispatch mode adds up
the storages that are alive after each operation. The peak of two steps and of what follows them is the prediction: the
second step has the optimizer's state, and evaluation begins beside the last step's gradients.
"""

import weakref
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from trainables.architectures import build, forward
from trainables.distillation import TEACHER_BATCH
from trainables.evaluation import evaluated_at_once
from trainables.fake_quantisation import FakeQuantised
from trainables.fit import build_optimizer
from trainables.recipes import TrialConfig
from trainables.steps import num_micro_batches

ALLOCATOR_SLACK = 1.12
"""Blocks are rounded up and cached by the allocator."""
LIBRARY_BYTES = 60 * 2**20
"""Work space of cuDNN and cuBLAS. With both, predictions lay within 6 % of ``max_memory_reserved`` on an H100
(fp32, torch 2.11) for B0, B1, B2, B3, V2-S and Lite0 at 64 to 384 px and two batch sizes each."""


class _LiveStorages(TorchDispatchMode):
    """Adds up the bytes of live tensor storages, and remembers the most."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live_bytes = 0
        self.peak_bytes = 0
        self._seen: set[int] = set()

    def track(self, values: Any) -> None:  # noqa: ANN401 - any nesting of tensors
        for value in tree_iter(values):
            if isinstance(value, torch.Tensor):
                storage = value.untyped_storage()
                key = storage._cdata
                if key not in self._seen:
                    self._seen.add(key)
                    size = storage.nbytes()
                    self.live_bytes += size
                    weakref.finalize(storage, self._release, key, size)
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)

    def _release(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.live_bytes -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        result = func(*args, **(kwargs or {}))
        self.track(result)
        return result


def predicted_peak_bytes(config: TrialConfig, teacher: tuple[str, int] | None = None) -> int:
    """Return the predicted peak bytes of a trial, without the CUDA context.

    A pruned network is taken as the whole one: an upper bound. ``precision="amp"`` is taken as a GPU computes it, also
    where the config's device is a CPU, and in bfloat16: float16 needs as much.

    Args:
        config: The trial. Its micro-batch is what is in memory at a time; gradients are kept between micro-batches.
        teacher: (architecture, resolution_px) of the teacher that stays loaded beside it.
    """
    batch = config.recipe.batch_size
    num_parts = num_micro_batches(config, batch)
    with FakeTensorMode(), _LiveStorages() as storages:
        model = build(config.architecture)
        if config.quantisation == "aware":
            model = FakeQuantised(model)
        frozen = build(teacher[0]).eval().requires_grad_(False) if teacher else None
        optimizer = build_optimizer(config.recipe, model)
        for _ in range(2):
            optimizer.zero_grad(set_to_none=True)
            images = torch.rand(batch, 3, config.resolution_px, config.resolution_px)
            labels = torch.zeros(batch)
            if frozen is not None and teacher is not None:
                with torch.no_grad():
                    forward(frozen, torch.rand(TEACHER_BATCH, 3, teacher[1], teacher[1]))
            for part, part_labels in zip(images.tensor_split(num_parts), labels.tensor_split(num_parts), strict=True):
                with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "amp"):
                    logits = forward(model, part)
                loss = binary_cross_entropy_with_logits(logits.float(), part_labels)
                loss.backward()
                del logits, loss
            optimizer.step()
            del images, labels, part, part_labels
        with torch.no_grad():  # in float32, whatever the precision of training
            crops = torch.rand(evaluated_at_once(config), 3, config.resolution_px, config.resolution_px)
            forward(model.eval(), crops)
    return int(storages.peak_bytes * ALLOCATOR_SLACK) + LIBRARY_BYTES

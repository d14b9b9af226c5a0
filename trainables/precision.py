"""Mixed precision: which arithmetic ``precision="amp"`` means on a device.

On a GPU the forward pass runs under autocast, in bfloat16 where the GPU has it and in float16 with a scaled loss
elsewhere; weights, gradients, updates, the loss, evaluation and teachers stay in float32, which is not TF32
(``gpu_memory.begin_trial``). On a CPU ``amp`` is accepted and computes in float32, to the bit: bfloat16 saves no time
in training there, and no memory is short.
"""

from contextlib import AbstractContextManager, nullcontext

import torch

from trainables.recipes import TrialConfig


def autocast_dtype(config: TrialConfig) -> torch.dtype | None:
    """Return the type that the forward pass computes in where it can, None for float32 throughout."""
    if config.precision == "fp32" or config.device == "cpu":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def autocast(config: TrialConfig) -> AbstractContextManager[object]:
    """Return the context of a forward pass."""
    dtype = autocast_dtype(config)
    return nullcontext() if dtype is None else torch.autocast(config.device, dtype=dtype)


def new_scaler(config: TrialConfig) -> torch.amp.GradScaler | None:
    """Return what scales the loss so that gradients do not underflow; None where the type has float32's range."""
    return torch.amp.GradScaler(config.device) if autocast_dtype(config) is torch.float16 else None

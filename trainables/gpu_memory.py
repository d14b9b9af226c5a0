"""A trial's share of a GPU: held to it, and measured from its own start, in a process that runs one after another."""

import gc

import torch


def begin_trial(most_bytes: int | None) -> None:
    """Give back what the trial before has left, count the peak anew, and hold this process to its share.

    float32 is float32 from here on: by PyTorch's default, convolutions would take 10 of its 23 bits (TF32).

    Beyond the share PyTorch raises ``torch.OutOfMemoryError``, however much the card has left.

    Args:
        most_bytes: That the trial was admitted for, without the CUDA context; None for all that the card has.
    """
    torch.backends.cudnn.allow_tf32 = False
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    total_bytes = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    torch.cuda.set_per_process_memory_fraction(1.0 if most_bytes is None else min(1.0, most_bytes / total_bytes))

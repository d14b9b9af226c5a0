"""Names of everything that a trial records: one constant a key, shared by engine, analysis and demo.

Scores are fractions in [0, 1]. ``val_`` is what search, fronts and choices may use; ``test_`` is only shown.
Curves, one value an epoch, live under ``epoch/`` so that MLflow groups their charts.
"""

from typing import Final

# Scores: take one through ``scored(split, SCORE)`` to get the recorded key.
ACCURACY: Final = "accuracy"
AUC: Final = "auc"
EER: Final = "eer"
AVERAGE_PRECISION: Final = "average_precision"
LOG_LOSS: Final = "log_loss"
BRIER: Final = "brier"
CALIBRATION_ERROR: Final = "calibration_error"
VIDEO_ACCURACY: Final = "video_accuracy"
VIDEO_AUC: Final = "video_auc"
VIDEO_EER: Final = "video_eer"
VIDEO_AVERAGE_PRECISION: Final = "video_average_precision"
VIDEO_LOG_LOSS: Final = "video_log_loss"
VIDEO_BRIER: Final = "video_brier"
VIDEO_CALIBRATION_ERROR: Final = "video_calibration_error"

# Cost of a graph: equal for every trial that ends in the same graph.
PARAMETERS: Final = "parameters"
MACS: Final = "macs"
SIZE_MB: Final = "size_mb"  # 10^6 bytes of weights.safetensors, or of model.int8.onnx where that is the model
STATE_DICT_MB: Final = "state_dict_mb"  # 10^6 bytes of the same weights as PyTorch saves them: the thesis's measure
LATENCY_MS_P50: Final = "latency_ms_p50"
LATENCY_MS_P90: Final = "latency_ms_p90"
LATENCY_RATIO: Final = "latency_ratio"  # to unpruned B0, interleaved in the same run
LATENCY_NOISE: Final = "latency_noise"  # interquartile range over median, the larger of the graph's and B0's
# The four above are eager PyTorch, one image at a time; other runtimes and batches through ``latency``.
LATENCY_THREADS: Final = "latency_threads"  # CPU threads of all latencies of the run
LATENCY_REFERENCE_PX: Final = "latency_reference_px"  # side of the images that the B0 of the ratios takes
LATENCY_SAMPLES: Final = "latency_samples"  # timed runs behind a latency of one image
LATENCY_CPU: Final = "latency_cpu"  # no metric but a tag: the CPU that all of them were measured on
TRAFFIC_MB: Final = "traffic_mb"  # 10^6 bytes that the operations of one image read and write
OPERATIONS: Final = "operations"
DENORMALS: Final = "denormals"  # weights below the smallest normal number, not 0
# Of pruned trials: channels, as shares of those that the start model had in all layers but the head.
PRUNED_SHARE: Final = "pruned_share"  # those that went
PRUNED_SHARE_LIMIT: Final = "pruned_share_limit"  # those that could go, at most, before every layer is at its floor

# What the trial itself cost.
EPOCHS: Final = "epochs"
BEST_EPOCH: Final = "best_epoch"
COLLAPSED: Final = "collapsed"  # 1 where every validation crop gets the same verdict
SECONDS: Final = "seconds"
ENERGY_WH: Final = "energy_wh"  # its share of what GPU or CPU packages counted; absent where they cannot be read
PREDICTED_MEMORY_MB: Final = "predicted_memory_mb"
PEAK_MEMORY_MB: Final = "peak_memory_mb"

# Curves.
EPOCH_TRAIN_LOSS: Final = "epoch/train_loss"
EPOCH_HARD_LOSS: Final = "epoch/train_hard_loss"
EPOCH_SOFT_LOSS: Final = "epoch/train_soft_loss"
EPOCH_TRAIN_ACCURACY: Final = "epoch/train_accuracy"  # on augmented crops, while the weights change
EPOCH_VAL_LOSS: Final = "epoch/val_loss"
EPOCH_VAL_ACCURACY: Final = "epoch/val_accuracy"
EPOCH_LEARNING_RATE: Final = "epoch/learning_rate"
EPOCH_SECONDS: Final = "epoch/seconds"


ELSEWHERE: Final = "test_on_"
"""Start of the keys of scores on another store's test split, which were asked for after the trial."""
NOISY: Final = 0.1
"""Noise above which a latency, and its ratio to B0, is shown with a tilde."""


def scored(split: str, score: str) -> str:
    """Return the recorded key of a score on a split, such as ``val_accuracy``."""
    return f"{split}_{score}"


def category_accuracy(split: str, category: str) -> str:
    """Return the recorded key of one category's accuracy, such as ``test_accuracy_FaceSwap``."""
    return f"{split}_{ACCURACY}_{category}"


def latency(figure: str, runtime: str = "eager", batch_size: int = 1) -> str:
    """Return the recorded key of a latency figure, such as ``latency_onnx_batch32_ratio``.

    Args:
        figure: ``ms_p50``, ``ms_p90``, ``ratio`` or ``noise``.
        runtime: ``eager`` (PyTorch), ``onnx`` or ``int8`` (ONNX Runtime).
        batch_size: 1 or 32.
    """
    parts = [
        "latency",
        *([] if runtime == "eager" else [runtime]),
        *([] if batch_size == 1 else [f"batch{batch_size}"]),
    ]
    return "_".join([*parts, figure])

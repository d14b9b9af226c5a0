"""What a worker needs before its first step: Ray's workers import this while the driver still plans.

Little of it is garbage. Python would look for some hundred times while it loads, and again in every full collection.
"""

import gc

gc.disable()
try:
    import ray.tune  # noqa: F401
    import timm  # noqa: F401

    import trainables.checkpoints
    import trainables.trainable
    import trainables.training  # noqa: F401

    gc.freeze()
finally:
    gc.enable()

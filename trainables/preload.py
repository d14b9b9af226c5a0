"""What a worker needs before its first step: Ray's workers import this while the driver still plans.

Nothing of it is garbage. Python would look for some hundred times while it loads, and again in every full collection.
"""

import gc

gc.disable()

import trainables.checkpoints  # noqa: E402
import trainables.trainable  # noqa: E402
import trainables.training  # noqa: E402, F401

gc.freeze()
gc.enable()

"""The device that the peers for a GPU run on, and how much they take at a time.

Both come from the environment, which is what a worker inherits: on the CPU all of their code can be
tried where there is no GPU, so that no typing error costs time on one.
"""

import os

__all__ = ["DEVICE", "DEVICE_VARIABLE", "MAX_BATCH_TOKENS", "ON_GPU", "TOKENS_VARIABLE"]

DEVICE_VARIABLE, TOKENS_VARIABLE = "BERTRT_BENCH_DEVICE", "BERTRT_BENCH_MAX_BATCH_TOKENS"

DEVICE = os.environ.get(DEVICE_VARIABLE, "cuda")
ON_GPU = DEVICE != "cpu"

# The places of a batch that bertrt gets, and the floor with it.
MAX_BATCH_TOKENS = int(os.environ.get(TOKENS_VARIABLE, "16384"))

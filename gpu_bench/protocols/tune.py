"""One-shot runs on held-out training images, to choose each method's setting by."""

from gpu_bench.protocols.one_shot import COLUMNS, compute

__all__ = ["COLUMNS", "compute"]

"""Binary masks by the name of a weight, True where it stays: made, applied, measured, kept.

>>> import torch
>>> weights = {"a": torch.tensor([3.0, -1.0]), "b": torch.tensor([[0.0, 2.0]])}
>>> density(magnitude(weights, 0.5))
0.5
"""

from gpu_bench.masks.files import load, save
from gpu_bench.masks.weights import (
    SPARSITIES,
    apply,
    density,
    flops,
    layer_densities,
    magnitude,
    prunable,
)

__all__ = ["SPARSITIES", "apply", "density", "flops", "layer_densities", "load", "magnitude"]
__all__ += ["prunable", "save"]

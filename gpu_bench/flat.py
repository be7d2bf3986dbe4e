"""Parameters of a module as views into one vector."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["Flat"]


class Flat:
    """Move parameters into one vector, in place; the module goes on using them as before.

    Optimizer steps, norms and weight maps over all weights are then one kernel each instead of
    one per layer. Gradients are views into a second vector, which must be zeroed before each
    backward pass (autograd adds to what it finds).

    Parameters
    ----------
    parameters : mapping of str to Parameter
        Dense in memory, in any memory format; of one dtype and device.

    Attributes
    ----------
    values, gradient : Tensor, shape (N,)
    sizes : tuple of int
        Number of entries of each parameter; they sum to N.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.names = tuple(parameters)
        self.sizes = tuple(parameter.numel() for parameter in parameters.values())
        some = next(iter(parameters.values()), torch.empty(0))
        self.values = torch.empty(sum(self.sizes), dtype=some.dtype, device=some.device)
        self.gradient = torch.zeros_like(self.values)
        start = 0
        for parameter, size in zip(parameters.values(), self.sizes, strict=True):
            view, slope = (
                vector.as_strided(parameter.shape, parameter.stride(), start)
                for vector in (self.values, self.gradient)
            )
            view.copy_(parameter.detach())
            parameter.data, parameter.grad = view, slope
            start += size

    def split(self, vector: Tensor) -> dict[str, Tensor]:
        """Return the part of `vector` (N,) that belongs to each parameter, one-dimensional."""
        return dict(zip(self.names, vector.split(self.sizes), strict=True))

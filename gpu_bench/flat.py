"""Tensors of a module as views into one vector."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["Flat", "Layout"]


class Layout:
    """Layout of several tensors in one vector: one after the other, in memory order.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Dense in memory, in any memory format (channels-last too).

    Attributes
    ----------
    names : tuple of str
    sizes : tuple of int
        Number of entries of each tensor; they sum to N.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.names = tuple(tensors)
        self.sizes = tuple(tensor.numel() for tensor in tensors.values())
        self._shapes = [(tensor.shape, tensor.stride()) for tensor in tensors.values()]

    def views(self, vector: Tensor) -> dict[str, Tensor]:
        """Return the part of `vector` (N,) that belongs to each name, in its shape; no copy."""
        views, start = {}, vector.storage_offset()
        for name, size, (shape, strides) in zip(self.names, self.sizes, self._shapes, strict=True):
            views[name] = vector.as_strided(shape, strides, start)
            start += size
        return views

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the vector (N,) whose `views` equal `tensors`."""
        some = tensors[self.names[0]]
        vector = torch.empty(sum(self.sizes), dtype=some.dtype, device=some.device)
        for name, view in self.views(vector).items():
            view.copy_(tensors[name].detach())
        return vector


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
    layout : Layout
    values, gradient : Tensor, shape (N,)
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.layout = Layout(parameters)
        self.sizes = self.layout.sizes
        some = next(iter(parameters.values()), torch.empty(0))
        self.values = torch.empty(sum(self.sizes), dtype=some.dtype, device=some.device)
        self.gradient = torch.zeros_like(self.values)
        values, slopes = self.layout.views(self.values), self.layout.views(self.gradient)
        for name, parameter in parameters.items():
            values[name].copy_(parameter.detach())
            parameter.data, parameter.grad = values[name], slopes[name]

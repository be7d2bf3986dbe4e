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

    narrow: tuple[Tensor, Tensor] | None = None

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.layout = Layout(parameters)
        self.sizes = self.layout.sizes
        some = next(iter(parameters.values()), torch.empty(0))
        self.values = torch.empty(sum(self.sizes), dtype=some.dtype, device=some.device)
        self.gradient = torch.zeros_like(self.values)
        self._parameters = dict(parameters)
        for name, view in self.layout.views(self.values).items():
            view.copy_(parameters[name].detach())
        self._show(self.values, self.gradient)

    def round_to(self, dtype: torch.dtype) -> None:
        """Let the module use copies in `dtype`, until `widen`: one cast a step, not two a layer.

        `write` brings the values there, `read` the gradients back.
        """
        self.narrow = self.values.to(dtype), self.gradient.to(dtype)
        self._show(*self.narrow)

    def widen(self) -> None:
        """Let the module use `values` again."""
        self.narrow = None
        self._show(self.values, self.gradient)

    def write(self) -> None:
        """Bring `values` to where the module uses them."""
        if self.narrow is not None:
            self.narrow[0].copy_(self.values)

    def read(self) -> None:
        """Bring the gradients from where the module left them to `gradient`."""
        if self.narrow is not None:
            self.gradient.copy_(self.narrow[1])

    def zero_gradient(self) -> None:
        """Make the gradients that the module adds to 0."""
        (self.gradient if self.narrow is None else self.narrow[1]).zero_()

    def _show(self, values: Tensor, gradient: Tensor) -> None:
        views, grads = self.layout.views(values), self.layout.views(gradient)
        for name, parameter in self._parameters.items():
            parameter.grad = None  # of the other dtype
            parameter.data, parameter.grad = views[name], grads[name]

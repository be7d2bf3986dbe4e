"""Interface of the methods, the ways to parametrize the prunable weights.

A method is an elementwise map x = g(θ₁, θ₂, …) with closed forms for its inverse (at the start)
and its vector-Jacobian product. The network itself always runs on the plain weights x, so a
training step is

    forward and backward on x;  ∂θ = (∂g/∂θ)ᵀ ∂x;  one SGD step on θ;  x = g(θ)

which costs a few passes over the weights and leaves autograd's graph as small as the plain
network's. All prunable weights lie in one vector, so each of these passes is one kernel.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

__all__ = ["Grid", "Method", "Plan", "Strength", "around"]

Parameters = tuple[Tensor, ...]
Grid = tuple[dict[str, float], ...]


def around(**values: Sequence[float]) -> Grid:
    """Return all combinations of the values, the first of each first, then outwards.

    >>> around(lr=(0.1, 0.2), total=(3.0,))
    ({'lr': 0.1, 'total': 3.0}, {'lr': 0.2, 'total': 3.0})
    """
    places = itertools.product(*(range(len(options)) for options in values.values()))
    return tuple(
        {name: options[i] for i, (name, options) in zip(place, values.items(), strict=True)}
        for place in sorted(places, key=sum)
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """Facts of a run that a method may use before it starts.

    Attributes
    ----------
    epochs : int
        T.
    rate_sum : float
        Σ η_k/(1 − momentum) over all steps: flow time of the run. A decay of strength λ shrinks
        what has no gradient by e^{−λ·rate_sum}.
    sizes : tuple of int
        Number of weights of each layer, in the order in which they lie in the vector x.
    """

    epochs: int
    rate_sum: float
    sizes: tuple[int, ...]


class Strength:
    """A number that training changes between epochs: a float here, a 0-d tensor on the device.

    A captured CUDA graph reads the tensor, so a new value needs no new capture; writing it is one
    asynchronous kernel.
    """

    def __init__(self, value: float, factor: float = 1.0) -> None:
        self.value, self.factor = value, factor
        self.tensor = torch.tensor(factor * value)

    def to(self, x: Tensor) -> None:
        """Move the tensor to the device and the dtype of x."""
        self.tensor = torch.full((), self.factor * self.value, dtype=x.dtype, device=x.device)

    def set(self, value: float) -> None:
        """Change the number; the tensor holds `factor` times it."""
        self.value = value
        self.tensor.fill_(self.factor * value)


class Method(ABC):
    """One parametrization of the prunable weights; subclasses are dataclasses of their options.

    Attributes
    ----------
    learning_rate : float
        η where --lr is not given.
    grid : tuple of dict
        What `tune` tries, by the names of flags, the likeliest first; every method has the same
        number of settings, so that each is tuned with the same budget.
    """

    learning_rate: ClassVar[float] = 0.1
    grid: ClassVar[Grid]

    def begin(self, plan: Plan, x: Tensor) -> None:  # noqa: B027  # most need no preparation
        """Learn about the run; x (N,) holds the initial weights. Called before `start`."""

    @abstractmethod
    def start(self, x: Tensor) -> Parameters:
        """Return the parameters θ with g(θ) = x."""

    @abstractmethod
    def weight(self, *parameters: Tensor) -> Tensor:
        """Return x = g(θ)."""

    @abstractmethod
    def gradients(self, parameters: Parameters, gradient: Tensor) -> Parameters:
        """Return (∂g/∂θ)ᵀ ∂x for each θ; new tensors, or `gradient` itself."""

    @abstractmethod
    def decays(self) -> tuple[Tensor | float, ...]:
        """Return the weight decay λ of each θ: λθ is added to its gradient."""

    def penalize(self, parameters: Parameters, gradients: Parameters) -> None:  # noqa: B027
        """Add the gradient of a further penalty to `gradients`, in place."""

    def after_epoch(self, epoch: int, accuracy: float, norm: float) -> None:  # noqa: B027
        """Take the measurements of epoch k = 1 … T: running accuracy, ‖x‖₁."""

    def fold(self, *parameters: Tensor) -> Tensor:
        """Return the final weights."""
        return self.weight(*parameters)

    @property
    def alpha(self) -> float | None:
        """α in force, of the penalty α(‖m‖² + ‖w‖²); None where there is no such penalty."""
        return None

    @property
    def imbalance(self) -> float | None:
        """β = m₀² − w₀²; None where there are no m and w."""
        return None

    def readings(self) -> dict[str, float]:
        """Return the method's own numbers for the row of a run, by name."""
        return {}

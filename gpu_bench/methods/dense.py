"""The plain network: x itself, with ordinary weight decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from gpu_bench.methods.base import Grid, Method, Parameters, around

__all__ = ["Dense"]


@dataclass(eq=False)
class Dense(Method):
    """x = x."""

    grid: ClassVar[Grid] = around(lr=(0.1, 0.2, 0.05), weight_decay=(1e-4, 5e-4, 1e-3))

    weight_decay: float = 1e-4

    def start(self, x: Tensor) -> Parameters:
        return (x,)

    def weight(self, *parameters: Tensor) -> Tensor:
        return parameters[0]

    def gradients(self, parameters: Parameters, gradient: Tensor) -> Parameters:
        return (gradient,)

    def decays(self) -> tuple[Tensor | float, ...]:
        return (self.weight_decay,)

"""The plain network: x itself, with ordinary weight decay."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gpu_bench.methods.base import Method, Parameters

__all__ = ["Dense"]


@dataclass(eq=False)
class Dense(Method):
    """x = x."""

    weight_decay: float = 1e-4

    def start(self, x: Tensor) -> Parameters:
        return (x,)

    def weight(self, *parameters: Tensor) -> Tensor:
        return parameters[0]

    def gradients(self, parameters: Parameters, gradient: Tensor) -> Parameters:
        return (gradient,)

    def decays(self) -> tuple[Tensor | float, ...]:
        return (self.weight_decay,)

"""The plain network: x itself, with ordinary weight decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gpu_bench.methods.base import Grid, Look, Method, Parameters, Tensor, around
from mirrorflow import colours

__all__ = ["Dense"]


@dataclass(frozen=True)
class Dense(Method, name="dense"):
    """The plain network, x = x."""

    look: ClassVar[Look] = Look(colours.METHODS["dense"])
    grid: ClassVar[Grid] = around(lr=(0.1, 0.2, 0.05), weight_decay=(1e-4, 5e-4, 1e-3))

    def inverse(self, x: Tensor) -> Parameters:
        return (x,)

    def weight(self, *parameters: Tensor) -> Tensor:
        return parameters[0]

    def gradients(self, parameters: Parameters, gradient: Tensor) -> Parameters:
        return (gradient,)

    def decays(self) -> tuple[Tensor | float, ...]:
        return (self.plan.weight_decay,)

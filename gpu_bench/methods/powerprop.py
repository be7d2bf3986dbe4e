"""Powerpropagation (Schwarz et al. 2021): large weights learn faster, small ones stay small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from gpu_bench.methods.base import Grid, Look, Parameters, Ranges, Tensor, around
from gpu_bench.methods.dense import Dense
from mirrorflow import colours

__all__ = ["Powerprop"]


@dataclass(frozen=True)
class Powerprop(Dense, name="powerprop"):
    """x = θ|θ|^{κ−1}, ∂θ = κ|θ|^{κ−1} ∂x; start θ₀ = sign(x)|x|^{1/κ}."""

    look: ClassVar[Look] = Look(colours.METHODS["powerprop"], (0, (6, 2)), "*")
    # small weights move κ|x|^{(κ−1)/κ} ≪ 1 times slower than in the plain network
    learning_rate: ClassVar[float] = 0.5
    grid: ClassVar[Grid] = around(lr=(0.5, 0.25, 1.0), weight_decay=(1e-4, 3e-4, 1e-3))
    original: ClassVar[dict[str, Any]] = {"lr": 0.1, "momentum": 0.0, "weight_decay": 0.0}
    ranges: ClassVar[Ranges] = {"kappa": (1.0, 1e30)}

    kappa: float = 2.0
    """κ > 1; 2 is assumed where the PILoT paper prints exponent 1, the identity."""

    def inverse(self, x: Tensor) -> Parameters:
        return ((x.abs() ** (1.0 / self.kappa)).copysign(x),)

    def weight(self, *parameters: Tensor) -> Tensor:
        return parameters[0] * self._power(parameters[0])

    def gradients(self, parameters: Parameters, gradient: Tensor) -> Parameters:
        return (self._power(parameters[0]).mul_(gradient).mul_(self.kappa),)

    def _power(self, theta: Tensor) -> Tensor:
        """Return |θ|^{κ−1}, a new tensor; for κ = 2 without `pow`, which is ten times slower."""
        return theta.abs() if self.kappa == 2.0 else theta.abs() ** (self.kappa - 1.0)

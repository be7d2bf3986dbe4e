"""Convex losses of the residual: f(x) = (1/n) Σ φ(r_i) with r = Zx − y and least value φ(0) = 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mirrorflow.checks import Array, number

__all__ = ["SQUARED", "Loss", "PseudoHuber", "SquaredLoss"]


class Loss(Protocol):
    """φ, its two derivatives, and the least φ'²/(2φ) up to a residual: what Theorem 2.2 asks."""

    def value(self, r: Array) -> Array:
        """φ(r), with φ(0) = 0 and φ''(0) = 1."""

    def slope(self, r: Array) -> Array:
        """φ'(r)."""

    def curvature(self, r: Array) -> Array:
        """φ''(r) > 0."""

    def steepness(self, largest: float) -> float:
        """min φ'(r)²/(2φ(r)) over |r| ≤ `largest`.

        f obeys ‖∇f‖² ≥ λ f there with λ = 2σ_min(Z)²/n times this.
        """


@dataclass(frozen=True, slots=True)
class SquaredLoss:
    """φ(r) = ½r², the loss of `Regression`."""

    def value(self, r: Array) -> Array:
        return 0.5 * r**2

    def slope(self, r: Array) -> Array:
        return r

    def curvature(self, r: Array) -> Array:
        return np.ones_like(r)

    def steepness(self, largest: float) -> float:
        return 1.0


@dataclass(frozen=True, slots=True)
class PseudoHuber:
    """φ(r) = δ²(√(1 + (r/δ)²) − 1): quadratic within δ, linear beyond; convex, not strongly.

    Parameters
    ----------
    delta : float > 0
        δ, in units of y.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "delta", number("delta", self.delta, 0.0, open_low=True))

    def _root(self, r: Array) -> Array:
        return np.hypot(1.0, r / self.delta)

    def value(self, r: Array) -> Array:
        # (√(1+ρ²) − 1) = ρ²/(√(1+ρ²) + 1): without cancellation at small residuals
        return r**2 / (self._root(r) + 1.0)

    def slope(self, r: Array) -> Array:
        return r / self._root(r)

    def curvature(self, r: Array) -> Array:
        return self._root(r) ** -3

    def steepness(self, largest: float) -> float:
        root = float(np.hypot(1.0, largest / self.delta))
        return 0.5 * (root + 1.0) / root**2


SQUARED = SquaredLoss()

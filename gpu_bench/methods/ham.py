"""HAM (Jacobs et al. 2025): an exponential step after each step of SGD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gpu_bench.methods.base import Grid, Look, Parameters, Tensor, around
from gpu_bench.methods.dense import Dense
from mirrorflow import colours

__all__ = ["Ham"]

LARGEST = 5.0  # of the exponent, as in the authors' code


@dataclass(frozen=True)
class Ham(Dense, name="ham"):
    """SGD on x, and after each step x ← x exp(−η(α sign(x) ⊙ ∂x + β)), ∂x from before the step.

    For small η and β = 0 this is the mirror flow ẋ = −(1 + α|x|)∂x: large weights move faster, as
    with m ⊙ w, and small ones no slower than in the plain network. No weight changes its sign in
    the second step.
    """

    look: ClassVar[Look] = Look(colours.METHODS["ham"], (0, (1, 1)), "p")
    grid: ClassVar[Grid] = around(lr=(0.1, 0.2, 0.05), total=(3.0, 6.0, 1.5))

    steepness: float = 50.0
    """α: how much faster than η large weights move (1/units of x). The authors' 200 does not train
    digits (docs/vision.md)."""
    total: float = 3.0
    """β Σ η over the run, which sets β: without gradient |x| shrinks by e^(−total)."""

    def after_step(self, parameters: Parameters, gradient: Tensor, minus_rate: Tensor) -> None:
        (x,) = parameters
        beta = self.total / (self.plan.rate_sum * (1.0 - self.plan.momentum))
        exponent = (x.sign() * gradient).mul_(self.steepness).add_(beta).mul_(minus_rate)
        x.mul_(exponent.clamp_(-LARGEST, LARGEST).exp_())

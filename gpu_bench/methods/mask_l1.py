"""L1 on the mask alone: a common heuristic that is no mirror flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gpu_bench.methods.base import Grid, Look, Parameters, Ranges, Tensor, around
from gpu_bench.methods.lasso import Lasso
from gpu_bench.methods.product import Product
from mirrorflow import colours

__all__ = ["MaskL1"]


@dataclass(frozen=True)
class MaskL1(Product, Lasso, name="mask-l1"):
    """x = m ⊙ w with L1 on m alone, λ‖m‖₁, and ordinary weight decay on m and w.

    Without the decay on w the scale would only move from m to w.
    """

    look: ClassVar[Look] = Look(colours.METHODS["mask-l1"], (0, (5, 1, 1, 1, 1, 1)), "v")
    grid: ClassVar[Grid] = around(lr=(0.2, 0.1, 0.4), total=(2.0, 4.0, 1.0))
    ranges: ClassVar[Ranges] = {"beta": (1e-30, 1e30)}

    total: float = 2.0
    """λ Σ η/(1 − momentum), which sets λ: how far the penalty alone moves m over the run."""
    beta: float = 1.0
    """β = m₀² − w₀² (units of x)."""

    def inverse(self, x: Tensor) -> Parameters:
        from mirrorflow.pilot import pilot_factors

        return pilot_factors(x, self.beta)

    def decays(self) -> tuple[Tensor | float, ...]:
        return self.plan.weight_decay, self.plan.weight_decay

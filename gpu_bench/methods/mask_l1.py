"""L1 on the mask alone: a common heuristic that is no mirror flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from gpu_bench.methods.base import Grid, Parameters, around
from gpu_bench.methods.lasso import Lasso
from gpu_bench.methods.product import Product
from mirrorflow.pilot import pilot_factors

__all__ = ["MaskL1"]


@dataclass(eq=False)
class MaskL1(Product, Lasso):
    """x = m ⊙ w with the penalty of `Lasso` on m and ordinary weight decay on m and w.

    Without the decay on w the scale would only move from m to w.
    """

    grid: ClassVar[Grid] = around(lr=(0.2, 0.1, 0.4), l1_total=(2.0, 4.0, 1.0))

    l1_total: float = 2.0
    beta: float = 1.0

    def start(self, x: Tensor) -> Parameters:
        return pilot_factors(x, self.beta)

    def decays(self) -> tuple[Tensor | float, ...]:
        return self.weight_decay, self.weight_decay

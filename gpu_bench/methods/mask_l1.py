"""L1 on the mask alone: a common heuristic that is no mirror flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gpu_bench.methods.base import Grid, Parameters, Plan, around
from gpu_bench.methods.product import Product
from mirrorflow.pilot import pilot_factors

__all__ = ["MaskL1"]


@dataclass(eq=False)
class MaskL1(Product):
    """x = m ⊙ w with the penalty λ‖m‖₁ (subgradient) and ordinary weight decay on m and w.

    Without the decay on w the scale would only move from m to w.

    Parameters
    ----------
    l1 : float, optional
        λ ≥ 0; None takes `l1_total` / rate_sum, as `Lasso` does.
    """

    grid: ClassVar[Grid] = around(lr=(0.2, 0.1, 0.4), l1_total=(2.0, 4.0, 1.0))

    weight_decay: float = 1e-4
    l1: float | None = None
    l1_total: float = 2.0
    beta: float = 1.0

    def begin(self, plan: Plan, x: Tensor) -> None:
        self._l1 = self.l1_total / plan.rate_sum if self.l1 is None else self.l1

    def readings(self) -> dict[str, float]:
        return {"l1": self._l1}

    def start(self, x: Tensor) -> Parameters:
        return pilot_factors(x, self.beta)

    def decays(self) -> tuple[Tensor | float, ...]:
        return self.weight_decay, self.weight_decay

    def penalize(self, parameters: Parameters, gradients: Parameters) -> None:
        gradients[0].add_(torch.sign(parameters[0]), alpha=self._l1)

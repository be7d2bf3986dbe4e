"""L1 on the plain weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gpu_bench.methods.base import Grid, Parameters, Plan, around
from gpu_bench.methods.dense import Dense

__all__ = ["Lasso"]


@dataclass(eq=False)
class Lasso(Dense):
    """x = x with the penalty λ‖x‖₁, by its subgradient λ sign(x) (0 at 0).

    SGD on it leaves no exact zeros: weights rattle around 0 within ηλ/(1 − momentum).

    Parameters
    ----------
    l1 : float, optional
        λ ≥ 0; None takes `l1_total` / rate_sum, so that runs of any length shrink alike.
    l1_total : float
        λ Σ η/(1 − momentum): how far the penalty alone moves a weight (units of x).
    """

    grid: ClassVar[Grid] = around(lr=(0.1, 0.2, 0.05), l1_total=(1.0, 2.0, 0.5))

    l1: float | None = None
    l1_total: float = 1.0

    def begin(self, plan: Plan, x: Tensor) -> None:
        self._l1 = self.l1_total / plan.rate_sum if self.l1 is None else self.l1

    def readings(self) -> dict[str, float]:
        return {"l1": self._l1}

    def penalize(self, parameters: Parameters, gradients: Parameters) -> None:
        gradients[0].add_(torch.sign(parameters[0]), alpha=self._l1)

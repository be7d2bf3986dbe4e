"""L1 on the plain weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gpu_bench.methods.base import Grid, Look, Parameters, Tensor, around
from gpu_bench.methods.dense import Dense
from mirrorflow import colours

__all__ = ["Lasso"]


@dataclass(frozen=True)
class Lasso(Dense, name="lasso"):
    """L1 on the plain weights, λ‖x‖₁, by its subgradient λ sign(x) (0 at 0).

    No other decay: L1 alone is what spred is compared with. SGD on it leaves no exact zeros,
    weights rattle around 0 within ηλ/(1 − momentum).
    """

    look: ClassVar[Look] = Look(colours.METHODS["lasso"], "-.", "^")
    grid: ClassVar[Grid] = around(lr=(0.1, 0.2, 0.05), total=(1.0, 2.0, 0.5))

    total: float = 1.0
    """λ Σ η/(1 − momentum), which sets λ: how far the penalty alone moves a weight over the run
    (units of x)."""

    @property
    def l1(self) -> float:
        """λ."""
        return self.total / self.plan.rate_sum

    def decays(self) -> tuple[Tensor | float, ...]:
        return (0.0,)

    def readings(self) -> dict[str, float]:
        return {"l1": self.l1}

    def penalize(self, parameters: Parameters, gradients: Parameters) -> None:
        gradients[0].add_(parameters[0].sign(), alpha=self.l1)

"""spred (Ziyin & Wang 2023): m ⊙ w from the balanced start, constant weight decay on both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from gpu_bench.methods.base import Grid, Parameters, Plan, Strength, around
from gpu_bench.methods.product import Product
from mirrorflow.pilot import balanced_factors

__all__ = ["Spred"]


@dataclass(eq=False)
class Spred(Product):
    """x = m ⊙ w, |m₀| = |w₀|, penalty α(‖m‖² + ‖w‖²): in torch's terms weight_decay = 2α.

    With α constant this is L1 with λ = 2α on x, and the sign of every weight is fixed in
    continuous time (steps of finite size can cross it).

    Parameters
    ----------
    alpha : float, optional
        α ≥ 0; if None it follows from `total`.
    total : float
        A = Σ η_k α/(1 − momentum) over the run.
    """

    grid: ClassVar[Grid] = around(lr=(0.2, 0.1, 0.4), total=(3.0, 6.0, 1.5))

    alpha_initial: float | None = None
    total: float = 3.0

    def begin(self, plan: Plan, x: Tensor) -> None:
        alpha = self.alpha_initial
        if alpha is None:
            alpha = self.total / plan.rate_sum
        self._strength = Strength(alpha, factor=2.0)
        self._strength.to(x)

    def start(self, x: Tensor) -> Parameters:
        return balanced_factors(x)

    def decays(self) -> tuple[Tensor | float, ...]:
        return self._strength.tensor, self._strength.tensor

    @property
    def alpha(self) -> float | None:
        return self._strength.value

    @property
    def imbalance(self) -> float | None:
        return 0.0

"""spred (Ziyin & Wang 2023): m ⊙ w from the balanced start, constant weight decay on both."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from gpu_bench.methods.base import Grid, Look, Parameters, Strength, around
from gpu_bench.methods.product import Product

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Spred"]


@dataclass(frozen=True)
class Spred(Product, name="spred"):
    """x = m ⊙ w, |m₀| = |w₀|, penalty α(‖m‖² + ‖w‖²): in torch's terms weight_decay = 2α.

    With α constant this is L1 with λ = 2α on x, and the sign of every weight is fixed in
    continuous time (steps of finite size can cross it).
    """

    look: ClassVar[Look] = Look("#0072B2", "--", "D")
    grid: ClassVar[Grid] = around(lr=(0.2, 0.1, 0.4), total=(3.0, 6.0, 1.5))

    total: float = 3.0
    """A = Σ ηα/(1 − momentum) over the run (no unit), which sets α."""

    @cached_property
    def _alpha(self) -> Strength:
        return Strength(self.total / self.plan.rate_sum, self.plan, factor=2.0)

    def inverse(self, x: Tensor) -> Parameters:
        from mirrorflow.pilot import balanced_factors

        return balanced_factors(x)

    def decays(self) -> tuple[Tensor | float, ...]:
        return self._alpha.tensor, self._alpha.tensor

    @property
    def alpha(self) -> float | None:
        return self._alpha.value

    @property
    def imbalance(self) -> float | None:
        return 0.0

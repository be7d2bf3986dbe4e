"""spred (Ziyin & Wang 2023): m ⊙ w from the balanced start, constant weight decay on both."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar

from gpu_bench.methods.base import Grid, Look, Parameters, Strength, around
from gpu_bench.methods.product import Product
from mirrorflow.checks import InputError
from mirrorflow.runs.flags import described

if TYPE_CHECKING:
    from torch import Tensor

    from mirrorflow.checks import Array

__all__ = ["Spred"]

TOTAL = 3.0


@dataclass(frozen=True)
class Spred(Product, name="spred"):
    """x = m ⊙ w, |m₀| = |w₀|, penalty α(‖m‖² + ‖w‖²): in torch's terms weight_decay = 2α.

    With α constant this is L1 with λ = 2α on x, and the sign of every weight is fixed in
    continuous time (steps of finite size can cross it).
    """

    look: ClassVar[Look] = Look("#0072B2", "--", "D")
    grid: ClassVar[Grid] = around(lr=(0.2, 0.1, 0.4), total=(3.0, 6.0, 1.5))

    decayed: ClassVar[bool] = True

    total: Annotated[float | None, described("3, or what the steps allow")] = None
    """A over the run (no unit), which sets α: where there is no gradient m² − w² falls by e^(−4A).
    Momentum limits how fast: docs/total_decay.md."""

    @cached_property
    def _alpha(self) -> Strength:
        return Strength(self.constant_alpha(), self.plan, factor=2.0)

    def constant_alpha(self) -> float:
        """Return the first α. A tuned total is lowered to what the steps allow."""
        from mirrorflow.pilot import alpha_for_total, largest_total

        rates, momentum = self.plan.rates, self.plan.momentum
        wanted = TOTAL if self.total is None else self.total
        return alpha_for_total(largest_total(rates, momentum, at_most=wanted), rates, momentum)

    def check_steps(self, rates: Array, momentum: float) -> None:
        from mirrorflow.pilot import alpha_for_total

        if self.total is not None:
            try:
                alpha_for_total(self.total, rates, momentum)
            except InputError as error:
                raise InputError(str(error).replace("total", self.flag("total"), 1)) from None

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

"""x = m ⊙ w, shared by PILoT, spred and L1 on m."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

from gpu_bench.methods.base import Grid, Method, Parameters, Strength, Tensor, around
from mirrorflow.checks import Array, InputError
from mirrorflow.runs.flags import described

__all__ = ["Decayed", "Product"]

TOTAL = 3.0


class Product(Method):
    """x = m ⊙ w:  ∂m = w ⊙ ∂x,  ∂w = m ⊙ ∂x."""

    learning_rate: ClassVar[float] = 0.2

    def weight(self, *parameters: Tensor) -> Tensor:
        m, w = parameters
        return m * w

    def gradients(self, parameters: Parameters, gradient: Tensor) -> Parameters:
        m, w = parameters
        return gradient * w, gradient * m


@dataclass(frozen=True)
class Decayed(Product):
    """x = m ⊙ w with the penalty α(‖m‖² + ‖w‖²): in torch's terms weight_decay = 2α."""

    grid: ClassVar[Grid] = around(lr=(0.2, 0.1, 0.4), total=(3.0, 6.0, 1.5))

    decayed: ClassVar[bool] = True

    total: Annotated[float | None, described("3, or what the steps allow")] = None
    """A over the run if α stays (no unit), which sets the first α: where there is no gradient
    m² − w² falls by e^(−4A). Momentum limits how fast: docs/total_decay.md."""

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

    def decays(self) -> tuple[Tensor | float, ...]:
        return self._alpha.tensor, self._alpha.tensor

    @property
    def alpha(self) -> float | None:
        return self._alpha.value

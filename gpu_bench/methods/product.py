"""x = m ⊙ w, shared by PILoT, spred and L1 on m."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from gpu_bench.methods.base import Grid, Method, Parameters, Strength, Tensor, around
from mirrorflow.checks import Array, InputError
from mirrorflow.runs.flags import described

if TYPE_CHECKING:
    from mirrorflow.runs.store import Row

__all__ = ["Decayed", "Product"]

TOTAL = 3.0
LARGEST = 100.0  # that `mirrorflow.pilot` takes


@cache
def _possible(total: float, rates: bytes, momentum: float) -> float:
    """Return the total, or the largest that these steps can do, down to three digits."""
    from mirrorflow.pilot import largest_total

    largest = largest_total(np.frombuffer(rates), momentum, at_most=min(total, LARGEST))
    return total if largest == total else float(f"{0.995 * largest:.3g}")


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

    @classmethod
    def possible(cls, setting: Mapping[str, float], rates: Array, momentum: float) -> Row:
        known = (
            {"total": _possible(setting["total"], rates.tobytes(), momentum)} if rates.size else {}
        )
        return {**setting, **known}

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

"""x = m ⊙ w, shared by PILoT, spred and L1 on m."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from gpu_bench.methods.base import Grid, Method, Parameters, Strength, Tensor, around

__all__ = ["Decayed", "Product"]


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

    total: float = 3.0
    """A = Σ ηα/(1 − momentum) over the run, if α stays (no unit); it sets the first α."""

    @cached_property
    def _alpha(self) -> Strength:
        return Strength(self.total / self.plan.rate_sum, self.plan, factor=2.0)

    def decays(self) -> tuple[Tensor | float, ...]:
        return self._alpha.tensor, self._alpha.tensor

    @property
    def alpha(self) -> float | None:
        return self._alpha.value

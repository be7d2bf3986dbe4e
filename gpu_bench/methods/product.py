"""x = m ⊙ w, shared by PILoT, spred and L1 on m."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gpu_bench.methods.base import Method, Parameters

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Product"]


class Product(Method):
    """x = m ⊙ w:  ∂m = w ⊙ ∂x,  ∂w = m ⊙ ∂x."""

    learning_rate: ClassVar[float] = 0.2

    def weight(self, *parameters: Tensor) -> Tensor:
        m, w = parameters
        return m * w

    def gradients(self, parameters: Parameters, gradient: Tensor) -> Parameters:
        m, w = parameters
        return gradient * w, gradient * m

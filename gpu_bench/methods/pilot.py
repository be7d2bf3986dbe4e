"""PILoT (Algorithm 1): m ⊙ w from an unbalanced start, its decay moved by a controller."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from gpu_bench.methods.base import Look, Parameters, Ranges, Tensor
from gpu_bench.methods.product import Decayed
from mirrorflow import colours

if TYPE_CHECKING:
    from mirrorflow.pilot import Controller

__all__ = ["Pilot"]


@dataclass(frozen=True)
class Pilot(Decayed, name="pilot"):
    """x = m ⊙ w, m₀² − w₀² = β, penalty α(‖m‖² + ‖w‖²) with α moved after every epoch."""

    look: ClassVar[Look] = Look(colours.METHODS["pilot"], "-", "s")
    ranges: ClassVar[Ranges] = {
        "beta": (0.0, 1e30),
        "swing": (1.0, 1e30),
        "threshold": (0.0, math.inf),
    }

    beta: float = 1.0
    """β = m₀² − w₀² (units of x); 0 starts with |m| = |w|, the paper's ablation."""
    swing: float = 2.11
    """What T/2 risings multiply α by, so that δ = swing^(2/T); the paper's δ = 1.01 over 150
    epochs is 2.11, and 1 keeps α constant."""
    threshold: float = 0.0
    """K as a fraction of the initial ‖x‖₁: α rises only while ‖m ⊙ w‖₁ ≥ K; 0 never stops it."""

    @cached_property
    def _controller(self) -> Controller:
        from mirrorflow.pilot import Controller

        plan = self.plan
        delta = self.swing ** (2.0 / plan.epochs)
        K = self.threshold * plan.norm if self.threshold else 0.0
        return Controller(self._alpha.value, K, plan.epochs, delta)

    def inverse(self, x: Tensor) -> Parameters:
        from mirrorflow.pilot import balanced_factors, pilot_factors

        return pilot_factors(x, self.beta) if self.beta else balanced_factors(x)

    def after_epoch(self, epoch: int, accuracy: float, norm: float) -> None:
        self._alpha.set(self._controller.step(accuracy, norm))

    @property
    def imbalance(self) -> float | None:
        return self.beta

    def readings(self) -> dict[str, float]:
        return {"delta": self._controller.delta, "threshold": self._controller.threshold}

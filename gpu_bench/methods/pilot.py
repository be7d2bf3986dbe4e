"""PILoT (Algorithm 1): m ⊙ w from an unbalanced start, its decay moved by a controller."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gpu_bench.methods.base import Parameters, Plan
from gpu_bench.methods.spred import Spred
from mirrorflow.pilot import Controller, balanced_factors, pilot_factors

__all__ = ["Pilot"]


@dataclass(eq=False)
class Pilot(Spred):
    """x = m ⊙ w, m₀² − w₀² = β, penalty α_k(‖m‖² + ‖w‖²) with α_k from `Controller`.

    Parameters
    ----------
    alpha_initial, total : float
        α of the first epoch, or the A that it would give if it stayed: see `Spred`.
    init : {"pilot", "balanced"}
        The paper's ablation is "balanced".
    beta : float
        β > 0 ("pilot" only).
    controller : bool
        False keeps α constant.
    delta : float, optional
        δ ≥ 1; None takes swing^{2/T}, with which T/2 risings reach `swing` times α_init. The
        paper's 1.01 over 150 epochs is a swing of 2.11.
    threshold : float, optional
        K, absolute; None takes threshold_fraction · ‖x_init‖₁.
    """

    init: Literal["pilot", "balanced"] = "pilot"
    beta: float = 1.0
    controller: bool = True
    delta: float | None = None
    swing: float = 2.11
    threshold: float | None = None
    threshold_fraction: float = 0.0

    def begin(self, plan: Plan, x: Tensor) -> None:
        super().begin(plan, x)
        norm = float(torch.linalg.vector_norm(x, 1))
        delta = self.swing ** (2.0 / plan.epochs) if self.delta is None else self.delta
        K = self.threshold_fraction * norm if self.threshold is None else self.threshold
        self._controller = Controller(
            self._strength.value, K, plan.epochs, delta if self.controller else 1.0
        )

    def start(self, x: Tensor) -> Parameters:
        return pilot_factors(x, self.beta) if self.init == "pilot" else balanced_factors(x)

    def after_epoch(self, epoch: int, accuracy: float, norm: float) -> None:
        self._strength.set(self._controller.step(accuracy, norm))

    @property
    def imbalance(self) -> float | None:
        return self.beta if self.init == "pilot" else 0.0

    def readings(self) -> dict[str, float]:
        threshold = self._controller.threshold
        return {"delta": self._controller.delta, "threshold": min(threshold, math.inf)}

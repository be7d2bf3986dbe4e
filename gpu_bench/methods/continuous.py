"""Continuous sparsification (Savarese et al. 2021): a sigmoid mask that hardens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gpu_bench.methods.base import Grid, Method, Parameters, Plan, Strength, around

__all__ = ["Continuous"]


@dataclass(eq=False)
class Continuous(Method):
    """x = θ σ(τs)/σ(s₀), τ rising geometrically from 1 to `temperature`; start θ₀ = x, s = s₀.

    ∂θ = σ(τs) ∂x/σ(s₀),  ∂s = τ σ(τs)(1 − σ(τs)) θ ∂x/σ(s₀); further penalty λ Σ σ(τs). At the
    end the mask is hard: x = θ [s > 0]/σ(s₀).

    Parameters
    ----------
    weight_decay : float
        Of θ; s has none.
    mask_start : float
        s₀; more of the mask opens where it is larger.
    mask_l1 : float, optional
        λ ≥ 0; None takes `mask_l1_total` / rate_sum, so that runs of any length shrink alike.
    mask_l1_total : float
        λ Σ η/(1 − momentum).
    mask_rate : float
        Learning rate of s relative to η. A short run has to raise it: where |s|τ stays small at
        the end, the hard mask is another network than the trained one.
    temperature : float
        τ of the last epoch, ≥ 1.
    """

    grid: ClassVar[Grid] = around(lr=(0.1, 0.2, 0.05), mask_l1_total=(5e-3, 1e-2, 2e-3))

    weight_decay: float = 1e-4
    mask_start: float = 0.0
    mask_l1: float | None = None
    mask_l1_total: float = 5e-3
    mask_rate: float = 10.0
    temperature: float = 200.0

    def begin(self, plan: Plan, x: Tensor) -> None:
        self._epochs = plan.epochs
        self._l1 = self.mask_l1_total / plan.rate_sum if self.mask_l1 is None else self.mask_l1
        self._tau = Strength(1.0)
        self._tau.to(x)
        self._scale = 1.0 + math.exp(-self.mask_start)  # 1/σ(s₀)

    def start(self, x: Tensor) -> Parameters:
        return x.clone(), torch.full_like(x, self.mask_start)

    def weight(self, *parameters: Tensor) -> Tensor:
        theta, s = parameters
        return theta * torch.sigmoid(self._tau.tensor * s) * self._scale

    def gradients(self, parameters: Parameters, gradient: Tensor) -> Parameters:
        theta, s = parameters
        mask = torch.sigmoid(self._tau.tensor * s)
        by_theta = mask * gradient * self._scale
        return by_theta, by_theta * theta * (1.0 - mask) * self._tau.tensor

    def decays(self) -> tuple[Tensor | float, ...]:
        return self.weight_decay, 0.0

    def penalize(self, parameters: Parameters, gradients: Parameters) -> None:
        mask = torch.sigmoid(self._tau.tensor * parameters[1])
        slope = mask * (1.0 - mask) * self._tau.tensor
        gradients[1].add_(slope, alpha=self._l1).mul_(self.mask_rate)

    def after_epoch(self, epoch: int, accuracy: float, norm: float) -> None:
        # epoch 1 trains at τ = 1, epoch T at the full temperature
        if epoch < self._epochs:
            self._tau.set(self.temperature ** (epoch / (self._epochs - 1)))

    def fold(self, *parameters: Tensor) -> Tensor:
        theta, s = parameters
        return theta * (s > 0) * self._scale

    def readings(self) -> dict[str, float]:
        return {"tau": self._tau.value, "mask_l1": self._l1}

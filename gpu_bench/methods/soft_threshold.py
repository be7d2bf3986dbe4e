"""STR (Kusupati et al. 2020): soft thresholds that are learned, one per layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gpu_bench.methods.base import Grid, Method, Parameters, Plan, around

__all__ = ["SoftThreshold"]


@dataclass(eq=False)
class SoftThreshold(Method):
    """x = sign(θ) relu(|θ| − σ(s)), one scalar s per layer, start θ₀ = x, s = s₀.

    Where |θ| > σ(s): ∂θ = ∂x and ∂s = −σ(s)(1 − σ(s)) Σ sign(θ) ∂x over the layer; elsewhere 0.
    While σ(s) ≈ 0 nothing but its decay moves s, from s₀ to s₀ e^{−decay·rate_sum}: the decay must
    grow like 1/Σ η for shorter runs, or the network never becomes sparse.

    Parameters
    ----------
    weight_decay : float
        Ordinary decay of θ.
    str_start : float
        s₀ < 0; σ(−8) = 3e-4 is far below any useful weight.
    str_total : float
        decay of s times rate_sum.
    """

    grid: ClassVar[Grid] = around(lr=(0.1, 0.2, 0.05), str_total=(3.0, 4.0, 2.0))

    weight_decay: float = 1e-4
    str_start: float = -8.0
    str_total: float = 3.0

    def begin(self, plan: Plan, x: Tensor) -> None:
        self._sizes = plan.sizes
        self._decay = self.str_total / plan.rate_sum
        sizes = torch.tensor(plan.sizes, device=x.device)
        # where each weight's scalar stands: a gather is one kernel, a loop over layers many
        self._layer = torch.repeat_interleave(sizes, output_size=x.numel())

    def start(self, x: Tensor) -> Parameters:
        return x.clone(), x.new_full((len(self._sizes),), self.str_start)

    def weight(self, *parameters: Tensor) -> Tensor:
        theta, s = parameters
        threshold = torch.sigmoid(s)[self._layer]
        return torch.copysign(torch.relu(theta.abs() - threshold), theta)

    def gradients(self, parameters: Parameters, gradient: Tensor) -> Parameters:
        theta, s = parameters
        sigma = torch.sigmoid(s)
        active = torch.where(theta.abs() > sigma[self._layer], gradient, 0.0)
        # summed layer by layer, in a fixed order: scattered additions are not on a GPU
        sums = torch.stack([part.sum() for part in (active * theta.sign()).split(self._sizes)])
        return active, -sums * sigma * (1.0 - sigma)

    def decays(self) -> tuple[Tensor | float, ...]:
        return self.weight_decay, self._decay

    def readings(self) -> dict[str, float]:
        return {"str_decay": self._decay}

"""STR (Kusupati et al. 2020): soft thresholds that are learned, one per layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from gpu_bench.methods.base import Grid, Look, Method, Parameters, Ranges, Tensor, around
from mirrorflow import colours

__all__ = ["SoftThreshold"]


@dataclass(frozen=True)
class SoftThreshold(Method, name="str"):
    """x = sign(θ) relu(|θ| − σ(s)), one scalar s per layer, start θ₀ = x, s = s₀.

    Where |θ| > σ(s): ∂θ = ∂x and ∂s = −σ(s)(1 − σ(s)) Σ sign(θ) ∂x over the layer; elsewhere 0.
    While σ(s) ≈ 0 nothing but its decay moves s, from s₀ to s₀ e^{−decay·rate_sum}: the decay must
    grow like 1/Σ η for shorter runs, or the network never becomes sparse.
    """

    look: ClassVar[Look] = Look(colours.METHODS["str"], (0, (3, 1, 1, 1)), "P")
    exact: ClassVar[bool] = True
    grid: ClassVar[Grid] = around(lr=(0.1, 0.2, 0.05), total=(3.0, 4.0, 2.0))
    original: ClassVar[dict[str, Any]] = {"start": -100.0, "shared": True, "weight_decay": 5e-4}
    ranges: ClassVar[Ranges] = {"start": (-1e4, 0.0)}

    start: float = -8.0
    """s₀: thresholds start at σ(s₀) (units of x); σ(−8) = 3e-4 is far below any useful weight."""
    total: float = 3.0
    """Decay of s times Σ η/(1 − momentum): without gradient s ends at s₀ e^(−total)."""
    shared: bool = False
    """One decay for θ, s and all else, --weight-decay, as in the authors' code: there it sets the
    sparsity, and the total has no effect."""

    @classmethod
    def strength(cls, options: Mapping[str, Any]) -> str:
        return "weight_decay" if options["shared"] else super().strength(options)

    @property
    def _decay(self) -> float:
        return self.plan.weight_decay if self.shared else self.total / self.plan.rate_sum

    @cached_property
    def _layer(self) -> Tensor:
        """Where each weight's scalar stands: a gather is one kernel, a loop over layers many."""
        import torch

        sizes = torch.tensor(self.plan.sizes, device=self.plan.like.device)
        return torch.repeat_interleave(sizes, output_size=sum(self.plan.sizes))

    def inverse(self, x: Tensor) -> Parameters:
        return x.clone(), x.new_full((len(self.plan.sizes),), self.start)

    def weight(self, *parameters: Tensor) -> Tensor:
        theta, s = parameters
        return (theta.abs() - s.sigmoid()[self._layer]).relu().copysign(theta)

    def gradients(self, parameters: Parameters, gradient: Tensor) -> Parameters:
        import torch

        theta, s = parameters
        sigma = s.sigmoid()
        active = gradient.where(theta.abs() > sigma[self._layer], 0.0)
        # summed layer by layer, in a fixed order: scattered additions are not on a GPU
        parts = (active * theta.sign()).split(self.plan.sizes)
        return active, -torch.stack([part.sum() for part in parts]) * sigma * (1.0 - sigma)

    def decays(self) -> tuple[Tensor | float, ...]:
        return self.plan.weight_decay, self._decay

    def readings(self) -> dict[str, float]:
        return {"str_decay": self._decay}

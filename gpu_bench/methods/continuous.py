"""Continuous sparsification (Savarese et al. 2021): a sigmoid mask that hardens."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from gpu_bench.methods.base import Grid, Look, Method, Parameters, Ranges, Strength, Tensor, around
from mirrorflow import colours

__all__ = ["Continuous"]

SHORTCUTS = re.compile("shortcut|downsample")  # in the names of layers
OPEN = 1e4  # s of a weight without a mask: its sigmoid is 1, and has no slope


@dataclass(frozen=True)
class Continuous(Method, name="continuous"):
    """x = θ σ(τs)/σ(s₀), τ rising geometrically from 1 to the temperature; start θ₀ = x, s = s₀.

    ∂θ = σ(τs) ∂x/σ(s₀),  ∂s = τ σ(τs)(1 − σ(τs)) θ ∂x/σ(s₀); further penalty λ Σ σ(τs)/σ(s₀). θ
    has ordinary weight decay, s has none. At the end the mask is hard: x = θ [s > 0]/σ(s₀).
    """

    look: ClassVar[Look] = Look(colours.METHODS["continuous"], ":", "X")
    exact: ClassVar[bool] = True
    grid: ClassVar[Grid] = around(lr=(0.1, 0.2, 0.05), total=(2.5e-3, 5e-3, 1e-3))
    # λ = 1e-8 over the authors' 85 epochs, where Σ η/(1 − momentum) is 2.25e4
    original: ClassVar[dict[str, Any]] = {"total": 2.25e-4, "rate": 1.0, "plain": True}
    ranges: ClassVar[Ranges] = {"start": (-50.0, 50.0), "temperature": (1.0, 1e30)}

    start: float = 0.0
    """s₀: every mask starts at σ(s₀); more of it opens where s₀ is larger."""
    total: float = 2.5e-3
    """λ Σ η/(1 − momentum), which sets λ."""
    rate: float = 10.0
    """Learning rate of s, relative to η. A short run has to raise it: where |s|τ stays small at
    the end, the hard mask is another network than the trained one."""
    temperature: float = 200.0
    """τ in the last epoch; 1 in the first, geometric between."""
    plain: bool = False
    """Leave shortcuts and the last layer without a mask, as in the authors' code."""

    @property
    def _l1(self) -> float:
        return self.total / self.plan.rate_sum

    @cached_property
    def _tau(self) -> Strength:
        return Strength(1.0, self.plan)

    @cached_property
    def _scale(self) -> Tensor | float:
        """1/σ(s₀), and 1 for a weight without a mask."""
        scale = 1.0 + math.exp(-self.start)
        if not self.plain:
            return scale
        return self.plan.like.new_tensor([1.0, scale])[self._masked]

    @cached_property
    def _masked(self) -> Tensor:
        """1 for a weight with a mask, 0 for one in a layer that is left plain."""
        names = list(self.plan.layers)
        plain = [name == names[-1] or bool(SHORTCUTS.search(name)) for name in names]
        flags = self.plan.like.new_tensor([not one for one in plain]).long()
        sizes = flags.new_tensor(self.plan.sizes)
        return flags.repeat_interleave(sizes)

    def inverse(self, x: Tensor) -> Parameters:
        s = x.new_full(x.shape, self.start)
        if self.plain:
            s[self._masked == 0] = OPEN
        return x.clone(), s

    def weight(self, *parameters: Tensor) -> Tensor:
        theta, s = parameters
        return theta * (self._tau.tensor * s).sigmoid() * self._scale

    def gradients(self, parameters: Parameters, gradient: Tensor) -> Parameters:
        theta, s = parameters
        mask = (self._tau.tensor * s).sigmoid()
        by_theta = mask * gradient * self._scale
        return by_theta, by_theta * theta * (1.0 - mask) * self._tau.tensor

    def decays(self) -> tuple[Tensor | float, ...]:
        return self.plan.weight_decay, 0.0

    def penalize(self, parameters: Parameters, gradients: Parameters) -> None:
        mask = (self._tau.tensor * parameters[1]).sigmoid()
        derivative = mask * (1.0 - mask) * self._tau.tensor * self._scale
        gradients[1].add_(derivative, alpha=self._l1).mul_(self.rate)

    def after_epoch(self, epoch: int, accuracy: float, norm: float) -> None:
        # epoch 1 trains at τ = 1, epoch T at the full temperature
        if epoch < self.plan.epochs:
            self._tau.set(self.temperature ** (epoch / (self.plan.epochs - 1)))

    def fold(self, *parameters: Tensor) -> Tensor:
        theta, s = parameters
        return theta * (s > 0) * self._scale

    def readings(self) -> dict[str, float]:
        return {"tau": self._tau.value, "mask_l1": self._l1}

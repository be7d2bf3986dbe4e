"""RigL (Evci et al. 2020): sparse from the start to the end, with a mask that moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from gpu_bench.methods.base import Grid, Look, Method, Parameters, Ranges, Tensor, around
from mirrorflow import colours

__all__ = ["Rigl"]

STOP = 0.75  # of the steps, after which the mask stays


@dataclass(frozen=True)
class Rigl(Method, name="rigl"):
    """x = M ⊙ θ with a mask M, at the start random with Erdős–Rényi-kernel layer densities.

    After every `interval`-th of the first ¾ of the T steps each layer lets go a share f of its
    weights, the smallest |θ|, and takes up as many where |∂x| is largest, by the dense gradient of
    that step: f = ½ fraction (1 + cos(πt/(¾T))). New weights and their velocity are 0; what was let
    go may come back at once. M is kept like a parameter, so checkpoints and cycles have it.
    """

    look: ClassVar[Look] = Look(colours.METHODS["rigl"], (0, (4, 2)), "<")
    grid: ClassVar[Grid] = around(lr=(0.1, 0.2, 0.05), sparsity=(0.9, 0.95, 0.8))
    exact: ClassVar[bool] = True
    ranges: ClassVar[Ranges] = {
        "sparsity": (0.0, 0.9999),
        "fraction": (0.0, 1.0),
        "interval": (1.0, 1e9),
    }

    sparsity: float = 0.9
    """Fraction of zeros, the same from the first step to the last."""
    fraction: float = 0.3
    """Share of each layer's weights that moves at first."""
    interval: int = 100
    """ΔT: steps from one move to the next."""

    @cached_property
    def _start(self) -> list[Tensor]:
        """The mask of each layer at the start; weights are numbered as they lie in memory."""
        from gpu_bench.initial_masks import erk_densities, random_masks

        sizes = zip(self.plan.layers, self.plan.sizes, strict=True)
        layers = {name: self.plan.like.new_empty(size) for name, size in sizes}
        densities = erk_densities(self.plan.layers, self.sparsity)
        return [*random_masks("rigl", layers, densities, self.sparsity, self.seed).values()]

    @cached_property
    def _counts(self) -> list[int]:
        return [int(mask.sum()) for mask in self._start]

    def inverse(self, x: Tensor) -> Parameters:
        import torch

        mask = torch.cat(self._start).to(x)
        return x * mask, mask

    def weight(self, *parameters: Tensor) -> Tensor:
        theta, mask = parameters
        return theta * mask

    def gradients(self, parameters: Parameters, gradient: Tensor) -> Parameters:
        mask = parameters[1]
        return gradient * mask, mask.new_zeros(mask.shape)

    def decays(self) -> tuple[Tensor | float, ...]:
        return self.plan.weight_decay, 0.0

    def between_steps(
        self, step: int, parameters: Parameters, velocities: Sequence[Tensor], gradient: Tensor
    ) -> bool:
        (theta, mask), last = parameters, STOP * len(self.plan.rates)
        if step % self.interval or step > last:
            return False
        share = 0.5 * self.fraction * (1.0 + math.cos(math.pi * step / last))
        vectors = (vector.split(self.plan.sizes) for vector in (mask, theta, gradient))
        for count, old, weight, grad in zip(self._counts, *vectors, strict=True):
            moved = int(share * count)
            stay = weight.abs().where(old > 0, -1.0).topk(count - moved).indices
            kept = old.new_zeros(old.shape).scatter_(0, stay, 1.0)
            grown = grad.abs().where(kept == 0, -1.0).topk(moved).indices
            old.copy_(kept.scatter_(0, grown, 1.0))
        theta.mul_(mask)
        velocities[0].mul_(mask)
        return True

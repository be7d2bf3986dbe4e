"""spred (Ziyin & Wang 2023): m ⊙ w with constant weight decay on both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from gpu_bench.methods.base import Look, Parameters, Tensor
from gpu_bench.methods.product import Decayed
from mirrorflow import colours

__all__ = ["Spred"]


@dataclass(frozen=True)
class Spred(Decayed, name="spred"):
    """x = m ⊙ w, |m₀| = |w₀|, penalty α(‖m‖² + ‖w‖²): in torch's terms weight_decay = 2α.

    With α constant this is L1 with λ = 2α on x, and the sign of every weight is fixed in
    continuous time (steps of finite size can cross it).
    """

    look: ClassVar[Look] = Look(colours.METHODS["spred"], "--", "D")
    original: ClassVar[dict[str, Any]] = {"init": "independent"}

    init: Literal["balanced", "independent"] = "balanced"
    """|m₀| = |w₀|; or, as in the authors' code, w₀ the initial weights and m₀ drawn apart from
    them, uniform within 1/√fan_in: the network starts at m₀ ⊙ w₀, and signs can change."""

    def inverse(self, x: Tensor) -> Parameters:
        from mirrorflow.pilot import balanced_factors

        return balanced_factors(x) if self.init == "balanced" else (self._random(x), x.clone())

    def _random(self, x: Tensor) -> Tensor:
        import torch

        from mirrorflow.problems import random_stream

        bounds = [1.0 / math.sqrt(math.prod(shape[1:])) for shape in self.plan.layers.values()]
        stream = random_stream("spred", self.seed)
        uniform = torch.from_numpy(stream.uniform(-1.0, 1.0, len(x)))
        parts = uniform.split(self.plan.sizes)
        return torch.cat([b * part for b, part in zip(bounds, parts, strict=True)]).to(x)

    @property
    def imbalance(self) -> float | None:
        return 0.0 if self.init == "balanced" else None

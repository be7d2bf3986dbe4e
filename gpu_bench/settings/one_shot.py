"""Flags of one-shot sparsification."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from gpu_bench.settings.base import Setting, check_sparsities, described
from mirrorflow.results import Row

__all__ = ["OneShot"]


@dataclass(frozen=True)
class OneShot(Setting):
    """One-shot sparsification: train with each method, cut the smallest weights, read accuracy.

    Without flags: scikit-learn's digits, ResNet-20, dense + spred + pilot, 3 seeds.
    """

    protocol: ClassVar[str] = "one-shot"

    sparsities: Annotated[tuple[float, ...] | None, described("1 − 0.8^k, k = 1…25")] = None
    """Fractions of the prunable weights to set to zero, each in [0, 1)."""

    def variants(self) -> Iterator[Row]:
        from gpu_bench import masks

        chosen = masks.SPARSITIES if self.sparsities is None else self.sparsities
        yield {"sparsities": sorted({float(sparsity) for sparsity in chosen})}

    def check(self) -> None:
        super().check()
        if self.sparsities is not None:
            check_sparsities("--sparsities", self.sparsities)

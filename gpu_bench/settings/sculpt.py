"""Flags of SCULPT-ing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from gpu_bench.settings.base import check_sparsities, described
from gpu_bench.settings.cyclic import Masked
from mirrorflow.checks import InputError, whole
from mirrorflow.results import Row

__all__ = ["Sculpt"]


@dataclass(frozen=True)
class Sculpt(Masked):
    """SCULPT-ing (Gadhikar et al. 2024): cyclic training, one cut to the target, one more cycle.

    Without flags: scikit-learn's digits, ResNet-20, dense + pilot, an ERK mask with 50 % zeros,
    3 cycles, a cut to 90 % zeros and a last cycle.
    """

    protocol: ClassVar[str] = "sculpt"

    start_sparsity: Annotated[float, described("0.5; of --mask-file, its own")] = 0.5
    """Fraction of zeros in the mask at initialisation, in [0, 1)."""
    sparsities: Annotated[tuple[float, ...], described("0.9", "--sparsity", "--target")] = (0.9,)
    """Fractions of zeros after the cut, at least the start's; one run for each."""
    cycles: int = 3
    """Number of trainings before the cut; one more follows it."""

    def variants(self) -> Iterator[Row]:
        for start in self.starts():
            for sparsity in sorted(set(self.sparsities)):
                yield {
                    **start,
                    "start_sparsity": None if start["mask"] == "file" else self.start_sparsity,
                    "target_sparsity": sparsity,
                    "cycles": self.cycles + 1,
                    "carry": self.carry,
                }

    def check(self) -> None:
        super().check()
        whole("--cycles", self.cycles, 1, 1000)
        check_sparsities("--start-sparsity", (self.start_sparsity,))
        check_sparsities("--sparsities", self.sparsities)
        for target in self.sparsities:
            if self.mask_file is None and target < self.start_sparsity:
                raise InputError(
                    f"--sparsities must be at least --start-sparsity {self.start_sparsity}, but "
                    f"one is {target}."
                )

"""Flags of SCULPT-ing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from gpu_bench.settings.cyclic import Masked
from gpu_bench.sparsities import check_sparsities
from mirrorflow.checks import InputError, whole
from mirrorflow.runs.store import Row
from mirrorflow.runs.study import described

__all__ = ["Sculpt"]


@dataclass(frozen=True)
class Sculpt(
    Masked, name="sculpt", about="cyclic training, one cut to the target, one more training"
):
    """SCULPT-ing (Gadhikar et al. 2024): cyclic training, one cut to the target, one more cycle.

    Without flags: scikit-learn's digits, ResNet-20, dense + pilot, an ERK mask with 50 % zeros,
    3 cycles, a cut to 90 % zeros and a last cycle.
    """

    protocol: ClassVar[str] = "sculpt"
    of_masks: ClassVar[tuple[str, ...]] = ("mask", "start_sparsity")

    start_sparsity: Annotated[float | None, described("0.5; of --mask-file, its own")] = None
    """Fraction of zeros in the mask at initialisation, in [0, 1)."""
    sparsities: Annotated[tuple[float, ...], described("0.9", "--sparsity", "--target")] = (0.9,)
    """Fractions of zeros after the cut, at least the start's; one run for each."""
    out: Path = Path("results/sculpt")
    cycles: int = 3
    """Number of trainings before the cut; one more follows it."""

    @property
    def trainings(self) -> int:
        return self.cycles + 1

    @property
    def start(self) -> float | None:
        """The fraction of zeros of masks at initialisation; None where a file has its own."""
        if self.start_sparsity is None:
            return 0.5 if self.mask_file is None else None
        return self.start_sparsity

    def variants(self) -> Iterator[Row]:
        for start in self.starts():
            for sparsity in sorted(set(self.sparsities)):
                yield {
                    **start,
                    "start_sparsity": self.start,
                    "target_sparsity": sparsity,
                    "cycles": self.trainings,
                    "carry": self.carry,
                }

    def check(self) -> None:
        super().check()
        whole("--cycles", self.cycles, 1, 1000)
        check_sparsities("--sparsities", self.sparsities)
        if self.start is not None:
            check_sparsities("--start-sparsity", (self.start,))
            if min(self.sparsities) < self.start:
                raise InputError(
                    f"--sparsities must be at least --start-sparsity {self.start}, but one is "
                    f"{min(self.sparsities)}."
                )

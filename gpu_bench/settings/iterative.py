"""Flags of iterative magnitude pruning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from gpu_bench.settings.cycled import Cycled
from mirrorflow.checks import InputError, whole
from mirrorflow.runs.store import Row
from mirrorflow.runs.study import described

__all__ = ["Iterative"]


@dataclass(frozen=True)
class Iterative(
    Cycled,
    name="iterative",
    about="train, cut a fifth of the weights, train again, … (IMP, WR, LRR)",
):
    """Iterative magnitude pruning: train, keep the largest weights, train again.

    Cycle c = 1, 2, … trains with a share keep^(c−1) of the prunable weights. Without flags:
    scikit-learn's digits, ResNet-20, dense + pilot, 5 cycles with learning-rate rewinding.
    """

    protocol: ClassVar[str] = "iterative"
    schedules: ClassVar[dict[str, str]] = {"cifar10": "step", "cifar100": "step"}

    variant: Annotated[tuple[Literal["imp", "wr", "lrr"], ...], described("lrr", "--variants")] = (
        "lrr",
    )
    """What a cycle starts from: the initial weights (imp), those after --rewind-epoch epochs of
    the first cycle (wr), or the last ones (lrr). The learning-rate schedule starts anew."""
    out: Path = Path("results/iterative")
    cycles: Annotated[int | None, described("25; 5 of digits")] = None
    """Number of trainings, the first of them dense."""
    keep: float = 0.8
    """Share of the weights left that a cut keeps, globally the largest."""
    rewind_epoch: Annotated[int | None, described("T/3")] = None
    """Epoch of the first cycle that wr goes back to: its weights, biases and normalisation."""
    carry: Annotated[Literal["parameters", "weights"] | None, described("parameters")] = None
    """What lrr goes on with: the method's parameters (m and w as they are), or the weights x
    alone, from which the method starts anew (m² − w² = β again)."""

    def variants(self) -> Iterator[Row]:
        epochs = self.usual("epochs")
        wr = round(epochs / 3) if self.rewind_epoch is None else self.rewind_epoch
        rewinds = {"imp": 0, "wr": wr, "lrr": None}
        for variant in dict.fromkeys(self.variant):
            yield {
                "variant": variant,
                "cycles": self.trainings,
                "keep": self.keep,
                "rewind_epoch": rewinds[variant],
                "carry": (self.carry if variant == "lrr" else None) or "parameters",
            }

    @property
    def trainings(self) -> int:
        """The given one, or what is usual for the data set."""
        if self.cycles is not None:
            return self.cycles
        return 5 if self.dataset == "digits" else 25

    def belongings(self) -> Iterator[tuple[str, bool, str]]:
        yield from super().belongings()
        yield "rewind_epoch", "wr" in self.variant, "--variant has wr"
        yield "carry", "lrr" in self.variant, "--variant has lrr"

    def check(self) -> None:
        super().check()
        whole("--cycles", self.trainings, 1, 1000)
        if not 0.0 < self.keep < 1.0:
            raise InputError(f"--keep must lie in (0, 1), but it is {self.keep}.")
        if not self.variant:
            raise InputError("--variant must hold at least one entry.")
        if self.rewind_epoch is not None:
            whole("--rewind-epoch", self.rewind_epoch, 0, self.usual("epochs"))

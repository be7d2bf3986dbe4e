"""Flags that all protocols share which train in cycles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpu_bench.settings.base import Setting
from gpu_bench.settings.methods import Methods
from mirrorflow.checks import InputError

__all__ = ["Cycled"]


@dataclass(frozen=True)
class Cycled(Setting):
    """A setting whose runs train several times."""

    methods: Methods = ("dense", "pilot")
    divide: bool = False
    """Divide --epochs evenly among the cycles, so that more cycles cost no more; without, each
    cycle has them all."""

    @property
    def trainings(self) -> int:
        """Number of cycles."""
        raise NotImplementedError

    def usual(self, name: str) -> Any:
        value = super().usual(name)
        return max(value // self.trainings, 1) if name == "epochs" and self.divide else value

    def check(self) -> None:
        super().check()
        epochs = super().usual("epochs")
        if self.divide and epochs < self.trainings:
            raise InputError(
                f"--epochs must be at least the number of cycles {self.trainings} to be divided, "
                f"but it is {epochs}."
            )

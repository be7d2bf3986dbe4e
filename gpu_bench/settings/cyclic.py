"""Flags of cyclic training, and of what SCULPT-ing shares with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from gpu_bench.settings.cycled import Cycled
from gpu_bench.sparsities import check_sparsities
from mirrorflow.checks import InputError, whole
from mirrorflow.runs.store import Row
from mirrorflow.runs.study import described

__all__ = ["Cyclic", "Masked"]

Masks = tuple[Literal["random", "erk", "equal", "snip", "synflow"], ...]


@dataclass(frozen=True)
class Masked(Cycled):
    """A setting whose networks are sparse from the start."""

    of_masks: ClassVar[tuple[str, ...]]  # flags that say how a mask is made

    mask: Annotated[Masks | None, described("erk", "--masks")] = None
    """How the mask at initialisation is found: at random with the same density in every layer,
    at random with Erdős–Rényi kernel densities or with an equal number of weights in every
    layer, by SNIP, or by SynFlow."""
    mask_file: Path | None = None
    """Masks to start from instead, as this benchmark saves them (…-mask-….pt)."""
    carry: Literal["parameters", "weights"] = "parameters"
    """What a cycle goes on with: the method's parameters (m and w as they are), or the weights x
    alone, from which the method starts anew (m² − w² = β again)."""

    def starts(self) -> Iterator[Row]:
        """Yield how each kind of mask at initialisation is named in a configuration."""
        if self.mask_file is not None:
            content = self.mask_file.read_bytes()
            yield {"mask": "file", "mask_sha256": hashlib.sha256(content).hexdigest()}
        else:
            yield from (
                {"mask": name, "mask_sha256": None} for name in dict.fromkeys(self.mask or ("erk",))
            )

    def belongings(self) -> Iterator[tuple[str, bool, str]]:
        yield from super().belongings()
        for flag in self.of_masks:
            yield flag, self.mask_file is None, "--mask-file is left out"

    def check(self) -> None:
        super().check()
        if self.mask == ():
            raise InputError("--mask must hold at least one entry.")
        if self.mask_file is not None and not self.mask_file.is_file():
            raise InputError(f"--mask-file must be a file, but {self.mask_file} is none.")


@dataclass(frozen=True)
class Cyclic(Masked, name="cyclic", about="train a mask found at initialisation several times"):
    """Cyclic training (Gadhikar et al. 2024): a mask at initialisation, trained several times.

    Each cycle has a fresh optimizer and a full learning-rate schedule. Without flags:
    scikit-learn's digits, ResNet-20, dense + pilot, an ERK mask with 90 % zeros, 3 cycles.
    """

    protocol: ClassVar[str] = "cyclic"
    of_masks: ClassVar[tuple[str, ...]] = ("mask", "sparsities")

    sparsities: Annotated[
        tuple[float, ...] | None, described("0.9; of --mask-file, its own", "--sparsity")
    ] = None
    """Fractions of zeros in the masks at initialisation, each in [0, 1); one run for each."""
    out: Path = Path("results/cyclic")
    cycles: int = 3
    """Number of trainings."""

    @property
    def trainings(self) -> int:
        return self.cycles

    def variants(self) -> Iterator[Row]:
        given = (0.9,) if self.sparsities is None else self.sparsities
        for start in self.starts():
            for sparsity in (None,) if start["mask"] == "file" else sorted(set(given)):
                yield {
                    **start,
                    "start_sparsity": sparsity,
                    "target_sparsity": sparsity,
                    "cycles": self.cycles,
                    "carry": self.carry,
                }

    def check(self) -> None:
        super().check()
        whole("--cycles", self.cycles, 1, 1000)
        if self.sparsities is not None:
            check_sparsities("--sparsities", self.sparsities)

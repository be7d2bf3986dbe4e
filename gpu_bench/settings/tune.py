"""Flags of the choice of each method's learning rate and strength."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from gpu_bench.methods import Method
from gpu_bench.settings.one_shot import OneShot
from gpu_bench.sparsities import TABULATED
from mirrorflow.checks import Array, InputError, whole
from mirrorflow.runs.study import described

if TYPE_CHECKING:
    import pandas

__all__ = ["Tune"]


@dataclass(frozen=True)
class Tune(
    OneShot,
    name="tune",
    about="choose each method's learning rate and strength on held-out training images",
):
    """Tune each method with the same budget, on images held out of the training images.

    Every method is trained with as many settings of learning rate and strength as every other,
    from its own list, and cut at each sparsity. The setting with the best mean accuracy over
    sparsities and seeds goes to OUT/tuned.json, for `one-shot --tuned`. Test images are not read.
    """

    seeds: int = 1
    """Number of seeds (0, 1, …) of every setting."""
    sparsities: Annotated[tuple[float, ...] | None, described("0.8 0.9 0.95 0.98")] = TABULATED
    """Fractions of zeros at which a setting is judged, each in [0, 1)."""
    validation: float = 0.1
    """Fraction of the training images held out, above 0: classes in proportion, drawn by the data
    set's name, the same for every seed and method."""
    out: Path = Path("results/tune")
    budget: int = 6
    """Settings of each method, the likeliest of its list first."""

    def settings(self, kind: type[Method]) -> Iterable[Mapping[str, float]]:
        return self._different(kind)[: self.budget]

    def _different(self, kind: type[Method]) -> list[Mapping[str, float]]:
        """Return the list of a method without what is the same where decay can act no faster."""
        rates, momentum = self.rates(), self.options_of(kind)["momentum"]
        different: dict[tuple[float, ...], Mapping[str, float]] = {}
        for setting in kind.grid:
            acts = kind.possible(setting, rates, momentum)
            different.setdefault(tuple(acts.values()), setting)
        return list(different.values())

    def decided(self) -> tuple[bool, str]:
        return False, "the protocol is one-shot"

    def figures(self, frame: pandas.DataFrame, paths: dict[str, Array]) -> Sequence[Path]:
        from gpu_bench import tuning

        path = self.out / "tuned.json"
        tuning.write(path, tuning.choose(frame))
        return [path]

    def check(self) -> None:
        super().check()
        if self.tuned is not None:
            raise InputError(f"--tuned must be left out of tune, but it is {self.tuned}.")
        if self.validation == 0.0:
            raise InputError("--validation must lie in (0, 1) to tune, but it is 0.")
        whole("--budget", self.budget, 1, min(len(kind.grid) for kind in self.chosen))
        for kind in self.chosen:
            if (limit := len(self._different(kind))) < self.budget:
                raise InputError(
                    f"--budget must be at most {limit}, since {kind.name} has no more settings "
                    f"that differ (decay can't act faster in these steps), but it is {self.budget}."
                )

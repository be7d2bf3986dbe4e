"""Flags of one-shot sparsification."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from gpu_bench.settings.base import Setting
from gpu_bench.settings.flags import EITHER, flag_of, worded
from gpu_bench.sparsities import check_sparsities
from mirrorflow.checks import InputError
from mirrorflow.runs.store import Row
from mirrorflow.runs.study import described

__all__ = ["OneShot"]


@dataclass(frozen=True)
class OneShot(
    Setting,
    name="one-shot",
    about="train, cut the smallest weights, read the accuracy (the default)",
):
    """One-shot sparsification: train with each method, cut the smallest weights, read accuracy.

    Without flags: scikit-learn's digits, ResNet-20, dense + spred + pilot, 3 seeds.
    """

    out: Path = Path("results/one-shot")
    sparsities: Annotated[tuple[float, ...] | None, described("1 − 0.8^k, k = 1…25")] = None
    """Fractions of the prunable weights to set to zero, each in [0, 1)."""
    tuned: Annotated[Path | None, described("the flags decide")] = None
    """The file tuned.json of `tune`: each method has its best setting of learning rate and
    strength instead of the flags."""

    def settings(self, name: str) -> Iterable[Mapping[str, float]]:
        if self.tuned is None:
            return ({},)
        from gpu_bench import tuning

        settings = tuning.read(self.tuned, self.dataset, self.usual("model"))
        if name not in settings:
            raise InputError(
                f"--tuned must have a setting of every method, but {self.tuned} has none of {name}."
            )
        return (settings[name],)

    def variants(self) -> Iterator[Row]:
        from gpu_bench import masks

        chosen = masks.SPARSITIES if self.sparsities is None else self.sparsities
        yield {"sparsities": sorted({float(sparsity) for sparsity in chosen})}

    def check(self) -> None:
        super().check()
        if self.sparsities is not None:
            check_sparsities("--sparsities", self.sparsities)
        if self.tuned is not None:
            self._decided("--tuned")

    def _decided(self, by: str) -> None:
        """Raise InputError where a flag says what `by` is to say."""
        from gpu_bench import methods

        tried = {flag for name in self.chosen for flag in methods.METHODS[name].grid[0]}
        tried |= {flag_of(one) for one, other in EITHER if other in tried}
        for flag in sorted(tried):
            value = getattr(self, flag)
            if value is not None:
                raise InputError(
                    f"{worded(flag)} must be left out, {by} decides, but it is {value}."
                )

"""Flags of one-shot sparsification."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from gpu_bench.methods import Method
from gpu_bench.settings.base import Setting
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

    protocol: ClassVar[str] = "one_shot"

    out: Path = Path("results/one-shot")
    sparsities: Annotated[tuple[float, ...] | None, described("1 − 0.8^k, k = 1…25")] = None
    """Fractions of the prunable weights to set to zero, each in [0, 1)."""
    pattern: str | None = None
    """N:M, such as 2:4, instead of sparsities: of every M neighbouring inputs of a layer the N
    largest weights stay (layers whose inputs M does not divide keep all)."""
    tuned: Annotated[Path | None, described("the flags decide")] = None
    """The file tuned.json of `tune`: each method has its best setting of learning rate and
    strength instead of the flags."""

    def settings(self, kind: type[Method]) -> Iterable[Mapping[str, float]]:
        if self.tuned is None:
            return ({},)
        from gpu_bench import tuning

        settings = tuning.read(self.tuned, self.dataset, self.usual("model"))
        if kind.name not in settings:
            rule = "--tuned must have a setting of every method"
            raise InputError(f"{rule}, but {self.tuned} has none of {kind.name}.")
        return (settings[kind.name],)

    def variants(self) -> Iterator[Row]:
        from gpu_bench import masks, patterns

        chosen = masks.SPARSITIES if self.sparsities is None else self.sparsities
        if self.pattern is not None:
            kept, group = patterns.numbers(self.pattern)
            chosen = (1.0 - kept / group,)
        sparsities = sorted({float(sparsity) for sparsity in chosen})
        yield {"sparsities": sparsities, "pattern": self.pattern}

    def check(self) -> None:
        super().check()
        if self.sparsities is not None:
            check_sparsities("--sparsities", self.sparsities)

    def belongings(self) -> Iterator[tuple[str, bool, str]]:
        yield from super().belongings()
        yield "sparsities", self.pattern is None, "--pattern is left out"
        for kind in self.chosen:
            for option in kind.grid[0]:
                yield kind.column(option), *self.decided()

    def decided(self) -> tuple[bool, str]:
        """Return whether the flags say what a tuned setting would, and when they do."""
        return self.tuned is None, "--tuned is left out"

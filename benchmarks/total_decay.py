"""Study: does the total A = Σ ηα/(1 − momentum) decide how sparse a network becomes?

    python -m benchmarks.run total-decay              # 180 runs, some 20 minutes of one core
    python -m benchmarks.run total-decay --jobs 2     # the same numbers in less time

ResNet-20 on scikit-learn's digits by pilot and spred, α constant over a run, for every epochs ×
learning rate × A × seed of the grid. OUT gets rows.parquet (a row per run), manifest.json, the two
figures and collapse.md: how far the curves of the settings (epochs, learning rate) lie apart over
A, and over α. docs/total_decay.md says what came out.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks import collapse, total_decay_runs
from mirrorflow.checks import number, whole
from mirrorflow.runs.store import Run
from mirrorflow.runs.study import Study, Verdict

if TYPE_CHECKING:
    import pandas
    from rich.console import Console


@dataclass(frozen=True)
class TotalDecay(Study, name="total-decay", about="how sparse a network becomes, against A"):
    """ResNet-20 on digits by pilot and spred: does the total decay A decide its sparsity?"""

    methods: tuple[Literal["pilot", "spred"], ...] = ("pilot", "spred")
    """The methods."""
    epochs: tuple[int, ...] = (8, 16, 32)
    """Epochs of a run."""
    lr: tuple[float, ...] = (0.1, 0.2, 0.4)
    """Peak learning rates η."""
    totals: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 6.0)
    """A."""
    seeds: int = 2
    """How many."""
    out: Path = Path("results/total-decay")

    def runs(self) -> list[Run]:
        """The grid, the short runs first; raises InputError where a value breaks its rule."""
        self.check_common()
        for epochs in self.epochs:
            whole("--epochs", epochs, 1)
        for flag, values in (("--lr", self.lr), ("--totals", self.totals)):
            for value in values:
                number(flag, value, 0.0, open_low=True)
        whole("--seeds", self.seeds, 1)
        grid = itertools.product(
            sorted(self.epochs), self.lr, self.totals, self.methods, range(self.seeds)
        )
        names = ("epochs", "lr", "total", "method", "seed")
        digest = self.digest()
        return [Run(dict(zip(names, values, strict=True)), digest) for values in grid]

    compute = staticmethod(total_decay_runs.compute)

    def show(
        self, console: Console, frame: pandas.DataFrame, verdicts: Sequence[Verdict]
    ) -> dict[str, Any]:
        """Draw the figures, write and print collapse.md."""
        report = collapse.report(frame, self.out)
        console.print(report, highlight=False, markup=False)
        return {"title": "Total decay A against sparsity", "printed": report}

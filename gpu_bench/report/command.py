"""Command line of the comparison: python -m gpu_bench.run report FOLDER [FOLDER …]."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gpu_bench.sparsities import check_sparsities
from mirrorflow.checks import InputError
from mirrorflow.runs.flags import described

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """Compare result folders of one-shot, iterative, cyclic and sculpt, on one data set and model.

    Prints accuracy at equal sparsity beside epochs and multiply-adds of training, and what PILoT is
    ahead or behind of one-shot's other methods, seed by seed; draws accuracy against each of the
    three.
    """

    folders: tyro.conf.Positional[
        Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FOLDER …", help_behavior_hint="")]
    ]
    """Result folders (--out of one-shot, iterative, cyclic and sculpt)."""
    sparsities: Annotated[
        tuple[float, ...] | None,
        described("the targets of cyclic and sculpt, or 0.8 0.9 0.95 0.98"),
    ] = None
    """Fractions of zeros at which to compare cost, each in [0, 1)."""
    out: Path = Path("results/report")
    """Folder for comparison-sparsity and comparison-cost, as PNG and PDF."""

    def run(self) -> None:
        """Print the table and draw the figures.

        Raises
        ------
        InputError
            If a folder or a flag breaks its rule.
        """
        from gpu_bench.report import comparison, gathered, paired, screen

        if self.sparsities is not None:
            check_sparsities("--sparsities", self.sparsities)
        frame = gathered.gather(self.folders)
        targets = gathered.targets(frame, self.sparsities)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"--out must be a folder that can be written to, but {self.out} is not "
                f"({error.strerror})."
            ) from None
        console = screen()
        comparison.print_table(console, frame, targets)
        for _, rows in frame[frame["protocol"] == "one-shot"].groupby("epochs"):
            paired.print_table(console, rows)
        files = comparison.figures(self.out, frame, targets)
        names = ", ".join(file.name for file in files)
        console.print(f"\n{frame['key'].nunique()} runs; {self.out}/: {names}", soft_wrap=True)

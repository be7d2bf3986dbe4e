"""Table of all settings that `tune` tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from gpu_bench import tuning
from gpu_bench.report import tables
from gpu_bench.report.lines import label
from gpu_bench.report.statistics import lag

if TYPE_CHECKING:
    import pandas

__all__ = ["print_table"]


def print_table(console: Console, frame: pandas.DataFrame) -> None:
    """Print each setting's accuracy on the images held out; * marks the best of its method."""
    first, scores = frame.iloc[0], tuning.scores(frame)
    sparsities = [column for column in scores.columns if isinstance(column, float)]
    rows: list[list[str]] = []
    for name, tried in scores.groupby("method", sort=False):
        best = None if tried["accuracy"].isna().all() else tried["accuracy"].idxmax()
        for index, row in tried.iterrows():
            words = ", ".join(f"{flag} {value:g}" for flag, value in row["setting"].items())
            cells = [f"{100 * row[sparsity]:.2f}" for sparsity in sparsities]
            mark = "* " if index == best else "  "
            rows.append([mark + label(str(name)), words, *cells, f"{100 * row['accuracy']:.2f}"])
        rows.append([])
    tables.print_table(
        console,
        f"{first['dataset']}, {first['model']}, {first['epochs']} epochs: accuracy in % on "
        f"{100 * first['validation']:g} % of the training images\nmean over "
        f"seeds ({frame['seed'].nunique()}); * best of its method",
        ["  method", "setting", *(f"{100 * sparsity:g} %" for sparsity in sparsities), "mean"],
        rows,
        names=2,
        remarks=[lag(frame)],
    )

"""Table of the strengths that `target` tried, and which of each method came nearest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from gpu_bench.report import tables
from gpu_bench.report.lines import label
from gpu_bench.report.statistics import lag
from gpu_bench.search import best, tried

if TYPE_CHECKING:
    import pandas

__all__ = ["print_table"]


def print_table(console: Console, frame: pandas.DataFrame) -> None:
    """Print the sparsity and the accuracy at every strength; * marks the best."""
    first, table, chosen = frame.iloc[0], tried(frame), best(frame)
    rows: list[list[str]] = []
    for name, own in table.groupby("method", sort=False):
        there = chosen.loc[name]
        for _, row in own.iterrows():
            mark = "* " if there["reached"] and row["value"] == there["value"] else "  "
            numbers = [100 * row[column] for column in ("sparsity", "uncut", "accuracy")]
            cells = [f"{number:.2f}" for number in numbers]
            rows.append([mark + label(str(name)), f"{row['flag']} {row['value']:g}", *cells])
        rows.append([])
    wanted = f"{100 * first['target']:g} %"
    tables.print_table(
        console,
        f"{first['dataset']}, {first['model']}, {first['epochs']} epochs: zeros a method makes "
        f"itself, or that cost at most a point\naccuracy in % on {100 * first['validation']:g} % "
        f"of the training images; * nearest to {wanted} zeros",
        ["  method", "strength", "zeros, %", "uncut", f"at {wanted}"],
        rows,
        names=2,
        remarks=[lag(frame)],
    )

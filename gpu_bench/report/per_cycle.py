"""Table and figures of the protocols that train in cycles."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from rich.console import Console

from gpu_bench.report import published, tables
from gpu_bench.report.cycle_figures import drawings
from gpu_bench.report.lines import label, setups
from gpu_bench.report.statistics import counted, interval, lag
from gpu_bench.sparsities import TABULATED, nearest

if TYPE_CHECKING:
    import pandas

__all__ = ["drawings", "print_table", "tabulated_cycles"]

COLUMNS = 8  # of cycles in the table


def tabulated_cycles(frame: pandas.DataFrame) -> list[int]:
    """Return the cycles of the table: all, or eight: evenly, or near `TABULATED`."""
    cycles = sorted(int(cycle) for cycle in frame["cycle"].unique())
    if len(cycles) <= COLUMNS:
        return cycles
    if frame["protocol"].iloc[0] != "iterative":  # others change their masks once at most
        last = len(cycles) - 1
        return [cycles[round(i * last / (COLUMNS - 1))] for i in range(COLUMNS)]
    sparsity = frame.groupby("cycle")["sparsity"].mean()
    levels = {nearest(sparsity, wanted) for wanted in (0.0, 0.5, *TABULATED)}
    return [cycle for cycle in cycles if sparsity[cycle] in levels]


def print_table(console: Console, frame: pandas.DataFrame) -> None:
    """Print sparsity, accuracy, A and cost after each cycle, with 95 % confidence intervals."""
    first, cycles = frame.iloc[0], tabulated_cycles(frame)
    where = "validation" if first["validation"] else "test"
    table: list[list[str]] = []
    scale = _scale(frame["training_flops"].max())
    for (method, setup), rows in frame.groupby(["method", setups(frame)], sort=False):
        names = [label(str(method)), str(setup), f"seeds: {counted(rows)}"]
        good = rows[rows["status"] == "completed"]
        readings = _readings(good, cycles, scale)
        for name, reading in itertools.zip_longest(names, readings, fillvalue=""):
            table.append([str(name), *(reading or [""] * (len(cycles) + 1))])
        table.append([])
    tables.print_table(
        console,
        f"{first['dataset']}, {first['model']}, {first['protocol']}, {first['epochs']} epochs per "
        f"cycle: {where} accuracy after each cycle\nmean, and below it ± half the width of its "
        f"95 % confidence interval over seeds",
        [
            "runs",
            "after cycle\nepochs spent",
            *(f"{cycle}\n{cycle * first['epochs']}" for cycle in cycles),
        ],
        table,
        names=2,
        remarks=[published.sentences(first["dataset"], first["model"]), lag(frame)],
    )


def _scale(largest: float) -> int:
    """Return the power of ten in which multiply-adds are written."""
    return math.floor(math.log10(largest)) if largest > 0 else 0


def _readings(rows: pandas.DataFrame, cycles: list[int], scale: int) -> list[list[str]]:
    """Return lines of a title and one cell per cycle; lines that say nothing are left out."""
    readings = {
        "zeros, %": ("sparsity", 100.0, ".1f"),
        "accuracy, %": ("accuracy", 100.0, ".2f"),
        "A": ("total_spent", 1.0, ".2f"),
        f"10^{scale} mult-adds": ("training_flops", 10.0**-scale, ".2f"),
    }
    table = []
    for title, (column, factor, form) in readings.items():
        per_cycle = [factor * rows.loc[rows["cycle"] == cycle, column] for cycle in cycles]
        means, halves = zip(*map(interval, per_cycle), strict=True)
        if not all(map(math.isnan, means)):
            table.append([title, *("–" if math.isnan(m) else format(m, form) for m in means)])
        if any(half > 0.0 for half in halves) and column != "sparsity":  # an exact count
            table.append(["", *("" if math.isnan(h) else f"± {h:{form}}" for h in halves)])
    return table

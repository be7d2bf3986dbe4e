"""Table of PILoT minus each rival, seed by seed, and what it says of their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from gpu_bench.report import tables
from gpu_bench.report.lines import label
from gpu_bench.report.statistics import FAR
from gpu_bench.sparsities import tabulated

if TYPE_CHECKING:
    import pandas

    Pair = tuple[pandas.DataFrame, pandas.DataFrame]

__all__ = ["print_table"]

OURS = "pilot"
EQUAL = 1.02  # ratio of two A that count as one
LEGEND = (
    "ahead, behind: in every seed, of two at least; otherwise it can't be told (?). Fresh: batch "
    "norm's statistics taken at the weights that are read. Equal A: the largest of free decay that "
    "both have within 2 %, or between two of their runs; several runs of a seed have no other line."
)


def print_table(console: Console, frame: pandas.DataFrame) -> None:
    """Print the differences in points of accuracy, where PILoT and another method are there.

    `frame` holds rows of one-shot sparsification on the same images. Methods that have several runs
    of a seed are compared at equal A alone.
    """
    levels = tabulated(frame["sparsity"].unique())
    there = frame[frame["sparsity"].isin(levels)]
    parts = {str(name): rows for name, rows in there.groupby("method", sort=False)}
    if OURS not in parts:
        return
    ours, table = parts.pop(OURS), []
    for name, theirs in parts.items():
        pair, comparisons = (ours, theirs), {}
        if not any(rows.duplicated(["seed", "sparsity"]).any() for rows in pair):
            comparisons["as trained"] = _each_seed(pair, "accuracy")
            if any(map(_lags, pair)):
                comparisons["fresh"] = _each_seed(pair, "fresh_accuracy")
        if "total_free" in frame and theirs["total_free"].notna().any():
            comparisons["equal A"] = _equal_totals(pair)
        for words, points in comparisons.items():
            # folders may have other levels, and a run that diverged has no accuracy
            each = [points[level].dropna().tolist() if level in points else [] for level in levels]
            if any(each):
                table.append([f"{label(OURS)} − {label(name)}", words, *map(_cell, each)])
    if table:
        tables.print_table(
            console,
            f"{label(OURS)} − rival in points of accuracy, seed by seed, "
            f"{frame['epochs'].iloc[0]} epochs",
            ["difference", "compared", *(f"{100 * level:.1f} %" for level in levels)],
            table,
            names=2,
            remarks=[LEGEND],
        )


def _cell(points: list[float]) -> str:
    signs = set(np.sign(np.round(points, 9))) if len(points) > 1 else {0.0, 1.0}
    verdict = {1.0: "ahead", -1.0: "behind"}.get(signs.pop(), "?") if len(signs) == 1 else "?"
    return f"{', '.join(f'{point:+.1f}' for point in points) or '–'}\n{verdict}"


def _lags(rows: pandas.DataFrame) -> bool:
    """Say whether fresh statistics change an accuracy by far; earlier versions have none."""
    lag = rows.get("fresh_accuracy", np.nan) - rows["accuracy"]
    return bool((lag.groupby(rows["sparsity"]).mean().abs() > FAR).any())


def _each_seed(pair: Pair, column: str) -> pandas.DataFrame:
    """Return 100 × (ours − theirs), seeds × sparsities; NaN where one of them has none."""
    ours, theirs = (rows.pivot(index="seed", columns="sparsity", values=column) for rows in pair)
    return 100.0 * (ours - theirs)


def _equal_totals(pair: Pair) -> pandas.DataFrame:
    """Return that difference at the largest A that both have, of seeds where there is one."""
    import pandas

    differences = {}
    for seed in pair[0]["seed"].unique():
        own = [rows[rows["seed"] == seed] for rows in pair]
        curves = [rows.pivot_table("accuracy", "total_free", "sparsity") for rows in own]
        low = np.max([curve.index.min() for curve in curves])
        high = np.min([curve.index.max() for curve in curves])
        if low <= EQUAL * high:  # beyond an end a curve is its last run; NaN without one
            at = [{level: np.interp(high, c.index, c[level]) for level in c} for c in curves]
            differences[seed] = 100.0 * (pandas.Series(at[0]) - pandas.Series(at[1]))
    return pandas.DataFrame(differences).T.sort_index()

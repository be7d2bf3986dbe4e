"""Table and figure of the ledger of m² − w²: what of each layer's lost scale is decay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from gpu_bench.report import drawing, tables
from gpu_bench.report.lines import label, lines
from gpu_bench.report.statistics import counted
from mirrorflow.checks import Array

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["drawings", "print_table"]


def print_table(console: Console, frame: pandas.DataFrame) -> None:
    """Print per method what A the decay and the gradients took, where runs have a ledger."""
    table = []
    for method, rows in _followed(frame).groupby("method", sort=False):
        runs = rows.drop_duplicates("key")
        means = [runs[f"ledger_{part}"].mean() for part in ("decay", "gradient")]
        cells = ["" if np.isnan(mean) else f"{mean:.3f}" for mean in means]  # a balanced start
        cells += [f"{runs['scale_free'].mean():.2e}", f"{runs['scale_measured'].mean():.2e}"]
        share = (runs["balance_ledger"] / runs["balance_ledger_bound"]).max()
        verdict = "kept" if runs["balance_ledger_holds"].astype(bool).all() else "broken"
        table.append([label(str(method)), counted(rows), *cells, f"{share:.1g}", verdict])
    if table:
        tables.print_table(
            console,
            "m² − w²: A by decay alone, and what step size and gradients add (median over layers)",
            ["method", "seeds", "decay", "gradient", "a free", "a", "error/bound", "ledger"],
            table,
        )


def drawings(frame: pandas.DataFrame, paths: dict[str, Array], words: str) -> dict[str, Figure]:
    """Return the figure "ledger" of A per layer, where runs have a ledger and a scale to lose."""
    runs = _followed(frame)
    runs = runs[runs["ledger_gradient"].notna()] if len(runs) else runs
    curves = lines(runs) if len(runs) else []

    def draw(grid: list[Axes]) -> None:
        (axes,) = grid
        for line in curves:
            rows = line.rows.drop_duplicates("key")
            totals = np.stack([paths[f"{key}/layer_total"] for key in rows["key"]])
            layer, (colour, dashes, marker) = np.arange(1, totals.shape[1] + 1), line.look
            axes.plot(layer, totals.mean(0), color=colour, ls=dashes, marker=marker, ms=3)
            axes.fill_between(layer, totals.min(0), totals.max(0), color=colour, alpha=0.15, lw=0)
            axes.axhline(rows["ledger_decay"].mean(), color=colour, lw=0.8, ls=(0, (1, 2)))
        axes.set(xlabel="layer, from input to classifier", ylabel="$\\log(a_0/a)/4$ (no unit)")
        axes.set_title("what $m^2 - w^2$ has lost, in units of $A$", loc="left")

    caption = (
        f"{words} Median over a layer; lines: mean over seeds, bands: lowest to highest. "
        "Dotted: decay alone; the rest is step size and gradient noise."
    )
    return {"ledger": drawing.make_figure(1, 2.9, draw, curves, caption)} if curves else {}


def _followed(frame: pandas.DataFrame) -> pandas.DataFrame:
    """Return the rows of runs that have a ledger."""
    if "balance_ledger_bound" not in frame:
        return frame.iloc[:0]
    return frame[frame["balance_ledger_bound"].notna()]

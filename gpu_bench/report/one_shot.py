"""Table and figures of one-shot sparsification."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.console import Console

from gpu_bench.report import drawing, ledger, paired, published, tables
from gpu_bench.report.lines import label, lines
from gpu_bench.report.statistics import counted, interval, lag, percent
from gpu_bench.report.tables import INTERVAL
from gpu_bench.sparsities import tabulated
from mirrorflow.checks import Array

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

__all__ = ["drawings", "print_table"]


def print_table(console: Console, frame: pandas.DataFrame) -> None:
    """Print accuracy in percent, mean ± 95 % confidence interval, per method and sparsity."""
    sparsities = tabulated(frame["sparsity"].unique())
    first = frame.iloc[0]
    where = "validation" if first["validation"] else "test"
    table = []
    for method, rows in frame.groupby("method", sort=False):
        good = rows[rows["status"] == "completed"]
        per_run = good.drop_duplicates("key")
        cells = [percent(good.loc[good["sparsity"] == s, "accuracy"]) for s in sparsities]
        # folders of earlier versions don't say A of free decay
        total, _ = interval(per_run.get("total_free", math.nan))
        A = "" if math.isnan(total) else f"{total:.2f}"
        uncut = percent(per_run["uncut_accuracy"])
        table.append([label(str(method)), counted(rows), A, uncut, *cells])
    tables.print_table(
        console,
        f"{first['dataset']}, {first['model']}, {first['epochs']} epochs: {where} accuracy in % at "
        f"each sparsity\nmean{INTERVAL} over seeds, last epoch",
        ["method", "seeds", "A", "uncut", *(f"{100 * s:.1f} %" for s in sparsities)],
        table,
        remarks=[published.sentences(first["dataset"], first["model"]), lag(frame)],
    )
    paired.print_table(console, frame)
    ledger.print_table(console, frame)


def drawings(frame: pandas.DataFrame, paths: dict[str, Array]) -> dict[str, Figure]:
    """Return the figures of completed runs, by name."""
    curves, words = lines(frame), _setting(frame)
    levels = sorted(frame["sparsity"].unique())
    panels = [(levels.index(s), f"{100 * s:.1f} % zeros") for s in tabulated(levels)]
    title = "accuracy after one cut of the smallest weights"
    return {
        "accuracy": drawing.accuracy(curves, title, words),
        "epochs": drawing.epochs(curves, paths, words),
        "layers": drawing.layers(curves, paths, panels, words),
        **ledger.drawings(frame, paths, words),
    }


def _setting(frame: pandas.DataFrame) -> str:
    first = frame.iloc[0]
    seeds = int(frame.groupby("method")["key"].nunique().max())
    return (
        f"{drawing.data(frame, seeds)}; {first['epochs']} epochs, batch {first['batch_size']}, "
        f"{first['schedule']} schedule."
    )

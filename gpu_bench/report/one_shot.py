"""What the rows of one-shot sparsification say: a table and figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from gpu_bench.report import drawing, published
from gpu_bench.report.lines import Line, lines
from gpu_bench.report.statistics import SHOWN, counted, nearest, percent
from mirrorflow.checks import Array

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

__all__ = ["figures", "print_table", "shown"]


def shown(frame: pandas.DataFrame) -> list[float]:
    """Return the sparsities in the rows that are next to those of the table."""
    there = sorted(frame["sparsity"].unique())
    return list(dict.fromkeys(nearest(there, wanted) for wanted in SHOWN))


def print_table(console: Console, frame: pandas.DataFrame) -> None:
    """Print accuracy in percent, mean ± 95 % confidence interval, per method and sparsity."""
    sparsities = shown(frame)
    first = frame.iloc[0]
    where = "validation" if first["validation"] else "test"
    table = Table(
        title=f"{first['dataset']}, {first['model']}, {first['epochs']} epochs: {where} accuracy "
        f"in % at each sparsity\nmean ± 95 % confidence interval over seeds, last epoch",
        title_justify="left",
    )
    for i, heading in enumerate(("method", "seeds", "A", "uncut")):
        table.add_column(heading, justify="left" if i == 0 else "right", no_wrap=True)
    for sparsity in sparsities:
        table.add_column(f"{100 * sparsity:.1f} %", justify="right", no_wrap=True)
    for method, rows in frame.groupby("method", sort=False):
        good = rows[rows["status"] == "completed"]
        per_run = good.drop_duplicates("key")
        cells = [percent(good.loc[good["sparsity"] == s, "accuracy"]) for s in sparsities]
        total = (
            "" if per_run["total_spent"].isna().all() else f"{per_run['total_spent'].mean():.2f}"
        )
        uncut = percent(per_run["uncut_accuracy"])
        table.add_row(str(method), counted(rows), total, uncut, *cells)
    _add_published(table, first, sparsities)
    console.print(table)


def _add_published(table: Table, first: Any, sparsities: list[float]) -> None:
    setting = (first["dataset"], first["model"])
    if setting not in published.UNCUT:
        return
    table.add_section()
    table.add_row("published: dense", "", "", published.UNCUT[setting], *[""] * len(sparsities))
    for name in dict.fromkeys(point.name for point in published.POINTS[setting]):
        cells = []
        for sparsity in sparsities:
            there = [point for point in published.at(*setting, sparsity) if point.name == name]
            cells.append(f"{there[0].accuracy} at {100 * there[0].sparsity:g} %" if there else "–")
        table.add_row(f"published: {name}", "", "", "", *cells)


def figures(out: Path, frame: pandas.DataFrame, paths: dict[str, Array]) -> list[Path]:
    """Draw accuracy.*, epochs.* and layers.* into `out`; returns the files."""
    from mirrorflow.plots.style import save

    good = frame[frame["status"] == "completed"]
    if good.empty:
        return []
    found, words = lines(good), _setting(good)
    levels = sorted(good["sparsity"].unique())
    panels = [(levels.index(s), f"{100 * s:.1f} % zeros") for s in shown(good)]
    drawings = {
        "accuracy": _accuracy(found, words),
        "epochs": drawing.epochs(found, paths, words),
        "layers": drawing.layers(found, paths, panels, words),
    }
    return [file for name, figure in drawings.items() for file in save(figure, out / name)]


def _accuracy(found: list[Line], words: str) -> Figure:
    from mirrorflow.plots.style import caption

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for line in found:
            drawing.spread(axes, line, "sparsity", "sparsity", "accuracy", 100.0)
        drawing.sparsities(axes)
        drawing.percents(axes)
        axes.set_title("accuracy after one cut of the smallest weights", loc="left")
        drawing.legend(figure, found)
        caption(figure, f"{words} {drawing.BANDS}")

    return drawing.drawn(7.6, 4.2, draw)


def _setting(frame: pandas.DataFrame) -> str:
    first = frame.iloc[0]
    seeds = int(frame.groupby("method")["key"].nunique().max())
    return (
        f"{drawing.data(frame, seeds)}; {first['epochs']} epochs, batch {first['batch_size']}, "
        f"{first['schedule']} schedule."
    )

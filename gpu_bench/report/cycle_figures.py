"""Figures of a protocol that trains in cycles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_bench.report import drawing
from gpu_bench.report.lines import Line, families, lines, setups
from gpu_bench.sparsities import TABULATED, nearest
from mirrorflow.checks import Array

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["drawings", "final"]

LAYER_PANELS = 5
OVERLAPS = {
    "overlap_previous": ("with the mask before", "intersection over union"),
    "overlap_final": ("with the last mask", "intersection over union"),
    "final_found": ("last mask found", "share among largest $|x|$"),
}


def drawings(frame: pandas.DataFrame, paths: dict[str, Array]) -> dict[str, Figure]:
    """Return the figures of completed runs, by name."""
    curves, words = lines(frame, setups(frame)), _setting(frame)
    at_target, panels = final(frame), _mask_panels(frame)
    figures = {
        "accuracy": drawing.accuracy(
            lines(at_target, families(at_target)), "accuracy of the trained sparse network", words
        ),
        "cost": _cost(curves, words),
        "epochs": drawing.epochs(curves, paths, words, int(frame["epochs"].iloc[0])),
        "layers": drawing.layers(curves, paths, panels, words),
    }
    if len(panels) > 1:  # a mask that never changes overlaps with itself
        figures["overlap"] = _overlap(curves, words)
    return figures


def final(frame: pandas.DataFrame) -> pandas.DataFrame:
    """Return the rows whose sparsity is one that was asked for.

    Those of every cycle where each is sparser than the one before, else of the last cycle.
    """
    return frame[(frame["protocol"] == "iterative") | (frame["cycle"] == frame["cycles"])]


def _cost(curves: list[Line], words: str) -> Figure:
    def draw(grid: list[Axes]) -> None:
        left, right = grid
        for line in curves:
            drawing.spread(left, line, "cycle", "epochs_spent", "accuracy", 100.0)
            drawing.spread(right, line, "cycle", "training_flops", "accuracy", 100.0)
        left.set(xlabel="training epochs, all cycles")
        left.set_title("accuracy after each cycle", loc="left")
        drawing.multiply_adds(right)
        drawing.percents(left)

    caption = f"{words} {drawing.BANDS} Masked weights cost nothing."
    return drawing.make_figure(2, 2.6, draw, curves, caption, sharey=True)


def _mask_panels(frame: pandas.DataFrame) -> list[tuple[int, str]]:
    """Return the cycles, from 0, that train a mask of their own, and how they are called."""
    sparsity = frame.groupby("cycle")["sparsity"].agg(["min", "max", "mean"])
    changed = sparsity[sparsity["mean"].diff().ne(0.0)]
    if len(changed) > LAYER_PANELS:
        levels = {nearest(changed["mean"], wanted) for wanted in (0.5, *TABULATED)}
        changed = changed[changed["mean"].isin(levels)]
    panels = []
    for cycle, row in changed.iterrows():
        zeros = f"{100 * row['min']:.1f}"
        if f"{100 * row['max']:.1f}" != zeros:
            zeros += f"–{100 * row['max']:.1f}"
        panels.append((int(str(cycle)) - 1, f"cycle {cycle}: {zeros} % zeros"))
    return panels


def _overlap(curves: list[Line], words: str) -> Figure:
    from matplotlib.ticker import MaxNLocator

    def draw(grid: list[Axes]) -> None:
        for axes, (name, (title, label)) in zip(grid, OVERLAPS.items(), strict=True):
            for line in curves:
                drawing.spread(axes, line, "cycle", "cycle", name)
            axes.set(xlabel="cycle", ylabel=label, ylim=(-0.02, 1.04))
            axes.set_title(title, loc="left")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    caption = (
        f"{words} {drawing.BANDS} Left and middle: each cycle's mask with another; right: the "
        f"part of the last mask that is already among the largest weights at a cycle's end."
    )
    return drawing.make_figure(len(OVERLAPS), 2.3, draw, curves, caption)


def _setting(frame: pandas.DataFrame) -> str:
    first = frame.iloc[0]
    seeds = int(frame.groupby(["method", setups(frame)])["key"].nunique().max())
    names = dict.fromkeys(families(frame))
    name = first["protocol"] if len(names) > 1 else next(iter(names))
    return (
        f"{drawing.data(frame, seeds)}; {name}, {first['cycles']} cycles of "
        f"{first['epochs']} epochs, batch {first['batch_size']}, {first['schedule']} schedule."
    )

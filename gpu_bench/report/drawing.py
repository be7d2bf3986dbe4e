"""Panels that the figures of several protocols have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gpu_bench.report.lines import Line
from mirrorflow.checks import Array

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["BANDS", "accuracy", "data", "epochs", "layers", "make_figure", "multiply_adds"]
__all__ += ["percents", "sparsities", "spread"]

BANDS = "Lines: mean over seeds; dots: seeds; bands and bars: lowest to highest."
DENSITIES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)  # percent, on axes
MARKS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)  # shares kept, on axes


def make_figure(
    count: int,
    height: float,
    draw: Callable[[list[Axes]], None],
    curves: list[Line],
    words: str,
    width: str = "page",
    across: int = 3,
    sharey: bool = False,
) -> Figure:
    """Return a figure of `count` panels in the style of this project; `draw` fills them.

    Each is `height` inches high, and at most `across` are in a line of a page. The lines' names
    stand above, `words` below.
    """
    import matplotlib

    from mirrorflow.plots.style import STYLE, caption, panels

    with matplotlib.rc_context(STYLE):
        figure, grid = panels(count, width, height, across, sharey=sharey)
        draw(grid)
        _legend(figure, curves)
        caption(figure, words)
    return figure


def spread(axes: Axes, line: Line, by: str, x: str, y: str, scale: float = 1.0) -> None:
    """Draw the mean of `y` times `scale` over seeds, for each value of `by`, at the mean of `x`.

    And its range: an interval of few seeds would leave the range of accuracies. And each seed.
    """
    points, seeds, (colour, dashes, marker) = [], [], line.look
    for _, rows in line.rows.groupby(by):
        values = scale * rows[y].dropna()
        if math.isfinite(rows[x].mean()) and len(values):
            points.append((rows[x].mean(), values.mean(), values.min(), values.max()))
            seeds += [(rows[x].mean(), value) for value in values]
    if not points:
        return
    positions, means, low, high = np.array(sorted(points)).T
    axes.plot(positions, means, color=colour, ls=dashes, marker=marker, ms=3, label=line.label)
    if len(positions) == 1:  # a band around one point has no width
        around = [means - low, high - means]
        axes.errorbar(positions, means, around, color=colour, capsize=3, lw=1.2)
    else:
        axes.fill_between(positions, low, high, color=colour, alpha=0.12, lw=0, zorder=1)
    at, each = np.array(seeds).T
    axes.scatter(at, each, s=3, lw=0, color=colour, alpha=0.7, zorder=1.5)


def accuracy(curves: list[Line], title: str, words: str, width: str = "page") -> Figure:
    """Return accuracy against sparsity; `words` say the setting."""

    def draw(grid: list[Axes]) -> None:
        (axes,) = grid
        for line in curves:
            spread(axes, line, "sparsity", "sparsity", "accuracy", 100.0)
        sparsities(axes)
        percents(axes)
        axes.set_title(title, loc="left")

    return make_figure(1, 2.9, draw, curves, f"{words} {BANDS}", width)


def percents(axes: Axes) -> None:
    """Name y the accuracy, and show no more than its range."""
    low, high = axes.get_ylim()
    axes.set(ylabel="accuracy (%)", ylim=(max(low, 0.0), min(high, 100.5)))


def sparsities(axes: Axes) -> None:
    """Scale x = fraction of zeros by the logarithm of what is kept, and name that in percent."""
    from matplotlib.ticker import NullLocator

    axes.set_xscale("function", functions=(_halvings, _zeros))
    low, high = axes.dataLim.intervalx
    marks = [k for k in MARKS if 0.7 * (1 - high) < k < 1.4 * (1 - low)]
    axes.set_xticks([1.0 - k for k in marks], [f"{100 * k:g}" for k in marks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("weights kept (%), fewer to the right")


def multiply_adds(axes: Axes) -> None:
    """Name x the multiply-adds of all training."""
    from matplotlib.ticker import EngFormatter

    axes.set_xlabel("multiply-adds of all training")
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))


def _halvings(zeros: Array) -> Array:
    return -np.log2(np.clip(1.0 - zeros, 1e-9, None))


def _zeros(halvings: Array) -> Array:
    return 1.0 - 2.0**-halvings


def _legend(figure: Figure, curves: list[Line]) -> None:
    """Name every line once, above the panels."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look.colour, ls=look.dashes, marker=look.marker, ms=3)
        for look in (line.look for line in curves)
    ]
    names = [line.label for line in curves]
    longest = max(map(len, names), default=1)
    columns = max(1, int(figure.get_figwidth() / (0.6 + 0.062 * longest)))
    rows = -(-len(names) // columns)
    figure.set_figheight(figure.get_figheight() + 0.15 * rows)
    figure.legend(handles, names, loc="outside upper left", ncols=columns, handlelength=3.0)


def epochs(
    curves: list[Line], paths: dict[str, Array], words: str, length: int = 0, width: str = "page"
) -> Figure:
    """Return α, A, ‖x‖₁ and accuracy epoch by epoch; `words` say the setting.

    The ends of cycles of `length` epochs are marked; 0 for a single one.
    """
    from matplotlib.ticker import MaxNLocator

    panels = {
        "alpha": ("penalty", "$\\alpha$ (per unit of flow time)"),
        "total": ("total $A = \\Sigma \\eta\\alpha/(1-\\mu)$", "$A$ (no unit)"),
        "norm": ("norm of the prunable weights", "$\\|x\\|_1$ (units of $x$)"),
        "test_accuracy": ("accuracy, uncut" if not length else "accuracy", "accuracy (%)"),
    }

    def draw(grid: list[Axes]) -> None:
        for axes, (name, (title, label)) in zip(grid, panels.items(), strict=True):
            for line in curves:
                rows = line.rows.drop_duplicates("key")
                if name in ("alpha", "total") and rows["alpha_first"].isna().all():
                    continue
                scale = 100.0 if name == "test_accuracy" else 1.0
                _ranged(axes, line, [scale * paths[f"{key}/{name}"] for key in rows["key"]])
            axes.set(xlabel="epoch", ylabel=label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_title(title, loc="left")
            if name == "norm":
                axes.set_yscale("log")
            if length and axes.has_data():  # dense has no α and no A
                for end in range(length, int(axes.dataLim.x1), length):
                    axes.axvline(end + 0.5, color="#999999", lw=0.8, ls=(0, (1, 2)), zorder=0)

    caption = f"{words} {BANDS} μ: momentum.{' Dotted: ends of cycles.' if length else ''}"
    return make_figure(len(panels), 2.2, draw, curves, caption, width, across=2)


def _ranged(axes: Axes, line: Line, arrays: Sequence[Array]) -> None:
    stacked = np.stack(arrays)
    colour, dashes, _ = line.look
    epoch = np.arange(1, stacked.shape[1] + 1)
    axes.plot(epoch, stacked.mean(0), color=colour, ls=dashes, label=line.label)
    axes.fill_between(epoch, stacked.min(0), stacked.max(0), color=colour, alpha=0.15, lw=0)


def layers(
    curves: list[Line],
    paths: dict[str, Array],
    panels: Sequence[tuple[int, str]],
    words: str,
    width: str = "page",
) -> Figure:
    """Return the share of weights kept in each layer; `words` say the setting.

    `panels` are indices in `layer_density` and the panels' titles.
    """
    from matplotlib import ticker

    kept = [[100.0 * _density(line, paths, index) for line in curves] for index, _ in panels]
    low = min(density[density > 0.0].min() for panel in kept for density in panel)

    def draw(grid: list[Axes]) -> None:
        for axes, (_, title), densities in zip(grid, panels, kept, strict=True):
            axes.set(xlabel="layer, from the input", yscale="log", ylim=(0.8 * low, 125))
            axes.yaxis.set_major_locator(ticker.FixedLocator(DENSITIES))
            axes.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
            axes.yaxis.set_minor_locator(ticker.NullLocator())
            axes.set_title(title, loc="left")
            for line, density in zip(curves, densities, strict=True):
                layer = np.arange(1, len(density) + 1)
                colour, dashes, marker = line.look
                axes.plot(
                    layer, density, color=colour, ls=dashes, marker=marker, ms=3, label=line.label
                )
        grid[0].set_ylabel("weights kept there (%)")

    caption = f"{words} Mean over seeds; a layer without weights is not drawn."
    return make_figure(len(panels), 2.3, draw, curves, caption, width, sharey=True)


def _density(line: Line, paths: dict[str, Array], index: int) -> Array:
    """Return the mean over runs of the share kept in each layer."""
    keys = line.rows["key"].drop_duplicates()
    return np.stack([paths[f"{key}/layer_density"][index] for key in keys]).mean(0)


def data(frame: pandas.DataFrame, seeds: int) -> str:
    """Return what the networks are trained and read on, for captions."""
    first = frame.iloc[0]
    where = f"held-out {first['validation']:g} of training" if first["validation"] else "test"
    return (
        f"{first['dataset']}, {first['model']} ({first['prunable_weights']:,} prunable weights), "
        f"{seeds} seeds, {where} images, {first['device_name']}"
    )

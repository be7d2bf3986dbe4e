"""How far curves of several settings lie apart over one axis or another, and the figures of it."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mirrorflow.checks import Array
from mirrorflow.colours import PALETTE, SOFT
from mirrorflow.plots.style import MARKERS, STYLE, caption, panels, save
from mirrorflow.runs.store import Row, atomic_write

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

__all__ = ["collapse", "curves", "distance", "lag", "report"]

QUANTITIES = {
    "cut": "accuracy at 95 % sparsity",
    "kept": "log10 of the weights needed",
    "effective_density": "log10 of the effective density",
    "below_scale": "share of weights below a free",
    "cut_running": "accuracy at 95 %, running statistics",
}
LOGARITHMIC = ("kept", "effective_density")
AXES = {
    "total_free": "$A$ of free decay (no unit)",
    "total": "nominal $A$ (no unit)",
    "alpha": "$\\alpha$ (per unit of flow time)",
}
DASHES = (":", "--", "-", "-.")  # by epochs


def collapse(frame: pandas.DataFrame) -> list[Row]:
    """Compare the curves of all pairs of settings (epochs, lr), per method and quantity.

    A curve is the mean over seeds against the logarithm of an axis (`AXES`), straight between its
    points. `by_AXIS` is the mean of `distance` over all pairs that overlap, divided by the range of
    the quantity over all curves: 0 is a perfect collapse, 1/3 what two independent uniform
    numbers give. `by_total_free` splits into pairs that share their lr, their epochs, or their
    product (equal α at equal nominal A); `longer_AXIS` is that of the settings above the least
    epochs, over their own range. `seeds` is the same for two seeds of one setting: what chance
    alone leaves. NaN where there is no such pair.
    """
    rows = []
    good = frame[frame["status"] == "completed"]
    for method, some in good.groupby("method", sort=False):
        for quantity in QUANTITIES:
            if some[quantity].isna().all():
                continue
            value = np.log10(some[quantity]) if quantity in LOGARITHMIC else some[quantity]
            runs = some.assign(value=value.astype(float))
            points = runs.groupby(["epochs", "lr", "total"], as_index=False)[
                ["total_free", "alpha", "value"]
            ].mean()
            span = _span(points)
            curves = dict(iter(points.groupby(["epochs", "lr"])))
            pairs = list(itertools.combinations(curves, 2))
            by = {
                axis: np.array([distance(curves[a], curves[b], axis) for a, b in pairs]) / span
                for axis in AXES
            }
            seeds = [
                distance(one, other, "total") / span
                for _, setting in runs.groupby(["epochs", "lr"])
                for (_, one), (_, other) in itertools.combinations(setting.groupby("seed"), 2)
            ]
            alike = {
                "same_lr": [a[1] == b[1] for a, b in pairs],
                "same_epochs": [a[0] == b[0] for a, b in pairs],
                "same_product": [math.isclose(math.prod(a), math.prod(b)) for a, b in pairs],
            }
            long = [min(a[0], b[0]) > points["epochs"].min() for a, b in pairs]
            own = span / _span(points[points["epochs"] > points["epochs"].min()])
            rows.append(
                {
                    "method": method,
                    "quantity": quantity,
                    "range": span,
                    **{f"by_{axis}": _mean(gaps) for axis, gaps in by.items()},
                    **{n: _mean(by["total_free"][chosen]) for n, chosen in alike.items()},
                    **{f"longer_{axis}": own * _mean(gaps[long]) for axis, gaps in by.items()},
                    "seeds": _mean(np.array(seeds)),
                    "pairs": len(pairs),
                    "pairs_by_alpha": int(np.isfinite(by["alpha"]).sum()),
                }
            )
    return rows


def distance(one: pandas.DataFrame, other: pandas.DataFrame, axis: str) -> float:
    """Return the mean |one − other| over the points of either within the range of both.

    Both have the columns `axis` (positive) and `value`; lines are straight in log `axis`. NaN
    where the ranges do not meet.
    """
    gaps: list[float] = []
    for points, curve in ((one, other), (other, one)):
        curve = curve.sort_values(axis)
        at, knots = np.log(points[axis].to_numpy()), np.log(curve[axis].to_numpy())
        inside = (at >= knots[0] - 1e-9) & (at <= knots[-1] + 1e-9)
        there = np.interp(at[inside], knots, curve["value"].to_numpy())
        gaps += list(np.abs(points["value"].to_numpy()[inside] - there))
    return _mean(np.array(gaps))


def _span(points: pandas.DataFrame) -> float:
    """Return the range of the values; nan of none."""
    return float(points["value"].max() - points["value"].min())


def _mean(values: Array) -> float:
    """Return the mean of the finite values; NaN if there is none."""
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else math.nan


def report(frame: pandas.DataFrame, out: Path) -> str:
    """Write OUT/collapse.md, total_decay.* and total_decay_lag.*; returns the table."""
    names = {
        "by_total_free": "free A",
        "by_total": "nominal A",
        "by_alpha": "α",
        "same_lr": "free A, same η",
        "same_epochs": "free A, same T",
        "longer_total_free": "free A, longer T",
        "longer_total": "nominal A, longer T",
        "seeds": "seeds",
    }
    headings = ["method", "quantity", "range", *names.values()]
    lines = [f"| {' | '.join(headings)} |", "|---|---" + "|--:" * (len(names) + 1) + "|"]
    for row in collapse(frame):
        cells = [row["method"], QUANTITIES[row["quantity"]], f"{row['range']:.2f}"]
        cells += [f"{row[name]:.3f}" for name in names]
        lines.append(f"| {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    atomic_write(out / "collapse.md", text.encode())
    save(curves(frame), out / "total_decay")
    save(lag(frame), out / "total_decay_lag")
    return text


PANELS = {"cut": "accuracy at 95 % sparsity (%)", "kept": "weights needed (%)"}


def curves(frame: pandas.DataFrame) -> Figure:
    """A line of panels for each method: accuracy and weights needed, against both totals."""
    names = list(dict.fromkeys(frame["method"]))
    with matplotlib.rc_context(STYLE):
        figure, grid = panels(4 * len(names), "page", 2.0, across=4)
        cells = itertools.product(names, PANELS, ("total_free", "total"))
        for axes, (method, quantity, axis) in zip(grid, cells, strict=True):
            _lines(axes, frame[frame["method"] == method], axis, quantity, method)
            if axis == "total_free":
                axes.set_ylabel(PANELS[quantity])
            if quantity == "kept":
                axes.set_yscale("log")
            else:
                axes.set_ylim(0, 101)
        words = "Batch norm's statistics are those of the final weights. Weights needed: the least "
        _legend(figure, frame, words + "share that keeps the uncut accuracy up to one point.")
    return figure


def lag(frame: pandas.DataFrame) -> Figure:
    """A panel for each method: accuracy of the uncut networks against the free total."""
    names = list(dict.fromkeys(frame["method"]))
    with matplotlib.rc_context(STYLE):
        figure, grid = panels(len(names), "page", 2.3)
        for axes, method in zip(grid, names, strict=True):
            some = frame[frame["method"] == method]
            _lines(axes, some, "total_free", "uncut_running", method)
            axes.set(ylabel="accuracy (%)", ylim=(0, 101))
        words = "Accuracies of the uncut networks with batch norm's running statistics (momentum "
        _legend(figure, frame, words + "0.1), as training leaves them.")
    return figure


def _lines(axes: Axes, frame: pandas.DataFrame, axis: str, quantity: str, title: str) -> None:
    """One line per setting, the mean over seeds, with a bar from the lowest to the highest."""
    for (epochs, lr), setting in frame.groupby(["epochs", "lr"]):
        points = setting.groupby("total")[[axis, quantity]].agg(["mean", "min", "max"])
        at, values = points[axis]["mean"], 100.0 * points[quantity]
        low, high = values["mean"] - values["min"], values["max"] - values["mean"]
        look = _looks(frame, "lr")[lr] | _looks(frame, "epochs")[epochs]
        axes.errorbar(at, values["mean"], (low, high), ms=2.5, lw=1.0, elinewidth=0.6, **look)
    axes.set(xscale="log", xlabel=AXES[axis])
    axes.set_title(title, loc="left")
    if axis != "alpha":
        totals = sorted(frame["total"].unique())
        axes.set_xticks(totals, [f"{total:g}" for total in totals])
    axes.minorticks_off()


def _looks(frame: pandas.DataFrame, column: str) -> dict[float, dict[str, str]]:
    """A colour for each rate, dashes and a marker for each number of epochs."""
    values = sorted(frame[column].unique())
    if column == "lr":
        return {rate: {"color": PALETTE[i % 6]} for i, rate in enumerate(values)}
    dashes = {epochs: DASHES[i % len(DASHES)] for i, epochs in enumerate(values)}
    return {e: {"ls": dash, "marker": MARKERS[i]} for i, (e, dash) in enumerate(dashes.items())}


def _legend(figure: Figure, frame: pandas.DataFrame, words: str) -> None:
    """A key of rates, one of epochs, and the caption."""
    keys = [
        Line2D([], [], ms=3, label=f"$\\eta = {rate:g}$", **look)
        for rate, look in _looks(frame, "lr").items()
    ]
    keys += [
        Line2D([], [], ms=3, color=SOFT, label=f"$T = {epochs}$", **look)
        for epochs, look in _looks(frame, "epochs").items()
    ]
    figure.legend(handles=keys, loc="outside upper left", ncols=6, columnspacing=1.0)
    caption(
        figure,
        "ResNet-20 on digits (360 test images), batch 128, T epochs, cosine rates from η, α "
        f"constant, {frame['seed'].nunique()} seeds: mean, bars from lowest to highest. {words}",
    )

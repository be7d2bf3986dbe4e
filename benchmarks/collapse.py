"""How far curves of several settings lie apart over one axis or another, and the figures of it."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mirrorflow.checks import Array
from mirrorflow.plots.style import STYLE, caption, save
from mirrorflow.runs.store import Row, atomic_write

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

__all__ = ["collapse", "distance", "report"]

QUANTITIES = {
    "cut": "accuracy at 95 % sparsity",
    "kept": "log10 of the weights needed",
    "effective_density": "log10 of the effective density",
    "below_scale": "share of weights below a free",
    "cut_running": "accuracy at 95 %, running statistics",
}
LOGARITHMIC = ("kept", "effective_density")
AXES = {
    "total_free": "A of free decay (no unit)",
    "total": "nominal A (no unit)",
    "alpha": "α (per unit of flow time)",
}
COLOURS = ("#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito, by rate
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
                    **{f"by_{axis}": _mean(found) for axis, found in by.items()},
                    **{n: _mean(by["total_free"][chosen]) for n, chosen in alike.items()},
                    **{f"longer_{axis}": own * _mean(found[long]) for axis, found in by.items()},
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
    for points, line in ((one, other), (other, one)):
        line = line.sort_values(axis)
        at, knots = np.log(points[axis].to_numpy()), np.log(line[axis].to_numpy())
        inside = (at >= knots[0] - 1e-9) & (at <= knots[-1] + 1e-9)
        there = np.interp(at[inside], knots, line["value"].to_numpy())
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
    with matplotlib.rc_context(STYLE):
        save(_curves(frame), out / "total_decay")
        save(_lag(frame), out / "total_decay_lag")
    return text


PANELS = {
    "cut": ("accuracy at 95 % sparsity", "accuracy (%)"),
    "kept": ("weights needed", "weights (%)"),
}


def _curves(frame: pandas.DataFrame) -> Figure:
    names = list(dict.fromkeys(frame["method"]))
    figure = Figure(figsize=(13.5, 3.3 * len(names) + 0.6), layout="constrained")
    grid = figure.subplots(len(names), 4, squeeze=False)
    for method, row in zip(names, grid, strict=True):
        some = frame[frame["method"] == method]
        places = itertools.product(PANELS, ("total_free", "total"))
        for axes, (quantity, axis) in zip(row, places, strict=True):
            title, label = PANELS[quantity]
            _lines(axes, some, axis, quantity, f"{method}: {title}")
            axes.set_ylabel(label)
            if quantity == "kept":
                axes.set_yscale("log")
            else:
                axes.set_ylim(0, 101)
    _legend(
        figure,
        frame,
        "Batch norm's statistics are those of the final weights. Weights needed: the least share "
        "that keeps the uncut accuracy up to one point.",
    )
    return figure


def _lag(frame: pandas.DataFrame) -> Figure:
    names = list(dict.fromkeys(frame["method"]))
    figure = Figure(figsize=(3.6 * len(names) + 1.4, 3.6), layout="constrained")
    for axes, method in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        title = f"{method}: uncut, running statistics"
        _lines(axes, frame[frame["method"] == method], "total_free", "uncut_running", title)
        axes.set(ylabel="accuracy (%)", ylim=(0, 101))
    _legend(
        figure,
        frame,
        "Accuracies of the uncut networks with batch norm's running statistics (momentum 0.1), as "
        "training leaves them.",
    )
    return figure


def _lines(axes: Axes, frame: pandas.DataFrame, axis: str, quantity: str, title: str) -> None:
    """One line per setting, the mean over seeds, with a bar from the lowest to the highest."""
    lengths, rates = sorted(frame["epochs"].unique()), sorted(frame["lr"].unique())
    for (epochs, lr), setting in frame.groupby(["epochs", "lr"]):
        points = setting.groupby("total")[[axis, quantity]].agg(["mean", "min", "max"])
        at, values = points[axis]["mean"], 100.0 * points[quantity]
        i, j = lengths.index(epochs), rates.index(lr)
        low, high = values["mean"] - values["min"], values["max"] - values["mean"]
        look = {"color": COLOURS[j % len(COLOURS)], "ls": DASHES[i % len(DASHES)]}
        look |= {"marker": "osD^v"[i % 5], "label": f"{epochs}, {lr:g}"}
        axes.errorbar(at, values["mean"], (low, high), ms=3, lw=1.2, elinewidth=0.7, **look)
    axes.set(xscale="log", xlabel=AXES[axis])
    axes.set_title(title, loc="left", fontsize=9)
    if axis != "alpha":
        totals = sorted(frame["total"].unique())
        axes.set_xticks(totals, [f"{total:g}" for total in totals])
    axes.minorticks_off()


def _legend(figure: Figure, frame: pandas.DataFrame, words: str) -> None:
    """One legend for all panels, beside them, and the caption."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, title="epochs T,\npeak rate η", loc="outside right upper")
    caption(
        figure,
        "ResNet-20 on digits (360 test images), batch 128, cosine rates, α constant, "
        f"{frame['seed'].nunique()} seeds: mean, bars from lowest to highest. {words}",
    )

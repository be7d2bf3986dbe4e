"""Figures of the discrete experiments: distance to x* against the step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mirrorflow.checks import Array
from mirrorflow.plots.style import STYLE, caption

if TYPE_CHECKING:
    import pandas

__all__ = ["initialization", "regularization", "schedules"]

Look = tuple[Any, Any]  # colour and dashes, as matplotlib names them
SHAPES: dict[str, Look] = {
    "constant": ("#0072B2", "-"),
    "harmonic": ("#CC79A7", (0, (5, 1, 1, 1, 1, 1))),
    "quadratic": ("#D55E00", "--"),
    "geometric": ("#009E73", "-."),
}
TITLES = {
    "factors": "α(‖m‖² + ‖w‖²), x = m ⊙ w",
    "mask_l1": "α‖m‖₁, x = m ⊙ w",
    "l1_on_x": "α‖x‖₁, x itself",
}


def initialization(frame: pandas.DataFrame, paths: dict[str, Array]) -> Figure:
    """Figure 1a: distance against step for both starts, and the last one against A."""
    shapes = [name for name in SHAPES if name in set(frame["shape"])]
    totals = sorted(frame["total"].unique())
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.2 * (len(shapes) + 1), 4.3), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, len(shapes) + 1))
        colours = matplotlib.colormaps["cividis"](np.linspace(0.0, 0.85, len(totals)))
        for axes, shape in zip(panels, shapes, strict=False):
            for total, colour in zip(totals, colours, strict=True):
                for start, dashes in (("pilot", "-"), ("balanced", "--")):
                    rows = frame[(frame["shape"] == shape) & (frame["total"] == total)]
                    label = f"A = {total:g}" if start == "pilot" else None
                    _band(axes, rows[rows["start"] == start], paths, (colour, dashes), label)
            _decorate(axes, f"{shape} schedule: PILoT —, balanced - -")
            axes.legend(ncols=2, loc="lower left")
        _ends(panels[-1], frame, shapes)
        caption(figure, _setting(frame) + " Right: last step (filled) and limit of exact flow.")
    return figure


def _ends(axes: Axes, frame: pandas.DataFrame, shapes: list[str]) -> None:
    for shape in shapes:
        colour, dashes = SHAPES[shape]
        for start, marker in (("pilot", "o"), ("balanced", "s")):
            rows = frame[(frame["shape"] == shape) & (frame["start"] == start)]
            for column, fill in (("distance_end", colour), ("limit_distance", "none")):
                mean = rows.groupby("total")[column].mean()
                label = f"{start}, {shape}" if fill == colour else None
                style = dashes if fill == colour else ":"
                axes.plot(
                    mean.index, mean, color=colour, ls=style, marker=marker, mfc=fill, label=label
                )
    axes.set(xscale="log", yscale="log", xlabel="total A = Σηα (no unit)")
    totals = sorted(frame["total"].unique())
    axes.set_xticks(totals, [f"{total:g}" for total in totals])
    axes.minorticks_off()
    axes.set_ylabel("$\\|x - x^*\\|_2$ (units of x)")
    axes.set_title("where they end", loc="left")
    axes.legend()


def regularization(frame: pandas.DataFrame, paths: dict[str, Array]) -> Figure:
    """Figure 1b: the best constant and the best decaying schedule of each regulariser."""
    names = [name for name in TITLES if name in set(frame["regularizer"])]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.2 * len(names), 4.0), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, len(names), sharey=True))
        for axes, name in zip(panels, names, strict=True):
            rows = frame[frame["regularizer"] == name]
            for constant, word in ((True, "best constant"), (False, "best decaying")):
                some = rows[rows["shape"].eq("constant") == constant]
                if some.empty:
                    continue
                means = some.groupby(["shape", "total"])["distance_end"].mean()
                shape, total = means.index[int(means.argmin())]
                chosen = some[(some["shape"] == shape) & (some["total"] == total)]
                kind = word if constant else f"{word}: {shape}"
                _band(axes, chosen, paths, SHAPES[shape], f"{kind}, A = {total:g}")
                if chosen["limit_distance"].notna().all():
                    axes.axhline(
                        chosen["limit_distance"].mean(), color=SHAPES[shape][0], ls=":", lw=1
                    )
            _decorate(axes, TITLES[name])
            axes.legend(loc="lower left", bbox_to_anchor=(0.0, 0.1))
        caption(figure, _setting(frame) + " Dotted: limit of exact flow.")
    return figure


def schedules(frame: pandas.DataFrame, paths: dict[str, Array]) -> Figure:
    """Figures 4 and 5: every constant, and each decaying shape at its best total."""
    names = [name for name in TITLES if name in set(frame["regularizer"])]
    totals = sorted(frame["total"].unique())
    blues = matplotlib.colormaps["Blues"](np.linspace(0.4, 1.0, len(totals)))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.2 * len(names), 4.3), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, len(names), sharey=True))
        for axes, name in zip(panels, names, strict=True):
            rows = frame[frame["regularizer"] == name]
            for total, colour in zip(totals, blues, strict=True):
                chosen = rows[(rows["shape"] == "constant") & (rows["total"] == total)]
                _band(axes, chosen, paths, (colour, "-"), f"constant, A = {total:g}")
            for shape in [s for s in list(SHAPES)[1:] if s in set(rows["shape"])]:
                some = rows[rows["shape"] == shape]
                total = some.groupby("total")["distance_end"].mean().idxmin()
                chosen = some[some["total"] == total]
                _band(axes, chosen, paths, SHAPES[shape], f"{shape}, A = {total:g}")
            _decorate(axes, TITLES[name])
            axes.legend(loc="lower left")
        caption(figure, _setting(frame) + " Decaying schedules: at their best A.")
    return figure


def _band(
    axes: Axes, rows: pandas.DataFrame, paths: dict[str, Array], look: Look, label: str | None
) -> None:
    """Mean over runs as a line, their range as a band."""
    if rows.empty:
        return
    colour, dashes = look
    steps = paths[f"{rows['key'].iloc[0]}/steps"] / 1000
    curves = np.array([paths[f"{key}/distance"] for key in rows["key"]])
    axes.plot(steps, curves.mean(0), color=colour, ls=dashes, label=label)
    axes.fill_between(steps, curves.min(0), curves.max(0), color=colour, alpha=0.12, lw=0)


def _decorate(axes: Axes, title: str) -> None:
    axes.set(yscale="log", xlabel="step k (thousands)")
    axes.set_ylabel("$\\|x_k - x^*\\|_2$ (units of x)")
    axes.set_title(title, loc="left")


def _setting(frame: pandas.DataFrame) -> str:
    row = frame.iloc[0]
    loss = "‖Zx − y‖²/n" if row["loss"] == "mse" else "‖Zx − y‖²/(2n)"
    batch = "gradient descent"
    if row["batch_size"] is not None and not np.isnan(row["batch_size"]):
        batch = f"SGD, batch {row['batch_size']:.0f}, {frame['sgd_seed'].nunique()} streams each"
    return (
        f"Sparse recovery, n = {row['n']}, d = {row['d']}, {row['k']} nonzeros; {batch} on {loss}, "
        f"η = {row['step_size']:g}, {frame['seed'].nunique()} initialisations "
        f"x₀ ~ N(0, I/√d), β = {row['beta']:g}, k in units of {row['per']} steps; "
        "mean and range."
    )

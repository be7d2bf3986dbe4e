"""Figures of the discrete experiments: distance to x* against the step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mirrorflow.checks import Array
from mirrorflow.colours import SCHEDULES, SOFT
from mirrorflow.plots.style import STYLE, below, caption, panels

if TYPE_CHECKING:
    import pandas

__all__ = ["initialization", "regularization", "schedules"]

Look = tuple[Any, Any]  # colour and dashes, as matplotlib names them
SHAPES: dict[str, Look] = {
    "constant": (SCHEDULES["constant"], "-"),
    "harmonic": (SCHEDULES["harmonic"], (0, (5, 1, 1, 1, 1, 1))),
    "quadratic": (SCHEDULES["quadratic"], "--"),
    "geometric": (SCHEDULES["geometric"], "-."),
}
START = {"pilot": "PILoT", "balanced": "balanced"}
TINY = float(np.finfo(float).tiny)
TITLES = {
    "factors": "$\\alpha(\\|m\\|^2 + \\|w\\|^2)$, $x = m \\odot w$",
    "mask_l1": "$\\alpha\\|m\\|_1$, $x = m \\odot w$",
    "l1_on_x": "$\\alpha\\|x\\|_1$, $x$ itself",
}


def initialization(frame: pandas.DataFrame, paths: dict[str, Array], width: str = "page") -> Figure:
    """Draw Figure 1a: ‖x_k − x*‖₂ against the step k for both starts, and its last against A.

    Every run as a faint line, and the geometric mean over initialisations.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows of study `initialization` (`mirrorflow.results.load`).
    paths : dict of arrays
        KEY/NAME of each run, steps and distance (`mirrorflow.results.load_paths`).
    width : "column" or "page"
        3.25 or 6.75 inches.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If the width is neither.

    Examples
    --------
    >>> import pandas
    >>> rows = pandas.read_parquet("figures/initialization_rows.parquet")
    >>> names, some = ("steps", "distance"), np.geomspace(1.0, 9.0, 5)
    >>> paths = {f"{key}/{name}": some for key in rows["key"] for name in names}
    >>> initialization(rows, paths).axes[-1].get_title(loc="left")
    'where they end'
    """
    shapes = [name for name in SHAPES if name in set(frame["shape"])]
    totals = sorted(frame["total"].unique())
    with matplotlib.rc_context(STYLE):
        figure, grid = panels(len(shapes) + 1, width, 2.9)
        colours = matplotlib.colormaps["cividis"](np.linspace(0.0, 0.85, len(totals)))
        for axes, shape in zip(grid, shapes, strict=False):
            for total, colour in zip(totals, colours, strict=True):
                for start, dashes in (("pilot", "-"), ("balanced", "--")):
                    rows = frame[(frame["shape"] == shape) & (frame["total"] == total)]
                    label = f"$A = {total:g}$" if start == "pilot" else None
                    _band(axes, rows[rows["start"] == start], paths, (colour, dashes), label)
            for start, dashes in (("PILoT", "-"), ("balanced", "--")):
                axes.plot([], [], color=SOFT, ls=dashes, label=start)
            _decorate(axes, f"{shape} schedule")
            below(axes, 2)
        _ends(grid[-1], frame, shapes)
        caption(figure, _setting(frame) + " Right: last step (filled) and limit of exact flow.")
    return figure


def _ends(axes: Axes, frame: pandas.DataFrame, shapes: list[str]) -> None:
    for shape in shapes:
        colour, dashes = SHAPES[shape]
        for start, marker in (("pilot", "o"), ("balanced", "s")):
            rows = frame[(frame["shape"] == shape) & (frame["start"] == start)]
            for column, fill in (("limit_distance", "none"), ("distance_end", colour)):
                mean = rows.groupby("total")[column].mean()
                label = f"{START[start]}, {shape}" if fill == colour else None
                style = dashes if fill == colour else ":"
                axes.plot(
                    mean.index,
                    mean,
                    color=colour,
                    ls=style,
                    marker=marker,
                    mfc=fill,
                    label=label,
                    ms=4 if fill == "none" else 3,
                )
    axes.plot([], [], color=SOFT, ls=":", marker="o", mfc="none", ms=4, label="limit of exact flow")
    axes.set(xscale="log", yscale="log", xlabel="total $A = \\Sigma \\eta\\alpha$ (no unit)")
    totals = sorted(frame["total"].unique())
    axes.set_xticks(totals, [f"{total:g}" for total in totals])
    axes.minorticks_off()
    axes.set_ylabel("$\\|x - x^*\\|_2$ (units of $x$)")
    axes.set_title("where they end", loc="left")
    below(axes, 1)


def regularization(frame: pandas.DataFrame, paths: dict[str, Array], width: str = "page") -> Figure:
    """Draw Figure 1b: the best constant and the best decaying schedule of each regulariser.

    ‖x_k − x*‖₂ against the step k; best is the least mean at the last step.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows of study `regularization` or `schedules` (`mirrorflow.results.load`).
    paths : dict of arrays
        KEY/NAME of each run, steps and distance (`mirrorflow.results.load_paths`).
    width : "column" or "page"
        3.25 or 6.75 inches.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If the width is neither.

    Examples
    --------
    >>> import pandas
    >>> rows = pandas.read_parquet("figures/schedules_rows.parquet")
    >>> names, some = ("steps", "distance"), np.geomspace(1.0, 9.0, 5)
    >>> paths = {f"{key}/{name}": some for key in rows["key"] for name in names}
    >>> len(regularization(rows, paths).axes)
    3
    """
    names = [name for name in TITLES if name in set(frame["regularizer"])]
    with matplotlib.rc_context(STYLE):
        figure, grid = panels(len(names), width, 2.6)
        for axes, name in zip(grid, names, strict=True):
            rows = frame[frame["regularizer"] == name]
            for constant in (True, False):
                some = rows[rows["shape"].eq("constant") == constant]
                if some.empty:
                    continue
                means = some.groupby(["shape", "total"])["distance_end"].mean()
                shape, total = means.index[int(means.argmin())]
                chosen = some[(some["shape"] == shape) & (some["total"] == total)]
                label = f"{shape}, $A = {total:g}$"
                if chosen["limit_distance"].notna().all():
                    label += f"\n(flow: {chosen['limit_distance'].mean():.1g})"
                _band(axes, chosen, paths, SHAPES[shape], label)
            _decorate(axes, TITLES[name])
            below(axes, 1)
        words = " The constant and the decaying schedule that end nearest on average; in brackets: "
        caption(figure, _setting(frame) + words + "the distance at the limit of exact flow.")
    return figure


def schedules(frame: pandas.DataFrame, paths: dict[str, Array], width: str = "page") -> Figure:
    """Draw Figures 4 and 5: every constant schedule, and each decaying shape at its best total A.

    ‖x_k − x*‖₂ against the step k, a panel for each regulariser.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows of study `schedules` or `sgd` (`mirrorflow.results.load`).
    paths : dict of arrays
        KEY/NAME of each run, steps and distance (`mirrorflow.results.load_paths`).
    width : "column" or "page"
        3.25 or 6.75 inches.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If the width is neither.

    Examples
    --------
    >>> import pandas
    >>> rows = pandas.read_parquet("figures/sgd_rows.parquet")
    >>> names, some = ("steps", "distance"), np.geomspace(1.0, 9.0, 5)
    >>> paths = {f"{key}/{name}": some for key in rows["key"] for name in names}
    >>> len(schedules(rows, paths).axes)
    3
    """
    names = [name for name in TITLES if name in set(frame["regularizer"])]
    totals = sorted(frame["total"].unique())
    blues = matplotlib.colormaps["Blues"](np.linspace(0.4, 1.0, len(totals)))
    with matplotlib.rc_context(STYLE):
        figure, grid = panels(len(names), width, 3.0)
        for axes, name in zip(grid, names, strict=True):
            rows = frame[frame["regularizer"] == name]
            for total, colour in zip(totals, blues, strict=True):
                chosen = rows[(rows["shape"] == "constant") & (rows["total"] == total)]
                _band(axes, chosen, paths, (colour, "-"), None)
            for shape in [s for s in list(SHAPES)[1:] if s in set(rows["shape"])]:
                some = rows[rows["shape"] == shape]
                total = some.groupby("total")["distance_end"].mean().idxmin()
                chosen = some[some["total"] == total]
                _band(axes, chosen, paths, SHAPES[shape], f"{shape}, $A = {total:g}$")
            _decorate(axes, TITLES[name])
            below(axes)
        keys = [
            Line2D([], [], color=colour, label=f"constant, $A = {total:g}$")
            for total, colour in zip(totals, blues, strict=True)
        ]
        columns = 2 if width == "column" else len(keys)
        figure.legend(handles=keys, loc="outside upper left", ncols=columns)
        runs = ", ".join(f"{total:g}" for total in totals)
        caption(figure, f"{_setting(frame)} A = {runs}; decaying schedules at the best of these.")
    return figure


def _band(
    axes: Axes, rows: pandas.DataFrame, paths: dict[str, Array], look: Look, label: str | None
) -> None:
    """Every run as a faint line, and their geometric mean above them."""
    if rows.empty:
        return
    colour, dashes = look
    steps = paths[f"{rows['key'].iloc[0]}/steps"] / 1000
    curves = np.array([paths[f"{key}/distance"] for key in rows["key"]])
    faint = min(0.25, 1.25 / len(curves))
    axes.plot(steps, curves.T, color=colour, ls=dashes, lw=0.5, alpha=faint, zorder=2)
    mean = np.exp(np.log(np.maximum(curves, TINY)).mean(0))
    axes.plot(steps, mean, color=colour, ls=dashes, lw=1.3, label=label, zorder=3)


def _decorate(axes: Axes, title: str) -> None:
    axes.set(yscale="log", xlabel="step $k$ (thousands)")
    axes.set_ylabel("$\\|x_k - x^*\\|_2$ (units of $x$)")
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
        "every run, and the geometric mean."
    )

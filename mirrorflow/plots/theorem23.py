"""The figure of study `theorem23`: the way there, where it ends, and the potential."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mirrorflow.checks import Array
from mirrorflow.colours import QUANTITIES, SCHEDULES
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.maps.product import Factors
from mirrorflow.plots.style import MARKERS, STYLE, below, caption, panels

if TYPE_CHECKING:
    import pandas

__all__ = ["LOOK", "potentials", "theorem23", "trajectories", "transition"]

LOOK = {
    "none": (SCHEDULES["none"], (0, (1, 1)), "no penalty"),
    "constant": (SCHEDULES["constant"], "-", "constant until $\\tau$"),
    "quadratic": (SCHEDULES["quadratic"], "--", "quadratic"),
    "geometric": (SCHEDULES["geometric"], "-.", "geometric"),
    "harmonic": (
        SCHEDULES["harmonic"],
        (0, (5, 1, 1, 1, 1, 1)),
        "harmonic, $\\int\\alpha = \\infty$",
    ),
}
TARGETS = {
    "limit": (QUANTITIES["limit"], "argmin $R_a$ (Theorem 2.3)"),
    "min_l1": (QUANTITIES["l1"], "minimum L1"),
    "min_l2": (QUANTITIES["l2"], "nearest to $e^{-4A} x_0$"),
}


def theorem23(
    frame: pandas.DataFrame, paths: dict[str, Array], beta: float, width: str = "page"
) -> Figure:
    """Draw the three panels of study `theorem23` for the rows of one problem.

    (a) distance to x* (to the minimum-L1 point where there is no x*) against time, (b) where
    the flow ends against the scale a_∞, (c) R_a in one dimension as A grows.

    Parameters
    ----------
    frame : pandas.DataFrame
        Its rows of one problem (`mirrorflow.results.load`).
    paths : dict of arrays
        KEY/NAME of each run, times and distance (`mirrorflow.results.load_paths`).
    beta : float
        β = m₀² − w₀² of the runs in (a) and of the potential in (c), in units of x.
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
    >>> rows = pandas.read_parquet("figures/theorem23_rows.parquet")
    >>> rows = rows[rows["problem"].eq("gaussian")]
    >>> names, some = ("times", "distance"), np.geomspace(1.0, 9.0, 5)
    >>> paths = {f"{key}/{name}": some for key in rows["key"] for name in names}
    >>> len(theorem23(rows, paths, beta=1.0).axes)
    3
    """
    with matplotlib.rc_context(STYLE):
        figure, (left, middle, right) = panels(3, width, 2.9)
        trajectories(left, frame[frame["beta"].isin([beta]) | frame["beta"].isna()], paths)
        transition(middle, frame)
        totals = sorted(frame["total"].unique())
        potentials(right, totals, beta)
        row = frame.iloc[0]
        starts = frame["seed"].nunique()
        words = (
            f"Problem {row['problem']}: n = {row['samples']:.0f}, d = {row['features']:.0f}; "
            f"gradient flow of 1/(2n)‖Zx − y‖² + α(t)(‖m‖² + ‖w‖²), x = m ⊙ w, from {starts} "
            f"initialisation{'s' if starts > 1 else ''} x₀ ~ N(0, I/√d), β = {beta:g} unless "
            f"marked, τ = {row['timescale']:g}, rtol = {row['rtol']:g}. (a) median and range, "
            f"for the largest A = ∫α = {totals[-1]:g} and without penalty; lines end where flows "
            f"were stopped. (b) end points, constant schedule, median{_betas(frame)}. (c) scaled "
            "to 0 at x = 0 and 1 at x = 1, x₀ = 0."
        )
        caption(figure, words)
    return figure


def trajectories(axes: Axes, frame: pandas.DataFrame, paths: dict[str, Array]) -> None:
    """Draw ‖x_t − x*‖₂ against flow time: median and range over initialisations, by schedule.

    For the largest A, and without penalty; from the minimum-L1 point where there is no x*.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    frame : pandas.DataFrame
        Rows of study `theorem23` for one problem and one β (`mirrorflow.results.load`).
    paths : dict of arrays
        KEY/NAME of each run, times and distance (`mirrorflow.results.load_paths`).

    Examples
    --------
    >>> import pandas
    >>> rows = pandas.read_parquet("figures/theorem23_rows.parquet")
    >>> rows = rows[rows["problem"].eq("gaussian")]
    >>> names, some = ("times", "distance"), np.geomspace(1.0, 9.0, 5)
    >>> paths = {f"{key}/{name}": some for key in rows["key"] for name in names}
    >>> trajectories(axes := Figure().subplots(), rows[rows["beta"].eq(1.0)], paths)
    >>> axes.get_xlabel()
    'flow time $t$'
    """
    known = frame["distance_to_truth"].notna().all()
    chosen = {"none": frame[frame["total"] == 0]}
    largest = frame["total"].max()
    for name in list(LOOK)[1:]:
        chosen[name] = frame[(frame["schedule"] == name) & (frame["total"] == largest)]
    for name, rows in chosen.items():
        both = [(paths[f"{key}/times"][1:], paths[f"{key}/distance"][1:]) for key in rows["key"]]
        moved = [pair for pair in both if pair[0].size]  # others stopped where they started
        if not moved or (name == "constant" and largest == 0):
            continue
        colour, dashes, label = LOOK[name]
        times, curves = _on_common_times(moved)
        thick = 2.4 if dashes == "-" else 1.3  # where curves coincide, this one shows below them
        look: Any = {"color": colour, "ls": dashes, "lw": thick, "label": label}
        axes.plot(times, np.median(curves, axis=0), **look)
        axes.fill_between(
            times, curves.min(0), curves.max(0), color=colour, alpha=0.12, lw=0, zorder=1
        )
    axes.set(xscale="log", yscale="log", xlabel="flow time $t$")
    goal = "x^*" if known else "x_{\\mathrm{min\\ L1}}"
    axes.set_ylabel(f"$\\|x_t - {goal}\\|_2$ (units of $x$)")
    axes.set_title("(a) the way there", loc="left")
    if axes.lines:
        below(axes)


def transition(axes: Axes, frame: pandas.DataFrame) -> None:
    """Draw the end point's distance to three predictions, over ‖x_∞‖₂, against a_∞ = ½βe^{−4A}.

    To argmin R_a, the minimum-L1 point and the point nearest to e^{−4A}x₀; constant schedules,
    medians over initialisations, a marker for each β.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    frame : pandas.DataFrame
        Rows of study `theorem23` for one problem (`mirrorflow.results.load`).

    Examples
    --------
    >>> import pandas
    >>> rows = pandas.read_parquet("figures/theorem23_rows.parquet")
    >>> rows = rows[rows["problem"].eq("gaussian")]
    >>> transition(axes := Figure().subplots(), rows)
    >>> axes.get_xscale(), axes.get_yscale()
    ('log', 'log')
    """
    axes.set_title("(b) from L1, left, to L2", loc="left")
    rows = frame[frame["schedule"] == "constant"]
    rows = rows[(rows["scale_a"] > 0) & (rows["norm2_limit"] > 0)]
    if rows.empty:
        axes.text(0.5, 0.5, "no unbalanced run\nwith a limit ≠ 0", ha="center", va="center")
        return
    rows = rows.assign(beta=rows["beta"].fillna(np.inf))  # m₀, w₀ from a file have no β
    betas = _markers(frame)
    floor = 1e-16
    for i, (beta, marker) in enumerate(betas.items()):
        some = rows[rows["beta"] == beta]
        groups: Any = some.groupby("total", sort=True)
        scales = groups["scale_a"].median().to_numpy()
        for name, (colour, label) in TARGETS.items():
            relative = groups.apply(
                lambda g, column=f"distance_to_{name}": (g[column] / g["norm2_limit"]).median()
            ).to_numpy()
            (line,) = axes.plot(scales, np.maximum(relative, floor), ms=3.5, lw=1.0)
            line.set(color=colour, marker=marker, label=label if i == 0 else None)
    axes.set(xscale="log", yscale="log", xlabel="scale $a = \\beta e^{-4A}/2$ (units of $x$)")
    axes.set_ylabel("distance of $x_T$ over $\\|x_\\infty\\|_2$")
    below(axes)


def potentials(axes: Axes, totals: Sequence[float], beta: float) -> None:
    """Draw R_a(x) in one dimension for growing A (Figure 1c), between x² and |x|.

    Scaled to 0 at x = 0 and 1 at x = 1.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    totals : floats ≥ 0
        A, a curve each.
    beta : float > 0
        β = m₀² − w₀² at x₀ = 0, in units of x; a = ½βe^{−4A}.

    Raises
    ------
    InputError
        If β or a total breaks its rule.

    Examples
    --------
    >>> potentials(axes := Figure().subplots(), [0.0, 1.0, 4.0], beta=1.0)
    >>> len(axes.lines)
    5
    """
    grid = np.linspace(-1.0, 1.0, 401)
    colours = matplotlib.colormaps["cividis"](np.linspace(0.0, 0.85, len(totals)))
    for total, colour in zip(totals, colours, strict=True):
        R = HyperbolicEntropy.of(Factors.pilot([0.0], beta), total)
        values = np.array([R.value(np.array([x])) for x in grid])
        bottom = values[grid.size // 2]
        scaled = (values - bottom) / (values[-1] - bottom)
        axes.plot(grid, scaled, color=colour, label=f"$A = {total:g}$")
    axes.plot(grid, np.abs(grid), color=QUANTITIES["l1"], ls=":", lw=1.4, label="$|x|$")
    axes.plot(grid, grid**2, color=QUANTITIES["l2"], ls="--", lw=1.1, label="$x^2$")
    axes.set(xlabel="$x$", ylabel="$R_a(x)$, scaled")
    axes.set_title(f"(c) the potential, $\\beta = {beta:g}$", loc="left")
    below(axes, 2)


def _markers(frame: pandas.DataFrame) -> dict[float, str]:
    """The marker of each β in panel (b); inf where m₀ and w₀ are given."""
    betas = sorted(frame.loc[frame["schedule"] == "constant", "beta"].fillna(np.inf).unique())
    return {beta: MARKERS[i % len(MARKERS)] for i, beta in enumerate(betas)}


def _betas(frame: pandas.DataFrame) -> str:
    """Words on the markers."""
    names = {"o": "circles", "s": "squares", "D": "diamonds", "^": "triangles"}
    names |= {"v": "triangles down", "P": "plusses", "*": "stars", "X": "crosses"}
    betas = {b: mark for b, mark in _markers(frame).items() if np.isfinite(b)}
    words = ", ".join(f"{names[mark]} β = {beta:g}" for beta, mark in betas.items())
    return f"; {words}" if len(betas) > 1 else ""


def _on_common_times(curves: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Interpolate log–log onto the grid of the longest curve."""
    start = max(t[0] for t, _ in curves)
    end = min(t[-1] for t, _ in curves)
    grid = np.geomspace(start, end, 200)
    floor = np.finfo(float).tiny
    logs = [
        np.interp(np.log(grid), np.log(t), np.log(np.maximum(values, floor)))
        for t, values in curves
    ]
    return grid, np.exp(np.array(logs))

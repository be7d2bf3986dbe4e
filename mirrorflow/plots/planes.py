"""Two coordinates: level sets of R_a, the solutions of Zx = y, and both along a flow as a GIF."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.animation import PillowWriter
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mirrorflow.checks import Array, InputError
from mirrorflow.colours import BLACK, QUANTITIES, SOFT
from mirrorflow.flows import Flow
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.maps.product import Factors
from mirrorflow.plots.style import STYLE, below, caption, tidy
from mirrorflow.problems import Regression

__all__ = ["animate", "level_sets", "solution_line"]

Window = tuple[float, float, float, float]
RADII = np.arange(1, 8) / 3.0  # of level sets, in units of the one through the point
GRID = 201
DPI, FRAMES_PER_SECOND = 120, 8
PAUSE = 12  # frames for which the last one stands


def level_sets(axes: Axes, potential: HyperbolicEntropy, through: Array, window: Window) -> None:
    """Level sets of R_a in the plane; the one through a point is drawn bold.

    They stand at R_a = min R_a + s²(R_a(through) − min R_a) for s = ⅓, ⅔, 1, 4/3, …: evenly
    spaced where R_a is quadratic. None are drawn through the minimum itself.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    potential : HyperbolicEntropy
        Of two coordinates with |m₀| ≠ |w₀|.
    through : (2,) array
    window : (left, right, bottom, top), in units of x

    Raises
    ------
    InputError
        If the potential has another number of coordinates.

    Examples
    --------
    >>> potential = HyperbolicEntropy.of(Factors.pilot([0.0, 0.0]), total=1.0)
    >>> axes = Figure().subplots()
    >>> level_sets(axes, potential, np.array([0.5, 0.5]), (-1.0, 1.0, -1.0, 1.0))
    >>> len(axes.collections)
    1
    """
    if potential.c.size != 2:
        raise InputError(f"potential must have 2 coordinates, but it has {potential.c.size}.")
    across, up = np.linspace(*window[:2], GRID), np.linspace(*window[2:], GRID)
    heights = _values(potential, 0, across)[None, :] + _values(potential, 1, up)[:, None]
    least = potential.value(potential.minimizer)
    level = potential.value(through) - least
    if level > 0:
        widths = np.where(RADII == 1.0, 1.8, 0.6)
        axes.contour(
            across,
            up,
            heights - least,
            RADII**2 * level,
            colors=QUANTITIES["potential"],
            linewidths=widths,
        )
    axes.set(xlim=window[:2], ylim=window[2:], aspect="equal")


def solution_line(axes: Axes, problem: Regression, window: Window, at: Array | None = None) -> None:
    """The line {x : Zx = y} of one sample in the plane, or the parallel one through `at`.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    problem : Regression
        Of n = 1 sample and d = 2 features.
    window : (left, right, bottom, top), in units of x
    at : (2,) array, optional
        Draw {x : Zx = Z at} instead, dashed.

    Raises
    ------
    InputError
        If the problem has another shape.

    Examples
    --------
    >>> solution_line(axes := Figure().subplots(), Regression([[1.0, 2.0]], [2.0]), (0, 2, 0, 1))
    >>> len(axes.lines)
    1
    """
    if (problem.n, problem.d) != (1, 2):
        raise InputError(f"problem must have n = 1 and d = 2, not {problem.n} and {problem.d}.")
    z = np.asarray(problem.Z)[0]
    y = problem.y[0] if at is None else z @ at
    foot, along = z * y / (z @ z), np.array([-z[1], z[0]]) / np.linalg.norm(z)
    ends = tuple(foot), tuple(foot + along)
    if at is None:
        axes.axline(*ends, color=BLACK, lw=1.6)
    else:
        axes.axline(*ends, color=SOFT, lw=0.9, ls="--")
    axes.set(xlim=window[:2], ylim=window[2:])


def animate(
    problem: Regression, factors: Factors, flow: Flow, window: Window, path: str | Path
) -> Path:
    """Save a GIF, one frame per time of `flow`: R_{a_t} in one dimension, and in the plane.

    Left: R_{a_t} of the first coordinate, its minimum moved to 0, scaled to 1 at distance 1 to
    the right, between x² and |x|. Right: level sets of R_{a_t}, the trajectory up to t, the
    solutions of Zx = y, and the line Zx = Zx_t, which touches the level set through x_t because
    x_t = argmin {R_{a_t}(x) : Zx = Zx_t} (Theorem 2.1).

    Parameters
    ----------
    problem : Regression
        Of n = 1 sample and d = 2 features.
    factors : Factors
        The flow's start, with |m₀| ≠ |w₀|.
    flow : Flow
    window : (left, right, bottom, top), in units of x
        Of the plane.
    path : str or Path
        Of the file.

    Returns
    -------
    Path
        `path`. A frame takes about 0.1 s and 10 kB.

    Raises
    ------
    InputError
        If problem or start has another shape.

    Examples
    --------
    >>> from mirrorflow import Constant, gradient_flow
    >>> from tempfile import mkdtemp
    >>> problem, start = Regression([[1.0, 2.0]], [2.0]), Factors.pilot([0.0, 0.0])
    >>> flow = gradient_flow(problem, start, Constant(0.1), [0.0, 1.0])
    >>> animate(problem, start, flow, (0.0, 2.0, 0.0, 1.0), Path(mkdtemp(), "flow.gif")).name
    'flow.gif'
    """
    writer = PillowWriter(fps=FRAMES_PER_SECOND)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.75, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        with writer.saving(figure, str(path), DPI):
            for i in range(flow.times.size):
                potential = HyperbolicEntropy.of(factors, float(flow.total[i]))
                _profile(left, potential)
                _plane(right, problem, potential, flow.x[: i + 1], window)
                title = f"$t = {flow.times[i]:.2g}$,  $A = {flow.total[i]:.2f}$"
                figure.suptitle(title, fontsize=9)
                if i == 0:
                    words = "x (left) and both axes (right) in units of x; t in flow time, A = ∫α. "
                    caption(figure, f"{words}{setting(problem, factors)}.")
                for axes in (left, right):
                    tidy(axes)
                for _ in range(PAUSE if i == flow.times.size - 1 else 1):
                    writer.grab_frame()
                figure.set_layout_engine("none")  # the first frame's layout serves all
                left.clear()
                right.clear()
    return Path(path)


def setting(problem: Regression, factors: Factors) -> str:
    """Words on the line Zx = y and on the start."""
    z, scale = np.asarray(problem.Z)[0], np.abs(factors.m**2 - factors.w**2)
    pairs = [f"({a:g}, {b:g})" for a, b in (z, factors.x, scale)]
    return (
        f"Z = {pairs[0]}, y = {problem.y[0]:g}; x = m ⊙ w from x₀ = {pairs[1]}, "
        f"|m₀²\u00a0−\u00a0w₀²| = {pairs[2]}"
    )


def _values(potential: HyperbolicEntropy, i: int, points: Array) -> Array:
    """R_a's i-th summand at each point."""
    one = slice(i, i + 1)
    part = HyperbolicEntropy(potential.log_p[one], potential.log_q[one], potential.c[one])
    return np.array([part.value(np.array([x])) for x in points])


def _profile(axes: Axes, potential: HyperbolicEntropy) -> None:
    grid = np.linspace(-1.0, 1.0, GRID)
    centre = potential.minimizer[0]
    values = _values(potential, 0, centre + grid)
    bottom = values[GRID // 2]
    axes.plot(grid, grid**2, color=QUANTITIES["l2"], ls="--", lw=1.1, label="$x^2$")
    axes.plot(grid, np.abs(grid), color=QUANTITIES["l1"], ls=":", lw=1.4, label="$|x|$")
    scaled = (values - bottom) / (values[-1] - bottom)
    axes.plot(grid, scaled, color=QUANTITIES["potential"], lw=2, label="$R_{a_t}$")
    axes.set(ylim=(-0.05, 1.3), xlabel="distance to its minimum", ylabel="$R_{a_t}$ (scaled)")
    axes.set_title(f"$a_t$ = {np.exp(potential.log_a[0]):.2g}", loc="left")
    below(axes, 3)


def _plane(
    axes: Axes, problem: Regression, potential: HyperbolicEntropy, path: Array, window: Window
) -> None:
    level_sets(axes, potential, path[-1], window)
    solution_line(axes, problem, window)
    solution_line(axes, problem, window, at=path[-1])
    axes.plot(*path.T, color=QUANTITIES["flow"], label="trajectory $x_t$")
    axes.plot(*path[-1], "o", ms=4, color=QUANTITIES["flow"])
    axes.plot(*potential.minimizer, "+", color=BLACK, ms=7, label="argmin $R_{a_t}$")
    axes.plot([], [], color=QUANTITIES["potential"], label="level sets of $R_{a_t}$")
    axes.plot([], [], color=BLACK, label="$Zx = y$")
    axes.plot([], [], color=SOFT, ls="--", lw=0.9, label="$Zx = Zx_t$")
    axes.set(xlabel="$x_1$", ylabel="$x_2$")
    below(axes, 2)

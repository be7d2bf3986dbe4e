"""Quadrature along a flow: Gauss's rule on pieces that double in length, split where α jumps."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from numpy.typing import ArrayLike

from mirrorflow.checks import Array, InputError, ascending
from mirrorflow.flows.gradient import gradient_flow
from mirrorflow.flows.trajectory import Flow
from mirrorflow.maps.base import MirrorMap
from mirrorflow.maps.pairs import check_pair
from mirrorflow.own_schedules import check_schedule
from mirrorflow.problems import Regression
from mirrorflow.schedules import Schedule

__all__ = ["gauss_nodes", "time_average"]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(10)
# the two last coefficients of a Legendre series through the nodes
LAST = np.polynomial.legendre.legvander(NODES, 9) * WEIGHTS[:, None] * [k + 0.5 for k in range(10)]
LAST = LAST[:, -2:].T
NODES, WEIGHTS = 0.5 + 0.5 * NODES, 0.5 * WEIGHTS  # on [0, 1]
ROUNDS, MOST = 25, 5000  # halvings of a piece, pieces


def gauss_nodes(schedule: Schedule, first: float, ends: ArrayLike) -> tuple[Array, Array]:
    """Times and weights (K,) for integrals from 0 to the last of `ends`; no piece crosses one.

    Pieces begin with the length `first` after 0 and after each breakpoint, where x changes most,
    and double from there on.

    Parameters
    ----------
    schedule : Schedule
    first : float > 0
        In flow time.
    ends : ascending floats > 0

    Returns
    -------
    times, weights : (K,) arrays

    Raises
    ------
    InputError
        If ends don't ascend.

    Examples
    --------
    >>> from mirrorflow import Constant
    >>> times, weights = gauss_nodes(Constant(0.0), 0.1, [2.0])
    >>> round(float(weights @ times**2), 12)  # ∫₀² t² dt
    2.666666666667
    """
    edges = _edges(schedule, first, ends)
    spans = np.diff(edges)[:, None]
    return (edges[:-1, None] + spans * NODES).ravel(), (spans * WEIGHTS).ravel()


def _edges(schedule: Schedule, first: float, ends: ArrayLike) -> Array:
    marks = np.asarray(ends, float).tolist()
    knots = [0.0, *(t for t in schedule.breakpoints if t < marks[-1])]
    edges = {*knots, *marks}
    for start, stop in itertools.pairwise([*knots, marks[-1]]):
        step = first
        while start + step < stop:
            edges.add(start + step)
            step *= 2.0
    return np.array(sorted(edges))


def time_average(
    problem: Regression, start: MirrorMap, schedule: Schedule, times: ArrayLike, rtol: float = 1e-9
) -> tuple[Array, Flow]:
    """x̄_t = (1/t)∫₀ᵗ x_s ds at `times` (T,), shape (T, d), and the flow itself at these times.

    x̄_t is nearly a LASSO solution for the penalty (log(1/a₀) + 4A_t)/(2t) (Berthier 2025): see
    `certificates.lasso_of_average`.

    Parameters
    ----------
    problem, start, schedule, rtol
        As in `gradient_flow`.
    times : (T,) floats, strictly ascending, > 0, finite

    Returns
    -------
    mean : (T, d) array
    flow : Flow

    Raises
    ------
    InputError
        As `gradient_flow`, or if the integration fails.

    Examples
    --------
    >>> from mirrorflow import Constant, Factors
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> mean, flow = time_average(problem, Factors.pilot([0.0, 0.0]), Constant(0.0), [1.0, 50.0])
    >>> bool(np.abs(problem.Z @ mean[-1] - 2.0) < 0.05)
    True
    """
    check_pair(problem, start)
    check_schedule(schedule)
    ends = ascending("times", times)
    if ends[0] == 0.0 or start.kappa != 0.0:
        raise InputError(
            "times must be above 0, and decay without a weight on gradients, for an average, but "
            f"the first time is {ends[0]:g} and κ = {start.kappa:g}."
        )
    edges = _edges(schedule, float(ends[0]) * 2.0**-6, ends)
    for remaining in reversed(range(ROUNDS)):
        spans = np.diff(edges)[:, None]
        nodes = (edges[:-1, None] + spans * NODES).ravel()
        flow = gradient_flow(problem, start, schedule, np.union1d(nodes, edges), rtol)
        if not flow.success:
            raise InputError(f"times must end before the integration fails: {flow.message}")
        inside = np.isin(flow.times, nodes)
        x = flow.x[inside].reshape(*spans.shape[:1], NODES.size, -1)
        integrals = spans * np.einsum("k,pkd->pd", WEIGHTS, x)
        # the last Legendre coefficients say whether a piece is short enough for the rule
        missed = spans[:, 0] / ends[-1] * np.abs(np.einsum("lk,pkd->lpd", LAST, x)).max(axis=(0, 2))
        rough = missed > 10.0 * rtol * np.abs(x).max()
        if not rough.any() or edges.size > MOST or not remaining:
            break
        edges = np.union1d(edges, (edges[:-1] + 0.5 * spans[:, 0])[rough])
    at_ends = np.isin(flow.times, ends)
    sums = np.cumsum(integrals, axis=0)[np.searchsorted(edges, ends) - 1]
    kept = {
        name: getattr(flow, name)[at_ends] for name in ("times", "x", "parameters", "loss", "total")
    }
    return sums / ends[:, None], dataclasses.replace(flow, **kept)

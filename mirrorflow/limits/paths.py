"""Limits of many runs at many totals A in one call: whole paths from L2 to L1."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mirrorflow.checks import Array, InputError, ascending
from mirrorflow.limits.exact import MOST, check_pair, endless, interpolator
from mirrorflow.limits.lanes import Grams, follow
from mirrorflow.limits.optimality import Interpolator, Points, proven, smooth_proofs
from mirrorflow.maps.entropy import HyperbolicEntropy, signed_mass
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.threads import on_one_thread

__all__ = ["interpolators"]

ENTRIES = 2**18  # most numbers (2 MB) in one array of a block of runs


@on_one_thread
def interpolators(
    problem: Regression, factors_list: Sequence[Factors], totals: ArrayLike
) -> list[list[Interpolator]]:
    """argmin {R_a(x) : Zx = y} of every run after every total A (Theorem 2.3).

    The same points as `interpolator` gives one by one, to rounding. Runs without balanced
    coordinates are solved together, each from its solution at the total before; the others, and
    runs whose path is lost on the way, one by one.

    Parameters
    ----------
    problem : Regression
    factors_list : sequence of Factors
        m₀ and w₀ of each run.
    totals : (T,) floats in [0, inf], strictly ascending
        A = ∫α.

    Returns
    -------
    list of lists of Interpolator
        One list for each run, with one limit for each total. Arrays of one total are views of
        one block of runs: copy what is kept of it when the rest is not.

    Raises
    ------
    InputError
        If some factors don't fit `problem` or `totals` are out of order or range.

    Examples
    --------
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> path = interpolators(problem, [Factors.pilot([0.0, 0.0])], [0.0, np.inf])[0]
    >>> [bool(abs(problem.Z @ limit.x - 2.0) < 1e-15) for limit in path]
    [True, True]
    """
    times = ascending("totals", totals, infinite_end=True)
    finite = times[np.isfinite(times)]
    if finite.size and finite[-1] > MOST:
        raise InputError(f"totals must be at most {MOST:g} or inf, but one is {finite[-1]:g}.")
    runs = list(factors_list)
    for factors in runs:
        check_pair(problem, factors)
    paths: list[list[Interpolator]] = [[] for _ in runs]
    free = [i for i, factors in enumerate(runs) if (np.abs(factors.m) != np.abs(factors.w)).all()]
    space = problem.row_space
    if finite.size and space.b.any():
        grams, block = Grams(space.basis), max(1, ENTRIES // max(space.rank**2, problem.d))
        for start in range(0, len(free), block):
            chosen = free[start : start + block]
            _solve_block(
                problem, grams, [runs[i] for i in chosen], finite, [paths[i] for i in chosen]
            )
    for factors, path in zip(runs, paths, strict=True):
        path += [interpolator(problem, factors, float(A)) for A in finite[len(path) :]]
    if math.isinf(times[-1]):
        for path, limit in zip(paths, endless(problem, runs), strict=True):
            path.append(limit)
    return paths


def _solve_block(
    problem: Regression,
    grams: Grams,
    runs: list[Factors],
    totals: Array,
    paths: list[list[Interpolator]],
) -> None:
    """Append to the paths of the runs their limits, up to the first that was not found."""
    space, shape = problem.row_space, (len(runs), problem.d)
    # every coordinate has its own potential: to it, the runs are one long vector
    together = Factors(
        np.concatenate([factors.m for factors in runs]),
        np.concatenate([factors.w for factors in runs]),
    )
    kappa, iterations, arrived = follow(grams, space.b, HyperbolicEntropy.of(together), totals)
    fit, status = (None, "converged") if space.consistent else (space.fit(space.b), "inconsistent")
    on = np.arange(len(runs))
    for t, total in enumerate(totals):
        on = on[arrived[on, t]]
        if not on.size:
            break
        whole = HyperbolicEntropy.of(together, float(total))
        rows = [a.reshape(shape)[on] for a in (whole.log_p, whole.log_q, whole.c)]
        bend = space.basis.rmatvec(kappa[on, t])
        p, q = np.exp(rows[0] + bend), np.exp(rows[1] - bend)
        x = signed_mass(p, q, rows[2] + bend)
        points = Points(p, q, x, kappa[on, t], iterations[on, t], arrived[on, t])
        potential = HyperbolicEntropy(*(row.ravel() for row in rows))
        proofs = smooth_proofs(problem, potential, space.b, points)
        limits = proven(problem, points, *proofs, fit, status)
        good = np.array([limit.success for limit in limits], dtype=bool)
        for i in np.flatnonzero(good):
            paths[on[i]].append(limits[i])
        on = on[good]

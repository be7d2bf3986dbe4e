r"""Limits of the flow: argmin of R_A over {Zx = y} for A ∈ [0, ∞].

For finite A and any mirror map the answer is x = e^{−δA}X(½Zᵀν) with ν ∈ Rⁿ from a smooth concave
dual (Theorem 2.3; see `newton`), for A = ∞ and m ⊙ w a minimum-L1 interpolator (see `polyhedral`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mirrorflow.checks import Array, InputError, ascending, number, vector
from mirrorflow.limits.newton import Solver
from mirrorflow.limits.nonnegative import FaceError
from mirrorflow.limits.optimality import (
    MESSAGES,
    Interpolator,
    Points,
    failed,
    proven,
    smooth_proofs,
)
from mirrorflow.limits.polyhedral import endless
from mirrorflow.limits.sign_cone import SignCone, factors_of
from mirrorflow.limits.targets import targets
from mirrorflow.maps.base import MirrorMap
from mirrorflow.maps.pairs import check_pair
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.threads import on_one_thread, spread

__all__ = ["interpolator", "interpolators"]

MOST = 1e9  # beyond it, exponents 4A round to more than 1e-6
ENTRIES = 2**16  # most numbers (512 kB) in one array of a block of limits


@on_one_thread
def interpolator(
    problem: Regression,
    start: MirrorMap,
    total: float,
    *,
    gain: ArrayLike | None = None,
    shift: ArrayLike | None = None,
) -> Interpolator:
    """argmin {R_A(x) : Zx = y} after total A, for every A from 0 to ∞ (Theorem 2.3).

    Where the loss is another than the squared one, y is what minimises it.

    Parameters
    ----------
    problem : Regression
    start : Factors, Powers, DeepFactors, …
        θ₀, with as many coordinates as the problem.
    total : float in [0, inf]
        A = ∫α. inf, for Factors or degree L > 2: the limit of A → ∞, of least L1 norm, at L > 2
        of least Σt⁺x⁺ + t⁻x⁻ with `start.weights` t^±.
    gain, shift : (d,) floats, optional
        Of Factors, Λ and r: argmin {R_a(x) + ⟨r, x⟩ : Zx = y} with a = a₀e^{−4A−Λ}, where discrete
        steps, momentum or noise lead (`discrete_limit`). For A = ∞ they only choose among several
        minima.

    Returns
    -------
    Interpolator

    Raises
    ------
    InputError
        If `start` doesn't fit `problem`, `total` is negative or nan, or decay has no law for this
        start; if the loss has no minimum on these data.

    Examples
    --------
    >>> from mirrorflow import Factors
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> interpolator(problem, Factors.pilot([0.0, 0.0]), np.inf).x
    array([0., 1.])
    """
    total = number("total", total, 0.0, infinite=True)
    if MOST < total < math.inf:
        raise InputError(f"total must be at most {MOST:g} or inf, but it is {total:g}.")
    check_pair(problem, start)
    changes = None
    if gain is not None or shift is not None:
        if not isinstance(start, Factors):
            raise InputError(f"gain and shift are for Factors, not for {type(start).__name__}.")
        zero, rule = np.zeros(problem.d), "one for each coordinate"
        changes = (
            vector("gain", zero if gain is None else gain, problem.d, rule),
            vector("shift", zero if shift is None else shift, problem.d, rule),
        )
    return _interpolators(problem, [start], np.array([total]), "total", changes)[0][0]


@on_one_thread
def interpolators(
    problem: Regression, starts: Sequence[MirrorMap], totals: ArrayLike
) -> list[list[Interpolator]]:
    """`interpolator` of every run after every total A, on all cores.

    A run is the same to the bit in any list, in any order and on any number of cores. Each total
    begins at the solution at the total before.

    Parameters
    ----------
    problem : Regression
    starts : sequence of Factors, Powers, DeepFactors, …
        θ₀ of each run.
    totals : (T,) floats in [0, inf], strictly ascending
        A = ∫α.

    Returns
    -------
    list of lists of Interpolator
        One list for each run, with one limit for each total. Arrays are views of a block of
        limits: copy what is kept of them when the rest is not.

    Raises
    ------
    InputError
        As `interpolator`, and if `totals` are out of order or range.

    Examples
    --------
    >>> from mirrorflow import Factors
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> path = interpolators(problem, [Factors.pilot([0.0, 0.0])], [0.0, np.inf])[0]
    >>> [bool(abs(problem.Z @ limit.x - 2.0) < 1e-15) for limit in path]
    [True, True]
    """
    times = ascending("totals", totals, infinite_end=True)
    finite = times[np.isfinite(times)]
    if finite.size and finite[-1] > MOST:
        raise InputError(f"totals must be at most {MOST:g} or inf, but one is {finite[-1]:g}.")
    if isinstance(starts, MirrorMap):
        raise InputError(
            f"starts must be a list, but they are one {type(starts).__name__}; write [start]."
        )
    return _interpolators(problem, list(starts), times, "totals")


def _interpolators(
    problem: Regression,
    starts: list[MirrorMap],
    totals: Array,
    what: str,
    changes: tuple[Array, Array] | None = None,
) -> list[list[Interpolator]]:
    if not starts:
        return []
    for start in starts:
        check_pair(problem, start)
        if math.isinf(totals[-1]) and not (isinstance(start, Factors) or start.degree > 2.0):
            raise InputError(
                f"{what} may be inf for Factors and degree L > 2 alone, but the start is "
                f"{type(start).__name__} of degree {start.degree:g}."
            )
        if not start.moves:
            start.check_decay(what, float(totals[-1]))
    if totals[-1] > 0.0 and any(start.moves for start in starts):
        # each total has a start of its own
        return [
            [
                _interpolators(problem, [start.after(total)], np.zeros(1), what, changes)[0][0]
                for total in totals.tolist()
            ]
            if start.moves
            else _interpolators(problem, [start], totals, what, changes)[0]
            for start in starts
        ]
    space, fit = targets(problem)
    runs: list[SignCone] = []
    paths: list[list[Interpolator]] = [[] for _ in starts]
    for start, path in zip(starts, paths, strict=True):
        try:
            runs.append(SignCone.of(start, space, fit, changes).within())
        except FaceError as error:
            path += [failed(problem, start, str(error))] * totals.size
    pending, finite = [path for path in paths if not path], totals[np.isfinite(totals)]
    if finite.size:
        _add_finite(problem, runs, finite, pending)
    if finite.size < totals.size:
        for path, limit in zip(pending, endless(problem, runs), strict=True):
            path.append(limit)
    return paths


def _add_finite(
    problem: Regression, runs: list[SignCone], totals: Array, paths: list[list[Interpolator]]
) -> None:
    """Append the limits at finite totals to the runs' paths."""
    solver = Solver(problem.row_space.basis)
    solved = spread(lambda i: runs[i].follow(solver, totals), len(runs))
    # runs of m ⊙ w with all their signs are looked at together
    most = max(1, ENTRIES // problem.d)
    whole = [
        i for i, run in enumerate(runs)
        if isinstance(run.start, Factors) and run.changes is None and run.all_signs
    ]  # fmt: skip
    groups = [whole[first : first + most] for first in range(0, len(whole), most)]
    groups += [[i] for i in sorted(set(range(len(runs))) - set(whole))]
    for group in groups:
        members = [runs[i] for i in group]
        for t, total in enumerate(totals.tolist()):
            kappa = np.array([solved[i].kappa[t] for i in group])
            counts = np.array([solved[i].counts[t] for i in group])
            limits = _smooth(problem, members, total, kappa, counts)
            for i, limit in zip(group, limits, strict=True):
                paths[i].append(limit)


def _smooth(
    problem: Regression, runs: list[SignCone], total: float, kappa: Array, counts: NDArray[np.int64]
) -> list[Interpolator]:
    """The limits of several runs at κ (L, r)."""
    first, points = runs[0], None
    if np.isfinite(kappa).all():
        mu = first.space.basis.rmatvec(kappa)
        potential, theta, free = first.potential(total), mu.ravel(), first.free
        if len(runs) > 1:  # to a potential, runs are one long vector
            m, w = (np.concatenate([getattr(run.start, name) for run in runs]) for name in "mw")
            potential, free = Factors(m, w).potential(total), np.full(m.size, True)
        with np.errstate(over="ignore", invalid="ignore"):
            parts = *potential.split(theta), potential.inverse_gradient(theta)
            p, q, x, metric = (
                np.where(free, part, 0.0).reshape(mu.shape)
                for part in (*parts, potential.metric(theta))
            )
            if isinstance(first.start, Factors):
                parameters = factors_of(runs, p, q)
            else:
                parameters = first.start.parameters(np.array([total]), mu) * free
        # a map whose kernel gives numbers beyond its domain can be led there
        low, high = first.start.domain
        sure = np.asarray(((mu >= low) & (mu <= high) | ~first.free).all(axis=1))
        points = Points(p, q, x, parameters, metric, 2.0 * kappa, counts, sure)
    if points is None or not np.isfinite(points.x).all():
        if len(runs) == 1:
            return [failed(problem, first.start, MESSAGES["not_converged"])]
        each = zip(runs, kappa[:, None], counts[:, None], strict=True)
        return [_smooth(problem, [one], total, *rest)[0] for one, *rest in each]
    proofs = smooth_proofs(problem, potential, first.b, points, free)
    starts = [run.start for run in runs]
    return proven(problem, starts, points, *proofs, first.fit, first.status)

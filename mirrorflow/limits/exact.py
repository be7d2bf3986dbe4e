r"""Limits of the flow: argmin of R_a over {Zx = y} for A ∈ [0, ∞], and the LASSO.

For finite A the answer is x = p − q with p = p̄e^{Zᵀν}, q = q̄e^{−Zᵀν} and ν ∈ Rⁿ from a smooth
concave dual (Theorem 2.3). For A = ∞, 2R_a = 4A‖x‖₁ + KL + const makes it, among all
minimum-L1 interpolators, the one that minimises KL against ½u₀², ½v₀². A penalty that never
fades, α_∞ > 0, leads to the LASSO min f(x) + 2α_∞‖x‖₁ and the same choice among its solutions.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mirrorflow.checks import Array, InputError, number, vector
from mirrorflow.limits.columns import SignedColumns
from mirrorflow.limits.entropic import EntropicSolution, solve_entropic
from mirrorflow.limits.faces import Face, cone_projection, lasso_face, minimum_l1_face
from mirrorflow.limits.nonnegative import FaceError
from mirrorflow.limits.optimality import Interpolator, Points, failed, proven, smooth_proofs
from mirrorflow.maps.base import check_pair
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.rowspace import RowSpace
from mirrorflow.threads import on_one_thread

__all__ = ["check_pair", "endless", "interpolator", "lasso_limit"]

MOST = 1e9  # beyond it, exponents 4A round to more than 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class _Reach:
    """What the signs of balanced coordinates leave: ŷ in row-space coordinates and log masses."""

    space: RowSpace
    b: Array
    potential: HyperbolicEntropy
    status: str

    @property
    def signed(self) -> SignedColumns:
        """The columns that the signs leave."""
        plus = np.flatnonzero(np.isfinite(self.potential.log_p))
        minus = np.flatnonzero(np.isfinite(self.potential.log_q))
        return SignedColumns(self.space.basis, plus, minus)

    @property
    def fit(self) -> Array | None:
        """ŷ where it isn't y."""
        exact = self.status == "converged" and self.b is self.space.b
        return None if exact else self.space.fit(self.b)

    def restricted(self, support: NDArray[np.bool_], b: Array, status: str) -> _Reach:
        """Only the signed columns in `support`, with fit b."""
        p, q = self.signed.split(support.astype(float))
        log_p = np.where(p > 0, self.potential.log_p, -np.inf)
        log_q = np.where(q > 0, self.potential.log_q, -np.inf)
        c = np.select([(p > 0) & (q > 0), p > 0, q > 0], [self.potential.c, np.inf, -np.inf], 0.0)
        return _Reach(self.space, b, HyperbolicEntropy(log_p, log_q, c), status)


def _reach(
    problem: Regression,
    factors: Factors,
    total: float,
    gain: ArrayLike | None = None,
    shift: ArrayLike | None = None,
) -> _Reach:
    check_pair(problem, factors)
    space = problem.row_space
    potential = HyperbolicEntropy.of(factors, total)
    if gain is not None or shift is not None:
        zero = np.zeros(problem.d)
        given = {"gain": zero if gain is None else gain, "shift": zero if shift is None else shift}
        every = "one for each coordinate"
        potential = potential.effective(
            *(vector(name, value, problem.d, every) for name, value in given.items())
        )
    status = "converged" if space.consistent else "inconsistent"
    reach = _Reach(space, space.b, potential, status)
    free = np.isfinite(potential.log_a)
    if free.all() or (free.any() and space.basis.left_factor(free).shape[1] == space.rank):
        return reach
    face, fit, outside = cone_projection(reach.signed, space.b, space.s)
    return reach.restricted(
        face.support, fit, "no_interpolator_in_sign_cone" if outside else status
    )


@on_one_thread
def interpolator(
    problem: Regression,
    factors: Factors,
    total: float,
    *,
    gain: ArrayLike | None = None,
    shift: ArrayLike | None = None,
) -> Interpolator:
    """argmin {R_a(x) : Zx = y} after total A, for every A from 0 to ∞ (Theorem 2.3).

    Parameters
    ----------
    problem : Regression
    factors : Factors
        m₀ and w₀, any real numbers.
    total : float in [0, inf]
        A = ∫α. inf: the limit of A → ∞, a minimum-L1 interpolator.
    gain, shift : (d,) floats, optional
        Λ and r: argmin {R_a(x) + ⟨r, x⟩ : Zx = y} with a = a₀e^{−4A−Λ}, where discrete steps,
        momentum or noise lead (`discrete_limit`). For A = ∞ they only choose among several minima.

    Returns
    -------
    Interpolator

    Raises
    ------
    InputError
        If `factors` don't fit `problem` or `total` is negative or nan.

    Examples
    --------
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> interpolator(problem, Factors.pilot([0.0, 0.0]), np.inf).x
    array([0., 1.])
    """
    total = number("total", total, 0.0, infinite=True)
    if MOST < total < math.inf:
        raise InputError(f"total must be at most {MOST:g} or inf, but it is {total:g}.")
    check_pair(problem, factors)
    if math.isinf(total) and gain is None and shift is None:
        return endless(problem, [factors])[0]
    try:
        reach = _reach(problem, factors, 0.0 if math.isinf(total) else total, gain, shift)
        if math.isinf(total):
            return _endless(problem, reach)
    except FaceError as error:
        return failed(problem, str(error))
    found = _solve(reach)
    return _smooth(problem, reach, found)


def endless(problem: Regression, factors_list: Sequence[Factors]) -> list[Interpolator]:
    """The limits of A → ∞ of several runs; those without balanced coordinates share a face."""
    shared: Face | None = None
    limits = []
    for factors in factors_list:
        try:
            reach = _reach(problem, factors, 0.0)
            free = bool(np.isfinite(reach.potential.log_a).all())
            face = shared if free and shared else minimum_l1_face(reach.signed, reach.b)
            shared = face if free else shared
            limits.append(_endless(problem, reach, face))
        except FaceError as error:
            limits.append(failed(problem, str(error)))
    return limits


def _endless(problem: Regression, reach: _Reach, face: Face | None = None) -> Interpolator:
    face = face or minimum_l1_face(reach.signed, reach.b)
    found = _on_face(reach, face)
    gap = abs(float(np.sum(found.p + found.q) - reach.b @ face.dual))
    return _polyhedral(problem, reach, face, found, gap)


@on_one_thread
def lasso_limit(problem: Regression, factors: Factors, alpha: float) -> Interpolator:
    """The limit under a penalty that stays: min 1/(2n)‖Zx − y‖² + 2α‖x‖₁.

    Among several LASSO solutions the one that minimises KL against ½u₀², ½v₀² is returned, as
    the flow does; balanced coordinates keep their signs.

    Parameters
    ----------
    problem : Regression
    factors : Factors
    alpha : float > 0
        α_∞; the LASSO's λ is 2α.
    """
    alpha = number("alpha", alpha, 0.0, open_low=True)
    check_pair(problem, factors)
    n, space = problem.n, problem.row_space
    try:
        # signs enter through the columns alone: a LASSO needs no interpolator
        potential = HyperbolicEntropy.of(factors, 0.0)
        reach = _Reach(space, space.b, potential, "converged")
        face, fit = lasso_face(reach.signed, space.b, space.s, 2 * alpha * n)
        reach = _Reach(space, fit, potential, "converged")
        found = _on_face(reach, face)
    except FaceError as error:
        return failed(problem, str(error))
    target = space.s * space.b
    theta = 2 * alpha * n * face.dual / space.s
    residual = space.s * (space.basis.matvec(found.x)) - target
    primal = 0.5 * residual @ residual / n + 2 * alpha * np.sum(found.p + found.q)
    dual = (target @ theta - 0.5 * theta @ theta) / n
    gap = abs(float(primal - dual))
    return _polyhedral(problem, reach, face, found, gap)


def _on_face(reach: _Reach, face: Face) -> EntropicSolution:
    """The point of an L1 or LASSO face that minimises KL to the reference masses."""
    p, q = reach.signed.split(face.point)
    if face.unique:
        return EntropicSolution(p, q, p - q, face.dual, 0, True)
    # what the point reaches is within the cone of its columns; b may be off by rounding
    on = reach.restricted(face.support, reach.space.basis.matvec(p - q), reach.status)
    # Σu is constant on the face and Gᵀ·dual = 1 there, so that masses scale along the dual
    size = float(face.point.sum())
    if size == 0.0:
        return _solve(on)
    # in logs: the masses may all be below the least float
    masses = np.logaddexp.reduce(np.concatenate([on.potential.log_p, on.potential.log_q]))
    return _solve(on, face.dual * (math.log(size) - masses))


def _solve(reach: _Reach, start: Array | None = None) -> EntropicSolution:
    """The entropic problem on what the signs leave, in the range of the columns left."""
    basis, potential = reach.space.basis, reach.potential
    left = np.isfinite(potential.log_p) | np.isfinite(potential.log_q)
    if left.all():
        return solve_entropic(basis, reach.b, potential, start)
    U = basis.left_factor(left)
    start = None if start is None else U.T @ start
    found = solve_entropic(basis.rotated(U.T), U.T @ reach.b, potential, start)
    return dataclasses.replace(found, kappa=U @ found.kappa)


def _points(found: EntropicSolution, kappa: Array) -> Points:
    return Points(
        found.p[None],
        found.q[None],
        found.x[None],
        kappa[None],
        np.array([found.iterations]),
        np.array([found.converged]),
    )


def _smooth(problem: Regression, reach: _Reach, found: EntropicSolution) -> Interpolator:
    if not np.isfinite(found.x).all():
        return failed(
            problem,
            "The masses p and q left the range of float64; rescale y, or start closer to m² = w².",
        )
    points = _points(found, found.kappa)
    proofs = smooth_proofs(problem, reach.potential, reach.b, points)
    return proven(problem, points, *proofs, reach.fit, reach.status)[0]


def _polyhedral(
    problem: Regression, reach: _Reach, face: Face, found: EntropicSolution, gap: float
) -> Interpolator:
    p, q = found.p, found.q
    slope = reach.space.basis.rmatvec(face.dual)
    off_p = np.where(p > 0, np.abs(slope - 1.0), np.maximum(slope - 1.0, 0.0))
    off_q = np.where(q > 0, np.abs(slope + 1.0), np.maximum(-slope - 1.0, 0.0))
    stationarity = max(
        off_p[np.isfinite(reach.potential.log_p)].max(initial=0.0),
        off_q[np.isfinite(reach.potential.log_q)].max(initial=0.0),
    )
    # near ties that rounding decides can leave a dual that proves nothing
    found = dataclasses.replace(found, converged=found.converged and stationarity <= 1e-6)
    points = _points(found, face.dual)
    proofs = np.array([stationarity]), np.array([gap])
    return proven(problem, points, *proofs, reach.fit, reach.status)[0]

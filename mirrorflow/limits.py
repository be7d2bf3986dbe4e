r"""Where the flow ends: argmin of R_a over {Zx = y} for A ∈ [0, ∞], and the LASSO.

For finite A the answer is x = p − q with p = p̄e^{Zᵀν}, q = q̄e^{−Zᵀν} and ν ∈ Rⁿ from a smooth
concave dual (Theorem 2.3). For A = ∞, 2R_a = 4A‖x‖₁ + KL + const makes it, among all
minimum-L1 interpolators, the one that minimises KL against ½u₀², ½v₀². A penalty that never
fades, α_∞ > 0, leads to the LASSO min f(x) + 2α_∞‖x‖₁ and the same choice among its solutions.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirrorflow.checks import Array, InputError, number
from mirrorflow.entropic import EntropicSolution, solve_entropic
from mirrorflow.faces import (
    Face,
    FaceError,
    cone_projection,
    lasso_face,
    minimum_l1_face,
)
from mirrorflow.factors import Factors
from mirrorflow.potentials import HyperbolicEntropy
from mirrorflow.problems import Regression, RowSpace

Indices = NDArray[np.intp]

__all__ = ["Interpolator", "interpolator", "lasso_limit"]

MOST = 1e9  # beyond it, exponents 4A round to more than 1e-6
MESSAGES = {
    "converged": "The limit was found; its residuals say how exactly.",
    "inconsistent": "Zx = y has no solution; x minimises R over the least-squares solutions.",
    "no_interpolator_in_sign_cone": (
        "Balanced coordinates keep their signs and no x with those signs solves Zx = y; x is the "
        "sign-constrained least-squares point. Use an initialisation with |m| ≠ |w|."
    ),
    "not_converged": (
        "Newton's method stopped before the residual was down to rounding; rescale Z and y, or "
        "remove nearly dependent rows of Z."
    ),
}


@dataclass(frozen=True, slots=True, eq=False)
class Interpolator:
    """A limit point with what proves it.

    Attributes
    ----------
    x : (d,) array
    dual : (n,) array
        ν. For A < ∞: ∇R_a(x) = ½Zᵀν. For A = ∞: Zᵀν ∈ ∂‖x‖₁. For the LASSO with penalty λ the
        same, and λZᵀν = −∇f(x).
    p, q : (d,) arrays
        The non-negative parts, x = p − q; coordinates of x below rounding of ‖x‖ are better
        read from them.
    constraint_residual : float
        max|Zx − ŷ|; ŷ is y where Zx = y can be solved, else the unique fit that the
        least-squares, sign-constrained or LASSO solutions share.
    stationarity_residual : float
        Largest distance of ½(Zᵀν)_i to ∇R_a(x)_i (A < ∞; where |x_i| is below the smallest
        normal number, to the interval of gradients that it stands for), of (Zᵀν)_i to
        ∂|x_i| (A = ∞, LASSO). Coordinates that the signs force to 0 do not count.
    gap : float
        |primal − dual value| over {Zx = ŷ}: of R_a (A < ∞), of ‖x‖₁ (A = ∞), of f(x) + λ‖x‖₁
        (LASSO).
    iterations : int
        Factorizations, of the continuation too.
    status, message : str
        "converged", "inconsistent", "no_interpolator_in_sign_cone" or "not_converged".
    """

    x: Array
    dual: Array
    p: Array
    q: Array
    constraint_residual: float
    stationarity_residual: float
    gap: float
    iterations: int
    status: str
    message: str

    @property
    def success(self) -> bool:
        """Whether x is the point that `status` describes."""
        return self.status != "not_converged"


@dataclass(frozen=True, slots=True, eq=False)
class _Reach:
    """What the signs of balanced coordinates leave: ŷ in row-space coordinates and log masses."""

    space: RowSpace
    b: Array
    potential: HyperbolicEntropy
    status: str

    @property
    def signed(self) -> tuple[Array, Indices, Indices]:
        """Columns G = [V⁺, −V⁻] and the coordinates they belong to."""
        plus = np.flatnonzero(np.isfinite(self.potential.log_p))
        minus = np.flatnonzero(np.isfinite(self.potential.log_q))
        return np.hstack([self.space.V[:, plus], -self.space.V[:, minus]]), plus, minus

    def split(self, u: Array) -> tuple[Array, Array]:
        """p and q, each (d,), from the entries of u on the signed columns."""
        _, plus, minus = self.signed
        p, q = np.zeros((2, self.space.V.shape[1]))
        p[plus], q[minus] = u[: plus.size], u[plus.size :]
        return p, q

    def restricted(self, support: NDArray[np.bool_], b: Array, status: str) -> _Reach:
        """Only the signed columns in `support`, with fit b."""
        p, q = self.split(support.astype(float))
        log_p = np.where(p > 0, self.potential.log_p, -np.inf)
        log_q = np.where(q > 0, self.potential.log_q, -np.inf)
        c = np.select([(p > 0) & (q > 0), p > 0, q > 0], [self.potential.c, np.inf, -np.inf], 0.0)
        return _Reach(self.space, b, HyperbolicEntropy(log_p, log_q, c), status)


def check_pair(problem: Regression, factors: Factors) -> None:
    """Refuse factors that don't belong to the problem."""
    if not isinstance(problem, Regression) or not isinstance(factors, Factors):
        raise InputError(
            "problem must be a Regression and factors Factors, but they are "
            f"{type(problem).__name__} and {type(factors).__name__}."
        )
    if factors.d != problem.d:
        raise InputError(
            f"factors must have d = {problem.d} coordinates like the problem, "
            f"but they have {factors.d}."
        )


def _reach(problem: Regression, factors: Factors, total: float) -> _Reach:
    check_pair(problem, factors)
    space = problem.row_space
    potential = HyperbolicEntropy.of(factors, total)
    status = "converged" if space.consistent else "inconsistent"
    reach = _Reach(space, space.b, potential, status)
    free = np.isfinite(potential.log_a)
    if free.all() or (free.any() and np.linalg.matrix_rank(space.V[:, free]) == space.rank):
        return reach
    G, _, _ = reach.signed
    face, fit, misfit = cone_projection(G, space.b, space.s)
    outside = misfit > 1e-10
    return reach.restricted(
        face.support, fit, "no_interpolator_in_sign_cone" if outside else status
    )


def interpolator(problem: Regression, factors: Factors, total: float) -> Interpolator:
    """argmin {R_a(x) : Zx = y} after total A, for every A from 0 to ∞ (Theorem 2.3).

    Parameters
    ----------
    problem : Regression
    factors : Factors
        m₀ and w₀, any real numbers.
    total : float in [0, inf]
        A = ∫α. inf: the limit of A → ∞, a minimum-L1 interpolator.

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
    try:
        if math.isinf(total):
            reach = _reach(problem, factors, 0.0)
            G, _, _ = reach.signed
            face = minimum_l1_face(G, reach.b)
            p, q, iterations, converged = _on_face(reach, face)
            gap = abs(float(np.sum(p + q) - reach.b @ face.dual))
            return _polyhedral(problem, reach, face, p, q, gap, iterations, converged)
        reach = _reach(problem, factors, total)
    except FaceError as error:
        return _failed(problem, str(error))
    found = _solve(reach)
    return _smooth(problem, reach, found)


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
        G, _, _ = reach.signed
        face, fit = lasso_face(G, space.b, space.s, 2 * alpha * n)
        reach = _Reach(space, fit, potential, "converged")
        p, q, iterations, converged = _on_face(reach, face)
    except FaceError as error:
        return _failed(problem, str(error))
    target = space.s * space.b
    theta = 2 * alpha * n * face.dual / space.s
    residual = space.s * (space.V @ (p - q)) - target
    primal = 0.5 * residual @ residual / n + 2 * alpha * np.sum(p + q)
    dual = (target @ theta - 0.5 * theta @ theta) / n
    gap = abs(float(primal - dual))
    return _polyhedral(problem, reach, face, p, q, gap, iterations, converged)


def _on_face(reach: _Reach, face: Face) -> tuple[Array, Array, int, bool]:
    """The point of an L1 or LASSO face that minimises KL to the reference masses."""
    if face.unique:
        p, q = reach.split(face.point)
        return p, q, 0, True
    on = reach.restricted(face.support, reach.b, reach.status)
    # Σu is constant on the face and Gᵀ·dual = 1 there, so that masses scale along the dual
    masses = np.exp(on.potential.log_p).sum() + np.exp(on.potential.log_q).sum()
    start = face.dual * np.log(face.point.sum() / masses)
    found = _solve(on, start)
    return found.p, found.q, found.iterations, found.converged


def _solve(reach: _Reach, start: Array | None = None) -> EntropicSolution:
    """The entropic problem on what the signs leave, in the range of the columns left."""
    V, potential = reach.space.V, reach.potential
    left = np.isfinite(potential.log_p) | np.isfinite(potential.log_q)
    if left.all():
        return solve_entropic(V, reach.b, potential, start)
    U, s, _ = np.linalg.svd(V[:, left], full_matrices=False)
    U = U[:, s > 1e-11 * s.max(initial=0.0)]
    found = solve_entropic(
        U.T @ V, U.T @ reach.b, potential, None if start is None else U.T @ start
    )
    return dataclasses.replace(found, kappa=U @ found.kappa)


def _smooth(problem: Regression, reach: _Reach, found: EntropicSolution) -> Interpolator:
    x, kappa, potential = found.x, found.kappa, reach.potential
    if not np.isfinite(x).all():
        return _failed(problem, "the masses p and q left the range of float64")
    theta = 0.5 * (kappa @ reach.space.V)
    low = high = potential.gradient(x)
    tiny = np.finfo(float).tiny
    if (np.abs(x) < tiny).any():
        lower, upper = potential.domain
        low = potential.gradient(np.maximum(np.where(np.abs(x) < tiny, -tiny, x), lower))
        high = potential.gradient(np.minimum(np.where(np.abs(x) < tiny, tiny, x), upper))
    counted = np.isfinite(potential.log_p) | np.isfinite(potential.log_q)
    stationarity = np.maximum(low - theta, theta - high)[counted].max(initial=0.0)
    dual_value = 0.5 * (reach.b @ kappa - np.sum(found.p + found.q))
    gap = abs(potential.value(x) - float(dual_value))
    return _assemble(
        problem,
        reach,
        (x, found.p, found.q),
        kappa,
        (float(stationarity), gap),
        found.iterations,
        found.converged,
    )


def _polyhedral(
    problem: Regression,
    reach: _Reach,
    face: Face,
    p: Array,
    q: Array,
    gap: float,
    iterations: int,
    converged: bool,
) -> Interpolator:
    slope = face.dual @ reach.space.V
    off_p = np.where(p > 0, np.abs(slope - 1.0), np.maximum(slope - 1.0, 0.0))
    off_q = np.where(q > 0, np.abs(slope + 1.0), np.maximum(-slope - 1.0, 0.0))
    stationarity = max(
        off_p[np.isfinite(reach.potential.log_p)].max(initial=0.0),
        off_q[np.isfinite(reach.potential.log_q)].max(initial=0.0),
    )
    proofs = (float(stationarity), gap)
    return _assemble(problem, reach, (p - q, p, q), face.dual, proofs, iterations, converged)


def _assemble(
    problem: Regression,
    reach: _Reach,
    point: tuple[Array, Array, Array],
    kappa: Array,
    proofs: tuple[float, float],
    iterations: int,
    converged: bool,
) -> Interpolator:
    space, (x, p, q) = reach.space, point
    solvable = reach.status == "converged" and reach.b is space.b
    fit = problem.y if solvable else space.U @ (space.s * reach.b)
    residual = float(np.abs(problem.Z @ x - fit).max())
    size = float((np.abs(problem.Z) @ (p + q)).max()) + float(np.abs(fit).max())
    # where Z or the factors span too many decades, a face can be misjudged: that must be said
    converged = converged and residual <= 1e-8 * size
    status = reach.status if converged else "not_converged"
    return Interpolator(
        x=x,
        dual=space.U @ (kappa / space.s),
        p=p,
        q=q,
        constraint_residual=residual,
        stationarity_residual=proofs[0],
        gap=proofs[1],
        iterations=iterations,
        status=status,
        message=MESSAGES[status],
    )


def _failed(problem: Regression, reason: str) -> Interpolator:
    zeros, message = np.zeros(problem.d), f"{MESSAGES['not_converged']} ({reason})"
    residual = float(np.abs(problem.y).max())
    dual = np.zeros(problem.n)
    return Interpolator(
        zeros, dual, zeros, zeros, residual, math.inf, math.inf, 0, "not_converged", message
    )

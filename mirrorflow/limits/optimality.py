"""Proofs of limits: residuals, duality gap and status, for many runs at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mirrorflow.checks import Array
from mirrorflow.maps.base import MirrorMap, Potential
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.problems import Regression
from mirrorflow.result import Result
from mirrorflow.rowspace import apply

__all__ = ["Interpolator", "Points", "failed", "proven", "smooth_proofs"]

TINY = float(np.finfo(float).tiny)
MESSAGES = {
    "converged": "The limit was found; its residuals say how exactly.",
    "inconsistent": "Zx = y has no solution; x minimises R over the minimisers of the loss.",
    "no_interpolator_in_sign_cone": (
        "Balanced coordinates keep their signs and no x with those signs solves Zx = y; x is the "
        "sign-constrained least-squares point. Use an initialisation with |m| ≠ |w|."
    ),
    "not_converged": (
        "The residuals did not come down to rounding; rescale Z and y, or remove nearly dependent "
        "rows or nearly equal columns of Z."
    ),
}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Interpolator(Result):
    """A limit point with what proves it.

    Attributes
    ----------
    start : MirrorMap, whose flow ends here
    x : (d,) array
    dual : (n,) array
        ν. For A < ∞: ∇R_A(x) = ½Zᵀν, whatever the map. For A = ∞: Zᵀν ∈ ∂‖x‖₁. For the LASSO
        with penalty λ the same, and λZᵀν = −∇f(x).
    p, q : (d,) arrays
        The non-negative parts, x = p − q; of m ⊙ w p = ½u², q = ½v², and coordinates of x below
        rounding of ‖x‖ are better read from them.
    parameters : (K, d) array
        θ at the limit, such as m and w.
    metric : (d,) array
        dx/dμ there, the inverse of R_A″; of m ⊙ w 2(p + q).
    constraint_residual : float
        max|Zx − ŷ|; ŷ is y (what minimises the loss) where Zx = y can be solved, else the unique
        fit that the loss's, sign-constrained or LASSO solutions share.
    stationarity_residual : float
        Largest distance of ½(Zᵀν)_i to ∇R_A(x)_i (A < ∞; where |x_i| is below the smallest
        normal number, to the interval of gradients that it stands for), of (Zᵀν)_i to
        ∂|x_i| (A = ∞, LASSO). Coordinates that the signs force to 0 do not count.
    gap : float
        |primal − dual value| over {Zx = ŷ}: of R_A (A < ∞), of ‖x‖₁ (A = ∞), of f(x) + λ‖x‖₁
        (LASSO).
    iterations : int
        Factorizations, of the continuation too (of `interpolators`: since the total before).
    status, message : str
        "converged", "inconsistent", "no_interpolator_in_sign_cone" or "not_converged".

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> limit = mf.interpolator(problem, start, total=2.0)
    >>> limit.status, bool(limit.gap < 1e-12), limit.x.round(3)
    ('converged', True, array([0.009, 0.995]))
    """

    table: ClassVar[tuple[str, ...]] = ("x", "p", "q", "metric")
    start: MirrorMap
    x: Array
    dual: Array
    p: Array
    q: Array
    parameters: Array
    metric: Array
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

    def _facts(self) -> dict[str, Any]:
        what = {"n": self.dual.size, "d": self.x.size, "status": self.status}
        proof = {"residual": self.constraint_residual, "stationarity": self.stationarity_residual}
        return {**what, **proof, "gap": self.gap}


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Primal and dual points of L limits, as a solver leaves them: dual points U(κ/s)."""

    p: Array  # (L, d)
    q: Array  # (L, d)
    x: Array  # (L, d)
    parameters: Array  # (L, K, d)
    metric: Array  # (L, d)
    kappa: Array  # (L, r)
    iterations: NDArray[np.int64]  # (L,)
    converged: NDArray[np.bool_]  # (L,)


def smooth_proofs(
    problem: Regression,
    potential: HyperbolicEntropy | Potential,
    b: Array,
    points: Points,
    counted: NDArray[np.bool_],
) -> tuple[Array, Array]:
    """Stationarity residual and gap, (L,) each, of points with A < ∞ and finite x.

    `potential` holds the runs' coordinates one after the other, L·d in all, and `counted` (L·d,)
    which of them may differ from 0.
    """
    # every coordinate has its own potential: to it, L runs are one long vector
    x, shape = points.x.ravel(), points.x.shape
    theta = 0.5 * problem.row_space.basis.rmatvec(points.kappa).ravel()
    low = high = gradient = potential.gradient(x)
    tiny = np.abs(x) < TINY
    if tiny.any():
        lower, upper = potential.domain
        low = potential.gradient(np.maximum(np.where(tiny, -TINY, x), lower))
        high = potential.gradient(np.minimum(np.where(tiny, TINY, x), upper))
    off = np.where(counted, np.maximum(low - theta, theta - high), 0.0)
    values = potential.terms(x, gradient) + potential.conjugate(theta)
    primal = np.where(counted, values, 0.0).reshape(shape).sum(axis=1)
    linear = 0.5 * np.sum(points.kappa * b, axis=1)
    return off.reshape(shape).max(axis=1, initial=0.0), np.abs(primal - linear)


def proven(
    problem: Regression,
    starts: Sequence[MirrorMap],
    points: Points,
    stationarity: Array,
    gap: Array,
    fit: Array | None = None,
    status: str = "converged",
) -> list[Interpolator]:
    """Interpolators from points and their proofs; `fit` (n,) is what Zx should be, if not y."""
    space = problem.row_space
    fit = problem.y if fit is None else fit
    dual = apply(points.kappa / space.s, space.U.T)
    residual = np.abs(apply(points.x, problem.Z.T) - fit).max(axis=1)
    size = problem.magnitude(points.p + points.q).max(axis=1) + float(np.abs(fit).max())
    # where Z or the factors span too many decades, a face can be misjudged: the status says so
    sound = points.converged & (residual <= 1e-8 * size + TINY) & ~np.isnan(gap)
    statuses = [status if good else "not_converged" for good in sound.tolist()]
    arrays = (starts, points.x, dual, points.p, points.q, points.parameters, points.metric)
    proofs = zip(residual.tolist(), stationarity.tolist(), gap.tolist(), strict=True)
    ends = zip(points.iterations.tolist(), statuses, strict=True)
    return [
        Interpolator(start, x, nu, p, q, theta, metric, *proof, count, name, MESSAGES[name])
        for (start, x, nu, p, q, theta, metric), proof, (count, name) in zip(
            zip(*arrays, strict=True), proofs, ends, strict=True
        )
    ]


def failed(problem: Regression, start: MirrorMap, message: str) -> Interpolator:
    """No point at all; the message says why, and what to change."""
    x, residual = np.zeros(problem.d), float(np.abs(problem.y).max())
    vectors = x, np.zeros(problem.n), x, x, np.zeros_like(start.theta), x
    return Interpolator(start, *vectors, residual, math.inf, math.inf, 0, "not_converged", message)

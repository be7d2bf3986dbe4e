"""Proofs of limits: residuals, duality gap and status, for many runs at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirrorflow.checks import Array
from mirrorflow.display import Displayed
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.problems import Regression
from mirrorflow.rowwise import products

__all__ = ["Interpolator", "Points", "failed", "proven", "smooth_proofs"]

TINY = float(np.finfo(float).tiny)
MESSAGES = {
    "converged": "The limit was found; its residuals say how exactly.",
    "inconsistent": "Zx = y has no solution; x minimises R over the least-squares solutions.",
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
class Interpolator(Displayed):
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
        Factorizations, of the continuation too (of `interpolators`: since the total before).
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

    def _facts(self) -> dict[str, Any]:
        what = {"n": self.dual.size, "d": self.x.size, "status": self.status}
        proof = {"residual": self.constraint_residual, "stationarity": self.stationarity_residual}
        return {**what, **proof, "gap": self.gap}


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Primal and dual points of L runs, as a solver leaves them."""

    p: Array  # (L, d)
    q: Array  # (L, d)
    x: Array  # (L, d)
    kappa: Array  # (L, r)
    iterations: NDArray[np.intp]  # (L,)
    converged: NDArray[np.bool_]  # (L,)


def smooth_proofs(
    problem: Regression, potential: HyperbolicEntropy, b: Array, points: Points
) -> tuple[Array, Array]:
    """Stationarity residual and gap, (L,) each, of points with A < ∞ and finite x.

    `potential` holds the runs' coordinates one after the other, L·d in all.
    """
    # every coordinate has its own potential: to it, L runs are one long vector
    x = points.x.ravel()
    theta = 0.5 * problem.row_space.basis.rmatvec(points.kappa)
    low = high = gradient = potential.gradient(x)
    tiny = np.abs(x) < TINY
    if tiny.any():
        lower, upper = potential.domain
        low = potential.gradient(np.maximum(np.where(tiny, -TINY, x), lower))
        high = potential.gradient(np.minimum(np.where(tiny, TINY, x), upper))
    counted = np.isfinite(potential.log_p) | np.isfinite(potential.log_q)
    off = np.maximum(low - theta.ravel(), theta.ravel() - high)
    stationarity = np.where(counted, off, 0.0).reshape(theta.shape).max(axis=1, initial=0.0)
    # R = Σ xθ − ½√(x² + a²), and no product where θ = −∞ at x = 0
    values = np.where(x == 0, 0.0, x * np.where(x == 0, 0.0, gradient))
    values -= 0.5 * np.hypot(x, np.exp(potential.log_a))
    linear = np.sum(points.kappa * b, axis=1)
    dual = 0.5 * (linear - np.sum(points.p + points.q, axis=1))
    return stationarity, np.abs(values.reshape(theta.shape).sum(axis=1) - dual)


def proven(
    problem: Regression,
    points: Points,
    stationarity: Array,
    gap: Array,
    fit: Array | None = None,
    status: str = "converged",
) -> list[Interpolator]:
    """Interpolators from points and their proofs; `fit` (n,) is what Zx should be, if not y."""
    space = problem.row_space
    fit = problem.y if fit is None else fit
    dual = products(points.kappa / space.s, space.U.T)
    residual = np.abs(products(points.x, problem.Z.T) - fit).max(axis=1)
    size = problem.magnitude(points.p + points.q).max(axis=1) + float(np.abs(fit).max())
    # where Z or the factors span too many decades, a face can be misjudged: that must be said
    sound = points.converged & (residual <= 1e-8 * size + TINY)
    statuses = [status if good else "not_converged" for good in sound.tolist()]
    arrays = zip(points.x, dual, points.p, points.q, strict=True)
    proofs = zip(residual.tolist(), stationarity.tolist(), gap.tolist(), strict=True)
    ends = zip(points.iterations.tolist(), statuses, strict=True)
    return [
        Interpolator(*vectors, *proof, count, name, MESSAGES[name])
        for vectors, proof, (count, name) in zip(arrays, proofs, ends, strict=True)
    ]


def failed(problem: Regression, message: str) -> Interpolator:
    """No point at all; the message says why, and what to change."""
    zeros, residual = np.zeros(problem.d), float(np.abs(problem.y).max())
    vectors, unproven = (zeros, np.zeros(problem.n), zeros, zeros), (math.inf, math.inf)
    return Interpolator(*vectors, residual, *unproven, 0, "not_converged", message)

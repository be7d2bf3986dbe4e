"""The largest step size of gradient descent, from the curvature where it starts and ends."""

from __future__ import annotations

import numpy as np

from mirrorflow.checks import Array
from mirrorflow.limits import interpolator
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression

LOSSES = {"half_mse": 1.0, "mse": 2.0}


def stable_step_size(
    problem: Regression, factors: Factors, regularizer: str = "factors", loss: str = "half_mse"
) -> float:
    """2/λ_max, above which gradient descent on x = m ⊙ w leaves the minimum that it comes to.

    λ_max is the largest eigenvalue of (2/n) Z diag(√(x² + a²)) Zᵀ, a = |m₀² − w₀²|/2: of the
    Hessian in (m, w) where Zx = y, and elsewhere of its part without ∇f. The larger one counts
    of that at x₀ and that at the limit of gradient flow without penalty, the `interpolator` with
    A = 0. On the way between it may be larger still, for minibatches too, and a penalty
    α(‖m‖² + ‖w‖²) adds 2α to λ_max.

    Parameters
    ----------
    problem : Regression
        With a dense Z.
    factors : Factors
        m₀, w₀.
    regularizer, loss : str
        As in `descend`. "l1_on_x" steps on x itself: λ_max = σ_max(Z)²/n. "mse" doubles λ_max.

    Returns
    -------
    float
        In flow time, as η is; inf where Z = 0.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> round(stable_step_size(problem, start), 3)
    0.223
    """
    weights = [np.ones(problem.d)]
    if regularizer != "l1_on_x":
        limit = interpolator(problem, factors, 0.0)
        weights = [factors.m**2 + factors.w**2, 2.0 * (limit.p + limit.q)]
    sharpest = np.fmax.reduce([_largest(problem.Z, weight) for weight in weights])
    with np.errstate(divide="ignore"):
        return float(2.0 / np.float64(LOSSES[loss] * sharpest / problem.n))


def _largest(Z: Array, weights: Array) -> float:
    """λ_max(Z diag(weights) Zᵀ)."""
    return float(np.linalg.norm(Z * np.sqrt(weights), 2)) ** 2

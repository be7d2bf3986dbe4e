r"""LASSO: where the flow of m ⊙ w ends under a decay α that stays, outside Theorem 2.3."""

from __future__ import annotations

import math

import numpy as np

from mirrorflow.certificates.base import EPS, PATH_FACTOR, Certificate
from mirrorflow.certificates.limits import SOLVED
from mirrorflow.checks import Array, number
from mirrorflow.extras import require
from mirrorflow.flows.trajectory import Flow
from mirrorflow.limits import Interpolator
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression

__all__ = ["lasso_agreement", "lasso_kkt", "lasso_suboptimality"]


def lasso_kkt(problem: Regression, x: Array, alpha: float) -> Certificate:
    """x minimises f(x) + 2α‖x‖₁: ∇f = −2α sign x on the support, |∇f| ≤ 2α off it.

    Value: largest violation, relative to 2α. Bound: 10(n + d) eps (1 + size), the rounding of
    ∇f = Zᵀ(Zx − y)/n, where size = max |Z|ᵀ(|Z||x| + |y|)/n relative to 2α. From there to 1e-8 of
    the same size, or 1e-3, which no wrong λ comes near, the error may be that of x's solver.

    Parameters
    ----------
    problem : Regression
    x : (d,) array
    alpha : float > 0
        α, in 1/time.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If alpha isn't above 0.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> limit = mf.lasso_limit(problem, start, alpha=0.1)
    >>> mf.certificates.lasso_kkt(problem, limit.x, 0.1).verdict
    'confirmed'
    >>> mf.certificates.lasso_kkt(problem, limit.x, 0.2).verdict
    'refuted'
    """
    alpha = number("alpha", alpha, 0.0, open_low=True)
    ratio = problem.gradient(x) / (2.0 * alpha)
    off = np.where(x != 0, np.abs(ratio + np.sign(x)), np.maximum(np.abs(ratio) - 1.0, 0.0))
    Z = np.abs(problem.Z)
    size = float((Z.T @ (Z @ np.abs(x) + np.abs(problem.y))).max()) / (2.0 * alpha * problem.n)
    bound = 10.0 * (problem.n + problem.d) * EPS * (1.0 + size)
    return Certificate.of("lasso_kkt", float(off.max()), bound, min(SOLVED * (1.0 + size), 1e-3))


def lasso_agreement(problem: Regression, x: Array, alpha: float) -> Certificate:
    """x against scikit-learn's Lasso(alpha=2α), whose objective is the same f(x) + 2α‖x‖₁.

    Value: the difference of the two objectives, relative to f(0). Bound: the duality gap of
    scikit-learn's solution, recomputed here from its x, plus 100 eps; in the same unit. None where
    that gap is above 1e-3: scikit-learn has not found the minimum.

    Parameters
    ----------
    problem : Regression
    x : (d,) array
    alpha : float > 0
        α, in 1/time.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If alpha isn't above 0.
    MissingPackage
        If scikit-learn is not installed.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> limit = mf.lasso_limit(problem, start, alpha=0.1)
    >>> mf.certificates.lasso_agreement(problem, limit.x, 0.1).verdict
    'confirmed'
    """
    require("lasso_agreement", "sklearn")
    from sklearn.linear_model import Lasso

    alpha = number("alpha", alpha, 0.0, open_low=True)
    model = Lasso(alpha=2.0 * alpha, fit_intercept=False, tol=1e-12, max_iter=200_000)
    other = model.fit(problem.Z, problem.y).coef_
    at_zero = problem.value(np.zeros(problem.d)) or 1.0
    ours, theirs = (problem.value(v) + 2.0 * alpha * float(np.abs(v).sum()) for v in (x, other))
    residual = problem.y - problem.Z @ other
    grad_norm = float(np.abs(problem.Z.T @ residual).max()) / problem.n
    theta = residual / max(1.0, grad_norm / (2.0 * alpha))
    dual = float(problem.y @ theta - 0.5 * theta @ theta) / problem.n
    bound = max(theirs - dual, 0.0) / at_zero + 100.0 * EPS
    value = abs(ours - theirs) / at_zero
    return Certificate.of("lasso_agreement", value, bound if bound < 1e-3 else math.nan)


def lasso_suboptimality(
    problem: Regression,
    factors: Factors,
    limit: Interpolator,
    alpha: float | Array,
    path: Flow,
    rtol: float,
) -> Certificate:
    """Under a constant α the flow descends to the LASSO: F_t − F* ≤ KL/(2t).

    Under one α_j for each coordinate (d,), to the adaptive LASSO, f + 2Σα_j|x_j|.
    F = f(x) + 2αΣ(p + q) with p + q = ½(m² + w²) ≥ |x|; (p, q) follow the mirror flow of the
    entropy for F, so that KL = Σ KL(p*‖p₀) + KL(q*‖q₀) bounds ∫(F − F*), and F falls. Value:
    largest 2t(F_t − F*)/KL. Bound: 1 + 200 rtol t F₀/KL.

    Parameters
    ----------
    problem : Regression
    factors : Factors
    limit : Interpolator
        `lasso_limit(problem, factors, alpha)`.
    alpha : float > 0 or (d,) array
    path : Flow
        Of `direct_flow` under Constant(alpha).
    rtol : float
        That of the path's integration.

    Returns
    -------
    Certificate

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> limit = mf.lasso_limit(problem, start, alpha=0.1)
    >>> path = mf.direct_flow(problem, start, mf.Constant(0.1), [0.0, 1.0, 100.0], 1e-9)
    >>> mf.certificates.lasso_suboptimality(problem, start, limit, 0.1, path, 1e-9).verdict
    'confirmed'
    """
    objective = path.loss + np.sum(alpha * path.parameters**2, axis=(1, 2))
    least = problem.value(limit.x) + 2.0 * float(np.sum(alpha * (limit.p + limit.q)))
    away = 0.0
    for mass, root in ((limit.p, factors.u), (limit.q, factors.v)):
        start = 0.5 * root**2
        on = mass > 0
        away += float(np.sum(mass[on] * np.log(mass[on] / start[on])) - mass.sum() + start.sum())
    value = float((2.0 * path.times * (objective - least)).max()) / away
    first = problem.value(factors.x) + float(np.sum(alpha * factors.theta**2))
    bound = 1.0 + 2.0 * PATH_FACTOR * rtol * float(path.times[-1]) * first / away
    return Certificate.of("lasso_suboptimality", value, bound)

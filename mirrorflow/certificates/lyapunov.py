r"""Theorem 2.2: the flow comes down to a minimiser, and W_t is its witness.

W_t = R_{A_∞}(x*) − R_{A_t}(x_t) − ⟨∇R_{A_t}(x_t), x* − x_t⟩ for any minimiser x* of f.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.integrate import quad

from mirrorflow.certificates.base import (
    EPS,
    PATH_FACTOR,
    Certificate,
    dual_units,
    faded,
    misfit_unit,
    path_bounds,
)
from mirrorflow.checks import Array, InputError, vector
from mirrorflow.flows.trajectory import Flow
from mirrorflow.maps.base import MirrorMap
from mirrorflow.problems import Regression
from mirrorflow.schedules import Schedule

__all__ = ["additive_penalty", "eventually_falling", "lyapunov_bounds_divergence", "lyapunov_falls"]
__all__ += ["pl_constant", "stays_at_minimiser"]


def _minimiser(problem: Regression, x_star: Array) -> Array:
    x_star = vector("x_star", x_star, problem.d, "one for each column of Z")
    best = problem.loss.minimiser(problem.y)
    worst = float(np.abs(problem.Z @ x_star - best).max())
    if not worst <= 1e-8 * float((problem.magnitude(x_star) + np.abs(best)).max()):
        raise InputError(
            "x_star must make every entry of Zx the minimiser of its loss (y for the squared one), "
            f"but its largest residual is {worst:.3g}."
        )
    return x_star


def _witness(
    start: MirrorMap, path: Flow, x_star: Array, total_infinity: float
) -> tuple[Array, Array, Array]:
    """W_t, D_{A_t}(x*, x_t), and the size of the terms that W_t is summed from; (T,) each."""
    end = start.potential(total_infinity).value(x_star)
    W, D, terms = [], [], []
    for x, total in zip(path.x, path.total, strict=True):
        now = start.potential(float(total))
        value, product = now.value(x), now.gradient(x) * (x_star - x)
        W.append(end - value - float(product.sum()))
        D.append(now.divergence(x_star, x))
        terms.append(abs(end) + abs(value) + float(np.abs(product).sum() + np.abs(x).sum()))
    return np.array(W), np.array(D), np.array(terms)


def lyapunov_falls(
    problem: Regression,
    start: MirrorMap,
    path: Flow,
    x_star: Array,
    total_infinity: float,
    rtol: float,
) -> Certificate:
    """W_t does not increase (Theorem 2.2; v1 3.2), for any convex loss whose minimum is attained.

    Value: the largest rise of W between output times, relative to W₀. Bound, in the same unit:
    rtol (100 + steps)·max Σ|x* − x_t|·max e^{−κA}|θ|/|∂g|, what an error of θ changes in W, the
    last factor being 1 for m ⊙ w, plus 100 eps times the terms of W.

    Parameters
    ----------
    problem : Regression
    start : MirrorMap
        Where the path starts, such as `Factors`.
    path : Flow
        Of `direct_flow`.
    x_star : (d,) array, a solution of Zx = y; of other losses, one that minimises each φ
    total_infinity : float
        A_∞ < ∞.
    rtol : float
        That of the path's integration.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If `x_star` does not minimise the loss.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> path = mf.direct_flow(problem, start, mf.Constant(0.1, 5.0), [0.0, 5.0, 50.0], 1e-9)
    >>> x_star = [0.4, 0.8]
    >>> mf.certificates.lyapunov_falls(problem, start, path, x_star, 0.5, 1e-9).verdict
    'confirmed'
    """
    x_star = _minimiser(problem, x_star)
    W, _, terms = _witness(start, path, x_star, total_infinity)
    scale = float(np.abs(W).max())
    away = float(np.abs(path.x - x_star).sum(axis=1).max() * dual_units(path).max())
    value, rounding = max(float(np.diff(W).max()), 0.0) / scale, 100.0 * EPS * float(terms.max())
    bounds = path_bounds(path, rtol, away / scale, rounding / scale)
    return Certificate.of("lyapunov_falls", value, *bounds)


def lyapunov_bounds_divergence(
    problem: Regression, start: MirrorMap, path: Flow, x_star: Array, total_infinity: float
) -> Certificate:
    """W_t ≥ D_{A_t}(x*, x_t) ≥ 0 (Theorem 2.2), as R_A(x*) rises with A.

    Value: largest D_t − W_t, relative to max W. Bound: 100 eps times the terms of W, in the same
    unit. D is summed from entropies for m ⊙ w, W as printed: they share no cancellation.

    Parameters
    ----------
    problem : Regression
    start : MirrorMap
        Where the path starts, such as `Factors`.
    path : Flow
        Of `direct_flow`.
    x_star : (d,) array
        As in `lyapunov_falls`.
    total_infinity : float
        A_∞ < ∞.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If `x_star` does not minimise the loss.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> path = mf.direct_flow(problem, start, mf.Constant(0.1, 5.0), [0.0, 5.0, 50.0], 1e-9)
    >>> x_star = [0.4, 0.8]
    >>> mf.certificates.lyapunov_bounds_divergence(problem, start, path, x_star, 0.5).verdict
    'confirmed'
    """
    x_star = _minimiser(problem, x_star)
    W, D, terms = _witness(start, path, x_star, total_infinity)
    scale = float(np.abs(W).max())
    value, bound = max(float((D - W).max()), 0.0) / scale, 100.0 * EPS * float(terms.max()) / scale
    return Certificate.of("lyapunov_bounds_divergence", value, bound)


def eventually_falling(problem: Regression, path: Flow, after: float, rtol: float) -> Certificate:
    """The loss does not increase after some time: so where α_t → 0, not from ∫α < ∞ alone.

    For losses with φ ≤ ½(z − y)². Value: largest rise of √f between output times from `after` on,
    relative to the √f of |Z||∂g||θ|/L = |Z|½(m² + w²). Bound: 100 rtol, as √φ is 1/√2-Lipschitz in
    the residual.

    Parameters
    ----------
    problem : Regression
    path : Flow
        Of `direct_flow`.
    after : float
        Flow time.
    rtol : float
        That of the path's integration.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If fewer than two output times are left, or φ has no bound by ½(z − y)².

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> path = mf.direct_flow(problem, start, mf.Constant(0.1, 5.0), [0.0, 5.0, 50.0], 1e-9)
    >>> mf.certificates.eventually_falling(problem, path, 5.0, 1e-9).verdict
    'confirmed'
    """
    problem.loss.steepness(0.0)
    late = np.sqrt(path.loss[path.times >= after])
    if late.size < 2:
        raise InputError(f"after must leave two output times, but after {after:g} there are fewer.")
    value = max(float(np.diff(late).max()), 0.0) / misfit_unit(problem, path)
    return Certificate.of("eventually_falling", value, PATH_FACTOR * rtol)


def pl_constant(problem: Regression, path: Flow) -> float:
    """λ with ‖∇f‖² ≥ λ f along a path: 2σ_min(Z)²/n for the squared loss (full row rank).

    Another loss multiplies it by the least φ'²/(2φ) over the residuals that the path meets.

    Parameters
    ----------
    problem : Regression
    path : Flow
        Of `direct_flow`.

    Returns
    -------
    float
        λ; 0 without full row rank.

    Raises
    ------
    InputError
        If the loss has no such constant.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> path = mf.direct_flow(problem, start, mf.Constant(0.1, 5.0), [0.0, 5.0, 50.0], 1e-9)
    >>> round(mf.certificates.pl_constant(problem, path), 12)
    10.0
    """
    largest = float(np.abs(path.x @ problem.Z.T - problem.y).max())
    sigma = float(problem.row_space.s[-1]) if problem.row_space.rank == problem.n else 0.0
    return 2.0 * sigma**2 / problem.n * problem.loss.steepness(largest)


def linear_constant(problem: Regression, start: MirrorMap, total: float, path: Flow) -> float:
    """Λ = λ min |∂g|² after total A, with λ of `pl_constant`; for m ⊙ w 2λ min a."""
    floor = float(np.min(start.potential(total).floor))
    return pl_constant(problem, path) * floor * float(faded(start.kappa, np.array(total)))


def additive_penalty(
    problem: Regression, start: MirrorMap, schedule: Schedule, path: Flow, rtol: float
) -> Certificate:
    """f_t ≤ e^{−Λt} f₀ + C∫₀ᵗ e^{−Λ(t−s)} α_s ds: the penalty's term is added (Gronwall).

    Λ = λ min |∂g|² after A_∞, 2λ min a_∞ for m ⊙ w, and C = δ max|⟨∇f, x⟩| along the path (over
    output times, plus the largest step between two of them), from df/dt ≤ −Λf + Cα_t; v1 3.2
    multiplies f₀ by it instead. Value: largest ratio of both sides over those t > 0 where the right
    one's root is above 1e4 rtol·unit. Bound: 1 + 2·100 rtol·unit/√(least right side), for the
    errors of f; unit is the √f of |Z||∂g||θ|/L.

    Parameters
    ----------
    problem : Regression
    start : MirrorMap
        Where the path starts, such as `Factors`.
    schedule : Schedule
    path : Flow
        Of `direct_flow`.
    rtol : float
        That of the path's integration.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the loss has no λ, see `pl_constant`.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> schedule = mf.Constant(0.1, 5.0)
    >>> path = mf.direct_flow(problem, start, schedule, [0.0, 5.0, 50.0], 1e-9)
    >>> mf.certificates.additive_penalty(problem, start, schedule, path, 1e-9).verdict
    'confirmed'
    """
    rate = linear_constant(problem, start, float(schedule.total_infinity), path)
    products = np.array([problem.gradient(x) @ x for x in path.x])
    constant = start.decay * float(np.abs(products).max() + np.abs(np.diff(products)).max())
    unit = misfit_unit(problem, path)
    worst, least = 0.0, math.inf
    for t, value in zip(path.times.tolist(), path.loss.tolist(), strict=True):
        if t == 0:
            continue
        knots = [s for s in schedule.breakpoints if s < t]

        def spent(s: float, t: float = t) -> float:
            return math.exp(-rate * (t - s)) * float(schedule.alpha(s))

        added, _ = quad(spent, 0.0, t, points=knots or None, limit=200)
        right = math.exp(-rate * t) * float(path.loss[0]) + constant * added
        if math.sqrt(right) > 1e4 * rtol * unit:
            worst, least = max(worst, value / right), min(least, right)
    noise = PATH_FACTOR * rtol * unit / math.sqrt(least)
    return Certificate.of("additive_penalty", worst, 1.0 + 2.0 * noise)


def stays_at_minimiser(problem: Regression, path: Flow, rtol: float) -> Certificate:
    """From f(x₀) = 0 the loss stays 0: what a bound C(α)·f(x₀)e^{−Λt} as in v1 3.2 would say.

    Value: largest √f, relative to the √f of |Z||∂g||θ|/L = |Z|½(m² + w²). Bound: 100 rtol.

    Parameters
    ----------
    problem : Regression
    path : Flow
        From a minimiser.
    rtol : float
        That of the path's integration.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the path starts elsewhere.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem = mf.Regression([[1.0, 2.0]], [2.0])
    >>> start = mf.Factors.pilot([0.0, 1.0])  # Zx₀ = y, and decay drives it away
    >>> path = mf.direct_flow(problem, start, mf.Constant(0.1, 5.0), [0.0, 5.0, 50.0], 1e-9)
    >>> mf.certificates.stays_at_minimiser(problem, path, 1e-9).verdict
    'refuted'
    """
    unit = misfit_unit(problem, path)
    start = math.sqrt(float(path.loss[0])) / unit
    if start > 1e-8:
        raise InputError(f"path must start at a minimiser, but its relative misfit is {start:.3g}.")
    value = float(np.sqrt(path.loss.max())) / unit
    return Certificate.of("stays_at_minimiser", value, PATH_FACTOR * rtol)

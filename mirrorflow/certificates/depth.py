r"""Depth L ≥ 3: late bias and which of several minima, rates aside; decay that stays, collapse."""

from __future__ import annotations

import math

import numpy as np

from mirrorflow.certificates.base import (
    EPS,
    PATH_FACTOR,
    Certificate,
    dense,
    drift,
    metric,
    sizes,
)
from mirrorflow.checks import InputError, number
from mirrorflow.flows import Flow
from mirrorflow.limits import Interpolator, interpolator
from mirrorflow.maps import MirrorMap
from mirrorflow.problems import Regression

__all__ = ["collapse", "deep_stationarity", "late_weights", "power_choice"]

X = 0


def _deep(start: MirrorMap) -> float:
    if not start.degree > 2.0:
        raise InputError(f"start must have a degree above 2, but it has {start.degree:g}.")
    return start.degree


def late_weights(
    problem: Regression,
    start: MirrorMap,
    totals: tuple[float, float, float],
    exponent: float | None = None,
) -> Certificate:
    """x_∞(A) nears the least Σt⁺x⁺ + t⁻x⁻ like e^{−2LA} (Zhao et al. 2026; decay: this project).

    With D(A) = ‖x_∞(A) − x_∞(∞)‖_∞ and totals A₀ < A₁ < A₂, equally far apart. Value: |log(D(A₁)/
    D(A₂))/(A₂ − A₁) − 2L|. Bound: 10e^{−2(L − 2)(A₂ − A₁)} of the same at A₀, A₁, or of 0.1 where
    that is less, as the next order is smaller by e^{−2(L−2)A}; plus 60 eps max|x′(μ)μ|/D(A₂) over
    A₂ − A₁, what rounding of μ so near the end of its domain is worth. nan before the law sets in,
    where D(A₁) is more than a hundredth of the support's least |x_∞(∞)|.

    Parameters
    ----------
    problem : Regression
    start : MirrorMap
        Of degree L ≥ 3.
    totals : (float, float, float)
        A₀ < A₁ < A₂, equally far apart.
    exponent : float
        Another 2L to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the degree is not above 2.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem = mf.Regression([[1.0, 2.0]], [2.0])
    >>> start = mf.Powers([0.5, 0.5], [0.5, 0.5], depth=3)
    >>> mf.certificates.late_weights(problem, start, (1.0, 1.5, 2.0)).verdict
    'confirmed'
    """
    steps = np.diff(totals)
    if not (totals[0] >= 0.0 and steps[0] > 0.0 and abs(steps[1] / steps[0] - 1.0) < 1e-6):
        raise InputError(
            f"totals must be at least 0 and ascend by equal steps, but it is {totals}."
        )
    L, best = _deep(start), interpolator(problem, start, math.inf)
    limits = [interpolator(problem, start, total) for total in totals]
    if not all(limit.success for limit in (best, *limits)):
        return Certificate.of("late_weights", math.inf, math.nan)
    apart = np.array([np.abs(limit.x - best.x).max() for limit in limits])
    least = float(np.abs(best.x[best.x != 0.0]).min(initial=math.inf))
    if not (apart[2] > 0.0 and apart[1] <= 1e-2 * least):
        return Certificate.of("late_weights", math.inf, math.nan)
    span = totals[2] - totals[1]
    rates = -np.diff(np.log(apart)) / span
    bound = 10.0 * max(abs(rates[0] - 2.0 * L), 0.1) * math.exp(-2.0 * (L - 2.0) * span)
    steep = limits[2].metric * start.potential(totals[2]).gradient(limits[2].x)
    rounding = 60.0 * EPS * float(np.abs(steep).max()) / (float(apart[2]) * span)
    value = abs(rates[1] - (2.0 * L if exponent is None else exponent))
    return Certificate.of("late_weights", value, bound + rounding)


def power_choice(
    problem: Regression, endless: Interpolator, exponent: float | None = None
) -> Certificate:
    """Among several minima A → ∞ chooses the largest Σ|x|^{2/L} (Wind, Antun, Hansen 2023: depth
    matters).

    KKT: sign(x_j)|x_j|^{2/L − 1} on the support is z_jᵀη. Value: its largest residual by least
    squares, over its largest entry. Bound: 1e3 eps/σ, σ the least nonzero singular value of the
    support's columns of V.

    Parameters
    ----------
    problem : Regression
    endless : Interpolator
        `interpolator(problem, start, inf)`.
    exponent : float
        Another 2/L − 1 to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the degree is not above 2.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> problem = mf.Regression([[1.0, 1.0]], [2.0])  # all of x₁ + x₂ = 2, x ≥ 0 have least L1
    >>> start = mf.Powers([0.5, 0.5], [0.5, 0.5], depth=3)
    >>> endless = mf.interpolator(problem, start, np.inf)
    >>> mf.certificates.power_choice(problem, endless).verdict
    'confirmed'
    """
    power = 2.0 / _deep(endless.start) - 1.0 if exponent is None else exponent
    on = np.abs(endless.x) > 1e-7 * np.abs(endless.x).max(initial=0.0)
    if not on.any():  # 0 alone has the least norm
        return Certificate.of("power_choice", 0.0, 0.0)
    goal = np.sign(endless.x[on]) * np.abs(endless.x[on]) ** power
    columns = problem.row_space.V[:, on]
    eta, _, _, singular = np.linalg.lstsq(columns.T, goal, rcond=1e-10)
    size = float(np.abs(goal).max())
    value = float(np.abs(columns.T @ eta - goal).max()) / size
    least = float(singular[singular > 1e-10 * singular[0]].min())
    return Certificate.of("power_choice", value, 1e3 * EPS / least)


def deep_stationarity(
    problem: Regression, flow: Flow, alpha: float, rtol: float, share: float = 1.0
) -> Certificate:
    """Under a constant α: ∂_jf + c·sign(x_j)|x_j|^{2/L − 1} = 0 where x_j ≠ 0 (this project).

    c = 2α for products and 2α/L for u^L − v^L: stationary for f + α min‖θ‖², as layers balance
    like e^{−4αt}. Many points are, and 0 always; the start chooses. Value: the largest misfit at
    the flow's end, where α times it is above 10, over |x_j| > 1e-6 max|x| and relative to its
    terms. Bound: rtol (100 + steps). nan where all of x has collapsed.

    Parameters
    ----------
    problem : Regression
    flow : Flow
        Of `direct_flow` under Constant(alpha).
    alpha : float > 0
        α, in 1/time.
    rtol : float
        That of the path's integration.
    share : float
        A factor on c, to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If alpha isn't above 0, or the degree not above 2.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem = mf.Regression([[1.0, 2.0]], [2.0])
    >>> start = mf.Powers([0.5, 0.5], [0.5, 0.5], depth=3)
    >>> path = mf.direct_flow(problem, start, mf.Constant(0.01), [0.0, 2000.0], 1e-9)
    >>> mf.certificates.deep_stationarity(problem, path, 0.01, 1e-9).verdict
    'confirmed'
    """
    start, x, alpha = flow.start, flow.x[-1], number("alpha", alpha, 0.0, open_low=True)
    on = np.abs(x) > 1e-6 * np.abs(x).max()
    if (
        np.abs(x).max() <= 1e-6 * sizes(start, start.theta).max()
    ):  # collapsed: 0 is always stationary
        return Certificate.of("deep_stationarity", math.inf, math.nan)
    balanced = metric(start, start.shortest(x))
    pull = share * 2.0 * alpha * _deep(start) * x[on] / balanced[on]
    grad_f = problem.gradient(x)[on]
    value = float((np.abs(grad_f + pull) / (np.abs(grad_f) + np.abs(pull))).max())
    return Certificate.of("deep_stationarity", value, drift(flow, rtol))


def collapse(
    problem: Regression, flow: Flow, alpha: float, rtol: float, exponent: float | None = None
) -> Certificate:
    """A strong constant α kills every coordinate: |x_t| ≤ e^{−2Lαt} max|X(±ρ)| (this project).

    ρ_j = ‖z_j‖√(2F_0/n)/(2(L − 2)α), F_0 = f(x_0) + α‖θ_0‖², bounds what ∫e^{−2(L−2)A}|∂_jf| can
    reach; the squared loss, any y. Value: largest |x_t|e^{2Lαt}/max|X(±ρ)|. Bound: 1 + rtol (100 +
    steps). nan where some ρ_j is beyond an end of the domain: sufficient only.

    Parameters
    ----------
    problem : Regression
    flow : Flow
        Of `direct_flow` under Constant(alpha).
    alpha : float > 0
        α, in 1/time.
    rtol : float
        That of the path's integration.
    exponent : float
        Another 2L to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the degree is not above 2.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem = mf.Regression([[1.0, 2.0]], [2.0])
    >>> start = mf.Powers([0.5, 0.5], [0.5, 0.5], depth=3)
    >>> path = mf.direct_flow(problem, start, mf.Constant(20.0), [0.0, 0.1, 0.2], 1e-9)
    >>> mf.certificates.collapse(problem, path, 20.0, 1e-9).verdict
    'confirmed'
    """
    start, L = flow.start, _deep(flow.start)
    objective = problem.value(start.x) + alpha * float(np.sum(start.theta**2))
    lengths = np.linalg.norm(dense(problem), axis=0)
    rho = lengths * math.sqrt(2.0 * objective / problem.n) / (2.0 * (L - 2.0) * alpha)
    low, high = start.domain
    if (rho >= np.minimum(-low, high)).any():
        return Certificate.of("collapse", math.inf, math.nan)
    most = np.maximum(np.abs(start.at(rho)[X]), np.abs(start.at(-rho)[X]))
    grown = np.exp((2.0 * L if exponent is None else exponent) * flow.total)[:, None]
    value = float((np.abs(flow.x) * grown / most).max())
    return Certificate.of("collapse", value, 1.0 + PATH_FACTOR * drift(flow, rtol))

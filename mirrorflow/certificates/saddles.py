r"""Small starts: the flow stays within a proven distance of the saddle-to-saddle path."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from mirrorflow.certificates.base import PATH_FACTOR, Certificate
from mirrorflow.checks import Array, InputError, ascending, number
from mirrorflow.flows import gradient_flow
from mirrorflow.flows.saddles import SaddlePath, saddle_path
from mirrorflow.maps.log_factors import LogFactors
from mirrorflow.maps.powers import Powers
from mirrorflow.problems import Regression
from mirrorflow.schedules import Constant

__all__ = ["deep_saddle_deviation", "saddle_deviation", "small_start"]


def small_start(
    problem: Regression, log_1_over_a: float, times: ArrayLike, alpha: float = 0.0
) -> tuple[Array, Array]:
    """x (T, d) and ν̃ = ν/ℓ (T, n) of gradient flow from x₀ = 0, a = e^{−ℓ}, at τ = t/ℓ.

    Parameters
    ----------
    problem : Regression
    log_1_over_a : float > 0
        ℓ.
    times : ascending floats
        τ.
    alpha : float ≥ 0
        Constant decay.

    Returns
    -------
    x : (T, d) array
    nu : (T, n) array
        ν̃ = ν/ℓ.

    Raises
    ------
    InputError
        If ℓ isn't above 0, or times don't ascend.
    RuntimeError
        If the integration failed.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem = mf.Regression([[1.0, 2.0]], [2.0])
    >>> x, nu = mf.certificates.small_start(problem, 100.0, [0.1, 1.0])
    >>> x.round(3), nu.shape
    (array([[0., 0.],
           [0., 1.]]), (2, 1))
    """
    ell = number("log_1_over_a", log_1_over_a, 0.0, open_low=True)
    tau = ascending("times", times)
    start = LogFactors.of_scale(problem.d, ell)
    flow = gradient_flow(problem, start, Constant(alpha), ell * tau, 1e-9)
    if not flow.success:
        raise RuntimeError(flow.message)
    return flow.x, _dual(problem, 0.5 * (flow.parameters[:, 0] - flow.parameters[:, 1])) / ell


def _dual(problem: Regression, mu: Array) -> Array:
    """ν (T, n) of Zᵀν = μ (T, d)."""
    space = problem.row_space
    return (mu @ space.V.T / space.s) @ space.U.T


def saddle_deviation(
    problem: Regression,
    log_1_over_a: float,
    end: float,
    alpha: float = 0.0,
    path: SaddlePath | None = None,
) -> Certificate:
    """The flow's ν̃_a keeps a proven distance, of order ℓ^−½, to the path's ν̃_0 at every τ ≤ `end`.

    With Δ = ν̃_a − ν̃_0, as both flows are monotone (this project),

        ½‖Δ(τ)‖² ≤ (2/(nℓ)) ∫₀^τ [d/(2e) + Σ_j |x_{0,j}| log⁺(2|x_{a,j}| + a)] ds.

    Value: the largest ‖Δ(τ)‖ over the bound's root, at 400 times. Bound: 1 + what the
    integral by the trapezoidal rule may miss, 1 %, + 100 rtol.

    Parameters
    ----------
    problem : Regression
    log_1_over_a : float
        ℓ.
    end : float
        Largest τ.
    alpha : float ≥ 0
        Constant decay.
    path : SaddlePath, optional
        Another path to try; by default the exact one.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If ℓ isn't above 0.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem = mf.Regression([[1.0, 2.0]], [2.0])
    >>> mf.certificates.saddle_deviation(problem, 100.0, end=2.0).verdict
    'confirmed'
    """
    exact = saddle_path(problem, alpha=alpha) if path is None else path
    tau = np.linspace(0.0, end, 401)[1:]
    x, nu = small_start(problem, log_1_over_a, tau, alpha)
    saddle, dual = exact.at(tau)
    logs = np.maximum(np.log(np.maximum(2.0 * np.abs(x), 1e-300)), 0.0)
    density = problem.d / (2.0 * math.e) + np.sum(np.abs(saddle) * logs, axis=1)
    paid = density / log_1_over_a
    return _compared("saddle_deviation", problem, nu - dual, paid, tau)


def _compared(
    name: str, problem: Regression, apart: Array, density: Array, tau: Array
) -> Certificate:
    """Largest ‖Δ‖ over √((4/n)∫density), at equal steps of τ from 0."""
    apart = apart @ problem.row_space.U  # where y is inconsistent, the rest of ν moves nothing
    integral = (tau[1] - tau[0]) * (np.cumsum(density) - 0.5 * (density - density[0]))
    bound = np.sqrt(4.0 / problem.n * integral)
    value = float((np.linalg.norm(apart, axis=1) / bound).max())
    return Certificate.of(name, value, 1.01 + PATH_FACTOR * 1e-9)


def deep_saddle_deviation(
    problem: Regression, start: Powers, end: float, path: SaddlePath | None = None
) -> Certificate:
    """At depth L ≥ 3 the flow's ν keeps a proven distance to the path with its weights t⁺, t⁻.

    From a small start of u^L − v^L coordinate j grows when z_jᵀν nears an end of the map's domain,
    t⁺ = u₀^{2−L}/K or −t⁻ = −v₀^{2−L}/K, K = L(L − 2), so that the path is `saddle_path` with these
    thresholds, at τ = t/2 (Zhao et al. 2026); as both flows are monotone (this project),

        ½‖ν − ν_0‖² ≤ (2/n) ∫₀^τ [Σ_{x_j>0} |x_j| u_j^{2−L} + Σ_{x_j<0} |x_j| v_j^{2−L}]/K ds,

    of relative order α^{L−2}. Value and bound: as in `saddle_deviation`.

    Parameters
    ----------
    problem : Regression
    start : Powers
        With u₀ near v₀, so that x₀ is next to 0.
    end : float
        Largest τ, in units of the least weight.
    path : SaddlePath
        Another path to try, in units of the least weight.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the depth is 2: see `saddle_deviation`.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem = mf.Regression([[1.0, 2.0]], [2.0])
    >>> start = mf.Powers([0.01, 0.01], [0.01, 0.01], depth=3)
    >>> mf.certificates.deep_saddle_deviation(problem, start, end=2.0).verdict
    'confirmed'
    """
    if start.depth < 3:
        raise InputError("start must have depth 3 or more; see saddle_deviation for m ⊙ w.")
    low, high = start.domain
    unit = float(min(high.min(), -low.max()))
    exact = saddle_path(problem, thresholds=(high / unit, -low / unit)) if path is None else path
    tau = np.linspace(0.0, end, 401)[1:]
    flow = gradient_flow(problem, start, Constant(0.0), 2.0 * unit * tau, 1e-9)
    if not flow.success:
        raise RuntimeError(flow.message)
    remaining = flow.parameters ** (2 - start.depth) / (unit * start.depth * (start.depth - 2))
    mu = np.where(flow.x > 0, high / unit - remaining[:, 0], remaining[:, 1] + low / unit)
    slack = np.where(flow.x > 0, remaining[:, 0], remaining[:, 1])
    apart = _dual(problem, mu) - exact.at(tau)[1]
    density = np.sum(np.abs(flow.x) * slack, axis=1)
    return _compared("deep_saddle_deviation", problem, apart, density, tau)

r"""Small starts: the flow stays within a proven distance of the saddle-to-saddle path."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from mirrorflow.certificates.base import PATH_FACTOR, Certificate
from mirrorflow.checks import Array, ascending, number
from mirrorflow.flows import gradient_flow
from mirrorflow.flows.saddles import SaddlePath, saddle_path
from mirrorflow.maps.log_factors import LogFactors
from mirrorflow.problems import Regression
from mirrorflow.schedules import Constant

__all__ = ["saddle_deviation", "small_start"]


def small_start(
    problem: Regression, log_1_over_a: float, times: ArrayLike, alpha: float = 0.0
) -> tuple[Array, Array]:
    """x (T, d) and ν̃ = ν/ℓ (T, n) of gradient flow from x₀ = 0, a = e^{−ℓ}, at τ = t/ℓ."""
    ell = number("log_1_over_a", log_1_over_a, 0.0, open_low=True)
    tau = ascending("times", times)
    start = LogFactors.of_scale(problem.d, ell)
    flow = gradient_flow(problem, start, Constant(alpha), ell * tau, 1e-9)
    if not flow.success:
        raise RuntimeError(flow.message)
    space = problem.row_space
    twice_mu = 0.5 * (flow.parameters[:, 0] - flow.parameters[:, 1])
    return flow.x, (twice_mu @ space.V.T / space.s) @ space.U.T / ell


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
    log_1_over_a : float
        ℓ.
    end : float
        Largest τ.
    path : SaddlePath
        Another path to try; by default the exact one.
    """
    exact = saddle_path(problem, alpha=alpha) if path is None else path
    tau = np.linspace(0.0, end, 401)[1:]
    x, nu = small_start(problem, log_1_over_a, tau, alpha)
    saddle, dual = exact.at(tau)
    logs = np.maximum(np.log(np.maximum(2.0 * np.abs(x), 1e-300)), 0.0)
    density = problem.d / (2.0 * math.e) + np.sum(np.abs(saddle) * logs, axis=1)
    step = tau[1] - tau[0]
    integral = step * (np.cumsum(density) - 0.5 * (density - density[0]))
    bound = np.sqrt(4.0 / (problem.n * log_1_over_a) * integral)
    value = float((np.linalg.norm(nu - dual, axis=1) / bound).max())
    return Certificate.of("saddle_deviation", value, 1.01 + PATH_FACTOR * 1e-9)

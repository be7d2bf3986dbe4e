r"""Stochastic models of SGD on m ⊙ w: Pesme et al.'s flow, and the slow manifold of label noise.

    du = −u(∂f dt + 2α dt + √γ dN),   dv = v(∂f dt − 2α dt + √γ dN),   d⟨N⟩ = 2f ZᵀZ/n dt

has along each path a_t = a₀ exp(−4A − 2γ diag(ZᵀZ/n)∫f dt) and no shift (Pesme, Pillaud-Vivien &
Flammarion 2021; decay: this project). Beside SGD's own gain (`predicted_gain`) it leaves out what
the residuals have in common with the samples: by coordinate it may be off by a factor 2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mirrorflow.checks import Array, InputError, instance, number, vector, whole
from mirrorflow.descent.gains import Gains
from mirrorflow.limits import Interpolator, interpolator
from mirrorflow.maps import Factors, check_pair
from mirrorflow.own_schedules import check_schedule
from mirrorflow.problems import Regression, random_stream
from mirrorflow.schedules import Schedule

__all__ = ["StochasticPath", "label_noise", "slow_manifold", "stochastic_flow"]


class StochasticPath(NamedTuple):
    """The end of a path of `stochastic_flow`.

    Attributes
    ----------
    x, gain : (d,) arrays
        x and Λ.
    total : float
        A.
    paid, squares : float
        ∫f dt and ∫f² dt.
    noise, step : float
        γ and dt.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> path = stochastic_flow(problem, start, mf.Constant(0.1), 0.1, 2.0, 100)
    >>> round(path.total, 12), path.step
    (0.2, 0.02)
    """

    x: Array
    gain: Array
    total: float
    paid: float
    squares: float
    noise: float
    step: float


def stochastic_flow(
    problem: Regression,
    factors: Factors,
    schedule: Schedule,
    noise: float,
    end: float,
    steps: int,
    seed: int = 0,
) -> StochasticPath:
    """One path of stochastic gradient flow, by Euler and Maruyama's steps on (u, v).

    Parameters
    ----------
    problem : Regression
        With the squared loss.
    factors : Factors
    schedule : Schedule
    noise : float ≥ 0
        γ, the step size of the SGD that is modelled.
    end : float > 0
        T, in flow time.
    steps : int ≥ 1
        K; dt = T/K.
    seed : int ≥ 0

    Returns
    -------
    StochasticPath

    Raises
    ------
    InputError
        If a number is out of its range, or the start doesn't fit.

    Examples
    --------
    >>> from mirrorflow import Constant
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> path = stochastic_flow(problem, Factors.pilot([0.0, 0.0]), Constant(0.0), 0.1, 9.0, 999)
    >>> bool(abs(problem.Z @ path.x - 2.0) < 1e-3)
    True
    """
    check_pair(problem, factors)
    instance("factors", factors, Factors)
    check_schedule(schedule)
    noise = number("noise", noise, 0.0)
    steps = whole("steps", steps, 1)
    dt = number("end", end, 0.0, open_low=True) / steps
    stream = random_stream("descent", "stochastic", whole("seed", seed, 0))
    gains, halves = Gains(problem.d, 0.0, False), np.stack([factors.u, factors.v])
    paid = squares = 0.0
    for k in range(steps):
        residual = problem.Z @ (0.5 * (halves[0] ** 2 - halves[1] ** 2)) - problem.y
        f, alpha = 0.5 * float(residual @ residual) / problem.n, float(schedule.alpha(k * dt))
        size = np.sqrt(2.0 * noise * f / (problem.n * dt))
        g = problem.Z.T @ (residual / problem.n + size * stream.standard_normal(problem.n))
        gains.add(dt, alpha, g, np.zeros_like(g))
        halves = halves * (1.0 - 2.0 * alpha * dt + dt * np.stack([-g, g]))
        paid, squares = paid + f * dt, squares + f * f * dt
    x = 0.5 * (halves[0] ** 2 - halves[1] ** 2)
    return StochasticPath(x, gains.now()[0], gains.total, paid, squares, noise, dt)


def label_noise(problem: Regression, sigma: float, batch_size: int | None = None) -> Array:
    """s_j² = σ²‖z_j‖²/(nB), (d,): the variance of ∂_jf from fresh labels on batches of B.

    In SGD with steps η it is a decay of α_j = ¼ηs_j², a penalty Σ λ_j|x_j| with λ_j = ½ηs_j².

    Parameters
    ----------
    problem : Regression
    sigma : float ≥ 0
        σ, in units of y.
    batch_size : int in [1, n], optional
        B; None: all rows.

    Returns
    -------
    (d,) array

    Raises
    ------
    InputError
        If a number is out of its range.

    Examples
    --------
    >>> label_noise(Regression([[1.0, 2.0]], [2.0]), 0.5)
    array([0.25, 1.  ])
    """
    instance("problem", problem, Regression)
    batch = problem.n if batch_size is None else whole("batch_size", batch_size, 1, problem.n)
    sigma = number("sigma", sigma, 0.0)
    return np.asarray(sigma**2 / (problem.n * batch) * np.square(problem.Z).sum(axis=0))


def slow_manifold(
    problem: Regression, factors: Factors, variances: Array, tau: float
) -> Interpolator:
    """Where label noise has led at slow time τ = η²K as η → 0: argmin R_a over Zx = y.

    a_j = a₀_j e^{−s_j²τ}, from a start that solves Zx = y, or from where the flow of another start
    ends: in closed form what Li, Wang & Arora 2022 describe by θ̇ = −¼P∇Σ s_j²(u_j² + v_j²), P the
    projection on the tangent of {Zx = y}. For τ → ∞ Σ s_j²|x_j| is least.

    Parameters
    ----------
    problem : Regression
    factors : Factors
    variances : (d,) array ≥ 0
        s², of `label_noise`.
    tau : float ≥ 0

    Returns
    -------
    Interpolator

    Raises
    ------
    InputError
        If shapes don't fit, or tau is negative.

    Examples
    --------
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> noise = label_noise(problem, 1.0)
    >>> slow_manifold(problem, Factors.pilot([0.0, 0.0]), noise, 100.0).x.round(6)
    array([2., 0.])
    """
    check_pair(problem, factors)
    variances = vector("variances", variances, problem.d, "one for each coordinate")
    if variances.min() < 0.0:
        raise InputError(f"variances must be at least 0, but one is {variances.min():g}.")
    return interpolator(problem, factors, 0.0, gain=variances * number("tau", tau, 0.0))

r"""The Hessian of F_t in (m, w) along a path, and the step size that gradient descent can take."""

from __future__ import annotations

import math

import numpy as np

from mirrorflow.certificates.base import EPS, Certificate, dense
from mirrorflow.checks import Array, InputError, number
from mirrorflow.flows.trajectory import Flow
from mirrorflow.limits import Interpolator
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.schedules import Schedule

__all__ = ["hessian", "limit_sharpness", "sharpness", "stability", "stable_step"]


def hessian(problem: Regression, m: Array, w: Array, alpha: float = 0.0) -> Array:
    """∇²F of F = f(m ⊙ w) + α(‖m‖² + ‖w‖²), shape (2d, 2d), order (m, w).

    Parameters
    ----------
    problem : Regression
    m, w : (d,) arrays
    alpha : float
        α ≥ 0.

    Returns
    -------
    (2d, 2d) array

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> problem = mf.Regression([[1.0, 2.0]], [2.0])
    >>> mf.certificates.hessian(problem, np.ones(2), np.ones(2)).diagonal()
    array([1., 4., 1., 4.])
    """
    Z = dense(problem)
    G = (Z.T * problem.loss.curvature(Z @ (m * w), problem.y)) @ Z / problem.n
    grad_f = problem.gradient(m * w)
    cross = w[:, None] * G * m + np.diag(grad_f)
    H = np.block([[w[:, None] * G * w, cross], [cross.T, m[:, None] * G * m]])
    return H + 2.0 * alpha * np.eye(2 * m.size)


def sharpness(problem: Regression, path: Flow, schedule: Schedule) -> tuple[Array, Array]:
    """Trace and largest eigenvalue of ∇²F_t in (m, w) along a path, shape (T,) each.

    For the squared loss. Trace: Σ_i (m_i² + w_i²)‖z_i‖²/n + 2α_t·2d, z_i the columns of Z.

    Parameters
    ----------
    problem : Regression
    path : Flow
        Of `direct_flow`.
    schedule : Schedule

    Returns
    -------
    trace : (T,) array
    largest : (T,) array

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> schedule = mf.Constant(0.1, 5.0)
    >>> path = mf.direct_flow(problem, start, schedule, [0.0, 5.0, 50.0], 1e-9)
    >>> trace, largest = mf.certificates.sharpness(problem, path, schedule)
    >>> trace.round(2), largest.round(2)
    (array([5.8 , 7.3 , 7.71]), array([7.22, 7.1 , 7.71]))
    """
    columns = np.sum(dense(problem) ** 2, axis=0) / problem.n
    alphas = np.array([float(schedule.alpha(float(t))) for t in path.times])
    trace = (path.m**2 + path.w**2) @ columns + 2.0 * alphas * path.parameters[0].size
    largest = [
        np.linalg.eigvalsh(hessian(problem, m, w, alpha))[-1]
        for m, w, alpha in zip(path.m, path.w, alphas, strict=True)
    ]
    return trace, np.array(largest)


def stable_step(
    problem: Regression, path: Flow, schedule: Schedule, step_size: float
) -> Certificate:
    """Gradient descent with step η can follow this path: sharpness ≤ 2/η all along it.

    Value: largest eigenvalue of ∇²F_t over the path. Bound: 2/η.

    Parameters
    ----------
    problem : Regression
    path : Flow
        Of `direct_flow`.
    schedule : Schedule
    step_size : float > 0
        η.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the step size isn't above 0.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> schedule = mf.Constant(0.1, 5.0)
    >>> path = mf.direct_flow(problem, start, schedule, [0.0, 5.0, 50.0], 1e-9)
    >>> mf.certificates.stable_step(problem, path, schedule, 0.1).holds
    True
    >>> mf.certificates.stable_step(problem, path, schedule, 1.0).holds
    False
    """
    step_size = number("step_size", step_size, 0.0, open_low=True)
    _, largest = sharpness(problem, path, schedule)
    return Certificate.of("stable_step", float(largest.max()), 2.0 / step_size)


def limit_sharpness(problem: Regression, factors: Factors, limit: Interpolator) -> Certificate:
    """At an interpolator the sharpness is λ_max((2/n) Z diag(√(x² + a²)) Zᵀ).

    The matrix whose least eigenvalue is the flow's last rate: sharp minima are fast ones. Value:
    relative difference from the largest eigenvalue of the dense ∇²F in (m, w). Bound: 100 d eps,
    plus the misfit that ∇f leaves in ∇²F: 2 max|∇f|/λ_max.

    Parameters
    ----------
    problem : Regression
    factors : Factors
    limit : Interpolator
        Of these factors.

    Returns
    -------
    Certificate

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> limit = mf.interpolator(problem, start, total=0.5)
    >>> mf.certificates.limit_sharpness(problem, start, limit).verdict
    'confirmed'
    """
    m, w = limit.parameters
    largest = float(np.linalg.eigvalsh(hessian(problem, m, w))[-1])
    Z = dense(problem)
    weighted = (Z * (limit.p + limit.q)) @ Z.T * (2.0 / problem.n)
    expected = float(np.linalg.eigvalsh(weighted)[-1])
    misfit = 2.0 * float(np.abs(problem.gradient(m * w)).max()) / expected
    bound = 100.0 * problem.d * EPS + misfit
    return Certificate.of("limit_sharpness", abs(largest / expected - 1.0), bound)


def stability(
    problem: Regression,
    factors: Factors,
    limit: Interpolator,
    times_threshold: float,
    start: float = 1e-8,
    steps: int = 40,
) -> Certificate:
    """At the limit gradient descent changes by |1 − ηλ_max| a step: stable iff η < 2/λ_max.

    Gradient descent runs `steps` steps with η = times_threshold·2/λ_max from the limit plus
    `start` times the sharpest direction. Value: |growth/|1 − ηλ_max|^steps − 1|. Bound:
    steps·η·‖D³F‖·(largest distance)/|1 − ηλ_max|, ‖D³F‖ ≤ 3σ_max(Z)²/n·max√(m² + w²), plus
    100 d eps·max|m, w|·steps/(smallest distance), the rounding of m and w; none from 1 on, where
    it would allow any growth.

    Parameters
    ----------
    problem : Regression
    factors : Factors
    limit : Interpolator
    times_threshold : float > 0
        η over 2/λ_max.
    start : float
        Size of the perturbation, in units of m and w.
    steps : int

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the limit is no interpolator: its sharpest direction is not the whole story there.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> limit = mf.interpolator(problem, start, total=0.5)
    >>> mf.certificates.stability(problem, start, limit, 0.9, steps=20).verdict
    'confirmed'
    >>> mf.certificates.stability(problem, start, limit, 1.1).verdict
    'confirmed'
    """
    ratio = number("times_threshold", times_threshold, 0.0, open_low=True)
    if limit.status != "converged":
        raise InputError(f"limit must be converged, but its status is {limit.status!r}.")
    m, w = limit.parameters
    d = problem.d
    values, vectors = np.linalg.eigh(hessian(problem, m, w))
    step, growth = 2.0 * ratio / values[-1], abs(1.0 - 2.0 * ratio)
    rest = np.concatenate([m, w])
    state = rest + start * vectors[:, -1]
    for _ in range(steps):
        grad_f = problem.gradient(state[:d] * state[d:])
        state = state - step * np.concatenate([state[d:] * grad_f, state[:d] * grad_f])
    measured = abs(float((state - rest) @ vectors[:, -1])) / start
    far, near = start * max(1.0, growth**steps), start * min(1.0, growth**steps)
    size = float(np.hypot(m, w).max())
    third = 3.0 * float(problem.row_space.s[0]) ** 2 / problem.n * size
    bound = steps * step * third * far / growth
    bound += 100.0 * d * EPS * size * steps / near
    value = abs(measured / growth**steps - 1.0)
    return Certificate.of("stability", value, bound if bound < 1.0 else math.nan)

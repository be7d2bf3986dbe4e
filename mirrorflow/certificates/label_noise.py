r"""Label noise: the slow flow on {Zx = y}, and time averages of discrete runs as LASSO points."""

from __future__ import annotations

import math

import numpy as np
from scipy.integrate import solve_ivp

from mirrorflow.certificates.base import EPS, PATH_FACTOR, Certificate, dense
from mirrorflow.checks import Array, InputError, vector
from mirrorflow.descent.reference import DescentPath
from mirrorflow.descent.stochastic import slow_manifold
from mirrorflow.limits import interpolator, lasso_limit
from mirrorflow.maps import Factors
from mirrorflow.problems import Regression

__all__ = ["average_identity", "averaged_lasso", "manifold_flow"]


def manifold_flow(
    problem: Regression,
    factors: Factors,
    variances: Array,
    tau: float,
    rtol: float = 1e-9,
    claimed: Array | None = None,
) -> Certificate:
    """θ̇ = −¼P∇Σ s_j²(u_j² + v_j²) on {Zx = y}, θ = (u, v), leads to `slow_manifold` (label noise).

    Value: ‖x(τ) − argmin‖_∞ relative to the largest u² + v², from the interpolator of the start's
    own potential on. Bound: 1000 rtol; Zx − y, which P keeps, drifts by that too.

    Parameters
    ----------
    problem : Regression
    factors : Factors
    variances : (d,) array
        s², of `label_noise`.
    tau : float ≥ 0
        Slow time η²K.
    rtol : float
        Of the integration here.
    claimed : (d,) array
        Other s² to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If variances don't fit.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> from mirrorflow.descent.stochastic import label_noise
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> variances = label_noise(problem, 0.5)
    >>> mf.certificates.manifold_flow(problem, start, variances, 10.0).verdict
    'confirmed'
    """
    limit = slow_manifold(problem, factors, variances if claimed is None else claimed, tau)
    variances = vector("variances", variances, problem.d, "one for each coordinate")
    first, Z = interpolator(problem, factors, 0.0).parameters, dense(problem)
    begin = np.concatenate([first[0] + first[1], first[0] - first[1]]) / math.sqrt(2.0)
    pull = 0.5 * np.concatenate([variances, variances])

    def velocity(_: float, theta: Array) -> Array:
        u, v = np.split(theta, 2)
        J = np.hstack([Z * u, -Z * v])
        G = pull * theta
        return -(G - J.T @ np.linalg.solve(J @ J.T, J @ G))

    run = solve_ivp(velocity, (0.0, tau), begin, "DOP853", rtol=rtol, atol=1e-3 * rtol)
    u, v = np.split(run.y[:, -1], 2)
    value = float(np.abs(0.5 * (u * u - v * v) - limit.x).max() / (u * u + v * v).max())
    return Certificate.of("manifold_flow", value, 10.0 * PATH_FACTOR * rtol)


def average_identity(
    problem: Regression, path: DescentPath, step_size: float, noise: Array, share: float = 1.0
) -> Certificate:
    """log|U_K/U₀| = −½Λ − r − ηK[∇f(x̄) + ξ̄], for V with + before the bracket and before r.

    x̄ is the mean of x₀ … x_{K−1}, ξ̄ that of the noise in the gradient: the time average solves a
    LASSO with penalties Λ/(2ηK), up to what U and V still are. For the squared loss without
    penalty. Value: the largest difference in the larger of |U| and |V|. Bound: 10 eps (K + 1000)
    times the largest term.

    Parameters
    ----------
    problem : Regression
    path : DescentPath
        With every step recorded.
    step_size : float
        η.
    noise : (K, n) array
        What was added to y.
    share : float
        A factor on Λ, to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If an array has another shape than it must, or an entry is no finite number.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> noise = 0.1 * np.random.default_rng(0).standard_normal((400, 1))
    >>> path = mf.follow_descent(problem, start, 0.05, 400, label_noise=noise, record=400)
    >>> mf.certificates.average_identity(problem, path, 0.05, noise).verdict
    'confirmed'
    """
    steps = int(path.steps[-1])
    if noise.shape != (steps, problem.n):
        raise InputError(f"noise must have shape {(steps, problem.n)}, but it has {noise.shape}.")
    mean = problem.gradient(path.x[:-1].mean(axis=0)) - problem.Z.T @ noise.mean(axis=0) / problem.n
    pushed = path.shift[-1] + step_size * steps * mean
    ends = np.stack([path.m + path.w, path.m - path.w])[:, [0, -1]]
    grown = np.log(np.abs(ends[:, 1] / ends[:, 0]))
    claimed = -0.5 * share * path.gain[-1] + np.stack([-pushed, pushed])
    larger = np.argmax(np.abs(ends[:, 1]), axis=0), np.arange(problem.d)
    largest = max(1.0, float(np.abs(path.gain[-1]).max()), float(np.abs(pushed).max()))
    value = float(np.abs(grown - claimed)[larger].max())
    return Certificate.of("average_identity", value, 10.0 * EPS * (steps + 1000.0) * largest)


def averaged_lasso(
    problem: Regression, mean: Array, start: Array, penalties: Array, bound: float = 1e-3
) -> Certificate:
    """f(x̄) + Σλ_j|x̄_j| of the time average falls to its minimum, about like 1/K.

    Value: what is left of it, relative to the start's. Bound: the share that is asked for.

    Parameters
    ----------
    problem : Regression
    mean : (d,) array
        x̄.
    start : (d,) array
        x₀.
    penalties : (d,) array > 0
        λ.
    bound : float

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If an array has another shape than it must, or an entry is no finite number.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> problem = mf.Regression([[1.0, 2.0]], [2.0])
    >>> mean, penalties = np.array([0.0, 0.95]), np.array([0.2, 0.2])  # the minimum is (0, 0.95)
    >>> mf.certificates.averaged_lasso(problem, mean, np.zeros(2), penalties).verdict
    'confirmed'
    """
    mean, start, penalties = (
        vector(name, value, problem.d, "one for each coordinate")
        for name, value in (("mean", mean), ("start", start), ("penalties", penalties))
    )
    if not penalties.min() > 0.0:
        raise InputError(f"penalties must be above 0, but one is {penalties.min():g}.")
    scale = penalties / penalties.mean()
    weighted = Regression(dense(problem) / scale, problem.y)
    best = lasso_limit(weighted, Factors.pilot(np.zeros(problem.d)), 0.5 * float(penalties.mean()))

    def objective(x: Array) -> float:
        return problem.value(x) + float(penalties @ np.abs(x))

    least = objective(best.x / scale)
    value = (objective(mean) - least) / (objective(start) - least)
    return Certificate.of("averaged_lasso", value, bound)

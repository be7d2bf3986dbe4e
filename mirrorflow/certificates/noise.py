r"""What noise does: gains of SGD, label noise, time averages of discrete runs, early stopping."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.integrate import solve_ivp

from mirrorflow.certificates.base import EPS, PATH_FACTOR, Certificate, dense
from mirrorflow.checks import Array, InputError, vector
from mirrorflow.descent.reference import DescentPath
from mirrorflow.descent.stochastic import StochasticPath, slow_manifold
from mirrorflow.limits import interpolator, lasso_limit
from mirrorflow.maps import Factors
from mirrorflow.problems import Regression

__all__ = ["average_identity", "averaged_lasso", "compensator", "constant_decay", "early_stopping"]
__all__ += ["gain_law", "manifold_flow", "mean_law", "spread_law", "stochastic_gain"]


def gain_law(predicted: Sequence[float], gains: Sequence[Array]) -> Certificate:
    """The mean of ΣΛ_j − 4A over runs of SGD is η∫[(1 + 2ℓ)Σ(∂_jf)² + ΣVar_j] dt + O(η²).

    With ρ(η) the relative error of the mean, value: |2ρ(η/2) − ρ(η)|, extrapolated to η = 0.
    Bound: 0.01 + 6 standard errors. Both arguments at η and η/2; gains has one array (runs,) each.
    """
    rho = [float(np.mean(some)) / p - 1.0 for p, some in zip(predicted, gains, strict=True)]
    errors = [
        float(np.std(some, ddof=1)) / (p * math.sqrt(len(some)))
        for p, some in zip(predicted, gains, strict=True)
    ]
    bound = 0.01 + 6.0 * math.hypot(2.0 * errors[1], errors[0])
    return Certificate.of("gain_law", abs(2.0 * rho[1] - rho[0]), bound)


def _order(first: float, second: float) -> float:
    return math.log2(first / second)


def spread_law(first: Array, second: Array) -> Certificate:
    """A run of SGD ends O(η^1.5) from its prediction, root mean square; O(η) from the flow's limit.

    Arguments: x_K − prediction at η and η/2, (runs, d) each. Value: how much the order falls short
    of 1.5. Bound: 0.15.
    """
    rms = [float(np.sqrt(np.mean(np.square(some)))) for some in (first, second)]
    return Certificate.of("spread_law", max(1.5 - _order(*rms), 0.0), 0.15)


def mean_law(first: Array, second: Array) -> Certificate:
    """The mean over runs is O(η²) from the prediction; arguments as in `spread_law`.

    Value: how much the order falls short of 2. Bound: 0.25; up to 3 standard errors more can't be
    judged, nor can means within 3 standard errors of 0.
    """
    squares = [float(np.sum(some.mean(axis=0) ** 2)) for some in (first, second)]
    noise = [float(np.sum(some.var(axis=0))) / len(some) for some in (first, second)]
    if any(square <= 9.0 * random for square, random in zip(squares, noise, strict=True)):
        return Certificate.of("mean_law", math.inf, math.nan)
    # the noise of a mean adds its variance to the square
    means = [math.sqrt(square - random) for square, random in zip(squares, noise, strict=True)]
    errors = [math.sqrt(random) / mean for random, mean in zip(noise, means, strict=True)]
    value = max(2.0 - _order(*means), 0.0)
    return Certificate.of("mean_law", value, 0.25, 0.25 + 3.0 * math.hypot(*errors) / math.log(2.0))


def compensator(
    problem: Regression, paths: Sequence[DescentPath], step_size: float, share: float = 1.0
) -> Certificate:
    """Λ of one-sample SGD less Σ E[−log(1 − h²) | x_k] is a martingale, along each path.

    Value: its end by coordinate, summed over the paths, relative to the root of
    Σ Var[−log(1 − h²) | x_k]; the largest. Bound: 6 (of 4000 values 3.9 was the largest).

    Parameters
    ----------
    paths : sequence of DescentPath
        Of `follow_descent` with batch_size=1, no penalty, and every step recorded.
    share : float
        A factor on the compensator, to try.
    """
    Z, ends, spread = dense(problem), np.zeros(problem.d), np.zeros(problem.d)
    for path in paths:
        if path.steps.size != path.steps[-1] + 1:
            raise InputError(f"paths must hold every step, but one holds {path.steps.size}.")
        slope = problem.loss.slope(path.x[:-1] @ Z.T, problem.y)
        rises = -np.log(np.abs(1.0 - (step_size * slope[:, :, None] * Z) ** 2))  # (K, n, d)
        spread += rises.var(axis=1).sum(axis=0)
        ends += path.gain[-1] - share * rises.mean(axis=1).sum(axis=0)
    return Certificate.of("compensator", float(np.abs(ends / np.sqrt(spread)).max()), 6.0)


def stochastic_gain(problem: Regression, path: StochasticPath, share: float = 1.0) -> Certificate:
    """Λ = 4A + 2γ diag(ZᵀZ/n)∫f dt along each path of stochastic gradient flow.

    Value: |mean over j of (Λ_j − 4A)/(2γ(ZᵀZ/n)_jj∫f) − 1|. Bound: dt/γ, the most that (∂f)² dt
    adds, and 6 standard deviations √(2 dt ∫f²)/∫f of Euler's sum of squares.
    """
    expected = 2.0 * path.noise * path.paid * np.square(dense(problem)).mean(axis=0)
    ratio = float(np.mean((path.gain - 4.0 * path.total) / (share * expected)))
    random = math.sqrt(2.0 * path.step * path.squares) / path.paid
    return Certificate.of(
        "stochastic_gain", abs(ratio - 1.0), path.step / path.noise + 6.0 * random
    )


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
    claimed : (d,) array
        Other s² to try.
    """
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
    limit = slow_manifold(problem, factors, variances if claimed is None else claimed, tau)
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
    path : DescentPath
        With every step recorded.
    noise : (K, n) array
        What was added to y.
    share : float
        A factor on Λ, to try.
    """
    steps = int(path.steps[-1])
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
    """
    scale = penalties / penalties.mean()
    weighted = Regression(dense(problem) / scale, problem.y)
    best = lasso_limit(weighted, Factors.pilot(np.zeros(problem.d)), 0.5 * float(penalties.mean()))

    def objective(x: Array) -> float:
        return problem.value(x) + float(penalties @ np.abs(x))

    least = objective(best.x / scale)
    value = (objective(mean) - least) / (objective(start) - least)
    return Certificate.of("averaged_lasso", value, bound)


def constant_decay(problem: Regression, path: DescentPath, alpha: float) -> Certificate:
    """(S)GD's steps with a constant α end at min f + 2α‖x‖₁, at any stable step and momentum.

    Value: ‖x_K − x_LASSO‖_∞ relative to the largest ½(m² + w²) of the path. Bound: 1e-9; a path
    that still moved more than a tenth of the value in its last half judges nothing.
    """
    limit = lasso_limit(problem, path.start, alpha)
    size = float((0.5 * (path.m**2 + path.w**2)).max())
    value = float(np.abs(path.x[-1] - limit.x).max()) / size
    middle = int(np.searchsorted(path.steps, 0.5 * path.steps[-1]))
    moved = float(np.abs(path.x[-1] - path.x[middle]).max()) / size
    return Certificate.of("constant_decay", value, 1e-9, 10.0 * moved)


def early_stopping(errors: Array, oracle: Array, bound: float = 1.5) -> Certificate:
    """Stopped early, the error is that of least squares on the true support: no log d.

    GD from p = q = e^{−ℓ}, x = p − q, stopped at t = ℓ/(2λ), λ = 2σ√(2 log d/n), at high signal
    (in the spirit of Vaskevicius et al. 2019). Value: median of ‖x_t − x*‖² over that of least
    squares on the support of x*. Bound: the factor that is asked for; the best point of the LASSO
    path is at 5 and more.
    """
    return Certificate.of("early_stopping", float(np.median(errors) / np.median(oracle)), bound)

r"""What noise does: gains of SGD and their spread, a decay that stays, early stopping."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mirrorflow.certificates.base import Certificate, dense
from mirrorflow.checks import Array, InputError
from mirrorflow.descent.reference import DescentPath
from mirrorflow.descent.stochastic import StochasticPath
from mirrorflow.limits import lasso_limit
from mirrorflow.problems import Regression

__all__ = ["compensator", "constant_decay", "early_stopping", "gain_law", "mean_law"]
__all__ += ["spread_law", "stochastic_gain"]


def gain_law(predicted: Sequence[float], gains: Sequence[Array]) -> Certificate:
    """The mean of ΣΛ_j − 4A over runs of SGD is η∫[(1 + 2ℓ)Σ(∂_jf)² + ΣVar_j] dt + O(η²).

    With ρ(η) the relative error of the mean, value: |2ρ(η/2) − ρ(η)|, extrapolated to η = 0.
    Bound: 0.01 + 6 standard errors. Both arguments at η and η/2; gains has one array (runs,) each.

    Parameters
    ----------
    predicted : (float, float)
        Σ over coordinates by `predicted_gain`, less 4A, at η and η/2.
    gains : two (runs,) arrays
        ΣΛ_j − 4A of each run.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the arrays don't fit each other, or a number is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> gains = 1.01 + 0.01 * np.sin(np.arange(100)), 1.005 + 0.01 * np.sin(np.arange(100))
    >>> mf.certificates.gain_law((1.0, 1.0), gains).verdict
    'confirmed'
    """
    if len(predicted) != 2 or len(gains) != 2 or not min(predicted) > 0.0:
        raise InputError(
            f"predicted and gains must be pairs, at η and η/2, with predictions above 0, but they "
            f"are {predicted} and {len(gains)} arrays."
        )
    rho = [float(np.mean(some)) / p - 1.0 for p, some in zip(predicted, gains, strict=True)]
    errors = [
        float(np.std(some, ddof=1)) / (p * math.sqrt(len(some)))
        for p, some in zip(predicted, gains, strict=True)
    ]
    bound = 0.01 + 6.0 * math.hypot(2.0 * errors[1], errors[0])
    return Certificate.of("gain_law", abs(2.0 * rho[1] - rho[0]), bound)


def _order(first: float, second: float) -> float:
    return math.log2(first / second)


def _pair(first: Array, second: Array) -> None:
    """Refuse what are not runs (R, d) at η and η/2."""
    if first.ndim != 2 or first.shape != second.shape or len(first) < 2:
        raise InputError(
            f"first and second must be (runs, d) with 2 runs or more, but they have the shapes "
            f"{first.shape} and {second.shape}."
        )


def spread_law(first: Array, second: Array) -> Certificate:
    """A run of SGD ends O(η^1.5) from its prediction, root mean square; O(η) from the flow's limit.

    Value: how much the order falls short of 1.5. Bound: 0.15.

    Parameters
    ----------
    first, second : (runs, d) arrays
        x_K − prediction at η and η/2.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the arrays don't fit each other, or a number is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> mf.certificates.spread_law(np.full((9, 2), 0.8), np.full((9, 2), 0.28)).verdict
    'confirmed'
    """
    _pair(first, second)
    rms = [float(np.sqrt(np.mean(np.square(some)))) for some in (first, second)]
    return Certificate.of("spread_law", max(1.5 - _order(*rms), 0.0), 0.15)


def mean_law(first: Array, second: Array) -> Certificate:
    """The mean over runs is O(η²) from the prediction; arguments as in `spread_law`.

    Value: how much the order falls short of 2. Bound: 0.25; up to 3 standard errors more can't be
    judged, nor can means within 3 standard errors of 0.

    Parameters
    ----------
    first, second : (runs, d) arrays
        x_K − prediction at η and η/2.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the arrays don't fit each other, or a number is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> mf.certificates.mean_law(np.full((9, 2), 0.8), np.full((9, 2), 0.2)).verdict
    'confirmed'
    """
    _pair(first, second)
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
    problem : Regression
    paths : sequence of DescentPath
        Of `follow_descent` with batch_size=1, no penalty, and every step recorded.
    step_size : float
        η.
    share : float
        A factor on the compensator, to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If a path lacks steps.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> problem = mf.Regression([[1.0, 2.0, 0.0], [2.0, -1.0, 1.0]], [2.0, 1.0])
    >>> start, options = mf.Factors.pilot(np.zeros(3)), {"batch_size": 1, "record": 400}
    >>> path = mf.follow_descent(problem, start, 0.1, 400, **options)
    >>> mf.certificates.compensator(problem, [path], 0.1).verdict
    'confirmed'
    """
    Z, ends, spread = dense(problem), np.zeros(problem.d), np.zeros(problem.d)
    for path in paths:
        if path.steps.size != path.steps[-1] + 1:
            raise InputError(f"paths must hold every step, but one holds {path.steps.size}.")
        dphi = problem.loss.slope(path.x[:-1] @ Z.T, problem.y)
        rises = -np.log(np.abs(1.0 - (step_size * dphi[:, :, None] * Z) ** 2))  # (K, n, d)
        spread += rises.var(axis=1).sum(axis=0)
        ends += path.gain[-1] - share * rises.mean(axis=1).sum(axis=0)
    return Certificate.of("compensator", float(np.abs(ends / np.sqrt(spread)).max()), 6.0)


def stochastic_gain(problem: Regression, path: StochasticPath, share: float = 1.0) -> Certificate:
    """Λ = 4A + 2γ diag(ZᵀZ/n)∫f dt along each path of stochastic gradient flow.

    Value: |mean over j of (Λ_j − 4A)/(2γ(ZᵀZ/n)_jj∫f) − 1|. Bound: dt/γ, the most that (∂f)² dt
    adds, and 6 standard deviations √(2 dt ∫f²)/∫f of Euler's sum of squares.

    Parameters
    ----------
    problem : Regression
    path : StochasticPath
        Of `stochastic_flow`.
    share : float
        A factor on the noise's term, to try.

    Returns
    -------
    Certificate

    Examples
    --------
    >>> import mirrorflow as mf
    >>> from mirrorflow.descent.stochastic import stochastic_flow
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> path = stochastic_flow(problem, start, mf.Constant(0.01), 0.1, end=9.0, steps=2000)
    >>> mf.certificates.stochastic_gain(problem, path).verdict
    'confirmed'
    """
    expected = 2.0 * path.noise * path.paid * np.square(dense(problem)).mean(axis=0)
    ratio = float(np.mean((path.gain - 4.0 * path.total) / (share * expected)))
    random = math.sqrt(2.0 * path.step * path.squares) / path.paid
    return Certificate.of(
        "stochastic_gain", abs(ratio - 1.0), path.step / path.noise + 6.0 * random
    )


def constant_decay(problem: Regression, path: DescentPath, alpha: float) -> Certificate:
    """(S)GD's steps with a constant α end at min f + 2α‖x‖₁, at any stable step and momentum.

    Value: ‖x_K − x_LASSO‖_∞ relative to the largest ½(m² + w²) of the path. Bound: 1e-9; a path
    that still moved more than a tenth of the value in its last half judges nothing.

    Parameters
    ----------
    problem : Regression
    path : DescentPath
        Of `follow_descent` with this α.
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
    >>> path = mf.follow_descent(problem, start, 0.1, 9000, mf.Constant(0.1))
    >>> mf.certificates.constant_decay(problem, path, 0.1).verdict
    'confirmed'
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
    (in the spirit of Vaskevicius et al. 2019). Value: median over the runs of ‖x_t − x*‖² over that
    of least squares on the support of x*, run by run, as both errors are of the same noise. Bound:
    the factor that is asked for; the best point of the LASSO path is at 4 and more.

    Parameters
    ----------
    errors : (runs,) array
        ‖x_t − x*‖².
    oracle : (runs,) array
        The same of least squares on the support of x*.
    bound : float

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the arrays don't fit each other, or a number is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> mf.certificates.early_stopping(np.array([1.2, 0.9, 1.1]), np.ones(3)).verdict
    'confirmed'
    """
    if errors.ndim != 1 or errors.shape != oracle.shape or min(errors.min(), oracle.min()) <= 0.0:
        raise InputError(
            f"errors and oracle must be vectors of one length above 0, but their shapes are "
            f"{errors.shape} and {oracle.shape}, and the least is "
            f"{min(errors.min(), oracle.min()):g}."
        )
    return Certificate.of("early_stopping", float(np.median(errors / oracle)), bound)

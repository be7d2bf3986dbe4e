"""Signs: what a change of sign costs, and that decay has no part in it."""

from __future__ import annotations

import numpy as np

from mirrorflow.certificates.base import EPS, Certificate, drift, integral, size_of
from mirrorflow.checks import Array, InputError
from mirrorflow.descent.signs import SignDescent
from mirrorflow.flows import Flow
from mirrorflow.maps import Factors, MirrorMap

__all__ = ["flip_cost", "sign_balance", "sign_rule"]


def flip_cost(start: MirrorMap) -> Array:
    """|∇R(0) − ∇R(x₀)|, (d,): the ∫e^{−κA}∂_jf that brings x_j to 0.

    inf where the start keeps its sign. For m ⊙ w ½|arcsinh(x₀/a₀)|: no decay enters.

    Parameters
    ----------
    start : MirrorMap
        Where the path starts, such as `Factors`.

    Returns
    -------
    (d,) array
        In units of ∇f times time.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> mf.certificates.flip_cost(mf.Factors.pilot([0.0, 1.0])).round(3)
    array([0.   , 0.722])
    """
    return np.abs(start.potential().gradient(np.zeros(start.d)))


def sign_rule(flow: Flow, rtol: float, share: float = 1.0) -> Certificate:
    """x_j changes its sign when −∫e^{−κA}∂_jf passes ∇_jR(0), whatever decay does (this project).

    Value: the largest |x_t| whose sign is another than that of −∫ − ∇R(0), over the path's largest
    |∂g||θ|/L. Bound: rtol (100 + steps)(1 + max|∫|).

    Parameters
    ----------
    flow : Flow
        Of `direct_flow(…, accumulate=True)`.
    rtol : float
        That of the path's integration.
    share : float
        A factor on ∇R(0), to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If `flow` does not hold ∫∇f.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([-0.1, 0.2])
    >>> schedule = mf.Constant(0.1, 5.0)
    >>> path = mf.direct_flow(problem, start, schedule, [0.0, 5.0, 50.0], 1e-9, accumulate=True)
    >>> mf.certificates.sign_rule(path, 1e-9).verdict
    'confirmed'
    """
    spent, zero = integral(flow), flow.start.potential().gradient(np.zeros(flow.start.d))
    wrong = np.sign(flow.x) != np.sign(-spent - share * zero)
    value = float(np.abs(flow.x[wrong]).max(initial=0.0)) / size_of(flow)
    bound = drift(flow, rtol) * (1.0 + float(np.abs(spent).max()))
    return Certificate.of("sign_rule", value, bound)


def sign_balance(
    factors: Factors, run: SignDescent, step_size: float, steps: int, decay: float = 0.0
) -> Certificate:
    """|m| − |w| falls by the factor 1 − ηλ per step of sign descent, up to 2η for a change of sign.

    Value: the largest distance of |m_K| − |w_K| to (1 − ηλ)^K(|m₀| − |w₀|), less 2η for each change
    of sign in the coordinate, a step away from 0 among them, relative to the largest |m| + |w| of
    both ends. Bound: 10 eps (K + 1000).

    Parameters
    ----------
    factors : Factors
    run : SignDescent
        Of `sign_descent`, from `factors` with these settings.
    step_size : float
        η.
    steps : int
        K.
    decay : float
        λ.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If a number is out of its range, or run and factors don't fit.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> from mirrorflow.descent import sign_descent
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors([1.0, 1.0], [0.1, 0.2])
    >>> run = sign_descent(problem, start, 0.01, 100, 0.1)
    >>> mf.certificates.sign_balance(start, run, 0.01, 100, 0.1).verdict
    'confirmed'
    """
    if run.m.shape != factors.m.shape:
        raise InputError(f"run must have d = {factors.d} like factors, but it has {run.m.size}.")
    claimed = (1.0 - step_size * decay) ** steps * (np.abs(factors.m) - np.abs(factors.w))
    excess = np.abs(np.abs(run.m) - np.abs(run.w) - claimed) - 2.0 * step_size * run.crossings
    size = np.abs(factors.theta).sum(axis=0).max() + (np.abs(run.m) + np.abs(run.w)).max()
    value = max(float(excess.max()), 0.0) / float(size)
    return Certificate.of("sign_balance", value, 10.0 * EPS * (steps + 1000.0))

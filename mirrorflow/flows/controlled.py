r"""Flows of θ that nothing but a controller drives: any residual, unequal decay, other penalties.

    θ̇_k = −rates ⊙ ∂_kg(θ) ⊙ Zᵀr(t, x) − α_t decay ⊙ ∂_kh(θ),      x = g(θ),  r ∈ Rⁿ

by SciPy's integrators. Whatever r is, x_t = argmin {R_{A_t}(x) : Zx = Zx_t} (`certificates`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

from mirrorflow.checks import Array, InputError, brief, number, vector
from mirrorflow.flows.trajectory import Counts, Flow, check_runs, trajectory
from mirrorflow.maps.base import MirrorMap
from mirrorflow.problems import Regression
from mirrorflow.schedules import Schedule

__all__ = ["controlled_flow"]

METHODS = ("RK23", "RK45", "DOP853", "Radau", "BDF", "LSODA")  # of solve_ivp


def controlled_flow(
    problem: Regression,
    start: MirrorMap,
    schedule: Schedule,
    times: ArrayLike,
    control: Callable[[float, Array], ArrayLike] | None = None,
    *,
    decay: ArrayLike = 1.0,
    rates: ArrayLike = 1.0,
    penalty: Callable[[Array], Array] | None = None,
    kappa: float = 0.0,
    method: str = "DOP853",
    rtol: float = 1e-10,
) -> Flow:
    """The flow of θ under a residual that anything may set, with ∫e^{−κA}Zᵀr.

    Parameters
    ----------
    problem, start, schedule, rtol
        As in `direct_flow`; a map whose g is written in θ.
    times : (T,) floats, finite
    control : function of t and x (d,), returning r (n,)
        Of the loss, of labels or sample weights that move, clipped, …; default: φ′(Zx, y)/n, the
        loss's own.
    decay : (d,) floats ≥ 0
        α_j/α_t of each coordinate.
    rates : (d,) floats
        Learning rates of the coordinates; unequal ones break the row space.
    penalty : function of θ (K, d), returning ∇h (K, d)
        Default: 2θ, weight decay.
    kappa : float
        κ of `accumulated`.
    method : str
        One of `scipy.integrate.solve_ivp`.

    Returns
    -------
    Flow
        `steps` counts right-hand sides.

    Raises
    ------
    InputError
        If control returns another shape than (n,) or what is not finite, or as `direct_flow`.

    Examples
    --------
    >>> from mirrorflow import Constant, Factors
    >>> problem, start = Regression([[1.0, 2.0]], [2.0]), Factors.pilot([0.1, 0.0])
    >>> flow = controlled_flow(problem, start, Constant(0.1), [1.0], lambda t, x: np.array([-1.0]))
    >>> flow.x.round(3)
    array([[1.492, 9.146]])
    """
    asked = check_runs(problem, [start], schedule, times, rtol)
    finite, (K, d) = asked.times[0], start.theta.shape
    if asked.endless[0]:
        raise InputError("times must be finite for a controlled flow, but the last is inf.")
    share, speed = (
        vector(name, np.full(d, value) if np.ndim(value) == 0 else value, d, "one a coordinate")
        for name, value in (("decay", decay), ("rates", rates))
    )
    if share.min() < 0.0:
        raise InputError(f"decay must be at least 0, but one is {share.min():g}.")
    kappa = number("kappa", kappa)
    if not (isinstance(method, str) and method in METHODS):
        raise InputError(f"method must be one of {', '.join(METHODS)}, but it is {brief(method)}.")
    for name, function in (("control", control), ("penalty", penalty)):
        if not (function is None or callable(function)):
            raise InputError(f"{name} must be a function, but it is {brief(function)}.")

    def derivative(t: float, state: Array, end: float) -> Array:
        theta = state[: K * d].reshape(K, d)
        x = start.g(theta)
        if control is None:
            r = problem.loss.slope(problem.Z @ x, problem.y) / problem.n
        else:
            r = np.asarray(control(t, x), float)
            if r.shape != (problem.n,):
                raise InputError(f"control must return {problem.n} numbers, but it has {r.shape}.")
            if not np.isfinite(r).all():  # SciPy's step control would never end
                raise InputError(
                    f"control must return finite numbers, but at t = {t:g} it has {r}."
                )
        grad_f = problem.Z.T @ r
        # α jumps at the end of a piece, where its value from the left counts
        alpha = float(schedule.alpha(min(t, np.nextafter(end, 0.0))))
        down = 2.0 * theta if penalty is None else np.asarray(penalty(theta), float)
        if down.shape != (K, d):
            raise InputError(f"penalty must return shape {(K, d)}, but it has {down.shape}.")
        weight = np.exp(-kappa * float(schedule.total(t))) if kappa else 1.0
        moved = -speed * grad_f * start.grad_g(theta) - alpha * share * down
        return np.append(moved, weight * grad_f)

    state, last = np.append(start.theta, np.zeros(d)), float(finite[-1])
    states, calls, failure = [state for t in finite if t == 0.0], 0, ""
    inner = [t for t in schedule.breakpoints if 0.0 < t < last]
    for begin, end in itertools.pairwise(sorted({0.0, *inner, last})):
        inside = finite[(finite > begin) & (finite <= end)]
        grid = np.union1d(inside, [end])
        options = {"rtol": rtol, "atol": 1e-3 * rtol, "args": (end,)}
        done = solve_ivp(derivative, (begin, end), state, method, grid, **options)
        calls += done.nfev
        reached = zip(done.t, np.transpose(done.y), strict=True)  # lists, where it is none
        states += [row for t, row in reached if t in inside]
        if not done.success:
            failure = f"The integration ended at t = {done.t[-1] if len(done.t) else begin:.4g}"
            break
        state = done.y[:, -1]
    rows = np.array(states).reshape(-1, (K + 1) * d)
    theta, spent, counts = (
        rows[:, : K * d].reshape(-1, K, d),
        rows[:, K * d :],
        Counts(calls, calls, 0),
    )
    return trajectory(problem, asked, 0, finite[: len(rows)], theta, spent, counts, failure)

r"""Softmax regression: d × K outputs x of a map, f = −(1/n) Σ log softmax(z_iᵀx)_{class i}."""

from __future__ import annotations

import math

import numpy as np
import scipy.special
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

from mirrorflow.checks import Array, InputError, ascending, instance, number, real_array, vector
from mirrorflow.flows.trajectory import RTOL_RANGE, Flow
from mirrorflow.maps.base import MirrorMap
from mirrorflow.own_schedules import check_schedule
from mirrorflow.schedules import Schedule

__all__ = ["softmax_flow"]


def softmax_flow(
    Z: ArrayLike,
    labels: ArrayLike,
    start: MirrorMap,
    schedule: Schedule,
    times: ArrayLike,
    rtol: float = 1e-10,
) -> Flow:
    """Gradient flow of θ for the softmax loss, as it is written, by scipy's DOP853.

    Parameters
    ----------
    Z : (n, d) array
    labels : (n,) whole numbers in 0 … K − 1
    start : Factors, Powers, …, of d·K coordinates
        x_jk is coordinate j·K + k.
    schedule : Schedule
    times : (T,) floats ≥ 0, ascending
    rtol : float in [1e-13, 1e-2]

    Returns
    -------
    Flow

    Raises
    ------
    InputError
        If shapes don't fit, or a label is none of 0 … K − 1.

    Examples
    --------
    >>> from mirrorflow import Constant, Factors
    >>> flow = softmax_flow([[1.0]], [1], Factors.pilot([0.0, 0.0]), Constant(0.0), [9.0])
    >>> bool(flow.x[0, 1] > 0.0 > flow.x[0, 0])
    True
    """
    Z, rtol = real_array("Z", Z, 2), number("rtol", rtol, *RTOL_RANGE)
    (n, d), wanted = Z.shape, ascending("times", times)
    labels = vector("labels", labels, n, "one for each row of Z")
    instance("start", start, MirrorMap)
    check_schedule(schedule)
    K, rest = divmod(start.d, d)
    if rest or K < 2:
        raise InputError(
            f"start must have d·K coordinates with d = {d} and K ≥ 2 classes, but it has {start.d}."
        )
    wrong = ~np.isin(labels, np.arange(K))
    if wrong.any():
        i = int(np.argmax(wrong))
        raise InputError(f"labels must be whole numbers from 0 to {K - 1}, but one is {labels[i]}.")
    shape, state = start.theta.shape, start.theta.ravel()
    target = labels[:, None] == np.arange(K)

    def derivative(t: float, state: Array, end: float) -> Array:
        theta = state.reshape(shape)
        p = scipy.special.softmax(Z @ start.g(theta).reshape(d, K), axis=1)
        grad_f = (Z.T @ (p - target) / n).ravel()
        alpha = float(schedule.alpha(min(t, math.nextafter(end, 0.0))))
        return np.ravel(-start.grad_g(theta) * grad_f - 2.0 * alpha * theta)

    now, states, steps, work = 0.0, [state for t in wanted if t == 0.0], 0, 0
    for end in [*(t for t in schedule.breakpoints if t < wanted[-1]), float(wanted[-1])]:
        inside = wanted[(wanted > now) & (wanted <= end)]
        options = {"rtol": rtol, "atol": 1e-3 * rtol, "args": (end,)}
        done = solve_ivp(derivative, (now, end), state, "DOP853", dense_output=True, **options)
        states += [done.sol(t) for t in inside if t <= done.t[-1]]
        steps, work = steps + done.t.size - 1, work + done.nfev
        now, state = end, done.y[:, -1]
        if done.status != 0:
            break
    reached = wanted[: len(states)]
    theta = np.array(states).reshape(-1, *shape)
    x = start.g(theta)
    scores = Z @ x.reshape(-1, d, K)
    losses = -np.mean(scipy.special.log_softmax(scores, axis=2)[:, target], axis=1)
    status, message = "completed", "Every time was reached."
    if reached.size < wanted.size:
        status, message = "failed", f"At t = {done.t[-1]:g}: {done.message}"
    total = np.asarray(schedule.total(reached), float)
    return Flow(start, reached, x, theta, losses, total, None, status, message, steps, work, 0)

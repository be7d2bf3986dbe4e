"""Independent check of the reference integrator: the flow as it is written, by scipy's methods."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.integrate import solve_ivp

from mirrorflow.certificates.base import PATH_FACTOR, Certificate, dense, drift, size_of
from mirrorflow.checks import Array
from mirrorflow.flows import Flow
from mirrorflow.problems import Regression
from mirrorflow.schedules import Schedule

__all__ = ["METHODS", "agreement", "integrate"]

METHODS = ("Radau", "DOP853")


def agreement(
    problem: Regression, schedule: Schedule, path: Flow, rtol: float, own: float = 1e-10
) -> Certificate:
    """Integrated θ against scipy's Radau and DOP853, with which it shares neither code nor method.

    Value: largest |x_t − x'_t| over times and methods, relative to the path's largest |∂g||θ|/L.
    Bound: rtol (100 + steps) + 100 `own`, the tolerance of scipy's; DOP853's dense output needs it.
    """
    found = [path.start.g(integrate(problem, schedule, path, method, own)) for method in METHODS]
    value = float(np.abs(np.array(found) - path.x).max()) / size_of(path)
    return Certificate.of("scipy_agrees", value, drift(path, rtol) + PATH_FACTOR * own)


def integrate(
    problem: Regression, schedule: Schedule, path: Flow, method: str, rtol: float
) -> Array:
    """θ at the times of `path`, (T, K, d), from its start."""
    start, Z = path.start, dense(problem)
    shape, state = start.theta.shape, start.theta.ravel()
    states = [state for t in path.times if t == 0.0]
    last = float(path.times[-1])
    for begin, end in itertools.pairwise(
        [0.0, *(t for t in schedule.breakpoints if t < last), last]
    ):

        def derivative(t: float, state: Array, end: float = end) -> Array:
            theta = state.reshape(shape)
            grad_f = Z.T @ problem.loss.slope(Z @ start.g(theta), problem.y) / problem.n
            # α jumps at the end of a piece, where its value from the left counts
            alpha = float(schedule.alpha(min(t, np.nextafter(end, 0.0))))
            return np.ravel(-start.slopes(theta) * grad_f - 2.0 * alpha * theta)

        inside = path.times[(path.times > begin) & (path.times <= end)]
        asked = np.union1d(inside, [end])
        options = {"rtol": rtol, "atol": 1e-3 * rtol}
        done = solve_ivp(derivative, (begin, end), state, method, asked, **options)
        state = done.y[:, -1]
        states += list(done.y.T[np.isin(asked, inside)])
    return np.array(states).reshape(-1, *shape)

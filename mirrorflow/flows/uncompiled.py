"""Integrator of parametrizations that compiled code can't call: SciPy's Radau on θ as written.

    θ̇ = −∂g(θ)ᵀ∇f(g(θ)) − α_t ∇h(θ),      and, where asked for,   ġ = e^{−κA_t} ∇f(x)

with the Jacobian from the derivatives of g and h, anew at the schedule's breakpoints.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.integrate import Radau

from mirrorflow.checks import Array, InputError
from mirrorflow.flows.multistep import DONE, MOST_CALLS, STUCK, TOO_LONG
from mirrorflow.maps.base import MirrorMap
from mirrorflow.problems import Regression
from mirrorflow.schedules import Schedule

__all__ = ["integrate"]

SMALL = 1e-3  # errors of θ are measured against its own size, or this part of the largest at t = 0


def integrate(
    problem: Regression,
    start: MirrorMap,
    schedule: Schedule,
    times: Array,
    rtol: float,
    accumulate: bool,
) -> tuple[Array, list[int], Any]:
    """States at the times reached, (T, N); steps, right-hand sides, factorizations; the index in
    `multistep.REASONS` of why it ended."""
    g, h = getattr(start, "function", None), getattr(start, "penalty", None)
    if g is None or h is None:
        raise InputError(
            f"start must have an equation of θ for direct_flow, but {type(start).__name__} has "
            "none; use gradient_flow."
        )
    Z = problem.Z.toarray() if hasattr(problem.Z, "toarray") else problem.Z
    (K, d) = start.theta.shape
    size, j = K * d, np.arange(d)
    kappa = start.kappa if accumulate and math.isfinite(start.kappa) else 0.0

    def velocity(t: float, state: Array) -> Array:
        theta, alpha = state[:size].reshape(K, d), float(schedule.alpha(t))
        grad_f = problem.gradient(g.value(theta))
        moved = -g.gradient(theta) * grad_f - (alpha * h.gradient(theta) if alpha > 0.0 else 0.0)
        weight = math.exp(-kappa * float(schedule.total(t))) if kappa else 1.0
        return np.append(moved, weight * grad_f if accumulate else [])

    def jacobian(t: float, state: Array) -> Array:
        theta, alpha = state[:size].reshape(K, d), float(schedule.alpha(t))
        z, grad_g = Z @ g.value(theta), g.gradient(theta)
        hessian = (Z.T * problem.loss.curvature(z, problem.y)) @ Z / problem.n
        by_theta = hessian[:, None] * grad_g  # of ∇f, (d, K, d)
        own = g.blocks(theta) * (Z.T @ problem.loss.slope(z, problem.y) / problem.n)
        own = own + (alpha * h.blocks(theta) if alpha > 0.0 else 0.0)
        J = np.zeros((state.size, state.size))
        blocks = J[:size, :size].reshape(K, d, K, d)
        blocks[:] = -grad_g[:, :, None, None] * by_theta
        blocks[:, j, :, j] -= own.transpose(2, 0, 1)
        J[size:, :size] = by_theta.reshape(d, size)[: state.size - size]
        J[size:] *= math.exp(-kappa * float(schedule.total(t))) if kappa else 1.0
        return J

    counts, t, solver = [0, 0, 0], 0.0, None
    states: list[Array] = []
    state = np.append(start.theta, np.zeros(d * accumulate))
    atol = rtol * np.append(np.full(size, SMALL * np.abs(start.theta).max()), np.ones(d))
    breaks = {float(b) for b in schedule.breakpoints if 0.0 < b < times[-1]}
    with np.errstate(all="ignore"):  # a step that is tried may leave the domain of g
        for target in sorted({*times.tolist(), *breaks}):
            if target > 0.0:
                stop = np.nextafter(target, 0.0)  # α jumps at a breakpoint
                if solver is None:
                    options = {"rtol": rtol, "atol": atol[: state.size], "jac": jacobian}
                    solver = Radau(velocity, t, state, stop, **options)
                solver.t_bound, solver.status = stop, "running"
                while solver.status == "running":
                    if counts[1] > MOST_CALLS:
                        return _rows(states, state), counts, TOO_LONG
                    calls, factored = solver.nfev, solver.nlu
                    solver.step()
                    done = 1, solver.nfev - calls, solver.nlu - factored
                    counts = [a + b for a, b in zip(counts, done, strict=True)]
                if solver.status == "failed":
                    return _rows(states, state), counts, STUCK
                state = solver.y
            states += [state] if target in times else []
            t, solver = (target, None) if target in breaks else (t, solver)
    return _rows(states, state), counts, DONE


def _rows(states: list[Array], state: Array) -> Array:
    return np.array(states).reshape(-1, state.size)

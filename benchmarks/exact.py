"""Answers to judge by: limits in 60 digits, flows at rtol 1e-12."""

from __future__ import annotations

import itertools

import mpmath
import numpy as np
from scipy.integrate import solve_ivp

import mirrorflow as mf
from benchmarks.flow_entries import Dual
from benchmarks.settings import FlowSetting
from mirrorflow.checks import Array

__all__ = ["distance", "exact_limit", "reference_flow", "reference_uncertainty"]

SETTLED, MOST_STEPS = 60, 40
DIGITS = 90  # at A = 8 the Hessian has a condition of 1e14 and more


def exact_limit(problem: mf.Regression, factors: mf.Factors, total: float, start: Array) -> list:
    """argmin R_a over Zx = y by Newton's method in 60 digits, as mpmath numbers.

    `start` (n,) is any ν near the solution; the result does not depend on it, because the
    iteration ends only when a step falls below 1e-60.

    Raises
    ------
    ArithmeticError
        If it does not get there.
    """
    with mpmath.workdps(DIGITS):
        n = problem.n
        Z, y = mpmath.matrix(problem.Z.tolist()), mpmath.matrix(problem.y.tolist())
        rows = [list(Z[j, :]) for j in range(n)]
        m, w = ([mpmath.mpf(float(v)) for v in values] for values in (factors.m, factors.w))
        decay, nu = mpmath.exp(-4 * mpmath.mpf(total)), mpmath.matrix(start.tolist())
        p0 = [(a + b) ** 2 / 4 * decay for a, b in zip(m, w, strict=True)]
        q0 = [(a - b) ** 2 / 4 * decay for a, b in zip(m, w, strict=True)]
        for _ in range(MOST_STEPS):
            mu = Z.T * nu
            p = [a * mpmath.exp(b) for a, b in zip(p0, mu, strict=True)]
            q = [a * mpmath.exp(-b) for a, b in zip(q0, mu, strict=True)]
            x = mpmath.matrix([a - b for a, b in zip(p, q, strict=True)])
            hessian = mpmath.matrix(n, n)
            for j in range(n):
                weighted = [z * (a + b) for z, a, b in zip(rows[j], p, q, strict=True)]
                for k in range(j + 1):
                    hessian[j, k] = hessian[k, j] = mpmath.fdot(weighted, rows[k])
            step = mpmath.cholesky_solve(hessian, y - Z * x)
            # far from the solution a full step overflows the exponentials
            length = min(mpmath.mpf(1), 1 / max(abs(v) for v in Z.T * step))
            nu += length * step
            if mpmath.norm(step) < mpmath.mpf(10) ** -SETTLED:
                return list(x)
    raise ArithmeticError(f"Newton's method to {SETTLED} digits did not settle at A = {total:g}")


def distance(x: Array, exact: list) -> float:
    """max|x − exact|, without rounding `exact` first."""
    with mpmath.workdps(DIGITS):
        return float(max(abs(mpmath.mpf(float(a)) - b) for a, b in zip(x, exact, strict=True)))


def reference_flow(setting: FlowSetting) -> Array:
    """x of shape (runs, T, d) by `direct_flows`, which integrate (m, w), at rtol 1e-12."""
    flows = mf.direct_flows(
        setting.problem, setting.factors, setting.schedule, setting.times, 1e-12
    )
    return np.array([flow.x for flow in flows])


def reference_uncertainty(setting: FlowSetting) -> float:
    """max|x − x'| of `reference_flow` and scipy's Radau in dual coordinates, first start.

    Radau starts anew at every output time: its interpolation between steps is less exact than
    the steps are.
    """
    one = setting.first(1)
    field = Dual(one, 0)
    known, nu, worst = reference_flow(one)[0], field.start, 0.0
    options = {"method": "Radau", "rtol": 1e-12, "atol": 1e-13, "jac": field.jacobian}
    for piece in one.pieces:
        inside = one.times[(one.times > piece.start) & (one.times <= piece.end)]
        stops = np.unique(np.concatenate([[piece.start], inside, [piece.end]]))
        for start, end in itertools.pairwise(stops):
            nu = solve_ivp(field.derivative, (start, end), nu, args=(piece,), **options).y[:, -1]
            p, q = field.masses(piece.total + piece.alpha * (end - piece.start), nu)
            for x in known[one.times == end]:
                worst = max(worst, float(np.abs(p - q - x).max()))
    return worst

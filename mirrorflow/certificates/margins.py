r"""Separable classification: at every time the flow solves a margin problem up to a known gap."""

from __future__ import annotations

import numpy as np

from mirrorflow.certificates.base import EPS, Certificate, drift
from mirrorflow.checks import Array, InputError
from mirrorflow.flows import Flow
from mirrorflow.limits.max_margin import max_margin, signed_rows
from mirrorflow.maps import MirrorMap
from mirrorflow.problems import Regression

__all__ = ["margin_gap", "margin_identity"]


def _end(problem: Regression, start: MirrorMap, flow: Flow) -> tuple[Array, Array, Array, float]:
    """Signed rows, x, q with −∫∇f = Σ q_i y_i z_i, and A, at the last time."""
    if flow.accumulated is None:
        raise InputError("flow must have ∫∇f: call direct_flow with accumulate=True.")
    rows = signed_rows(problem)
    q = np.linalg.lstsq(rows.T, -flow.accumulated[-1], rcond=None)[0]
    return rows, flow.x[-1], q, float(flow.total[-1])


def margin_gap(
    problem: Regression, start: MirrorMap, flow: Flow, rtol: float, total: float | None = None
) -> Certificate:
    """R_A(x_t) − R_A(x*_γ) ≤ Σ q_i(margin_i − γ): x_t nearly solves the margin problem.

    γ is x_t's least margin, q_i = (1/n)∫(−φ′)dt ≥ 0, x*_γ = `max_margin(problem, start, A, γ)`;
    true at every finite time for losses that fall with the margin (in the limit Moroshko et al.
    2020; the finite form: this project).
    Value: the gap of R over the bound's right side. Bound: 1 + the errors of ∫∇f and R in that
    unit, rtol (100 + steps)·Σ|x ∇R|. nan where margins are not all positive yet.

    Parameters
    ----------
    flow : Flow
        Of `direct_flow(…, accumulate=True)`.
    total : float
        Another A to try.
    """
    rows, x, q, reached = _end(problem, start, flow)
    margins = rows @ x
    gamma = float(margins.min())
    if gamma <= 0:
        return Certificate.of("margin_gap", np.inf, np.nan)
    best = max_margin(problem, start, reached if total is None else total, gamma)
    if not best.success:
        return Certificate.of("margin_gap", np.inf, np.nan)
    potential = start.potential(reached if total is None else total)
    paid = float(q @ (margins - gamma))
    error = drift(flow, rtol) * float(np.abs(x * potential.gradient(x)).sum()) + best.gap
    unit = paid if paid > 0 else error  # of a single sample both sides are 0
    value = (potential.value(x) - potential.value(best.x)) / unit
    return Certificate.of("margin_gap", value, (paid + error) / unit)


def margin_identity(
    problem: Regression,
    start: MirrorMap,
    flow: Flow,
    rtol: float,
    other: Array,
    total: float | None = None,
) -> Certificate:
    """R_A(x_t) − R_A(x*) + D(x*, x_t) = Σ q_i(margin_i − y_i z_iᵀx*) for any x*.

    It holds iff ∇R_A(x_t) = Σ q_i y_i z_i up to what is orthogonal to x_t − x*. Value: the
    difference of the sides relative to the sum of their terms' sizes. Bound: rtol (100 + steps)
    plus 1e3 eps.
    """
    rows, x, q, reached = _end(problem, start, flow)
    potential = start.potential(reached if total is None else total)
    terms = np.array([potential.value(x), -potential.value(other), potential.divergence(other, x)])
    right = q * (rows @ x - rows @ other)
    size = float(np.abs(terms).sum() + np.abs(right).sum())
    value = abs(float(terms.sum() - right.sum())) / size
    return Certificate.of("margin_identity", value, drift(flow, rtol) + 1e3 * EPS)

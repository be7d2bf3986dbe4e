"""Classification: the finite-time margin problem, directions, softmax."""

from __future__ import annotations

import numpy as np

from mirrorflow import certificates as certify
from mirrorflow.claims.draws import RTOL
from mirrorflow.claims.registry import Checks, Claim, Rng, judges
from mirrorflow.flows import direct_flow, margin_flow, softmax_flow
from mirrorflow.limits.max_margin import max_margin
from mirrorflow.losses import Loss
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.schedules import Constant


def _separable(rng: Rng, loss: Loss) -> tuple[Regression, Factors]:
    n, d = int(rng.integers(4, 9)), int(rng.integers(18, 31))
    Z = rng.standard_normal((n, d))
    problem = Regression(Z, np.sign(Z @ rng.standard_normal(d)), loss=loss)
    return problem, Factors.pilot(0.2 * rng.standard_normal(d), float(rng.uniform(0.4, 1.0)))


@judges("margins", ("logistic", "exponential"),
    Claim("margin_gap", "A", "R(x_t) − R(x*_γ) ≤ Σ q_i(margin_i − γ_t) at every t with γ_t > 0",
          "Moroshko et al. 2020 in the limit; at finite t: this project",
          "separable labels; logistic, exponential loss"),
    Claim("changed_margin_gap", "A", "the same with A + 3 for A", "total changed",
          "separable labels; logistic, exponential loss", "changed", "margin_gap"),
    Claim("margin_identity", "A", "R(x_t) − R(x*) + D(x*, x_t) = Σ q_i(margin_i − y_i z_iᵀx*)",
          "this project", "separable labels, any x*; logistic, exponential loss"),
    Claim("changed_margin_identity", "A", "the same with A + ¼ for A", "total changed",
          "separable labels, any x*; logistic, exponential loss", "changed",
          "margin_identity"))  # fmt: skip
def _margins(rng: Rng, loss: Loss) -> Checks:
    problem, start = _separable(rng, loss)
    schedule = Constant.from_total(float(rng.uniform(0.0, 0.5)), 8.0)
    end = float(np.exp(rng.uniform(np.log(300.0), np.log(3000.0))))
    flow = direct_flow(problem, start, schedule, [end], RTOL, accumulate=True)
    total = float(flow.total[-1])
    other = max_margin(problem, start, total, 1.0).x
    return {
        "margin_gap": certify.margin_gap(problem, start, flow, RTOL),
        "changed_margin_gap": certify.margin_gap(problem, start, flow, RTOL, total + 3.0),
        "margin_identity": certify.margin_identity(problem, start, flow, RTOL, other),
        "changed_margin_identity": certify.margin_identity(
            problem, start, flow, RTOL, other, total + 0.25
        ),
    }


@judges("directions", ("exponential",),
    Claim("margin_direction", "A", "x_t/γ_t has the least L1 norm of its margin, up to a bound of "
          "order 1/log(γ_t/a_t)", "Pesme, Dragomir, Flammarion 2024 for t → ∞; the bound: this "
          "project", "separable labels, m ⊙ w, A = 1, log t in [3000, 10⁴]; exponential loss"),
    Claim("changed_direction", "A", "it has the least L2 norm, up to the same bound",
          "norm changed", "separable labels, m ⊙ w, A = 1, log t in [3000, 10⁴]; exponential loss",
          "changed", "margin_direction"))  # fmt: skip
def _directions(rng: Rng, loss: Loss) -> Checks:
    problem, start = _separable(rng, loss)
    log_time = float(np.exp(rng.uniform(np.log(3e3), np.log(1e4))))
    flow = margin_flow(problem, start, [log_time], Constant.from_total(1.0, 8.0), 1e-6)
    return {
        "margin_direction": certify.margin_direction(problem, start, flow, 1e-6),
        "changed_direction": certify.margin_direction(problem, start, flow, 1e-6, norm=2),
    }


@judges("softmax", ("none",),
    Claim("softmax_invariant", "A", "softmax: Σ_k ∇R_A(t)(x_jk) is constant for every feature j",
          "this project", "K = 2 … 4 classes, any α_t ≥ 0"),
    Claim("changed_softmax", "A", "softmax: so is Σ_k ∇R_A(t)/2(x_jk)", "total changed",
          "K = 2 … 4 classes, any α_t ≥ 0", "changed", "softmax_invariant"))  # fmt: skip
def _softmax(rng: Rng, loss: Loss) -> Checks:
    n, d, classes = (int(rng.integers(*bounds)) for bounds in ((6, 21), (3, 9), (2, 5)))
    start = Factors.pilot(0.5 * rng.standard_normal(d * classes), float(rng.uniform(0.3, 2.0)))
    schedule = Constant.from_total(float(rng.uniform(0.2, 1.0)), 2.0)
    Z, labels = rng.standard_normal((n, d)), rng.integers(0, classes, n)
    flow = softmax_flow(Z, labels, start, schedule, [0.5, 2.0, 8.0], RTOL)
    return {
        "softmax_invariant": certify.softmax_invariant(flow, classes, RTOL),
        "changed_softmax": certify.softmax_invariant(flow, classes, RTOL, 0.5),
    }

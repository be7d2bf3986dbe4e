"""Small starts, integrals along the flow, margins of separable data."""

from __future__ import annotations

import numpy as np

from mirrorflow import certificates as certify
from mirrorflow.claims.draws import RTOL, pilot_start, random_problem, random_schedule
from mirrorflow.claims.registry import Checks, Claim, Rng, judges
from mirrorflow.flows import direct_flow
from mirrorflow.flows.saddles import saddle_path
from mirrorflow.limits.max_margin import max_margin
from mirrorflow.losses import Loss
from mirrorflow.maps.log_factors import LogFactors
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.schedules import Constant

SADDLES = "x₀ = 0, a = e^(−ℓ), ℓ in [100, 1000], α ≥ 0 constant; squared loss only"


@judges("small_starts", ("squared",),
    Claim("saddle_deviation", "A", "ν/ℓ keeps a proven distance, of order ℓ^(−½), to the path from "
          "saddle to saddle", "Pesme & Flammarion 2023 for a → 0; the bound: this project",
          SADDLES),
    Claim("changed_saddles", "A", "ν/ℓ keeps that distance to the path with thresholds 3",
          "thresholds changed", SADDLES, "changed", "saddle_deviation"),
    Claim("lasso_of_average", "A", "(1/t)∫x is a LASSO point, λ = (log(1/a₀) + 4A_t)/(2t), up to a "
          "gap in closed form", "Berthier 2025 for a → 0; the gap: this project", SADDLES),
    Claim("changed_average", "A", "so it is for λ = (log(1/a₀) + 4A_t)/t", "factor changed",
          SADDLES, "changed", "lasso_of_average"))  # fmt: skip
def _small_starts(rng: Rng, loss: Loss) -> Checks:
    problem = random_problem(rng, loss)
    log_1_over_a = float(np.exp(rng.uniform(np.log(100.0), np.log(1000.0))))
    alpha = float(rng.choice([0.0, 0.05]))
    first = problem.n / float(np.abs(problem.Z.T @ problem.y).max())  # τ of the first saddle's end
    end = first * float(rng.uniform(2.0, 6.0))
    thrice = 3.0 * np.ones(problem.d)
    other = saddle_path(problem, alpha=alpha, thresholds=(thrice, thrice))
    start, schedule = LogFactors.of_scale(problem.d, log_1_over_a), Constant(alpha)

    def average(share: float) -> certify.Certificate:
        time = end * log_1_over_a
        return certify.lasso_of_average(problem, start, schedule, time, share)[0]

    return {
        "saddle_deviation": certify.saddle_deviation(problem, log_1_over_a, end, alpha),
        "changed_saddles": certify.saddle_deviation(problem, log_1_over_a, end, alpha, other),
        "lasso_of_average": average(1.0),
        "changed_average": average(2.0),
    }


@judges("balance", ("squared", "pseudo_huber"),
    Claim("energy_balance", "A", "W₀ − W_t = ∫[⟨∇f, x − x*⟩ + α‖θ‖²]ds for any x*", "this project",
          "any α_t; squared loss, pseudo-Huber"),
    Claim("changed_balance", "A", "W₀ − W_t = ∫⟨∇f, x − x*⟩ds, without the penalty's share",
          "penalty left out", "any α_t; squared loss, pseudo-Huber", "changed",
          "energy_balance"))  # fmt: skip
def _balance(rng: Rng, loss: Loss) -> Checks:
    problem = random_problem(rng, loss)
    start = pilot_start(rng, problem.d)
    schedule = random_schedule(rng, float(rng.uniform(0.2, 1.5)))
    end, x_star = float(rng.uniform(1.0, 10.0)), rng.standard_normal(problem.d)
    return {
        "energy_balance": certify.energy_balance(problem, start, schedule, end, x_star),
        "changed_balance": certify.energy_balance(problem, start, schedule, end, x_star, share=0.0),
    }


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
    n, d = int(rng.integers(4, 9)), int(rng.integers(18, 31))
    Z = rng.standard_normal((n, d))
    problem = Regression(Z, np.sign(Z @ rng.standard_normal(d)), loss=loss)
    start = Factors.pilot(0.2 * rng.standard_normal(d), float(rng.uniform(0.4, 1.0)))
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

"""Any controller, unequal decay, other penalties, and flows that are each other's."""

from __future__ import annotations

import dataclasses

import numpy as np

from mirrorflow import certificates as certify
from mirrorflow.certificates import Certificate
from mirrorflow.checks import Array
from mirrorflow.claims.depth import deep_start
from mirrorflow.claims.draws import RTOL, any_signs, pilot_start, random_problem, random_schedule
from mirrorflow.claims.registry import Checks, Claim, Rng, judges
from mirrorflow.flows import controlled_flow, direct_flow
from mirrorflow.limits import lasso_limit
from mirrorflow.losses import Loss
from mirrorflow.maps import Factors, HyperbolicEntropy, Powers
from mirrorflow.problems import Regression
from mirrorflow.schedules import Constant

TIMES = [0.5, 1.5, 4.0]
ANY = (
    "m ⊙ w, u^L − v^L or w₁ ⊙ w₂ ⊙ w₃, any α_t ≥ 0; labels that move, clipping, samples that enter"
)
UNEVEN = "m ⊙ w, α_j = α_t·U(0.2, 0.5) or α_t·U(1.6, 1.9); squared loss only"


@judges("control", ("squared",),
    Claim("any_control", "2.1", "ṁ = −w ⊙ Zᵀr − 2αm, ẇ = −m ⊙ Zᵀr − 2αw with any r(t, x) ∈ Rⁿ: "
          "x_t = argmin R_A(t) over Zx = Zx_t", "this project", ANY),
    Claim("changed_any_control", "2.1", "any r: the same with ½A for A", "total changed", ANY,
          "changed", "any_control"),
    Claim("uneven_rates", "2.1", "unequal learning rates of the coordinates, as Adam's, break "
          "it (bound/value)", "this project", ANY, "outside"),
    Claim("uneven_decay", "2.1", "decay α_j of their own: x_t = argmin R with a_j e^(−4A_j)",
          "this project", UNEVEN),
    Claim("changed_uneven_decay", "2.1", "the same with the mean of A_j", "decay changed", UNEVEN,
          "changed", "uneven_decay"),
    Claim("adaptive_lasso", "2.3", "α_j > 0 that stay: F_t − F* ≤ KL/(2t), F = f + 2Σα_j∣x_j∣",
          "this project; the estimator: Zou 2006", UNEVEN),
    Claim("changed_adaptive_lasso", "2.3", "the same with the mean of α_j", "weights changed",
          UNEVEN, "changed", "adaptive_lasso"))  # fmt: skip
def _control(rng: Rng, loss: Loss) -> Checks:
    problem = random_problem(rng, loss)
    n, d = problem.n, problem.d
    start = any_signs(rng, d) if rng.random() < 0.4 else deep_start(rng, d)
    schedule = random_schedule(rng, float(rng.uniform(0.2, 0.8)))
    kind, phase = int(rng.integers(3)), rng.uniform(0.0, 3.0, n)

    def control(t: float, x: Array) -> Array:
        off = problem.Z @ x - problem.y * (1.0 + 0.5 * np.sin(3.0 * t + phase) * (kind == 0))
        if kind == 1:
            off = np.clip(off, -0.3, 0.3)
        return np.asarray((1.0 + 0.5 * np.cos(t * phase) * (kind == 2)) * off / n)

    flow = controlled_flow(problem, start, schedule, TIMES, control)
    half = dataclasses.replace(flow, total=0.5 * flow.total)
    rates, decay = rng.uniform(0.2, 2.0, d), rng.uniform(0.2, 0.5, d) + 1.4 * rng.integers(0, 2, d)
    other = controlled_flow(problem, start, schedule, TIMES, control, rates=rates)
    broken = certify.finite_time(problem, start, other, RTOL, checks=3)
    ratio = broken.bound / broken.value
    factors, mean = pilot_start(rng, d), np.full(d, float(decay.mean()))
    unequal = controlled_flow(problem, factors, schedule, TIMES, decay=decay)
    alpha = float(np.exp(rng.uniform(np.log(0.1), np.log(0.3))))
    late = controlled_flow(problem, factors, Constant(alpha), [10.0, 100.0, 4000.0], decay=decay)

    def adaptive(weights: Array) -> Certificate:
        """By the LASSO of Z with its columns divided."""
        scaled = Regression(problem.Z / weights, problem.y)
        limit = lasso_limit(scaled, factors, 1.0)
        parts = {name: getattr(limit, name) / weights for name in "xpq"}
        limit = dataclasses.replace(limit, **parts)
        return certify.lasso_suboptimality(problem, factors, limit, weights, late, RTOL)

    return {
        "any_control": certify.finite_time(problem, start, flow, RTOL, checks=3),
        "changed_any_control": certify.finite_time(problem, start, half, RTOL, checks=3),
        "uneven_rates": Certificate.of("uneven_rates", ratio, 1.0),
        "uneven_decay": certify.finite_time(problem, factors, unequal, RTOL, 3, decay),
        "changed_uneven_decay": certify.finite_time(problem, factors, unequal, RTOL, 3, mean),
        "adaptive_lasso": adaptive(alpha * decay),
        "changed_adaptive_lasso": adaptive(alpha * mean),
    }


POWERS = "L = 3, 4, 5, c, δ ≥ 0, any α_t ≥ 0; squared loss only"
FORMS = "θ ∈ R⁴, d = 2, any α_t ≥ 0; squared loss only"
DRAWS = "4000 draws of noise, 5 standard errors"
TWICE = "any α_t ≥ 0; squared loss only"


@judges("penalties", ("squared",),
    Claim("solvable_penalty", "C", "u^L − v^L under c(u^L + v^L) + δ(u² + v²): u^(2−L) e^(−κA) "
          "grows by K∫e^(−κA)(∇f + αc), κ = 2δ(L − 2)",
          "δ = 0: Jacobs, Zhou, Burkholz 2025; this project", POWERS),
    Claim("changed_penalty", "C", "the same with 2A for A", "total changed", POWERS, "changed",
          "solvable_penalty"),
    Claim("commuting_quadratics", "C", "commuting forms g_i = ½θᵀA_iθ, h = ½θᵀBθ: "
          "x_t = g(e^M θ₀), M = −A_tB − ΣA_i∫∂_if", "Jacobs, Zhou, Burkholz 2025, 3.3", FORMS),
    Claim("changed_quadratics", "C", "forms: the same with 2A for A", "total changed", FORMS,
          "changed", "commuting_quadratics"),
    Claim("squares_are_products", "C", "u² − v² is m ⊙ w, m = u + v, w = u − v, run twice as fast "
          "under ½α", "Amid & Warmuth 2020; decay: this project", TWICE),
    Claim("changed_squares", "C", "the same under α", "decay changed", TWICE, "changed",
          "squares_are_products"),
    Claim("isometry", "C", "the mirror flow of R is the gradient flow of ∫√R″ dx",
          "Amid & Warmuth 2020; Li et al. 2022", "hyperbolic entropy, α = 0; squared loss only"),
    Claim("changed_isometry", "C", "it is that of ∫(R″)^0.6 dx", "power changed",
          "hyperbolic entropy, α = 0; squared loss only", "changed", "isometry"),
    Claim("linear_risk", "C", "plain linear flow: E‖x_t − x*‖² = Σe^(−2λt)⟨v, x*⟩² + "
          "(σ²/n)Σ(1 − e^(−λt))²/λ", "Advani & Saxe 2017", DRAWS),
    Claim("changed_risk", "C", "the same with √(1 − e^(−λt)) for its square", "power changed",
          DRAWS, "changed", "linear_risk"))  # fmt: skip
def _penalties(rng: Rng, loss: Loss) -> Checks:
    problem, seed = random_problem(rng, loss), int(rng.integers(2**31))
    d, total = problem.d, float(rng.uniform(0.2, 0.8))
    schedule = random_schedule(rng, total)
    u, v = rng.uniform(0.4, 1.0, (2, d))
    deep, (c, delta) = Powers(u, v, int(rng.integers(3, 6))), rng.uniform([0.3, 0.0], 1.0)
    L = deep.depth

    def penalty(theta: Array) -> Array:
        return np.asarray(c * L * theta ** (L - 1) + 2.0 * delta * theta)

    kappa = 2.0 * delta * (L - 2)
    flow = controlled_flow(problem, deep, schedule, TIMES, penalty=penalty, kappa=kappa)
    Q, values = np.linalg.qr(rng.standard_normal((4, 4)))[0], rng.uniform(-1.0, 1.0, (3, 4))
    A1, A2, B = (Q * value @ Q.T for value in (*values[:2], 0.5 + np.abs(values[2])))
    two = Regression(rng.standard_normal((1, 2)), rng.uniform(0.5, 1.0, 1))
    forms = two, [A1, A2], B, rng.standard_normal(4), schedule, 4.0
    alpha, stop, pair = 0.5 * total, 2.0, Powers(u, v, 2)
    squares = direct_flow(problem, pair, Constant(alpha, stop), TIMES, RTOL)
    doubled, product = 2.0 * np.array(TIMES), Factors(u + v, u - v)
    half, whole = (
        direct_flow(problem, product, Constant(share * alpha, 2.0 * stop), doubled, RTOL)
        for share in (0.5, 1.0)
    )
    factors = pilot_start(rng, d)
    plain = direct_flow(problem, factors, Constant(0.0), TIMES, RTOL)
    entropy = HyperbolicEntropy.of(factors)
    x_true = rng.standard_normal(d)
    risk = problem.Z, x_true, 2.0, np.array([0.5, 2.0, 10.0]), seed
    return {
        "solvable_penalty": certify.solvable_penalty(deep, flow, c, delta, RTOL),
        "changed_penalty": certify.solvable_penalty(deep, flow, c, delta, RTOL, share=2.0),
        "commuting_quadratics": certify.commuting_quadratics(*forms),
        "changed_quadratics": certify.commuting_quadratics(*forms, share=2.0),
        "squares_are_products": certify.path_difference(squares, half, RTOL),
        "changed_squares": certify.path_difference(squares, whole, RTOL),
        "isometry": certify.isometry(problem, entropy, plain, RTOL),
        "changed_isometry": certify.isometry(problem, entropy, plain, RTOL, power=0.6),
        "linear_risk": certify.risk_of_draws(*risk),
        "changed_risk": certify.risk_of_draws(*risk, power=0.5),
    }

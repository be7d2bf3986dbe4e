"""The potential by itself, commuting parametrizations, and sharpness."""

from __future__ import annotations

import math

import numpy as np

from mirrorflow import certificates as certify
from mirrorflow.certificates import Certificate
from mirrorflow.claims.draws import RTOL, pilot_start, random_problem
from mirrorflow.claims.registry import Checks, Claim, Rng, judges
from mirrorflow.flows import direct_flow
from mirrorflow.limits import interpolator
from mirrorflow.losses import Loss
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.maps.product import Factors
from mirrorflow.schedules import Constant

STEP = 1e-4  # the paper's η


@judges("potential", ("none",),
    Claim("late_l1", "R", "R_a(x) ~ ½ log(1/a) ‖x‖₁ as a → 0", "ICLR 2.1",
          "A in [1, 3]"),
    Claim("printed_late_l1", "R", "R_a(x) ~ log(1/a) ‖x‖₁", "v1 App. A",
          "A in [1, 3]", "printed", "late_l1"),
    Claim("early_l2", "R", "R_a is quadratic, D_R(x, 0) ≈ Σ x²/(4a), as a → ∞",
          "ICLR 2.1", "a ≥ 10∣x∣"),
    Claim("type_of_bias", "R",
          "the exponent of R_a falls with A from 2 (L2) to 1 (L1)", "ICLR 2.1, v1 3.1",
          "A in [0, 4]"),
    Claim("reachable_range", "R",
          "what gradients ∣∫∇f∣ ≤ G can reach shrinks like e^(−4A)", "ICLR 2.1",
          "A in [0, 10], G in [0.1, 5]"),
    Claim("smoothness", "R", "∇R_a has the least Lipschitz constant 1/(2 min a)",
          "v1 Remark 2.1", "any a"),
    Claim("printed_smoothness", "R", "∇R_a has the Lipschitz constant a",
          "v1 Remark 2.1", "any a", "printed", "smoothness"))  # fmt: skip
def _potential(rng: Rng, loss: Loss) -> Checks:
    d = int(rng.integers(2, 41))
    factors, x = pilot_start(rng, d), rng.choice([-1.0, 1.0], d) * rng.uniform(0.5, 2.0, d)
    potential = HyperbolicEntropy.of(factors, float(rng.uniform(0.0, 2.0)))
    wide = HyperbolicEntropy.of(Factors.pilot(factors.x, 40.0 * float(rng.uniform(1.0, 5.0))))
    smallest = float(np.exp(potential.log_a).min())
    return {
        "late_l1": certify.late_l1(factors, x, (1.0, 3.0)),
        "printed_late_l1": certify.late_l1(factors, x, (1.0, 3.0), claimed=1.0),
        "early_l2": certify.early_l2(wide, x),
        "type_of_bias": certify.type_of_bias(
            Factors.pilot(factors.x, 20.0), x, np.linspace(0.0, 4.0, 9).tolist()
        ),
        "reachable_range": certify.reachable_range(
            factors, rng.uniform(0.0, 10.0, 3).tolist(), float(rng.uniform(0.1, 5.0))
        ),
        "smoothness": certify.smoothness(potential),
        "printed_smoothness": certify.smoothness(potential, claimed=smallest),
    }


@judges("commuting", ("none",),
    Claim("product_commutes", "C", "m ⊙ w commutes", "v1 C.1", "random θ and d"),
    Claim("squares_commute", "C", "u² − v² commutes", "Li et al. 2022",
          "random θ, d"),
    Claim("powers_commute", "C", "u^L − v^L commutes, L = 3, 4, 5",
          "Li et al. 2022", "random θ and d"),
    Claim("neurons_do_not_commute", "C",
          "neuron-wise masks m·w (scalar m) do not commute (rounding/bracket)", "v1 C.1",
          "random θ and d ≥ 2"),
    Claim("neurons_leave_kernel", "C",
          "brackets of neuron-wise masks leave ker ∂g: no mirror flow (rounding/∂g bracket)",
          "v1 C.1", "random θ and d ≥ 2"),
    Claim("decay_commutes", "C", "α(‖m‖² + ‖w‖²) commutes with m ⊙ w",
          "ICLR 2.1, v1 C.1", "random θ and d"),
    Claim("mask_decay_does_not_commute", "C",
          "‖m‖² alone does not commute with m ⊙ w (rounding/bracket)", "v1 C.1",
          "random θ and d"))  # fmt: skip
def _commuting(rng: Rng, loss: Loss) -> Checks:
    from mirrorflow.commuting import brackets_in_kernel, commutes, regularizer_commutes

    d, power = int(rng.integers(2, 9)), int(rng.integers(3, 6))
    at = rng.standard_normal((1, 2 * d))

    def product(theta):
        return theta[:d] * theta[d:]

    def neuron(theta):
        return theta[0] * theta[1:]

    return {
        "product_commutes": commutes(product, 2 * d, at),
        "squares_commute": commutes(lambda theta: theta[:d] ** 2 - theta[d:] ** 2, 2 * d, at),
        "powers_commute": commutes(
            lambda theta: theta[:d] ** power - theta[d:] ** power, 2 * d, at
        ),
        "neurons_do_not_commute": _nonzero(commutes(neuron, d + 1, at[:, : d + 1])),
        "neurons_leave_kernel": _nonzero(brackets_in_kernel(neuron, d + 1, at[:, : d + 1])),
        "decay_commutes": regularizer_commutes(product, lambda theta: (theta**2).sum(), 2 * d, at),
        "mask_decay_does_not_commute": _nonzero(
            regularizer_commutes(product, lambda theta: (theta[:d] ** 2).sum(), 2 * d, at)
        ),
    }


def _nonzero(check: Certificate) -> Certificate:
    """Rounding over bracket, at most 1: the bracket is there."""
    ratio = check.bound / check.value if check.value != 0 else math.inf
    return Certificate.of(check.name, ratio, 1.0)


@judges("sharpness", ("squared",),
    Claim("limit_sharpness", "S",
          "λ_max of the Hessian in (m, w) at the limit is λ_max((2/n) Z diag(√(x² + a²)) Zᵀ)",
          "companion of ICLR 2.2's rate", "interpolating limit; squared loss only"),
    Claim("stable_below", "S",
          "GD with 0.95·2/λ_max shrinks by ∣1 − ηλ_max∣ a step", "stability of GD",
          "at the limit; squared loss only"),
    Claim("unstable_above", "S",
          "GD with 1.05·2/λ_max grows by ∣1 − ηλ_max∣ a step", "stability of GD",
          "at the limit; squared loss only"),
    Claim("stable_step", "S",
          "the paper's step η = 1e-4 keeps λ_max of F_t's Hessian below 2/η along the flow",
          "v1 Fig. 1", "squared loss only"))  # fmt: skip
def _sharpness(rng: Rng, loss: Loss) -> Checks:
    problem, total = random_problem(rng, loss), float(rng.uniform(0.1, 1.0))
    factors, schedule = pilot_start(rng, problem.d), Constant.from_total(total, 2.0)
    limit = interpolator(problem, factors, total)
    path = direct_flow(problem, factors, schedule, np.linspace(0.0, 20.0, 11), RTOL)
    return {
        "limit_sharpness": certify.limit_sharpness(problem, factors, limit),
        "stable_below": certify.stability(problem, factors, limit, 0.95),
        "unstable_above": certify.stability(problem, factors, limit, 1.05),
        "stable_step": certify.stable_step(problem, path, schedule, STEP),
    }

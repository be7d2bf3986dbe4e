"""Theorem 2.3: limits, late L1, and what happens outside of its conditions."""

from __future__ import annotations

import math
import warnings

import numpy as np

from mirrorflow import certificates as certify
from mirrorflow import references
from mirrorflow.certificates import Certificate, unjudged
from mirrorflow.claims.draws import RTOL, pilot_start, random_problem, sparse
from mirrorflow.claims.registry import Checks, Claim, Rng, judges
from mirrorflow.flows import direct_flow
from mirrorflow.limits import interpolator, l1_distance, lasso_limit, total_for_l1
from mirrorflow.losses import Loss
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.maps.powers import Powers
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.schedules import Constant, Harmonic


@judges("limit", ("squared",),
    Claim("optimality", "2.3", "KKT: Zx = y, ∇R_a(x) in the row space, no duality gap",
          "ICLR 2.3, v1 A.2", "n < d, A in [0, 4]"),
    Claim("agreement", "2.3", "argmin R_a over Zx = y is cvxpy's (exponential cone)",
          "ICLR 2.3", "n < d, A in [0, 4]"),
    Claim("inconsistent", "2.3", "x → argmin R_a(∞) over the least-squares solutions",
          "beyond ICLR 2.3", "Zx = y has no solution; squared loss only", "outside"),
    Claim("harmonic_following", "2.3", "∫α = ∞: on the way x_t follows argmin R_a(t)",
          "beyond ICLR 2.3", "harmonic schedule; squared loss only", "outside"),
    Claim("entropic_choice", "2.3",
          "among several minimum-L1 interpolators the limit minimises an entropy",
          "beyond ICLR 2.3", "A → ∞, repeated columns", "outside"))  # fmt: skip
def _limit(rng: Rng, loss: Loss) -> Checks:
    problem, total = random_problem(rng, loss), float(rng.uniform(0.0, 4.0))
    factors = pilot_start(rng, problem.d)
    potential = HyperbolicEntropy.of(factors, total)
    limit = interpolator(problem, factors, total)
    checks = {
        "optimality": certify.optimality(problem, limit, total),
        "agreement": certify.agreement(
            limit, references.min_potential(problem, factors, total), potential
        ),
    }
    return checks | {
        "entropic_choice": _ties(rng),
        "inconsistent": _inconsistent(rng, problem, factors),
        "harmonic_following": _following(rng, problem, factors),
    }


def _ties(rng: Rng) -> Certificate:
    """Every column of Z occurs twice: minimum L1 is never unique."""
    n = int(rng.integers(4, 9))
    half = rng.standard_normal((n, 2 * n))
    Z = np.hstack([half, half])
    problem = Regression(Z, half @ sparse(rng, 2 * n, 2))
    factors = pilot_start(rng, 4 * n)
    return certify.entropic_choice(problem, factors, interpolator(problem, factors, math.inf))


def _inconsistent(rng: Rng, problem: Regression, factors: Factors) -> Certificate:
    """Two more measurements, each the sum of two others but for noise."""
    pairs = np.array([rng.permutation(problem.n)[:2] for _ in range(2)])
    Z = np.vstack([problem.Z, problem.Z[pairs].sum(axis=1)])
    y = np.concatenate([problem.y, problem.y[pairs].sum(axis=1) + rng.normal(0.0, 0.3, 2)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # n ≥ d for the smallest problems is as good
        larger = Regression(Z, y)
    schedule = Constant.from_total(float(rng.uniform(0.1, 1.0)), 1.0)
    limit = interpolator(larger, factors, schedule.total_infinity)
    end = 1.0 + 40.0 / certify.slowest_rate(larger, limit)
    path = direct_flow(larger, factors, schedule, [0.0, 1.0, end], RTOL)
    return certify.convergence(larger, limit, schedule, path, RTOL)


def _following(rng: Rng, problem: Regression, factors: Factors) -> Certificate:
    timescale, end = float(rng.uniform(0.5, 3.0)), 1e4
    schedule = Harmonic.from_total(float(rng.uniform(0.5, 1.5)), timescale, end)
    path = direct_flow(problem, factors, schedule, [0.0, 10.0, end], RTOL)
    target = interpolator(problem, factors, float(schedule.total(end)))
    return certify.convergence(problem, target, schedule, path, RTOL)


UNKNOWN = Certificate.of("", math.nan, math.nan)
UNIQUE = "unique minimum L1"
EXCESS = "any minimum L1; A where the excess is 3e-5 to 3e-4"
UNIFORM = "u^L − v^L, L = 3, 4, 5, u₀ = v₀ = α; unique minimum L1"


@judges("sparse", ("none",),
    Claim("l1_excess", "2.3", "Σ(p + q) exceeds min‖·‖₁ by at most [E(x̂) − E(p, q)]/(4A)",
          "this project; late L1: ICLR 2.1", EXCESS),
    Claim("changed_l1_excess", "2.3", "it exceeds it by at most [E(x̂) − E(p, q)]/(16A)",
          "factor changed", EXCESS, "changed", "l1_excess"),
    Claim("sharp_l1", "2.3", "x_∞ − x̂ ~ constant·e^(−4A·margin), both from a linear program",
          "this project; the power: Wind et al. 2023", UNIQUE + ", where the law has set in"),
    Claim("changed_sharp_l1", "2.3", "x_∞ − x̂ ~ constant·e^(−2A·margin)", "exponent changed",
          UNIQUE + ", where the law has set in", "changed", "sharp_l1"),
    Claim("deep_l1_excess", "2.3",
          "depth L: ‖x_∞‖₁ − min‖·‖₁ ≤ ½Lα^(L−2) Σ[∣x_∞∣^(2/L) − (∣x̂∣ + α^L)^(2/L) + α²]",
          "this project", UNIFORM),
    Claim("deep_sharp_l1", "2.3", "depth L: x_∞ − x̂ ~ constant·e^(−2LA), from a smooth barrier",
          "this project", UNIFORM),
    Claim("changed_deep_sharp_l1", "2.3", "depth L: x_∞ − x̂ ~ constant·e^(−LA)",
          "exponent changed", UNIFORM, "changed", "deep_sharp_l1"),
    Claim("l1_exponent", "2.3",
          "the mass off the support falls like e^(−4A·margin), margin from an LP",
          "ICLR 2.1 (late L1)", UNIQUE),
    Claim("harmonic_l1", "2.3", "∫α = ∞: the limit has minimum L1", "beyond ICLR 2.3",
          "harmonic schedule, A → ∞", "outside"))  # fmt: skip
def _sparse_limit(rng: Rng, loss: Loss) -> Checks:
    deep_sharp = UNKNOWN
    while unjudged(deep_sharp.value, deep_sharp.bound):
        problem = random_problem(rng, loss)
        factors = pilot_start(rng, problem.d)
        gap = 0.25 * l1_distance(problem, factors, 0.0).exponent
        sharp = certify.sharp_l1(problem, factors)
        if gap < 0.02 or unjudged(sharp.value, sharp.bound):
            continue  # the law sets in beyond what float64 resolves
        alpha = np.full(problem.d, float(rng.uniform(0.3, 1.0)))
        deep = Powers(alpha, alpha, int(rng.integers(3, 6)))
        deep_sharp = certify.sharp_l1(problem, deep)
    best, start = references.min_l1(problem), HyperbolicEntropy.of(factors)
    totals = (1.0 / gap, 4.0 / gap)  # from e^{−4} to e^{−16}
    pair = (interpolator(problem, factors, totals[0]), interpolator(problem, factors, totals[1]))
    excess, decay = np.exp(rng.uniform(np.log(3e-5), np.log(3e-4))), float(rng.uniform(0.1, 0.7))
    total = max(total_for_l1(problem, factors, float(excess)), 0.1)
    late = interpolator(problem, factors, total)
    endless = interpolator(problem, factors, math.inf)
    return {
        "l1_excess": certify.l1_excess(late, best, total),
        "changed_l1_excess": certify.l1_excess(late, best, total, share=0.25),
        "sharp_l1": sharp,
        "changed_sharp_l1": certify.sharp_l1(problem, factors, share=0.5),
        "deep_l1_excess": certify.l1_excess(interpolator(problem, deep, decay), best, decay),
        "deep_sharp_l1": deep_sharp,
        "changed_deep_sharp_l1": certify.sharp_l1(problem, deep, share=0.5),
        "l1_exponent": certify.l1_exponent(problem, start, pair, totals, best.x, gap),
        "harmonic_l1": certify.l1_excess(endless, best, math.inf),
    }


@judges("penalised", ("squared",),
    Claim("lasso_kkt", "2.3",
          "constant α: the limit meets the KKT conditions of the LASSO with λ = 2α",
          "beyond ICLR 2.3", "α constant; squared loss only", "outside"),
    Claim("lasso_agreement", "2.3",
          "constant α: the limit is scikit-learn's Lasso(2α)", "beyond ICLR 2.3",
          "α constant; squared loss only", "outside"),
    Claim("lasso_suboptimality", "2.3",
          "constant α: integrated (m, w) descend to it, F_t − F* ≤ KL/(2t)", "beyond ICLR 2.3",
          "α constant; squared loss only", "outside"))  # fmt: skip
def _penalised(rng: Rng, loss: Loss) -> Checks:
    problem = random_problem(rng, loss)
    factors = pilot_start(rng, problem.d)
    alpha = math.exp(rng.uniform(math.log(0.01), math.log(0.3)))
    limit = lasso_limit(problem, factors, alpha)
    times = np.concatenate([[0.0], np.geomspace(1e-2, 300.0, 30)])
    path = direct_flow(problem, factors, Constant(alpha), times, RTOL)
    return {
        "lasso_kkt": certify.lasso_kkt(problem, limit.x, alpha),
        "lasso_agreement": certify.lasso_agreement(problem, limit.x, alpha),
        "lasso_suboptimality": certify.lasso_suboptimality(
            problem, factors, limit, alpha, path, RTOL
        ),
    }

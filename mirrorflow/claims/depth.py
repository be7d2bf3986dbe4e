"""Theorems 2.1 to 2.3 at depth L > 2 with decay, and under losses of counts and labels."""

from __future__ import annotations

import dataclasses

import numpy as np

from mirrorflow import certificates as certify
from mirrorflow.checks import Array
from mirrorflow.claims.draws import RTOL, any_signs, random_problem, sparse
from mirrorflow.claims.registry import Checks, Claim, Rng, judges
from mirrorflow.flows import direct_flow
from mirrorflow.limits import interpolator
from mirrorflow.losses import Loss, Poisson
from mirrorflow.maps import DeepFactors, MirrorMap, Powers
from mirrorflow.problems import Regression
from mirrorflow.schedules import Constant

DEEP = "u^L − v^L, L = 3, 4, 5, or w₁ ⊙ w₂ ⊙ w₃, any α_t ≥ 0; squared loss, pseudo-Huber"
STOPPED = "the same maps, α = 0 from a stop on; squared loss, pseudo-Huber"
COUNTS = "m ⊙ w, u^L − v^L or w₁ ⊙ w₂ ⊙ w₃, any α_t ≥ 0; logistic, Poisson loss"


def deep_start(rng: Rng, d: int) -> MirrorMap:
    if rng.random() < 0.5:
        u, v = rng.uniform(0.4, 1.0, (2, d))
        return Powers(u, v, depth=int(rng.integers(3, 6)))
    return DeepFactors(rng.uniform(0.4, 1.2, (3, d)) * rng.choice([-1.0, 1.0], (3, d)))


@judges("depth", ("squared", "pseudo_huber"),
    Claim("depth_mirror_equation", "2.1", "depth L: ∇R(e^(2LA) x_t) = −∫e^(−2(L−2)A) ∇f",
          "Woodworth et al. 2020 for α = 0; decay: this project", DEEP),
    Claim("changed_depth_equation", "2.1", "depth L: ∇R(e^(LA) x_t) = −∫e^(−2(L−2)A) ∇f",
          "exponent changed", DEEP, "changed", "depth_mirror_equation"),
    Claim("depth_finite_time", "2.1", "depth L: x_t = argmin R(e^(2LA) x) over Zx = Zx_t at every "
          "t", "this project", DEEP),
    Claim("changed_depth_finite_time", "2.1", "depth L: x_t = argmin R(e^(LA) x) over Zx = Zx_t",
          "exponent changed", DEEP, "changed", "depth_finite_time"),
    Claim("depth_convergence", "2.3", "depth L: x → argmin R(e^(2LA_∞) x) over Zx = y",
          "this project", STOPPED),
    Claim("changed_depth_convergence", "2.3", "depth L: x → argmin R(e^(LA_∞) x) over Zx = y",
          "exponent changed", STOPPED, "changed", "depth_convergence"))  # fmt: skip
def _depth(rng: Rng, loss: Loss) -> Checks:
    problem, total = random_problem(rng, loss), float(rng.uniform(0.1, 0.4))
    start, stop = deep_start(rng, problem.d), float(rng.uniform(0.5, 2.0))
    limit = interpolator(problem, start, total)
    end = stop + 30.0 / certify.slowest_rate(problem, limit)
    times = np.concatenate([np.linspace(0.0, stop, 8), np.geomspace(1.2 * stop, end, 12)])
    schedule = Constant.from_total(total, stop)
    path = direct_flow(problem, start, schedule, times, RTOL, accumulate=True)
    half, other = dataclasses.replace(path, total=0.5 * path.total), 0.5 * total
    return {
        "depth_mirror_equation": certify.mirror_equation(start, path, RTOL),
        "changed_depth_equation": certify.mirror_equation(start, half, RTOL),
        "depth_finite_time": certify.finite_time(problem, start, path, RTOL, checks=3),
        "changed_depth_finite_time": certify.finite_time(problem, start, half, RTOL, checks=3),
        "depth_convergence": certify.convergence(problem, limit, schedule, path, RTOL),
        "changed_depth_convergence": certify.convergence(
            problem, interpolator(problem, start, other), schedule, path, RTOL
        ),
    }


@judges("labels", ("logistic", "poisson"),
    Claim("labels_finite_time", "2.1",
          "other losses, with a minimum or without: x_t = argmin R_A(t)(x) over Zx = Zx_t",
          "Li et al. 2022 for α = 0; decay: this project", COUNTS),
    Claim("changed_labels_finite_time", "2.1", "the same with ½A for A", "total changed", COUNTS,
          "changed", "labels_finite_time"))  # fmt: skip
def _labels(rng: Rng, loss: Loss) -> Checks:
    n, d = int(rng.integers(4, 9)), int(rng.integers(16, 25))
    Z = rng.standard_normal((n, d))
    scores = Z @ sparse(rng, d, 2)
    y: Array = np.sign(scores)
    if isinstance(loss, Poisson):
        y = np.asarray(np.round(np.exp(scores / 3.0)) + 1.0, float)
    problem = Regression(Z, y, loss=loss)
    start = any_signs(rng, d) if rng.random() < 0.4 else deep_start(rng, d)
    schedule = Constant.from_total(float(rng.uniform(0.1, 0.4)), 2.0)
    path = direct_flow(problem, start, schedule, [0.0, 0.3, 1.0, 2.0, 10.0], RTOL)
    half = dataclasses.replace(path, total=0.5 * path.total)
    return {
        "labels_finite_time": certify.finite_time(problem, start, path, RTOL, checks=3),
        "changed_labels_finite_time": certify.finite_time(problem, start, half, RTOL, checks=3),
    }

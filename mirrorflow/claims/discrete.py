"""Discrete steps: exact limits of (S)GD as it is run, laws of step size and noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from mirrorflow import certificates as certify
from mirrorflow.claims.draws import random_problem
from mirrorflow.claims.registry import Checks, Claim, Rng, judges
from mirrorflow.descent import Sam, discrete_limit, follow_descent, predicted_gain
from mirrorflow.descent.mean_square import gram_of_gradients
from mirrorflow.limits import Interpolator, interpolator
from mirrorflow.losses import Loss
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.schedules import Constant

ALGORITHMS: tuple[dict[str, Any], ...] = (
    {},
    {"batch_size": 1},
    {"momentum": 0.8},
    {"momentum": 0.9, "nesterov": True},
    {"sam": Sam(0.1)},
    {"sam": Sam(0.05, per_sample=True)},
    {"label_noise": 0.3},
    {"clip": 0.5},
    {"learning_rates": (2.0, 0.5)},
)
NONE = Constant(0.0)
RUN = "GD, SGD, momentum, SAM, label noise, clipping, unequal rates; squared loss, pseudo-Huber"
EVEN = "Even et al. 2023 for α = 0; decay: this project"


def _edge(problem: Regression, scale: float) -> float:
    """2/λ_max of the Hessian in (m, w) at ½(m² + w²) = `scale`."""
    return problem.n / (scale * float(np.linalg.norm(problem.Z, 2)) ** 2)


def _few(rng: Rng, loss: Loss) -> Regression:
    """Few samples of many features: gradient descent arrives in some hundred steps."""
    n, d = int(rng.integers(2, 5)), int(rng.integers(20, 31))
    Z = rng.standard_normal((n, d))
    return Regression(Z, Z[:, 0] - Z[:, 1], loss=loss)


@judges("steps", ("squared", "pseudo_huber"),
    Claim("discrete_argmin", "D", "x_K = argmin {R_a(x) + ⟨r, x⟩ : Zx = Zx_K}, a = a₀e^(−Λ), at "
          "every step K and step size", EVEN, RUN),
    Claim("changed_shift", "D", "x_K = argmin {R_a(x) − ⟨r, x⟩ : Zx = Zx_K}, a = a₀e^(−Λ)",
          "sign changed", RUN, "changed", "discrete_argmin"),
    Claim("discrete_balance", "D", "½∣m_K² − w_K²∣ = ½∣m₀² − w₀²∣ e^(−Λ)", EVEN, RUN),
    Claim("changed_gain", "D", "½∣m_K² − w_K²∣ = ½∣m₀² − w₀²∣ e^(−4A), the flow's",
          "gain changed", RUN, "changed", "discrete_balance"))  # fmt: skip
def _steps(rng: Rng, loss: Loss) -> Checks:
    problem = random_problem(rng, loss)
    factors = Factors.pilot(0.3 * rng.standard_normal(problem.d), float(rng.uniform(0.7, 1.2)))
    options = ALGORITHMS[int(rng.integers(len(ALGORITHMS)))]
    speed = float(rng.uniform(0.3, 0.8)) * (1.0 - options.get("momentum", 0.0))
    speed /= 4.0 if "batch_size" in options else 1.0
    steps = int(rng.integers(20, 200))
    alphas = float(rng.uniform(0.1, 0.8)) * 0.97 ** np.arange(steps)
    step_size = speed * _edge(problem, 2.0)
    path = follow_descent(problem, factors, step_size, steps, alphas, seed=1, **options)
    gain, shift = path.gain[-1], path.shift[-1]
    flow = 4.0 * path.total[-1] + 0.0 * gain
    return {
        "discrete_argmin": certify.discrete_argmin(problem, path),
        "changed_shift": certify.discrete_argmin(problem, path, gain, -shift),
        "discrete_balance": certify.discrete_balance(path),
        "changed_gain": certify.discrete_balance(path, flow),
    }


@judges("known_before", ("squared",),
    Claim("lag_law", "D", "the limit of GD predicted before training is off by O(η²)",
          "this project", "η, η/2, α = 0; squared loss only"),
    Claim("changed_lag_law", "D", "the flow's limit is off from GD's by O(η²)",
          "gain left out", "η, η/2, α = 0; squared loss only", "changed", "lag_law"),
    Claim("energy", "D", "2∫f dt = D_R(x_∞, x₀) along the flow", "this project",
          "α = 0, Zx = y solvable; squared loss only"),
    Claim("changed_energy", "D", "∫f dt = D_R(x_∞, x₀) along the flow", "factor changed",
          "α = 0, Zx = y solvable; squared loss only", "changed", "energy"),
    Claim("scale_cap", "D", "a limit that GD reaches has η λ_max(H) ≤ 2: η caps the scale a",
          "Nacson et al. 2022", "η beyond the edge at the flow's limit, GD converges; squared "
          "loss only"),
    Claim("changed_scale_cap", "D", "the flow's own limit has η λ_max(H) ≤ 2", "limit changed",
          "η beyond the edge at the flow's limit; squared loss only", "changed", "scale_cap"),
    Claim("sgd_threshold", "D", "η*(B) of SGD does not fall with B, keeps the trace bound and ends "
          "at 2/λ_max(H)", "Wu & Su 2023; Mulayoff & Michaeli 2024",
          "at an interpolating limit; squared loss only"),
    Claim("changed_threshold", "D", "so does the full batch's 2/λ_max(H), taken for every B",
          "batch size left out", "at an interpolating limit; squared loss only", "changed",
          "sgd_threshold"))  # fmt: skip
def _known_before(rng: Rng, loss: Loss) -> Checks:
    problem = _few(rng, loss)
    factors = Factors.pilot(0.2 * rng.standard_normal(problem.d), float(rng.uniform(0.8, 1.2)))
    flow = interpolator(problem, factors, 0.0)
    K = gram_of_gradients(problem, flow)
    values = np.linalg.eigvalsh(K / problem.n)
    predicted, plain = [], []
    for step_size in np.array([0.07, 0.035]) * float(rng.uniform(0.8, 1.2)) / values[-1]:
        steps = int(45.0 / (values[0] * step_size))
        path = follow_descent(problem, factors, float(step_size), steps, record=1)
        gain = predicted_gain(problem, factors, NONE, float(step_size))
        limit = interpolator(problem, factors, 0.0, gain=gain)
        predicted.append(float(np.abs(path.x[-1] - limit.x).max()))
        plain.append(float(np.abs(path.x[-1] - flow.x).max()))
    reached, step_size = _beyond_the_edge(rng, problem, factors, 2.0 / float(values[-1]))
    return {
        "lag_law": certify.lag_law(predicted),
        "changed_lag_law": certify.lag_law(plain),
        "energy": certify.energy(problem, factors),
        "changed_energy": certify.energy(problem, factors, claimed=1.0),
        "scale_cap": certify.scale_cap(problem, reached, step_size),
        "changed_scale_cap": certify.scale_cap(problem, flow, step_size),
        "sgd_threshold": certify.sgd_threshold(K),
        "changed_threshold": certify.sgd_threshold(K, [2.0 / float(values[-1])] * problem.n),
    }


def _beyond_the_edge(
    rng: Rng, problem: Regression, factors: Factors, edge: float
) -> tuple[Interpolator, float]:
    """The limit of a run that converges, and its step size, above the flow's 2/λ_max."""
    for _ in range(50):
        step_size = float(rng.uniform(1.02, 1.4)) * edge
        path = follow_descent(problem, factors, step_size, 2000, record=1)
        if problem.value(path.x[-1]) < 1e-20:
            return discrete_limit(problem, path), step_size
    raise RuntimeError("no step size beyond the edge converges")


@judges("sign_designs", ("squared", "pseudo_huber"),
    Claim("noise_is_decay", "D", "one-sample SGD on ±1 designs ends where the flow with A = Λ/4 "
          "ends", "this project", "∣z_ij∣ the same in each row; squared loss, pseudo-Huber"),
    Claim("changed_noise", "D", "one-sample SGD on ±1 designs ends where the flow with A = Λ/2 "
          "ends", "factor changed", "∣z_ij∣ the same in each row; squared loss, pseudo-Huber",
          "changed", "noise_is_decay"))  # fmt: skip
def _sign_designs(rng: Rng, loss: Loss) -> Checks:
    n, d = int(rng.integers(3, 9)), int(rng.integers(16, 31))
    Z = rng.choice([-1.0, 1.0], (n, d)) * rng.uniform(0.5, 1.5, (n, 1))
    problem = Regression(Z, Z[:, 0] - Z[:, 1], loss=loss)
    factors = Factors.pilot(0.3 * rng.standard_normal(d), float(rng.uniform(0.7, 1.2)))
    step_size = float(rng.uniform(0.1, 0.25)) * _edge(problem, 2.0)
    path = follow_descent(problem, factors, step_size, 300, batch_size=1, seed=1)
    return {
        "noise_is_decay": certify.noise_is_decay(problem, path),
        "changed_noise": certify.noise_is_decay(problem, path, share=2.0),
    }

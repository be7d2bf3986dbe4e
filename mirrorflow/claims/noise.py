"""Noise, momentum and neighbours of gradient descent: SGD's gain, label noise, signs, stopping."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from mirrorflow import certificates as certify
from mirrorflow.certificates import Certificate
from mirrorflow.checks import Array
from mirrorflow.claims.draws import pilot_start, random_problem, random_schedule
from mirrorflow.claims.registry import Checks, Claim, Rng, judges
from mirrorflow.descent import descend, follow_descent, predicted_gain, sign_descent
from mirrorflow.descent.mean_square import gram_of_gradients
from mirrorflow.descent.stochastic import label_noise, stochastic_flow
from mirrorflow.extras import require
from mirrorflow.flows import direct_flow, momentum_flow
from mirrorflow.limits import interpolator, lasso_limit
from mirrorflow.losses import Loss
from mirrorflow.maps import Factors, Ham
from mirrorflow.problems import Regression
from mirrorflow.schedules import Constant

RTOL = 1e-9
NONE = Constant(0.0)
BOTH = "squared loss, pseudo-Huber"
SQUARED = "squared loss only"


def _few(rng: Rng, loss: Loss) -> tuple[Regression, Factors, float]:
    """Few samples of many features, a start, and λ_max of the Hessian where the flow ends."""
    n, d = int(rng.integers(2, 5)), int(rng.integers(20, 31))
    Z = rng.standard_normal((n, d))
    problem = Regression(Z, Z[:, 0] - Z[:, 1], loss=loss)
    factors = Factors.pilot(0.2 * rng.standard_normal(d), float(rng.uniform(0.8, 1.2)))
    return problem, factors, float(np.linalg.norm(Z, 2) ** 2) * 1.2 / n


@judges("momentum_flow", ("squared", "pseudo_huber"),
    Claim("momentum_argmin", "D", "momentum flow λθ̈ + θ̇ + ∇F = 0: x_t = argmin R_a + ⟨r, x⟩, "
          "Λ = 4A + λ∫(s² + σ²) + λ(s + σ), r = ½λ∫(s² − σ²) + ½λ(s − σ)",
          "Papazov et al. 2024; decay, finite t: this project", f"m ± w never 0; {BOTH}"),
    Claim("changed_momentum", "D", "the same with λ/2 in Λ and r", "factor changed",
          f"m ± w never 0; {BOTH}", "changed", "momentum_argmin"))  # fmt: skip
def _momentum_flow(rng: Rng, loss: Loss) -> Checks:
    problem = random_problem(rng, loss)
    start = pilot_start(rng, problem.d)
    fastest = float(np.linalg.norm(problem.Z, 2) ** 2) / problem.n
    lag = float(rng.uniform(0.1, 0.2)) / fastest  # underdamped modes would cross 0
    schedule, end = random_schedule(rng, float(rng.uniform(0.2, 0.8))), float(rng.uniform(1, 5))
    flow = momentum_flow(problem, start, schedule, lag, [end], RTOL)
    half = 0.5 * (flow.gain[-1:] + 4.0 * flow.total[-1:, None])
    return {
        "momentum_argmin": certify.momentum_argmin(problem, flow, RTOL),
        "changed_momentum": certify.momentum_argmin(
            problem, flow, RTOL, half[-1], 0.5 * flow.shift[-1]
        ),
    }


@judges("signs", ("squared", "pseudo_huber"),
    Claim("sign_balance", "D", "sign descent: ∣m∣ − ∣w∣ falls by 1 − ηλ a step, to within 2η for "
          "each change of sign", "this project", BOTH),
    Claim("changed_signs", "D", "sign descent: ∣m∣ − ∣w∣ falls by 1 − 2ηλ a step",
          "factor changed", BOTH, "changed", "sign_balance"),
    Claim("ham_limit", "D", "HAM's flow ẋ = −(1 + α∣x∣)∇f ends at argmin Σ(1 + α∣x∣)log(1 + α∣x∣) "
          "− α∣x∣ over Zx = y", "Jacobs et al. 2026", f"x₀ = 0, β = 0; {BOTH}"),
    Claim("changed_ham", "D", "it ends at the argmin for 2α", "factor changed",
          f"x₀ = 0, β = 0; {BOTH}", "changed", "ham_limit"),
    Claim("resets", "D", "where m² − w² is reset at fixed x, Λ and r count from the last reset on",
          "in the spirit of Gadhikar et al. 2025", BOTH),
    Claim("changed_resets", "D", "Λ and r count from the start on, resets or not",
          "resets left out", BOTH, "changed", "resets"))  # fmt: skip
def _signs(rng: Rng, loss: Loss) -> Checks:
    problem = random_problem(rng, loss)
    start, alpha = pilot_start(rng, problem.d), float(np.exp(rng.uniform(-2.0, 3.0)))
    eta, decay = float(rng.uniform(1e-4, 1e-3)), float(rng.uniform(0.1, 0.5))
    run = sign_descent(problem, start, eta, 1000, decay)
    few = _few(rng, loss)[0]
    hams = [interpolator(few, Ham(np.zeros(few.d), a), 0.0) for a in (alpha, 2.0 * alpha)]
    times = np.geomspace(1e-3, 1.0, 10) * 1000.0 / (1.0 + alpha)
    path = direct_flow(few, hams[0].start, NONE, times, RTOL)
    step_size = 0.5 / float(np.linalg.norm(problem.Z, 2) ** 2 / problem.n)
    first = follow_descent(problem, start, step_size, 60, np.full(60, 0.1), record=1)
    beta = float(rng.uniform(0.5, 2.0))
    last = follow_descent(problem, Factors.pilot(first.x[-1], beta), step_size, 60, record=1)
    gain, shift = first.gain[-1:] + last.gain[-1:], first.shift[-1:] + last.shift[-1:]
    ignored = dataclasses.replace(last, start=start, gain=gain, shift=shift)
    return {
        "sign_balance": certify.sign_balance(start, run, eta, 1000, decay),
        "changed_signs": certify.sign_balance(start, run, eta, 1000, 2.0 * decay),
        "ham_limit": certify.convergence(few, hams[0], NONE, path, RTOL),
        "changed_ham": certify.convergence(few, hams[1], NONE, path, RTOL),
        "resets": certify.discrete_argmin(problem, last),
        "changed_resets": certify.discrete_argmin(problem, ignored),
    }


@judges("label_noise", ("squared",),
    Claim("manifold_flow", "D", "label noise on {Zx = y}: x(τ) = argmin R_a with "
          "a_j = a₀_j e^(−s_j²τ), τ = η²K", "Li, Wang & Arora 2022; closed form: this project",
          f"η → 0; {SQUARED}"),
    Claim("changed_manifold", "D", "the same with 2s² for s²", "factor changed",
          f"η → 0; {SQUARED}", "changed", "manifold_flow"),
    Claim("average_identity", "D", "(1/ηK) log∣U_K/U₀∣ = −Λ/(2ηK) − [∇f(x̄) + ξ̄ + r/(ηK)] under "
          "label noise", "Pillaud-Vivien et al. 2022 for K → ∞; finite K: this project", SQUARED),
    Claim("changed_identity", "D", "the same with Λ/(4ηK)", "factor changed", SQUARED, "changed",
          "average_identity"),
    Claim("constant_decay", "D", "heavy ball and Nesterov with a constant α end at min f + 2α‖x‖₁",
          "this project", f"stable η; {SQUARED}"),
    Claim("changed_constant", "D", "heavy ball and Nesterov with a constant α end at min f + α‖x‖₁",
          "factor changed", f"stable η; {SQUARED}", "changed", "constant_decay"),
    Claim("averaged_lasso", "D", "label noise: f(x̄) + ½ηΣs_j²∣x̄_j∣ of the time average falls to "
          "its minimum; 2.5 % are left", "Pillaud-Vivien et al. 2022",
          f"10,000 steps, y ± ε in pairs, 2λ another LASSO; {SQUARED}"),
    Claim("changed_averaged_lasso", "D", "so does f(x̄) + ηΣs_j²∣x̄_j∣", "factor changed",
          f"10,000 steps, y ± ε in pairs, 2λ another LASSO; {SQUARED}", "changed",
          "averaged_lasso"))  # fmt: skip
def _label_noise(rng: Rng, loss: Loss) -> Checks:
    problem, start, top = _few(rng, loss)
    variances, tau = label_noise(problem, 1.0), float(rng.uniform(3.0, 30.0))
    noise = rng.standard_normal((400, problem.n))
    step_size = 0.3 / top
    path = follow_descent(problem, start, step_size, 400, label_noise=noise, record=400)
    small, begin, alpha = _strict(rng)
    slow, nesterov = 2.5 / float(np.linalg.norm(small.Z, 2) ** 2), bool(rng.integers(2))
    lasso = follow_descent(
        small, begin, slow, 30_000, Constant(alpha), momentum=0.8, nesterov=nesterov, record=2
    )

    def identity(share: float) -> Certificate:
        return certify.average_identity(problem, path, step_size, noise, share)

    return {
        "manifold_flow": certify.manifold_flow(problem, start, variances, tau),
        "changed_manifold": certify.manifold_flow(
            problem, start, variances, tau, claimed=2.0 * variances
        ),
        "average_identity": identity(1.0),
        "changed_identity": identity(0.5),
        "constant_decay": certify.constant_decay(small, lasso, alpha),
        "changed_constant": certify.constant_decay(small, lasso, 0.5 * alpha),
        **_averaged_lasso(rng),
    }


def _averaged_lasso(rng: Rng) -> Checks:
    """The time average of a run whose label noise is the penalty of a LASSO problem."""
    while True:  # twice the penalty must lead elsewhere
        problem, start, alpha = _strict(rng)
        shape = label_noise(problem, 1.0)
        penalties = 2.0 * alpha / shape.mean() * shape
        scaled = Regression(problem.Z * (shape.mean() / shape), problem.y)
        best = lasso_limit(scaled, start, alpha).x * (shape.mean() / shape)
        doubled = certify.averaged_lasso(problem, best, start.x, 2.0 * penalties)
        if doubled.value > 0.06:
            break
    step_size = 0.1 * problem.n / float(np.linalg.norm(problem.Z, 2)) ** 2
    sigma = math.sqrt(4.0 * alpha / (step_size * shape.mean()))
    noise = np.repeat(sigma * rng.standard_normal((5000, problem.n)), 2, axis=0)
    noise[1::2] *= -1.0  # the mean of what is added is 0: what is left falls like 1/K, not 1/√K
    path = follow_descent(problem, start, step_size, 10_000, label_noise=noise, record=10_000)
    mean = path.x[:-1].mean(axis=0)
    return {
        name: certify.averaged_lasso(problem, mean, start.x, factor * penalties, 0.025)
        for name, factor in (("averaged_lasso", 1.0), ("changed_averaged_lasso", 2.0))
    }


def _strict(rng: Rng) -> tuple[Regression, Factors, float]:
    """A LASSO problem whose coordinates off the support fall at a good rate, and its α."""
    while True:
        problem = Regression(rng.standard_normal((5, 8)), rng.standard_normal(5))
        alpha = float(rng.uniform(0.1, 0.3)) * float(np.abs(problem.gradient(np.zeros(8))).max())
        start = Factors.pilot(0.3 * rng.standard_normal(8))
        x = lasso_limit(problem, start, alpha).x
        if (np.abs(problem.gradient(x))[x == 0] < 1.4 * alpha).all():
            return problem, start, alpha


@judges("sgd", ("squared",),
    Claim("compensator", "D", "SGD: Λ less the sum of its conditional means is a martingale",
          "this project", f"B = 1, α = 0, 8 paths; {SQUARED}"),
    Claim("changed_compensator", "D", "so is Λ less twice that sum", "factor changed",
          f"B = 1, α = 0, 8 paths; {SQUARED}", "changed", "compensator"),
    Claim("stochastic_gain", "D", "stochastic gradient flow: Λ = 4A + 2γ diag(ZᵀZ/n)∫f along each "
          "path", "Pesme et al. 2021; decay: this project", SQUARED),
    Claim("changed_stochastic", "D", "the same with γ in place of 2γ", "factor changed", SQUARED,
          "changed", "stochastic_gain"),
    Claim("gain_law", "D", "SGD: the mean of Λ is η∫[(∂_jf)² + Var_j]dt along the flow, to O(η²)",
          "this project", f"η, η/2, B = 1, α = 0, 100 runs; {SQUARED}"),
    Claim("changed_gain_law", "D", "SGD: the mean of Λ is η∫(∂_jf)²dt, to O(η²)",
          "noise left out", f"η, η/2, B = 1, α = 0, 100 runs; {SQUARED}", "changed", "gain_law"),
    Claim("spread_law", "D", "SGD ends O(η^1.5) from the limit predicted before training",
          "this project", f"η, η/2, B = 1, α = 0, 100 runs; {SQUARED}"),
    Claim("changed_spread", "D", "SGD ends O(η^1.5) from the flow's limit", "gain left out",
          f"η, η/2, B = 1, α = 0, 100 runs; {SQUARED}", "changed", "spread_law"),
    Claim("mean_law", "D", "SGD: the mean of its ends is O(η²) from the limit predicted before "
          "training", "this project", f"η, η/2, B = 1, α = 0, 400 runs; {SQUARED}"),
    Claim("changed_mean", "D", "SGD: the mean of its ends is O(η²) from the flow's limit",
          "gain left out", f"η, η/2, B = 1, α = 0, 400 runs; {SQUARED}", "changed",
          "mean_law"))  # fmt: skip
def _sgd(rng: Rng, loss: Loss) -> Checks:
    problem, start, top = _few(rng, loss)
    flow = interpolator(problem, start, 0.0)
    values = np.linalg.eigvalsh(gram_of_gradients(problem, flow) / problem.n)
    # one sample's gradient is n times as steep as the mean's
    first = 0.04 / (top * problem.n)
    paths = [
        follow_descent(problem, start, 2.0 * first, 600, batch_size=1, seed=k, record=600)
        for k in range(8)
    ]
    seed = int(rng.integers(2**31))
    pesme = stochastic_flow(problem, start, NONE, 0.05, 10.0 / float(values[0]), 8000, seed)
    predicted, drift, gains, off, plain = [], [], [], [], []
    # for the mean larger steps and more runs: its O(η²) must be seen beside a spread of O(η^1.5)
    for factor, count in ((1.0, 100), (0.5, 100), (8.0, 400), (4.0, 400)):
        step_size = factor * first
        steps = int(25.0 / (float(values[0]) * step_size))
        runs = descend(problem, [start] * count, NONE, step_size, steps, 1, range(count), record=1)
        gain = predicted_gain(problem, start, NONE, step_size, batch_size=1)
        ahead = interpolator(problem, start, 0.0, gain=gain)
        predicted.append(float(gain.sum()))
        drift.append(float(predicted_gain(problem, start, NONE, step_size).sum()))
        gains.append(runs.gain[:, -1].sum(axis=1))
        off.append(runs.x[:, -1] - ahead.x)
        plain.append(runs.x[:, -1] - flow.x)
    return {
        "compensator": certify.compensator(problem, paths, 2.0 * first),
        "changed_compensator": certify.compensator(problem, paths, 2.0 * first, share=2.0),
        "stochastic_gain": certify.stochastic_gain(problem, pesme),
        "changed_stochastic": certify.stochastic_gain(problem, pesme, share=0.5),
        "gain_law": certify.gain_law(predicted[:2], gains[:2]),
        "changed_gain_law": certify.gain_law(drift[:2], gains[:2]),
        "spread_law": certify.spread_law(*off[:2]),
        "changed_spread": certify.spread_law(*plain[:2]),
        "mean_law": certify.mean_law(*off[2:]),
        "changed_mean": certify.mean_law(*plain[2:]),
    }


@judges("early_stopping", ("squared",),
    Claim("early_stopping", "D", "stopped at t = log(1/p₀)/(2λ), GD has 1.5 times the error of "
          "least squares on the true support at most: no log d",
          "in the spirit of Vaskevicius et al. 2019",
          f"200×400, Gaussian Z, k = 5, ∣x*_j∣ = 1, σ = ½, medians of 24; {SQUARED}"),
    Claim("changed_stopping", "D", "so has the best point of the LASSO path", "method changed",
          f"200×400, Gaussian Z, k = 5, ∣x*_j∣ = 1, σ = ½, medians of 24; {SQUARED}", "changed",
          "early_stopping"))  # fmt: skip
def _early_stopping(rng: Rng, loss: Loss) -> Checks:
    errors = np.array([_errors(rng, 200, 400) for _ in range(24)])
    return {
        "early_stopping": certify.early_stopping(errors[:, 0], errors[:, 1]),
        "changed_stopping": certify.early_stopping(errors[:, 2], errors[:, 1]),
    }


def _errors(rng: Rng, n: int, d: int) -> Array:
    """‖x − x*‖² of gradient descent stopped early, of least squares on the support, of LASSO."""
    require("claims", "sklearn")
    from sklearn.linear_model import lasso_path

    sigma, size, step_size = 0.5, 14.0, 0.05
    Z, x = rng.standard_normal((n, d)), np.zeros(d)
    support = rng.permutation(d)[:5]
    x[support] = rng.choice([-1.0, 1.0], 5)
    problem = Regression(Z, Z @ x + sigma * rng.standard_normal(n))
    time = size / (4.0 * sigma * math.sqrt(2.0 * math.log(d) / n))
    start = Factors(np.full(d, 2.0 * math.exp(-0.5 * size)), np.zeros(d))  # p = q = e^{−14}
    run = descend(problem, start, NONE, step_size, round(time / step_size), record=1)
    oracle = np.zeros(d)
    oracle[support] = np.linalg.lstsq(Z[:, support], problem.y, rcond=None)[0]
    alphas = np.geomspace(1.0, 1e-2, 40) * float(np.abs(Z.T @ problem.y).max()) / n
    path = lasso_path(Z, problem.y, alphas=alphas)[1].T
    points = np.vstack([run.x[0, -1], oracle, path])
    squares = np.sum((points - x) ** 2, axis=1)
    return np.array([squares[0], squares[1], squares[2:].min()])

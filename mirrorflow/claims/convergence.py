"""Theorem 2.2 and the arrival of Theorem 2.3, as the penalty stops, fades or comes in pulses."""

from __future__ import annotations

import math

import numpy as np

from mirrorflow import certificates as certify
from mirrorflow.claims.draws import RTOL, pilot_start, random_problem
from mirrorflow.claims.registry import Checks, Claim, Rng, judges
from mirrorflow.flows import direct_flow
from mirrorflow.limits import interpolator
from mirrorflow.losses import Loss, Squared
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.schedules import Constant, Piecewise, Quadratic

BOTH = "squared loss, pseudo-Huber"
STOPPED = "α = 0 from a stop on, full row rank; " + BOTH


def _until_a_stop(rng: Rng, loss: Loss) -> tuple[Regression, float, float, Factors]:
    """A problem, a total that is reached at a stop, and the start."""
    problem, total = random_problem(rng, loss), float(rng.uniform(0.1, 1.0))
    return problem, total, float(rng.uniform(0.5, 3.0)), pilot_start(rng, problem.d)


@judges("stop", ("squared", "pseudo_huber"),
    Claim("lower_rate", "2.2", "the loss falls at least like exp(−2λ min a_∞ t)",
          "ICLR 2.2, v1 3.2", STOPPED),
    Claim("asymptotic_rate", "2.2",
          "asymptotically residuals follow e^(−Ht), H = (2/n) Z diag(√(x_∞² + a_∞²)) Zᵀ",
          "exact form of ICLR 2.2", STOPPED),
    Claim("additive_penalty", "2.2", "f_t ≤ e^(−Λt) f₀ + C∫e^(−Λ(t−s)) α_s ds",
          "Gronwall on v1 A.3", STOPPED),
    Claim("arrival", "2.3", "Zx → y", "ICLR 2.2, 2.3", STOPPED),
    Claim("convergence", "2.3", "x → argmin R_a(∞) over Zx = y", "ICLR 2.3, v1 3.3",
          STOPPED),
    Claim("printed_argmin", "2.3", "the limit is the argmin with a = 2u₀v₀ e^(−2A)",
          "v1 2.1, 3.1", STOPPED, "printed", "convergence"))  # fmt: skip
def _stop(rng: Rng, loss: Loss) -> Checks:
    problem, total, stop, factors = _until_a_stop(rng, loss)
    schedule = Constant.from_total(total, stop)
    limit = interpolator(problem, factors, total)
    span = 40.0 / certify.slowest_rate(problem, limit)
    times = np.concatenate(
        [[0.0], np.geomspace(1e-2 * stop, stop, 15), stop + np.linspace(0.0, span, 81)[1:]]
    )
    path = direct_flow(problem, factors, schedule, times, RTOL)
    # v1's constants: a = 2u₀v₀e^{−2A} is what A/2 and masses twice as large give
    doubled = Factors(math.sqrt(2.0) * factors.m, math.sqrt(2.0) * factors.w)
    wrong = interpolator(problem, doubled, 0.5 * total)
    return {
        "lower_rate": certify.lower_rate(problem, factors, total, path, stop, RTOL),
        "asymptotic_rate": certify.asymptotic_rate(problem, limit, path, RTOL),
        "additive_penalty": certify.additive_penalty(problem, factors, schedule, path, RTOL),
        "arrival": certify.arrival(problem, limit, schedule, path, RTOL),
        "convergence": certify.convergence(problem, limit, schedule, path, RTOL),
        "printed_argmin": certify.convergence(problem, wrong, schedule, path, RTOL),
    }


@judges("power", ("squared", "pseudo_huber"),
    Claim("falls_once_alpha_vanishes", "2.2", "the loss is eventually non-increasing",
          "ICLR 2.2", "α_t → 0 (quadratic schedule); " + BOTH),
    Claim("power_law", "2.2",
          "f_t/α_t² tends to the constant that the moving target sets", "against v1 3.2",
          "quadratic schedule; " + BOTH),
    Claim("printed_linear_rate", "2.2", "linear rate 2λ min a_∞ whenever ∫α < ∞",
          "ICLR 2.2, v1 3.2", "quadratic schedule; " + BOTH, "printed", "power_law"),
    Claim("convergence_power", "2.3",
          "x → argmin R_a(∞) as A_t → A_∞ while α_t still decays", "ICLR 2.3",
          "quadratic schedule; squared loss only"))  # fmt: skip
def _power(rng: Rng, loss: Loss) -> Checks:
    problem, total = random_problem(rng, loss), float(rng.uniform(0.1, 1.0))
    factors = pilot_start(rng, problem.d)
    schedule = Quadratic.from_total(total, float(rng.uniform(0.5, 3.0)))
    limit = interpolator(problem, factors, total)
    weakest = 2.0 * float(problem.row_space.s[-1]) ** 2 / problem.n
    weakest *= float(factors.potential(total).floor.min())
    # late enough for the printed rate to be long over; the limit's own is at least half of it
    end = 400.0 / weakest
    rtol = 0.1 * RTOL  # misfits of order α_T are to be resolved
    times = np.concatenate([[0.0], np.geomspace(1e-2, end, 40)])
    path = direct_flow(problem, factors, schedule, times, rtol)
    checks = {
        "power_law": certify.power_law(problem, factors, schedule, path, rtol),
        "printed_linear_rate": certify.linear_rate(problem, factors, total, path),
        "falls_once_alpha_vanishes": certify.eventually_falling(problem, path, 0.2 * end, rtol),
    }
    if loss == Squared():
        checks["convergence_power"] = certify.convergence(problem, limit, schedule, path, rtol)
    return checks


@judges("kick", ("squared", "pseudo_huber"),
    Claim("additive_penalty_from_minimiser", "2.2",
          "f_t ≤ C∫e^(−Λ(t−s)) α_s ds from a minimiser", "Gronwall on v1 A.3",
          "f(x₀) = 0; " + BOTH),
    Claim("printed_multiplicative", "2.2",
          "f_t ≤ C(α) e^(−Λt) f₀, so a minimiser is never left", "v1 3.2", "f(x₀) = 0; " + BOTH,
          "printed", "additive_penalty_from_minimiser"))  # fmt: skip
def _kick(rng: Rng, loss: Loss) -> Checks:
    problem, total, stop, factors = _until_a_stop(rng, loss)
    schedule = Constant.from_total(total, stop)
    problem = Regression(problem.Z, problem.Z @ factors.x, loss=loss)
    times = np.concatenate([[0.0], np.geomspace(1e-2, stop, 15), stop * np.array([1.5, 2.0, 4.0])])
    path = direct_flow(problem, factors, schedule, times, RTOL)
    return {
        "printed_multiplicative": certify.stays_at_minimiser(problem, path, RTOL),
        "additive_penalty_from_minimiser": certify.additive_penalty(
            problem, factors, schedule, path, RTOL
        ),
    }


@judges("pulses", ("squared", "pseudo_huber"),
    Claim("falls_under_pulses", "2.2",
          "the loss is eventually non-increasing, from ∫α < ∞ alone", "v1 3.2",
          "pulses of height 1 and widths 2^(−k), α_t ↛ 0; " + BOTH, "printed",
          "falls_once_alpha_vanishes"))  # fmt: skip
def _pulses(rng: Rng, loss: Loss) -> Checks:
    problem = random_problem(rng, loss)
    factors = pilot_start(rng, problem.d)
    gap, pulses = float(rng.uniform(5.0, 10.0)), 8
    knots, alphas = [0.0], [0.0]
    for k in range(pulses):
        knots += [gap * (k + 1), gap * (k + 1) + 2.0**-k]
        alphas += [1.0, 0.0]
    schedule = Piecewise(knots, alphas)
    times = np.unique([*knots, gap * (pulses + 1)])
    path = direct_flow(problem, factors, schedule, times, RTOL)
    after = 0.5 * float(times[-1])
    return {"falls_under_pulses": certify.eventually_falling(problem, path, after, RTOL)}

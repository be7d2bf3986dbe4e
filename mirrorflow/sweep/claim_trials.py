"""One random trial of each group of claims: a problem, a path, its certificates by claim.

Problems are small, so that hundreds of trials cost minutes: n in 5…12 samples, d in 2n…40
features, Gaussian Z, a sparse x*. Everything is drawn from streams keyed by group and trial.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from mirrorflow import certificates as certify
from mirrorflow import references
from mirrorflow.certificates import Certificate, Constants
from mirrorflow.checks import Array
from mirrorflow.flows import Flow, direct_flow, gradient_flow
from mirrorflow.limits import interpolator, lasso_limit
from mirrorflow.losses import Loss, PseudoHuber, Squared
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression, random_stream
from mirrorflow.runs.store import Row
from mirrorflow.schedules import Constant, Geometric, Harmonic, Piecewise, Quadratic, Schedule
from mirrorflow.sweep import by_scipy

__all__ = ["LOSSES", "compute", "trial"]

LOSSES: dict[str, Loss] = {
    "squared": Squared(),
    "pseudo_huber": PseudoHuber(1.0),
    "none": Squared(),
}
RTOL = 1e-10
STEP = 1e-4  # the paper's η
Checks = dict[str, Certificate]
Rng = np.random.Generator


def trial(group: str, loss: str, number: int) -> Checks:
    """The certificates of one trial, by the claim's key."""
    # both losses see the same problems
    return _TRIALS[group](random_stream("claims", group, number), LOSSES[loss])


def compute(specs: Sequence[Row]) -> list[tuple[Row, dict[str, Array]]]:
    """A row for each specification: value, bound and whether it holds, by the claim's key."""
    checks = [trial(spec["group"], spec["loss"], spec["trial"]) for spec in specs]
    return [(certify.columns(some.items()), {}) for some in checks]


def _problem(rng: Rng, loss: Loss) -> Regression:
    n = int(rng.integers(5, 13))
    d = int(rng.integers(2 * n, 41))
    Z = rng.standard_normal((n, d))
    return Regression(Z, Z @ _sparse(rng, d, int(rng.integers(1, n // 3 + 2))), loss=loss)


def _sparse(rng: Rng, d: int, k: int) -> Array:
    x = np.zeros(d)
    x[rng.permutation(d)[:k]] = rng.choice([-1.0, 1.0], k) * rng.uniform(0.5, 2.0, k)
    return x


def _pilot(rng: Rng, d: int) -> Factors:
    beta = math.exp(rng.uniform(math.log(0.3), math.log(3.0)))
    return Factors.pilot(rng.standard_normal(d) * d**-0.25, beta)


def _any_signs(rng: Rng, d: int) -> Factors:
    """m and w of either sign, ||m| − |w|| ≥ 0.1, either one the larger."""
    small = rng.uniform(0.0, 1.0, d)
    large = small + rng.uniform(0.1, 1.0, d)
    swap = rng.random(d) < 0.5
    signs = rng.choice([-1.0, 1.0], (2, d))
    return Factors(signs[0] * np.where(swap, small, large), signs[1] * np.where(swap, large, small))


def _schedule(rng: Rng, total: float) -> Schedule:
    timescale = float(rng.uniform(0.5, 3.0))
    kind = int(rng.integers(5))
    if kind == 0:
        return Constant.from_total(total, timescale)
    if kind == 1:
        return Quadratic.from_total(total, timescale)
    if kind == 2:
        return Geometric.from_total(total, math.exp(-1.0 / timescale))
    if kind == 3:
        return Harmonic.from_total(total, timescale, 10.0)
    return Piecewise.from_total(total, [0.0, 0.5, 1.5, 3.0], [*rng.uniform(0.0, 1.0, 3), 0.0])


def _path(rng: Rng, loss: Loss) -> Checks:
    problem, total = _problem(rng, loss), float(rng.uniform(0.2, 1.5))
    factors = _any_signs(rng, problem.d)
    schedule = _schedule(rng, total)
    times = np.concatenate([[0.0], np.geomspace(1e-2, 10.0, 40)])
    path = direct_flow(problem, factors, schedule, times, RTOL, accumulate=True)

    def equation(scale: float, exponent: float, factor: float) -> Certificate:
        return certify.mirror_equation(factors, path, RTOL, Constants(scale, exponent, factor))

    checks = {
        "invariant": certify.invariant(factors, path, RTOL),
        "mirror_equation": certify.mirror_equation(factors, path, RTOL),
        "printed_theorem_31": equation(2.0, 2.0, 0.5),
        "printed_scale": equation(2.0, 4.0, 0.5),
        "printed_exponent": equation(1.0, 2.0, 0.5),
        "printed_quarter": equation(1.0, 4.0, 0.25),
        "closed_form": certify.closed_form(factors, path, RTOL),
        "printed_closed_form": certify.closed_form(factors, path, RTOL, factor=2.0),
        "loss_slope": certify.loss_slope(problem, schedule, path, RTOL),
        "printed_loss_slope": certify.loss_slope(problem, schedule, path, RTOL, (0.5, 0.5)),
        "positional_bias": certify.positional_bias(factors, path, RTOL),
        "printed_positional_bias": certify.positional_bias(factors, path, RTOL, exponent=2.0),
        "finite_time": certify.finite_time(problem, factors, path, RTOL, checks=3),
        "scipy_agrees": by_scipy.agreement(problem, schedule, path, RTOL),
    }
    if loss == Squared():
        dual = gradient_flow(problem, factors, schedule, times, RTOL)
        checks["path_difference"] = certify.path_difference(dual, path, RTOL)
    balanced = Factors.balanced(factors.x)
    short = direct_flow(problem, balanced, schedule, times[:35], RTOL)
    checks["signs_kept"] = certify.signs_kept(balanced, short, RTOL)
    if math.isinf(schedule.total_infinity):
        schedule = Quadratic.from_total(total, 1.0)
        path = direct_flow(problem, factors, schedule, times, RTOL)
    return checks | _witness(problem, factors, path, schedule.total_infinity)


def _witness(problem: Regression, factors: Factors, path: Flow, total: float) -> Checks:
    least_norm = problem.row_space.V.T @ problem.row_space.b
    stars = (interpolator(problem, factors, total).x, least_norm)
    falls = [certify.lyapunov_falls(problem, factors, path, x, total, RTOL) for x in stars]
    above = [certify.lyapunov_bounds_divergence(problem, factors, path, x, total) for x in stars]
    return {"lyapunov_falls": _worst(falls), "lyapunov_bounds_divergence": _worst(above)}


def _worst(checks: list[Certificate]) -> Certificate:
    return max(checks, key=lambda c: (c.verdict == "refuted", not c.holds, c.value / c.bound))


def _stop(rng: Rng, loss: Loss) -> Checks:
    problem, total, stop = (
        _problem(rng, loss),
        float(rng.uniform(0.1, 1.0)),
        float(rng.uniform(0.5, 3.0)),
    )
    factors, schedule = _pilot(rng, problem.d), Constant.from_total(total, stop)
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


def _power(rng: Rng, loss: Loss) -> Checks:
    problem, total = _problem(rng, loss), float(rng.uniform(0.1, 1.0))
    factors = _pilot(rng, problem.d)
    schedule = Quadratic.from_total(total, float(rng.uniform(0.5, 3.0)))
    limit = interpolator(problem, factors, total)
    weakest = 2.0 * float(problem.row_space.s[-1]) ** 2 / problem.n
    weakest *= float(factors.potential(total).floor.min())
    # slow enough to follow its target, late enough for the printed rate to be long over
    end = max(100.0 / certify.slowest_rate(problem, limit), 400.0 / weakest)
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


def _kick(rng: Rng, loss: Loss) -> Checks:
    problem, total, stop = (
        _problem(rng, loss),
        float(rng.uniform(0.1, 1.0)),
        float(rng.uniform(0.5, 3.0)),
    )
    factors, schedule = _pilot(rng, problem.d), Constant.from_total(total, stop)
    problem = Regression(problem.Z, problem.Z @ factors.x, loss=loss)
    times = np.concatenate([[0.0], np.geomspace(1e-2, stop, 15), stop * np.array([1.5, 2.0, 4.0])])
    path = direct_flow(problem, factors, schedule, times, RTOL)
    return {
        "printed_multiplicative": certify.stays_at_minimiser(problem, path, RTOL),
        "additive_penalty_from_minimiser": certify.additive_penalty(
            problem, factors, schedule, path, RTOL
        ),
    }


def _pulses(rng: Rng, loss: Loss) -> Checks:
    problem = _problem(rng, loss)
    factors = _pilot(rng, problem.d)
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


def _limit(rng: Rng, loss: Loss) -> Checks:
    problem, total = _problem(rng, loss), float(rng.uniform(0.0, 4.0))
    factors = _pilot(rng, problem.d)
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


def _sparse_limit(rng: Rng, loss: Loss) -> Checks:
    gap = 0.0
    while gap < 0.02:  # below, the law sets in beyond the totals that float64 resolves
        problem = _problem(rng, loss)
        best = references.min_l1(problem)
        gap = certify.margin(problem, best.x)
    factors = _pilot(rng, problem.d)
    start = HyperbolicEntropy.of(factors)
    # late: the law's power is e^{−1} to e^{−8}
    scale = math.log(certify.relative_scale(start, best.x))
    total = max(0.25 * (scale + float(rng.uniform(1.0, 8.0)) / gap), 0.0)
    late = interpolator(problem, factors, total)
    totals = (1.0 / gap, 4.0 / gap)  # from e^{−4} to e^{−16}
    pair = (interpolator(problem, factors, totals[0]), interpolator(problem, factors, totals[1]))
    potential = HyperbolicEntropy.of(factors, total)
    endless = interpolator(problem, factors, math.inf)
    return {
        "l1_excess": certify.l1_excess(late, potential, best, gap),
        "l1_exponent": certify.l1_exponent(problem, start, pair, totals, best.x, gap),
        "harmonic_l1": certify.l1_excess(endless, None, best, gap),
    }


def _ties(rng: Rng) -> Certificate:
    """Every column of Z occurs twice: minimum L1 is never unique."""
    n = int(rng.integers(4, 9))
    half = rng.standard_normal((n, 2 * n))
    Z = np.hstack([half, half])
    problem = Regression(Z, half @ _sparse(rng, 2 * n, 2))
    factors = _pilot(rng, 4 * n)
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


def _penalised(rng: Rng, loss: Loss) -> Checks:
    problem = _problem(rng, loss)
    factors = _pilot(rng, problem.d)
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


def _potential(rng: Rng, loss: Loss) -> Checks:
    d = int(rng.integers(2, 41))
    factors, x = _pilot(rng, d), rng.choice([-1.0, 1.0], d) * rng.uniform(0.5, 2.0, d)
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


def _sharpness(rng: Rng, loss: Loss) -> Checks:
    problem, total = _problem(rng, loss), float(rng.uniform(0.1, 1.0))
    factors, schedule = _pilot(rng, problem.d), Constant.from_total(total, 2.0)
    limit = interpolator(problem, factors, total)
    path = direct_flow(problem, factors, schedule, np.linspace(0.0, 20.0, 11), RTOL)
    return {
        "limit_sharpness": certify.limit_sharpness(problem, factors, limit),
        "stable_below": certify.stability(problem, factors, limit, 0.95),
        "unstable_above": certify.stability(problem, factors, limit, 1.05),
        "stable_step": certify.stable_step(problem, path, schedule, STEP),
    }


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


_TRIALS: dict[str, Callable[[Rng, Loss], Checks]] = {
    "path": _path,
    "stop": _stop,
    "power": _power,
    "kick": _kick,
    "pulses": _pulses,
    "limit": _limit,
    "sparse": _sparse_limit,
    "penalised": _penalised,
    "potential": _potential,
    "sharpness": _sharpness,
    "commuting": _commuting,
}

"""Verdicts that can fail: right constants confirm, each doubled or halved constant refutes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import mirrorflow as mf
from mirrorflow import certificates as certify
from mirrorflow import flows, potentials

RTOL = 1e-8
SCHEDULE = mf.Quadratic(0.8, 1.5)
TIMES = np.concatenate([[0.0], np.geomspace(1e-2, 300.0, 25)])


@pytest.fixture(scope="module")
def direct(small_module):
    return mf.direct_flow(*small_module, SCHEDULE, TIMES, RTOL)


@pytest.fixture(scope="module")
def small_module():
    rng = np.random.default_rng(5)
    Z = rng.standard_normal((6, 15))
    problem = mf.Regression(Z, Z @ np.where(np.arange(15) < 2, 1.5, 0.0))
    return problem, mf.Factors(rng.standard_normal(15), rng.standard_normal(15))


STOPPED = mf.Constant(1.2, 1.0)


@pytest.fixture(scope="module")
def stopped(small_module):
    flow = mf.direct_flow(*small_module, STOPPED, [0.0, 1e6], RTOL)
    limit = mf.interpolator(*small_module, 1.2)
    check = certify.convergence(small_module[0], limit, STOPPED, flow, RTOL)
    assert check.holds
    assert check.bound < 1e-5
    return flow


def limit_of(problem, factors):
    return mf.interpolator(problem, factors, SCHEDULE.total_infinity)


def test_everything_holds_with_the_right_constants(small_module, direct):
    problem, factors = small_module
    dual = mf.gradient_flow(problem, factors, SCHEDULE, TIMES, RTOL)
    limit = limit_of(problem, factors)
    checks = [
        certify.invariant(factors, direct, RTOL),
        certify.mirror_flow(problem, factors, direct, RTOL),
        certify.path_difference(dual, direct, RTOL),
        certify.finite_time(problem, factors, direct, RTOL),
        certify.arrival(problem, limit, SCHEDULE, direct, RTOL),
        certify.convergence(problem, limit, SCHEDULE, direct, RTOL),
        certify.optimality(problem, limit, SCHEDULE.total_infinity),
    ]
    assert [check.name for check in checks if not check.holds] == []
    # bounds that say something
    assert all(check.bound < 0.05 for check in checks)


DUAL_CONSTANTS = ("rate", "exponent", "bend", "mass_p", "mass_q", "target")


@pytest.mark.parametrize("factor", [0.5, 2.0])
@pytest.mark.parametrize("constant", DUAL_CONSTANTS)
def test_dual_constants(small_module, direct, monkeypatch, constant, factor):
    """2/n, the 4 of e^{4A}, the 1 of Vᵀκ, ½u₀², ½v₀², b: each wrong one flips the path verdict."""

    class Wrong(flows._DualSystem):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            if constant == "rate":
                self.rate = self.rate * factor
            if constant == "mass_p":
                self.log_p = self.log_p + np.log(factor)
            if constant == "mass_q":
                self.log_q = self.log_q + np.log(factor)
            if constant == "target":
                self.b = self.b * factor

        def exponents(self, t, kappa):
            decay, bend = 4.0 * self.schedule.total(t), kappa @ self.V
            decay *= factor if constant == "exponent" else 1.0
            bend *= factor if constant == "bend" else 1.0
            return self.log_p - decay + bend, self.log_q - decay - bend

    monkeypatch.setattr(flows, "_DualSystem", Wrong)
    wrong = mf.gradient_flow(*small_module, SCHEDULE, TIMES, RTOL)
    check = certify.path_difference(wrong, direct, RTOL)
    assert not check.holds
    assert check.value > 1e-3


POTENTIAL_CONSTANTS = ("exponent", "mass_p", "mass_q", "mass", "tilt")


@pytest.mark.parametrize("factor", [0.5, 2.0])
@pytest.mark.parametrize("constant", POTENTIAL_CONSTANTS)
def test_potential_constants(small_module, direct, stopped, monkeypatch, constant, factor):
    """4A, u₀, v₀, a and c of R_a: integrated (m, w) refute each wrong one, in 2.1 and in 2.3."""
    problem, factors = small_module
    right = potentials.HyperbolicEntropy.of

    def wrong(factors, total=0.0):
        R = right(factors, total * factor if constant == "exponent" else total)
        shift = np.log(factor)
        log_p = R.log_p + (shift if constant in ("mass", "mass_p") else 0.0)
        log_q = R.log_q + (shift if constant in ("mass", "mass_q") else 0.0)
        c = 0.5 * (log_p - log_q)
        if constant == "tilt":
            c = c * factor
            half = 0.5 * (log_p + log_q)
            log_p, log_q = half + c, half - c
        return mf.HyperbolicEntropy(log_p, log_q, c)

    monkeypatch.setattr(mf.HyperbolicEntropy, "of", staticmethod(wrong))
    assert not certify.mirror_flow(problem, factors, direct, RTOL).holds
    assert not certify.finite_time(problem, factors, direct, RTOL).holds
    # a stop leaves no tail of A: the bound is 100 rtol
    limit = mf.interpolator(problem, factors, 1.2)
    assert not certify.convergence(problem, limit, STOPPED, stopped, RTOL).holds


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_invariant_refutes_a_wrong_exponent(small_module, direct, factor):
    _, factors = small_module
    wrong = dataclasses.replace(direct, total=direct.total * factor)
    assert not certify.invariant(factors, wrong, RTOL).holds
    scaled = mf.Factors(factors.m * factor, factors.w)
    assert not certify.invariant(scaled, direct, RTOL).holds


def test_a_perturbed_path_fails(small_module, direct):
    problem, factors = small_module
    rng = np.random.default_rng(0)
    bent = direct.w * (1 + 1e-4 * rng.standard_normal(direct.w.shape))
    wrong = dataclasses.replace(direct, w=bent, x=direct.m * bent)
    limit = limit_of(problem, factors)
    assert not certify.invariant(factors, wrong, RTOL).holds
    assert not certify.mirror_flow(problem, factors, wrong, RTOL).holds
    assert not certify.finite_time(problem, factors, wrong, RTOL).holds
    assert not certify.path_difference(direct, wrong, RTOL).holds
    moved = dataclasses.replace(limit, x=limit.x + 0.1)
    assert not certify.convergence(problem, moved, SCHEDULE, direct, RTOL).holds


def test_arrival_fails_on_the_way(small_module):
    """A schedule that pulls harder than claimed leaves more misfit than its bound allows."""
    problem, factors = small_module
    strong = mf.Constant(0.3)
    flow = mf.direct_flow(problem, factors, strong, TIMES, RTOL)
    limit = limit_of(problem, factors)
    assert not certify.arrival(problem, limit, mf.Constant(0.0), flow, RTOL).holds


def test_a_sign_change_of_a_balanced_coordinate_is_outside_the_domain(small_module, direct):
    problem, factors = small_module
    m, w = factors.m.copy(), factors.w.copy()
    w[0] = m[0]
    balanced = mf.Factors(m, w)
    flow = mf.direct_flow(problem, balanced, SCHEDULE, TIMES, RTOL)
    assert certify.mirror_flow(problem, balanced, flow, RTOL).holds
    x = flow.x.copy()
    x[-1, 0] *= -1
    wrong = dataclasses.replace(flow, x=x)
    assert certify.mirror_flow(problem, balanced, wrong, RTOL).value == np.inf


def test_optimality_notices(small_module):
    problem, factors = small_module
    limit = limit_of(problem, factors)
    total = SCHEDULE.total_infinity
    for change in ({"constraint_residual": 1e-9}, {"stationarity_residual": 1e-9}, {"gap": 1e-6}):
        assert not certify.optimality(problem, dataclasses.replace(limit, **change), total).holds


def test_nan_never_holds():
    assert not certify.Certificate.of("x", np.nan, 1.0).holds
    assert not certify.Certificate.of("x", 1.0, np.nan).holds


def test_agreement_with_cvxpy(small_module):
    problem, factors = small_module
    limit = limit_of(problem, factors)
    potential = mf.HyperbolicEntropy.of(factors, SCHEDULE.total_infinity)
    reference = mf.min_potential(problem, factors, SCHEDULE.total_infinity)
    assert certify.agreement(limit, reference, potential).holds
    for factor in (0.5, 2.0):
        other = mf.min_potential(problem, factors, SCHEDULE.total_infinity * factor)
        assert not certify.agreement(limit, other, potential).holds
    failed = mf.Reference(limit.x, 0.0, "infeasible", "no")
    assert certify.agreement(limit, failed, potential).value == np.inf


def test_slowest_rate_is_the_measured_one(small_module):
    """After a stop the loss falls like e^{−2·rate·t}: fitted over the last third."""
    problem, factors = small_module
    schedule = mf.Constant(0.5, 1.0)
    limit = mf.interpolator(problem, factors, 0.5)
    rate = certify.slowest_rate(problem, limit)
    times = np.linspace(1.0, 14.0 / rate, 40)
    flow = mf.gradient_flow(problem, factors, schedule, times, 1e-12)
    late = slice(20, 34)
    slope = np.polyfit(times[late], np.log(flow.loss[late]), 1)[0]
    assert slope == pytest.approx(-2 * rate, rel=0.02)


def test_convergence_bound_is_sharp(small_module):
    """Quadratic schedule: the bound is twice the first-order law, so value/bound → ½."""
    problem, factors = small_module
    flow = mf.direct_flow(problem, factors, SCHEDULE, [0.0, 2e3], RTOL)
    limit = limit_of(problem, factors)
    for check in (
        certify.convergence(problem, limit, SCHEDULE, flow, RTOL),
        certify.arrival(problem, limit, SCHEDULE, flow, RTOL),
    ):
        floor = certify.PATH_FACTOR * RTOL
        assert 0.8 < 2 * check.value / (check.bound - floor) < 1.05


def test_margin_is_the_best_over_certificates():
    """Against a brute-force bisection on the feasibility of |Z_offᵀν| ≤ t."""
    from scipy.optimize import linprog

    problem = mf.gaussian_recovery(16, 30, 2, 4)
    x = problem.x_true
    on = x != 0
    low, high = 0.0, 1.0
    for _ in range(40):
        t = 0.5 * (low + high)
        off = problem.Z[:, ~on].T
        trial = linprog(
            np.zeros(16),
            A_ub=np.vstack([off, -off]),
            b_ub=np.full(2 * off.shape[0], t),
            A_eq=problem.Z[:, on].T,
            b_eq=x[on],
            bounds=(None, None),
            method="highs-ipm",
        )
        low, high = (low, t) if trial.status == 0 else (t, high)
    assert certify.margin(problem, x) == pytest.approx(1 - high, abs=1e-7)


def test_l1_excess_verdicts():
    problem = mf.gaussian_recovery(20, 50, 3, 0)
    factors = mf.Factors.pilot(np.zeros(50))
    best = mf.min_l1(problem)
    gap = certify.margin(problem, best.x)
    late = mf.interpolator(problem, factors, 3.0)
    early = mf.interpolator(problem, factors, 0.75)
    claimed = mf.HyperbolicEntropy.of(factors, 3.0)
    assert certify.l1_excess(late, claimed, best, gap).holds
    assert not certify.l1_excess(early, claimed, best, gap).holds
    assert certify.l1_excess(mf.interpolator(problem, factors, np.inf), None, best, gap).holds
    assert not certify.l1_excess(late, None, best, gap).holds

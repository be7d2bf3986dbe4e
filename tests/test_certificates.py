"""Verdicts that can fail: right constants confirm, each doubled or halved constant refutes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import mirrorflow as mf
from mirrorflow import certificates as certify
from mirrorflow.compiled import layout, options
from mirrorflow.flows import runs
from mirrorflow.maps import product

RTOL = 1e-8
SCHEDULE = mf.Quadratic(0.8, 1.5)
TIMES = np.concatenate([[0.0], np.geomspace(1e-2, 300.0, 25)])


def follow(problem, start, schedule, times, rtol=1e-10):
    """Integrated θ with ∫∇f beside it."""
    return mf.direct_flow(problem, start, schedule, times, rtol, accumulate=True)


def changed(flow, **parts):
    """The flow with other x, m, w, …"""
    layers = np.stack([parts.pop(name, getattr(flow, name)) for name in "mw"], axis=1)
    return dataclasses.replace(flow, parameters=layers, **parts)


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

    times = {constant: factor}
    parts, parameters, tabulate = mf.Factors.parts, mf.Factors.parameters, runs.tabulate

    def wrong_parts(factors):
        rows = parts(factors)
        for row, name in ((0, "mass_p"), (1, "mass_q")):
            rows[row] += np.log(times.get(name, 1.0))
        return rows

    def wrong_table(schedule, end):
        table = tabulate(schedule, end)
        table[:, 3:] *= times.get("exponent", 1.0)
        return table

    class WrongProblem(runs.Ready):
        def workspace(self, rows):
            small, wide, pairs, numbers = super().workspace(rows)
            small[layout.Y] *= times.get("target", 1.0)
            numbers[layout.SAMPLES] /= times.get("rate", 1.0)
            return small, wide, pairs, numbers

    gain = times.get("bend", 1.0)

    def wrong_point(parts, low, high, total, mu, out):
        product.point_loop(parts, low, high, total, gain * mu, out)

    monkeypatch.setattr(mf.Factors, "parts", wrong_parts)
    monkeypatch.setattr(mf.Factors, "parameters", lambda f, A, mu: parameters(f, A, gain * mu))
    monkeypatch.setattr(runs, "tabulate", wrong_table)
    monkeypatch.setattr(runs, "Ready", WrongProblem)
    if constant == "bend":
        monkeypatch.setattr(mf.Factors, "point", options.Kernel("MAP", wrong_point))
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
    right = mf.HyperbolicEntropy.of

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
    wrong = changed(direct, w=bent, x=direct.m * bent)
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


# ---- (m, w) under other losses, and Theorem 2.1 with ∫∇f beside it ----

FINE = 1e-10
LOSSES = [mf.Squared(), mf.PseudoHuber(0.7)]


@pytest.fixture(scope="module", params=LOSSES, ids=["squared", "pseudo_huber"])
def loss(request):
    return request.param


@pytest.fixture(scope="module")
def lossy(small_module, loss):
    problem, factors = small_module
    return mf.Regression(problem.Z, problem.y, loss=loss), factors


@pytest.fixture(scope="module")
def path(lossy):
    return follow(*lossy, SCHEDULE, TIMES, FINE)


def test_accumulated_gradient_is_the_integral(lossy):
    """Simpson's rule on ∇f along the path."""
    problem, factors = lossy
    times = np.linspace(0.0, 1.0, 401)
    path = follow(problem, factors, SCHEDULE, times)
    slopes = np.array([problem.gradient(x) for x in path.x])
    weights = np.full(401, 2.0)
    weights[1::2], weights[[0, -1]] = 4.0, 1.0
    assert path.accumulated[-1] == pytest.approx(weights @ slopes / 1200.0, abs=1e-7)


def test_theorem_2_1_holds_for_every_loss(lossy, path):
    problem, factors = lossy
    checks = [
        certify.mirror_equation(factors, path, FINE),
        certify.closed_form(factors, path, FINE),
        certify.positional_bias(factors, path, FINE),
        certify.loss_slope(problem, SCHEDULE, path, FINE),
        certify.invariant(factors, path, FINE),
        certify.mirror_flow(problem, factors, path, FINE),
        certify.finite_time(problem, factors, path, FINE),
    ]
    assert [check for check in checks if not check.holds] == []
    assert all(check.bound < 1e-3 for check in checks)


@pytest.mark.parametrize(
    "constants",
    [(2, 2, 0.5), (2, 4, 0.5), (0.5, 4, 0.5), (1, 2, 0.5), (1, 8, 0.5), (1, 4, 0.25), (1, 4, 1)],
)
def test_mirror_equation_refutes(small_module, path, constants):
    """arXiv v1's constants, each of them alone, and the opposite slips."""
    check = certify.mirror_equation(small_module[1], path, FINE, certify.Constants(*constants))
    assert not check.holds
    assert check.value > 0.05


def test_closed_forms_refute(small_module, path):
    _, factors = small_module
    for factor in (0.5, 2.0):
        assert certify.closed_form(factors, path, FINE, factor).value > 0.4
    for wrong in (mf.Factors(1.01 * factors.m, factors.w), mf.Factors(factors.m, -factors.w)):
        assert not certify.closed_form(wrong, path, FINE).holds
    for exponent in (2.0, 8.0):
        assert not certify.positional_bias(factors, path, FINE, exponent).holds
    bent = dataclasses.replace(path, accumulated=path.accumulated + 1e-4)
    assert not certify.mirror_equation(factors, bent, FINE).holds
    assert not certify.closed_form(factors, bent, FINE).holds


@pytest.mark.parametrize("constants", [(0.5, 0.5), (0.5, 1), (1, 0.5), (2, 1), (1, 2)])
def test_loss_slope_refutes(lossy, path, constants):
    problem, _ = lossy
    check = certify.loss_slope(problem, SCHEDULE, path, FINE, constants)
    assert check.value > 0.05


def test_signs_kept(lossy):
    problem, factors = lossy
    balanced = mf.Factors.balanced(factors.x)
    path = follow(problem, balanced, SCHEDULE, TIMES[:15])
    assert certify.signs_kept(balanced, path, FINE).holds
    assert not certify.signs_kept(mf.Factors.balanced(-factors.x), path, FINE).holds


# ---- Theorem 2.2 ----


def test_lyapunov(lossy, path):
    problem, factors = lossy
    total = SCHEDULE.total_infinity
    other = np.linalg.lstsq(problem.Z, problem.y, rcond=None)[0]
    for x_star in (limit_of(problem, factors).x, other):
        assert certify.lyapunov_falls(problem, factors, path, x_star, total, FINE).holds
        assert certify.lyapunov_bounds_divergence(problem, factors, path, x_star, total).holds
    # backwards it rises; with a total that the path exceeds it is no upper bound
    back = _back(path)
    assert not certify.lyapunov_falls(problem, factors, back, other, total, FINE).holds
    low = 0.5 * total
    assert not certify.lyapunov_bounds_divergence(problem, factors, path, other, low).holds


def _back(path):
    """The path run backwards."""
    return _rows(path, slice(None, None, -1))


def _rows(path, rows):
    """Other rows of the path, or in another order; its first times."""
    names = ("x", "parameters", "loss", "total", "accumulated")
    parts = {name: getattr(path, name)[rows] for name in names}
    return dataclasses.replace(path, times=path.times[: len(parts["x"])], **parts)


def test_an_infeasible_x_star_is_refused(small_module, path):
    with pytest.raises(
        mf.InputError, match=r"x_star must make every entry of Zx the minimiser .* largest residual"
    ):
        certify.lyapunov_falls(*small_module, path, np.ones(15), 1.2, FINE)
    with pytest.raises(mf.InputError, match="x_star must have 15 entries"):
        certify.lyapunov_bounds_divergence(*small_module, path, np.ones(3), 1.2)


def test_eventually_falling(lossy, path):
    problem, factors = lossy
    assert certify.eventually_falling(problem, path, 30.0, FINE).holds
    pulses = mf.Piecewise([0.0, 10.0, 11.0, 20.0, 20.5], [0.0, 1.0, 0.0, 1.0, 0.0])
    times = [0.0, 10.0, 11.0, 20.0, 20.5, 30.0]
    kicked = follow(problem, factors, pulses, times)
    assert not certify.eventually_falling(problem, kicked, 15.0, FINE).holds
    with pytest.raises(mf.InputError, match="after must leave two output times"):
        certify.eventually_falling(problem, path, 299.0, FINE)


def test_penalty_adds(lossy):
    """From a minimiser f rises: an additive term allows it, a multiplicative one does not."""
    problem, factors = lossy
    at_rest = mf.Regression(problem.Z, problem.Z @ factors.x, loss=problem.loss)
    times = np.linspace(0.0, 3.0, 13)
    kicked = follow(at_rest, factors, STOPPED, times)
    assert certify.additive_penalty(at_rest, factors, STOPPED, kicked, FINE).holds
    assert not certify.stays_at_minimiser(at_rest, kicked, FINE).holds
    # a fortieth of the penalty would not explain this loss
    less = mf.Constant(STOPPED.strength / 40, STOPPED.stop)
    assert not certify.additive_penalty(at_rest, factors, less, kicked, FINE).holds
    still = follow(at_rest, factors, mf.Constant(0.0), times)
    assert certify.stays_at_minimiser(at_rest, still, FINE).holds
    with pytest.raises(mf.InputError, match="path must start at a minimiser"):
        certify.stays_at_minimiser(problem, _rows(_back(kicked), slice(3)), FINE)


@pytest.fixture(scope="module")
def after_stop(lossy):
    """PILoT factors and a stop: penalty-free from t = 1."""
    problem = lossy[0]
    factors = mf.Factors.pilot(lossy[1].x, 2.0)
    limit = mf.interpolator(problem, factors, 1.2)
    end = 1.0 + 40.0 / certify.slowest_rate(problem, limit)
    times = np.concatenate([np.linspace(0.0, 1.0, 9), np.linspace(1.0, end, 81)[1:]])
    return factors, limit, follow(problem, factors, STOPPED, times)


def test_rates_after_a_stop(lossy, after_stop):
    problem, (factors, limit, path) = lossy[0], after_stop
    lower = certify.lower_rate(problem, factors, 1.2, path, 1.0, FINE)
    assert lower.holds
    assert lower.bound < 1.05
    exact = certify.asymptotic_rate(problem, limit, path, FINE)
    assert exact.holds
    assert exact.bound < 0.1
    assert certify.linear_rate(problem, factors, 1.2, _rows(path, slice(40))).holds
    assert certify.convergence(problem, limit, STOPPED, path, FINE).holds
    assert certify.arrival(problem, limit, STOPPED, path, FINE).holds


def test_rates_refute(lossy, after_stop):
    problem, (factors, limit, path) = lossy[0], after_stop
    # a claim of a larger a: less penalty, larger β
    larger = mf.Factors.pilot(factors.x, 2000.0)
    assert not certify.lower_rate(problem, larger, 0.0, path, 1.0, FINE).holds
    # a loss that falls like e^{−t/2} is judged by that rate
    falling = dataclasses.replace(path, loss=np.exp(-0.5 * path.times))
    a = np.exp(mf.HyperbolicEntropy.of(factors, 1.2).log_a).min()
    claimed = 2.0 * certify.pl_constant(problem, path) * a
    check = certify.lower_rate(problem, factors, 1.2, falling, 1.0, FINE)
    assert check.value == pytest.approx(claimed / 0.5, rel=1e-9)
    for total in (0.6, 2.4):
        other = mf.interpolator(problem, factors, total)
        assert not certify.asymptotic_rate(problem, other, path, FINE).holds
    twice = dataclasses.replace(limit, parameters=2**0.5 * limit.parameters)
    assert not certify.asymptotic_rate(problem, twice, path, FINE).holds
    early = certify.asymptotic_rate(problem, limit, _rows(path, slice(5)), FINE)
    assert np.isnan(early.value)
    assert not early.holds
    with pytest.raises(mf.InputError, match="stop must leave two output times"):
        certify.lower_rate(problem, factors, 1.2, path, 1e5, FINE)


def test_power_law_and_the_printed_linear_rate(lossy):
    problem, factors = lossy[0], mf.Factors.pilot(lossy[1].x, 2.0)
    limit = limit_of(problem, factors)
    end = 1500.0 / certify.slowest_rate(problem, limit)
    times = [0.0, 0.5 * end, end]
    path = follow(problem, factors, SCHEDULE, times, 1e-12)
    check = certify.power_law(problem, factors, SCHEDULE, path, 1e-12)
    assert check.holds
    assert check.bound < 0.1
    for factor in (0.5, 2.0):
        wrong = mf.Quadratic(factor * SCHEDULE.strength, SCHEDULE.timescale)
        assert not certify.power_law(problem, factors, wrong, path, 1e-12).holds
    # the loss follows α_t², so f_T/f_{T/2} → 1/16 and no exponential holds
    assert path.loss[2] / path.loss[1] == pytest.approx(1 / 16, rel=0.05)
    assert not certify.linear_rate(problem, factors, SCHEDULE.total_infinity, path).holds


# ---- Theorem 2.3 and outside its conditions ----


def test_lasso(small_module):
    problem, factors = small_module
    alpha = 0.05
    limit = mf.lasso_limit(problem, factors, alpha)
    path = follow(problem, factors, mf.Constant(alpha), np.linspace(0.0, 200.0, 21))
    assert certify.lasso_kkt(problem, limit.x, alpha).holds
    assert certify.lasso_agreement(problem, limit.x, alpha).holds
    assert certify.lasso_suboptimality(problem, factors, limit, alpha, path, FINE).holds
    # λ is 2α: neither α nor 4α; and no other point
    for factor in (0.5, 2.0):
        assert not certify.lasso_kkt(problem, limit.x, factor * alpha).holds
        assert not certify.lasso_agreement(problem, limit.x, factor * alpha).holds
        other = mf.lasso_limit(problem, factors, factor * alpha)
        assert not certify.lasso_kkt(problem, other.x, alpha).holds
    moved = limit.x + 1e-6 * (limit.x != 0)
    assert not certify.lasso_kkt(problem, moved, alpha).holds
    assert not certify.lasso_agreement(problem, limit.x + 1e-3, alpha).holds
    strong = mf.lasso_limit(problem, factors, 4 * alpha)
    arguments = (problem, factors, strong, 4 * alpha, path, FINE)
    assert not certify.lasso_suboptimality(*arguments).holds


def test_entropic_choice():
    """Columns that occur twice: minimum L1 is a segment, the entropy picks the point."""
    rng = np.random.default_rng(3)
    half = rng.standard_normal((5, 10))
    problem = mf.Regression(np.hstack([half, half]), half[:, 0] - 0.5 * half[:, 4])
    factors = mf.Factors.pilot(rng.standard_normal(20))
    limit = mf.interpolator(problem, factors, np.inf)
    assert certify.entropic_choice(problem, factors, limit).holds
    chosen = int(np.argmax(np.abs(limit.x[:10])))
    shift = 1e-6 * np.sign(limit.x[chosen]) * (np.arange(20) == chosen)
    moved = limit.x - shift + np.roll(shift, 10)  # as short, the same Zx
    assert np.abs(moved).sum() == pytest.approx(np.abs(limit.x).sum(), abs=1e-14)
    assert not certify.entropic_choice(problem, factors, dataclasses.replace(limit, x=moved)).holds
    scaled = mf.Factors(factors.m * np.linspace(1, 2, 20), factors.w)
    assert not certify.entropic_choice(problem, scaled, limit).holds


def test_l1_exponent():
    problem = mf.gaussian_recovery(20, 50, 3, 0)
    factors = mf.Factors.pilot(np.zeros(50))
    best = mf.min_l1(problem).x
    gap = certify.margin(problem, best)
    totals = (0.3 / gap, 6.0 / gap)
    start = mf.HyperbolicEntropy.of(factors)
    pair = tuple(mf.interpolator(problem, factors, total) for total in totals)
    check = certify.l1_exponent(problem, start, pair, totals, best, gap)
    assert check.holds
    assert check.value < 0.1 * gap
    for factor in (0.5, 2.0):
        assert not certify.l1_exponent(problem, start, pair, totals, best, factor * gap).holds
    # below rounding of x the mass says nothing, and the check says so
    late = (totals[0], 20.0 / gap)
    pair = tuple(mf.interpolator(problem, factors, total) for total in late)
    assert np.isnan(certify.l1_exponent(problem, start, pair, late, best, gap).value)
    with pytest.raises(mf.InputError, match="best must have a zero"):
        certify.l1_exponent(problem, start, pair, late, np.ones(50), gap)


# ---- what R_a prefers ----


@pytest.fixture(scope="module")
def away():
    rng = np.random.default_rng(2)
    return rng.choice([-1.0, 1.0], 15) * rng.uniform(0.5, 2.0, 15)


def test_late_l1(small_module, away):
    factors = mf.Factors.pilot(small_module[1].x, 2.0)
    assert certify.late_l1(factors, away, (1.0, 3.0)).holds
    for claimed in (0.25, 1.0):
        assert not certify.late_l1(factors, away, (1.0, 3.0), claimed).holds
    with pytest.raises(mf.InputError, match="totals must be two numbers or more that ascend"):
        certify.late_l1(factors, away, (3.0, 1.0))


def test_early_l2(small_module, away, monkeypatch):
    wide = mf.HyperbolicEntropy.of(mf.Factors.pilot(small_module[1].x, 50.0))
    check = certify.early_l2(wide, away)
    assert check.holds
    assert check.bound < 1e-3
    right = mf.HyperbolicEntropy.divergence
    monkeypatch.setattr(
        mf.HyperbolicEntropy, "divergence", lambda self, x, y: 1.01 * right(self, x, y)
    )
    assert not certify.early_l2(wide, away).holds


def test_type_of_bias(small_module, away, monkeypatch):
    factors = mf.Factors.pilot(small_module[1].x, 20.0)
    totals = np.linspace(0.0, 4.0, 9).tolist()
    assert certify.type_of_bias(factors, away, totals).holds
    first, last = (
        certify.bias_exponent(mf.HyperbolicEntropy.of(factors, total), away) for total in (0, 4)
    )
    assert first == pytest.approx(np.full(15, 2.0), abs=0.01)  # ρ ≤ 0.2
    assert (last < 1.1).all()
    assert (last > 1.0).all()
    with pytest.raises(mf.InputError, match=r"x must have no zero entry, but x\[3\]"):
        certify.type_of_bias(factors, np.where(np.arange(15) == 3, 0.0, away), totals)
    with monkeypatch.context() as patch:  # an exponent that stays at 2
        patch.setattr("mirrorflow.certificates.bias.bias_exponent", lambda R, x: np.full(15, 2.0))
        assert not certify.type_of_bias(factors, away, totals).holds
    right = mf.HyperbolicEntropy.of
    monkeypatch.setattr(
        mf.HyperbolicEntropy, "of", staticmethod(lambda f, total=0.0: right(f, 4.0 - total))
    )
    assert not certify.type_of_bias(factors, away, totals).holds


def test_reachable_range(small_module, monkeypatch):
    _, factors = small_module
    assert certify.reachable_range(factors, [0.0, 1.0, 8.0], 2.0).holds
    with pytest.raises(mf.InputError, match="totals must be a sequence that is not empty"):
        certify.reachable_range(factors, [], 2.0)
    right = mf.HyperbolicEntropy.of
    monkeypatch.setattr(
        mf.HyperbolicEntropy, "of", staticmethod(lambda f, total=0.0: right(f, 0.5 * total))
    )
    assert not certify.reachable_range(factors, [0.0, 1.0, 8.0], 2.0).holds


def test_smoothness(small_module):
    potential = mf.HyperbolicEntropy.of(small_module[1], 0.3)
    a = float(np.exp(potential.log_a).min())
    assert certify.smoothness(potential).holds
    for claimed in (a, 1 / a, 0.25 / a):
        assert not certify.smoothness(potential, claimed).holds


# ---- sharpness ----


def test_hessian_is_the_slope_of_the_gradient(small_module):
    problem, factors = small_module

    def gradient(state):
        m, w = state[:15], state[15:]
        slope = problem.Z.T @ (problem.Z @ (m * w) - problem.y) / 6
        return np.concatenate([w * slope, m * slope]) + 0.6 * state

    state, h = np.concatenate([factors.m, factors.w]), 1e-5
    rows = [(gradient(state + h * e) - gradient(state - h * e)) / (2 * h) for e in np.eye(30)]
    found = certify.hessian(problem, factors.m, factors.w, 0.3)
    assert found == pytest.approx(np.array(rows), abs=1e-8)


def test_sharpness_along_a_path(small_module, direct):
    problem, _ = small_module
    trace, largest = certify.sharpness(problem, direct, SCHEDULE)
    for i in (0, 7, -1):
        alpha = float(SCHEDULE.alpha(direct.times[i]))
        H = certify.hessian(problem, direct.m[i], direct.w[i], alpha)
        assert trace[i] == pytest.approx(np.trace(H), rel=1e-12)
        assert largest[i] == pytest.approx(np.linalg.norm(H, 2), rel=1e-12)
    limit = 2.0 / largest.max()
    assert certify.stable_step(problem, direct, SCHEDULE, 0.999 * limit).holds
    assert not certify.stable_step(problem, direct, SCHEDULE, 1.001 * limit).holds
    with pytest.raises(mf.InputError, match="step_size must be a finite number above 0"):
        certify.stable_step(problem, direct, SCHEDULE, 0.0)


def test_sharpness_at_the_limit(small_module):
    problem, factors = small_module
    limit = mf.interpolator(problem, factors, 0.5)
    assert certify.limit_sharpness(problem, factors, limit).holds
    for ratio in (0.95, 1.05):
        assert certify.stability(problem, factors, limit, ratio).holds
    # weights that are off by 1 %, and a point that is no minimiser
    wrong = dataclasses.replace(limit, parameters=1.01**0.5 * limit.parameters)
    assert not certify.stability(problem, factors, wrong, 1.05).holds
    with pytest.MonkeyPatch.context() as patch:
        right = certify.hessian
        patch.setattr("mirrorflow.certificates.hessians.hessian", lambda P, m, w: right(P, w, w))
        assert not certify.limit_sharpness(problem, factors, limit).holds
    bare = dataclasses.replace(limit, status="inconsistent")
    with pytest.raises(mf.InputError, match="limit must be converged"):
        certify.stability(problem, factors, bare, 1.05)


# ---- what refutes, and what can't be judged ----


def test_three_verdicts():
    of = certify.Certificate.of
    assert [of("x", value, 1.0).verdict for value in (0.5, 2.0, np.inf)] == [
        "confirmed",
        "refuted",
        "refuted",
    ]
    for value, bound in ((np.nan, 1.0), (0.5, np.nan), (np.inf, np.nan)):
        assert of("x", value, bound).verdict == "can't be judged"
    # what the integrator may be off by refutes nothing, and confirms nothing
    assert of("x", 2.0, 1.0, explained=3.0).verdict == "can't be judged"
    assert of("x", 3.0, 1.0, explained=3.0).verdict == "can't be judged"
    assert of("x", 4.0, 1.0, explained=3.0).verdict == "refuted"
    assert of("x", 0.5, 1.0, explained=3.0).verdict == "confirmed"


def test_names_of_a_row_are_unique():
    check = certify.Certificate.of("one", 1.0, 2.0)
    row = certify.columns([("one", check), ("two", check)])
    assert row == {
        **{"one": 1.0, "one_bound": 2.0, "one_holds": True},
        **{"two": 1.0, "two_bound": 2.0, "two_holds": True},
    }
    with pytest.raises(ValueError, match="two certificates of one run are named 'one'"):
        certify.columns([("one", check), ("one", check)])


def scaled(small, unit=1.0, size=1.0, columns=1.0, rows=1.0):
    """The same flow in other units: Z and y times `unit`, x times `size`, and so on.

    Row scalings change the flow, but neither Theorem 2.1 nor the set {Zx = y}.
    """
    problem, factors = small
    grown = np.sqrt(size * columns)
    there = mf.Regression(
        np.multiply.outer(rows * np.ones(6), unit / columns * np.ones(15)) * problem.Z,
        rows * unit * size * problem.y,
    )
    return there, mf.Factors(factors.m * grown, factors.w * grown), 1.0 / (unit**2 * size)


def every_check(problem, factors, time, unit):
    """All certificates of one problem whose flow takes `time`, with y of size `unit`."""
    schedule, times = mf.Quadratic(0.8 / time, 1.5 * time), TIMES * time
    total, alpha = SCHEDULE.total_infinity, 0.05 * unit
    potential = mf.HyperbolicEntropy.of(factors, total)
    direct = mf.direct_flow(problem, factors, schedule, times, RTOL)
    dual = mf.gradient_flow(problem, factors, schedule, times, RTOL)
    limit, endless = (mf.interpolator(problem, factors, A) for A in (total, np.inf))
    lasso, best = mf.lasso_limit(problem, factors, alpha), mf.min_l1(problem)
    yield certify.path_difference(dual, direct, RTOL)
    yield certify.arrival(problem, limit, schedule, direct, RTOL)
    yield certify.convergence(problem, limit, schedule, direct, RTOL)
    yield certify.optimality(problem, limit, total)
    yield certify.agreement(limit, mf.min_potential(problem, factors, total), potential)
    yield certify.l1_excess(limit, best, total)
    yield certify.l1_excess(endless, best, np.inf)
    yield certify.entropic_choice(problem, factors, endless)
    yield certify.lasso_kkt(problem, lasso.x, alpha)
    yield certify.lasso_agreement(problem, lasso.x, alpha)
    yield certify.limit_sharpness(problem, factors, limit)
    path = follow(problem, factors, schedule, times, FINE)
    yield certify.mirror_equation(factors, path, FINE)
    yield certify.closed_form(factors, path, FINE)
    yield certify.positional_bias(factors, path, FINE)
    yield certify.loss_slope(problem, schedule, path, FINE)
    yield certify.lyapunov_falls(problem, factors, path, limit.x, total, FINE)
    yield certify.lyapunov_bounds_divergence(problem, factors, path, limit.x, total)
    yield certify.eventually_falling(problem, path, 30.0 * time, FINE)
    yield certify.additive_penalty(problem, factors, schedule, path, FINE)
    for flow, rtol in ((direct, RTOL), (path, FINE)):
        yield certify.invariant(factors, flow, rtol)
        yield certify.mirror_flow(problem, factors, flow, rtol)
        yield certify.finite_time(problem, factors, flow, rtol)


@pytest.mark.parametrize("power", [-12, -6, -2, 2, 6, 12])
@pytest.mark.parametrize("what", ["unit", "size"])
def test_verdicts_are_the_same_in_all_units(small_module, what, power):
    problem, factors, time = scaled(small_module, **{what: 10.0**power})
    size = 100.0**power if what == "unit" else 10.0**power
    for check in every_check(problem, factors, time, size):
        assert check.verdict == "confirmed", check


@pytest.mark.filterwarnings("ignore:Objective did not converge")
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("decades", [1, 3])
@pytest.mark.parametrize("what", ["columns", "rows"])
def test_nothing_is_refuted_under_uneven_scales(small_module, what, decades, seed):
    """Columns or rows over 10^(±decades): theorems hold, and what float64 loses is not judged."""
    rng = np.random.default_rng(seed)
    scales = 10.0 ** rng.uniform(-decades, decades, 15 if what == "columns" else 6)
    problem, factors, time = scaled(small_module, **{what: scales})
    checks = list(every_check(problem, factors, time, 1.0))
    assert [check for check in checks if check.verdict == "refuted"] == []
    assert sum(check.holds for check in checks) >= 0.8 * len(checks)


def test_bounds_know_the_steps(small_module):
    """Raw units: thousands of steps at the limit of stability, each off by a part of rtol."""
    problem, factors, _ = scaled(small_module, unit=1e3)
    schedule = mf.Constant.from_total(1.0, 10.0)
    flow = mf.direct_flow(problem, factors, schedule, np.geomspace(1e-3, 10.0, 9), RTOL)
    dual = mf.gradient_flow(problem, factors, schedule, flow.times, RTOL)
    bound = RTOL * (100 + flow.steps)
    for check in (
        certify.invariant(factors, flow, RTOL),
        certify.mirror_flow(problem, factors, flow, RTOL),
        certify.finite_time(problem, factors, flow, RTOL),
    ):
        assert check.holds
        assert check.bound == pytest.approx(bound, rel=1e-12)
        assert check.bound < 1e-3  # a wrong constant moves values by 0.1 and more
    both = certify.path_difference(dual, flow, RTOL)
    assert both.holds
    assert both.bound == pytest.approx(bound + RTOL * (100 + dual.steps), rel=1e-12)


def made_of(direct, u, v):
    """A flow through (u, v), (T, 1), from the first of them and without penalty; 100 steps."""
    u, v = (np.array(part, float)[:, None] / np.sqrt(2.0) for part in (u, v))
    still = np.zeros(len(u))
    parts = {"m": u + v, "w": u - v, "x": (u + v) * (u - v), "times": still, "total": still}
    return mf.Factors((u + v)[0], (u - v)[0]), changed(direct, **parts, steps=100)


def test_a_factor_that_was_swamped_judges_nothing(direct):
    """v beside u = 1e8 v holds half the digits; once u is as small, they are what is left."""
    factors, path = made_of(direct, [1e4, 1.0], [1e-4, 1.0 + 1e-3])
    assert certify.invariant(factors, path, RTOL).verdict == "can't be judged"
    factors, path = made_of(direct, [2.0, 1.0], [0.5, 1.0 + 1e-3])
    assert certify.invariant(factors, path, RTOL).verdict == "refuted"
    # and where it still is, the product is as exact as ever
    factors, path = made_of(direct, [1.0, 1e4], [1.0, 1.1e-4])
    assert certify.invariant(factors, path, RTOL).verdict == "confirmed"


def test_a_coordinate_that_vanished_is_missed(small_module, direct):
    m, w = direct.m.copy(), direct.w.copy()
    m[-1, 3] = w[-1, 3] = 0.0
    check = certify.invariant(small_module[1], changed(direct, m=m, w=w), RTOL)
    assert check.value == np.inf
    assert check.verdict == "refuted"


SIGNS = np.array([1.0, -1.0, 1.0, -1.0])


@pytest.fixture(scope="module")
def coneless():
    """Balanced factors whose signs allow no interpolator, until rounding lets them part."""
    Z = np.array([[1.6, -1.6, 1.2, -2.2], [-0.3, 0.4, -1.4, -1.5]])
    problem, factors = mf.Regression(Z, [0.2, 0.9]), mf.Factors(np.ones(4), SIGNS)
    return problem, factors, mf.Quadratic.from_total(1.0, 10.0)


def test_a_dual_that_grows_without_end_refutes_nothing(coneless):
    """The dual form holds exponents to rtol of the largest, here that of a vanishing x_i."""
    times = np.concatenate([[0.0], np.geomspace(1e-2, 1e7, 30)])
    dual, direct = mf.gradient_flow(*coneless, times), mf.direct_flow(*coneless, times)
    assert certify.path_difference(dual, direct, RTOL).verdict != "refuted"
    moved = dataclasses.replace(dual, x=dual.x + 0.1)
    assert certify.path_difference(moved, direct, RTOL).value > 0.05


def test_signs_that_rounding_turned_judge_nothing(coneless):
    problem, factors, schedule = coneless
    flow = mf.direct_flow(problem, factors, schedule, [0.0, 1.0, 10.0])
    assert certify.signs_kept(factors, flow, RTOL).verdict == "confirmed"
    turned = changed(flow, w=-flow.w, x=-flow.x)
    assert certify.signs_kept(factors, turned, RTOL).verdict == "refuted"
    parted = changed(turned, m=0.5 * flow.m)  # |m| = |w| no longer: it was not kept
    assert certify.signs_kept(factors, parted, RTOL).verdict == "can't be judged"


def test_a_limit_that_was_not_found_judges_nothing(small_module, direct, monkeypatch):
    problem, factors = small_module
    limit = dataclasses.replace(limit_of(problem, factors), status="not_converged")
    monkeypatch.setattr("mirrorflow.certificates.mirror.interpolator", lambda *_: limit)
    far = dataclasses.replace(limit, constraint_residual=1.0)
    best = mf.min_l1(problem)
    failed = mf.Reference(best.x, best.value, "failed", "no")
    for check in (
        certify.finite_time(problem, factors, direct, RTOL),
        certify.arrival(problem, limit, SCHEDULE, direct, RTOL),
        certify.convergence(problem, limit, SCHEDULE, direct, RTOL),
        certify.optimality(problem, far, 1.2),
        certify.l1_excess(limit, best, np.inf),
        certify.l1_excess(limit_of(problem, factors), failed, np.inf),
    ):
        assert check.verdict == "can't be judged", check
        assert check.value > 0.1


def test_optimality_is_a_matter_of_rounding(small_module):
    problem, factors = small_module
    limit = limit_of(problem, factors)
    for total in (0.0, 1.2):
        bound = certify.optimality(problem, limit, total).bound
        assert bound == pytest.approx(50 * 2.0**-52 * (1 + 4 * total), rel=1e-12)
    wrong = dataclasses.replace(limit, stationarity_residual=1e-6)
    assert certify.optimality(problem, wrong, 1.2).verdict == "refuted"


# ---- every time counts, and every constant ----


def _changed(path, name, at, value):
    array = getattr(path, name).copy()
    array[at] = value
    return dataclasses.replace(path, **{name: array})


def test_a_rise_in_the_middle_is_seen(small_module, path):
    """Two output times exchanged: W rises between them and ends as low as ever."""
    order = np.arange(path.times.size)
    order[[5, 15]] = order[[15, 5]]
    swapped = _rows(path, order)
    problem, factors = small_module
    x_star = limit_of(problem, factors).x
    total = SCHEDULE.total_infinity
    assert not certify.lyapunov_falls(problem, factors, swapped, x_star, total, FINE).holds
    # a potential sharper than the last one, at one time: there W is no upper bound
    early = _changed(path, "total", 3, 2.0 * total)
    assert not certify.lyapunov_bounds_divergence(problem, factors, early, x_star, total).holds


def test_pl_constant_is_the_one_of_theorem_2_2(lossy, path):
    problem, _ = lossy
    squared = 2.0 * np.linalg.svd(problem.Z, compute_uv=False)[-1] ** 2 / 6
    largest = np.abs(path.x @ problem.Z.T - problem.y).max()
    found = certify.pl_constant(problem, path)
    assert found == pytest.approx(squared * problem.loss.steepness(largest), rel=1e-12)


def test_the_penalty_adds_what_gronwall_says(lossy):
    """f_t over e^{−Λt}f₀ + 4 max|⟨∇f, x⟩|·α(e^{−Λ(t−s)} − e^{−Λt})/Λ, s the end of the penalty."""
    problem, factors = lossy[0], mf.Factors.pilot(lossy[1].x, 2.0)
    times = np.linspace(0.0, 3.0, 13)
    path = follow(problem, factors, STOPPED, times)
    products = np.array([problem.gradient(x) @ x for x in path.x])
    largest = np.abs(products).max() + np.abs(np.diff(products)).max()
    a = np.exp(mf.HyperbolicEntropy.of(factors, 1.2).log_a).min()
    rate, later = 2.0 * certify.pl_constant(problem, path) * a, times[1:]
    spent = np.exp(-rate * np.maximum(later - 1.0, 0.0)) - np.exp(-rate * later)
    right = np.exp(-rate * later) * path.loss[0] + 4.0 * largest * 1.2 * spent / rate
    check = certify.additive_penalty(problem, factors, STOPPED, path, FINE)
    assert check.value == pytest.approx((path.loss[1:] / right).max(), rel=1e-6)


def test_lasso_notices_every_time_and_every_coordinate(small_module):
    """∇f = −1 where x = 0 and 2α = 0.2: 4 too many. And F above its bound early on."""
    simple = mf.Regression([[1.0, 0.0]], [1.0])
    check = certify.lasso_kkt(simple, np.zeros(2), 0.1)
    assert check.value == pytest.approx(4.0)
    assert check.verdict == "refuted"
    problem, factors = small_module
    limit = mf.lasso_limit(problem, factors, 0.05)
    path = follow(problem, factors, mf.Constant(0.05), np.linspace(0.0, 200.0, 21))
    arguments = (problem, factors, limit, 0.05)
    assert certify.lasso_suboptimality(*arguments, path, FINE).holds
    high = _changed(path, "loss", 1, 1e3)
    assert not certify.lasso_suboptimality(*arguments, high, FINE).holds


def test_a_flow_that_was_on_a_plateau_judges_nothing():
    """A large A leads to e^(−4A): at 40 time constants of the limit a flow may still be there."""
    problem = mf.Regression([[0.6, -1.0, 0.3]], [1.0])
    factors, schedule = mf.Factors.pilot([0.3, -0.5, 0.2]), mf.Constant.from_total(14.0, 10.0)
    limit = mf.interpolator(problem, factors, 14.0)
    rate = certify.slowest_rate(problem, limit)
    wrong = dataclasses.replace(limit, x=0.9 * limit.x)
    for constants, verdict in ((40.0, "can't be judged"), (400.0, "confirmed")):
        times = np.concatenate([[0.0], np.geomspace(1e-3, 10.0 + constants / rate, 80)])
        flow = mf.direct_flow(problem, factors, schedule, times, RTOL)
        # after e^(−56) |m| = |w| to the last bit: x can't say any more where it should have gone
        for check, wanted in (
            (certify.arrival, "refuted"),
            (certify.convergence, "can't be judged"),
        ):
            assert check(problem, limit, schedule, flow, RTOL).verdict == verdict
            if verdict == "confirmed":
                assert check(problem, wrong, schedule, flow, RTOL).verdict == wanted


def test_what_a_rival_or_a_tie_is_off_by_refutes_nothing(small_module):
    problem, factors = small_module
    endless = mf.interpolator(problem, factors, np.inf)
    for off, total, verdict in (
        (1e-7, np.inf, "can't be judged"),
        (1e-7, 1.0, "refuted"),
        (1e-5, np.inf, "refuted"),
    ):
        tied = dataclasses.replace(endless, stationarity_residual=off)
        assert certify.optimality(problem, tied, total).verdict == verdict
    best = mf.min_l1(problem)
    for off, verdict in ((1e-8, "can't be judged"), (1e-5, "refuted")):
        rival = dataclasses.replace(best, value=best.value * (1.0 + off))
        assert certify.l1_excess(endless, rival, np.inf).verdict == verdict
    limit, R = mf.interpolator(problem, factors, 1.0), mf.HyperbolicEntropy.of(factors, 1.0)
    rival = mf.min_potential(problem, factors, 1.0)
    away = dataclasses.replace(rival, x=rival.x + 0.1)
    assert certify.agreement(limit, away, R).verdict == "refuted"
    inexact = dataclasses.replace(away, status="optimal_inaccurate")
    assert certify.agreement(limit, inexact, R).verdict == "can't be judged"


def test_the_unit_of_misfits(small_module, direct):
    """√f, f = 1/(2n)‖·‖², of the largest |Z|½(m² + w²) along the path."""
    problem, _ = small_module
    values = [
        np.mean((np.abs(problem.Z) @ (0.5 * (m**2 + w**2))) ** 2) / 2.0
        for m, w in zip(direct.m, direct.w, strict=True)
    ]
    for order in (slice(None), slice(None, None, -1)):  # wherever it is on the path
        path = changed(direct, m=direct.m[order], w=direct.w[order])
        assert certify.base.misfit_unit(problem, path) == pytest.approx(np.sqrt(max(values)))


def test_a_path_that_failed_refutes_nothing(recovery):
    """Where steps fall below rounding rtol no longer bounds errors; what agrees is confirmed."""
    problem, start = recovery
    times, schedule = [0.0, 1.0, 10.0], mf.Constant(0.1, 5.0)
    dual = mf.gradient_flow(problem, start, schedule, times, 1e-9)
    direct = mf.direct_flow(problem, start, schedule, times, 1e-9, accumulate=True)
    off = dataclasses.replace(direct, parameters=1.01 * direct.parameters, x=1.0201 * direct.x)
    for flow, verdict in ((off, "refuted"), (direct, "confirmed")):
        assert mf.certificates.path_difference(dual, flow, 1e-9).verdict == verdict
        assert mf.certificates.mirror_equation(start, flow, 1e-9).verdict == verdict
    failed = dataclasses.replace(off, status="failed")
    stopped = dataclasses.replace(dual, status="failed")
    assert mf.certificates.mirror_equation(start, failed, 1e-9).verdict == "can't be judged"
    for pair in ((dual, failed), (stopped, off)):
        assert mf.certificates.path_difference(*pair, 1e-9).verdict == "can't be judged"
    assert mf.certificates.path_difference(stopped, direct, 1e-9).verdict == "confirmed"

"""Numbers of certificates: values and bounds against the formulas of their docstrings, in loops."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

import mirrorflow as mf
from mirrorflow import certificates as certify
from mirrorflow.certificates import base
from mirrorflow.certificates.limits import Moving, _slowest, _transient
from mirrorflow.certificates.lyapunov import linear_constant
from mirrorflow.descent.mean_square import trace_bound
from mirrorflow.descent.signs import SignDescent
from mirrorflow.descent.stochastic import StochasticPath

EPS = 2.0**-52
RTOL = 1e-8
SCHEDULE = mf.Quadratic(0.8, 1.5)
TIMES = [0.0, 0.3, 1.0, 4.0, 30.0]


def problem_of(loss=None):
    rng = np.random.default_rng(2)
    Z = rng.standard_normal((4, 7))
    return mf.Regression(Z, 1.5 * Z[:, 0] - Z[:, 3], loss=loss or mf.Squared())


STARTS = {
    "m ⊙ w": mf.Factors(*np.random.default_rng(3).standard_normal((2, 7))),
    "u³ − v³": mf.Powers(*np.random.default_rng(4).uniform(0.5, 1.0, (2, 7)), 3),
    "4 layers": mf.DeepFactors(np.random.default_rng(5).uniform(0.5, 1.0, (4, 7))),
}


@pytest.fixture(scope="module")
def paths():
    """Of each start: θ with ∫∇f beside it."""
    return {
        name: mf.direct_flow(problem_of(), start, SCHEDULE, TIMES, RTOL, accumulate=True)
        for name, start in STARTS.items()
    }


@pytest.fixture(scope="module", params=STARTS)
def path(request, paths):
    return paths[request.param]


def is_near(check, value=None, bound=None, rel=1e-11):
    """Numbers of a check; a bound of nan: above it, but explained."""
    assert value is None or check.value == pytest.approx(value, rel=rel)
    assert bound is None or check.bound == pytest.approx(bound, rel=rel, nan_ok=True)


def in_units(start, theta):
    """|∂g|², |θ| and L of one coordinate's θ (K,), by hand."""
    if isinstance(start, mf.Factors):
        slopes = theta[::-1]
    elif isinstance(start, mf.Powers):
        slopes = start.depth * theta ** (start.depth - 1) * [1.0, -1.0]
    else:
        slopes = np.array([np.prod(np.delete(theta, k)) for k in range(len(theta))])
    return sum(slopes**2), math.sqrt(sum(theta**2)), start.degree


# ---- base


def test_units_are_those_of_each_coordinate(path):
    start, problem = path.start, problem_of()
    kappa = 0.0 if isinstance(start, mf.Factors) else 2.0 * (start.degree - 2)
    assert start.kappa == kappa
    sizes, duals, moved = np.zeros((3, *path.x.shape))
    for t, j in np.ndindex(path.x.shape):
        squares, length, L = in_units(start, path.parameters[t, :, j])
        sizes[t, j] = math.sqrt(squares) * length / L
        duals[t, j] = math.exp(-kappa * path.total[t]) * length / math.sqrt(squares)
        moved[t, j] = math.exp(kappa * path.total[t]) * squares * duals[: t + 1, j].max() / L
        assert base.metric(start, path.parameters)[t, j] == pytest.approx(squares, rel=1e-12)
    assert base.sizes(start, path.parameters) == pytest.approx(sizes, rel=1e-12)
    assert base.dual_units(path) == pytest.approx(duals, rel=1e-12)
    assert base.moved(path) == pytest.approx(moved, rel=1e-12)
    assert base.size_of(path) == pytest.approx(sizes.max(), rel=1e-12)
    assert base.growth(path) == pytest.approx(max(moved.max() / sizes.max(), 1.0), rel=1e-12)
    fits = [math.sqrt(sum((abs(z) @ size) ** 2 for z in problem.Z) / 8.0) for size in sizes]
    assert base.misfit_unit(problem, path) == pytest.approx(max(fits), rel=1e-12)


def test_path_bounds_know_what_was_lost(path):
    lost = 1.0
    parts = path.start.separated(path.parameters)
    lengths = np.sum(path.parameters**2, axis=1) * (
        2.0 if isinstance(path.start, mf.Factors) else 1.0
    )
    assert np.sum(parts**2, axis=1) == pytest.approx(lengths)  # m ± w of m ⊙ w
    T, K, d = parts.shape
    for t, j in np.ndindex(T, d):
        whole = sum(parts[t, :, j] ** 2)
        before = [np.sqrt(np.sum(parts[: t + 1, :, j] ** 2, axis=1)) for _ in range(K)]
        L = [max(b / abs(parts[: t + 1, k, j])) for k, b in enumerate(before)]
        lost = max(lost, sum(parts[t, k, j] ** 2 * L[k] for k in range(K)) / whole)
    tight = 3.0 * RTOL * (100.0 + path.steps)
    found = base.path_bounds(path, RTOL, 3.0, 0.25)
    assert found == pytest.approx((tight + 0.25, 2.0 * tight * lost + 0.25), rel=1e-12)


# ---- noise: laws of samples


def test_the_gain_law_is_extrapolated():
    rng = np.random.default_rng(0)
    predicted, gains = [2.0, 1.0], [2.2 + 0.1 * rng.standard_normal(50), rng.normal(1.03, 0.1, 30)]
    rho = [np.mean(g) / p - 1.0 for g, p in zip(gains, predicted, strict=True)]
    first, second = (
        np.std(g, ddof=1) / math.sqrt(len(g)) / p for g, p in zip(gains, predicted, strict=True)
    )
    wanted = 0.01 + 6.0 * math.sqrt((2.0 * second) ** 2 + first**2)
    is_near(certify.gain_law(predicted, gains), abs(2.0 * rho[1] - rho[0]), wanted)


@pytest.mark.parametrize("order", [1.0, 1.5, 1.8, 2.5])
def test_orders_are_those_of_powers(order):
    """Samples at η and η/2 whose size falls by 2^order; the spread lacks up to 1.5, the mean 2."""
    rng = np.random.default_rng(1)
    some = rng.standard_normal((40, 3))
    spread = certify.spread_law(some, some / 2.0**order)
    assert spread.value == pytest.approx(max(1.5 - order, 0.0), abs=1e-12)
    assert spread.bound == 0.15
    some = some + 100.0
    mean = certify.mean_law(some, some / 2.0**order)
    assert mean.value == pytest.approx(max(2.0 - order, 0.0), abs=1e-12)
    assert mean.bound == 0.25


@pytest.mark.parametrize("at", [0, 1])
def test_a_mean_within_three_standard_errors_judges_nothing(at):
    """Means of 2.9 and 3.1 standard errors, at either step size."""
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((25, 4))
    noise -= noise.mean(axis=0)
    error = np.linalg.norm(noise.std(axis=0)) / 5.0
    far = noise + 100.0
    for factor, judged in ((2.9, False), (3.1, True)):
        some = noise + factor * error / 2.0  # of a mean (½, ½, ½, ½) of length 1
        pair = (some, far) if at == 0 else (far, some)
        assert math.isfinite(certify.mean_law(*pair).bound) == judged


def test_stochastic_gain_in_numbers():
    problem, d = problem_of(), 7
    given = dict.fromkeys(StochasticPath._fields, 0.0) | {
        "gain": np.linspace(1.0, 2.0, d),
        "total": 0.1,
        "noise": 0.2,
        "paid": 1.3,
        "step": 1e-3,
        "squares": 0.7,
    }
    path = StochasticPath(**given)
    ratios = []
    for j in range(d):
        expected = 2.0 * 0.2 * sum(problem.Z[:, j] ** 2) / 4.0 * 1.3
        ratios.append((path.gain[j] - 0.4) / (1.5 * expected))
    check = certify.stochastic_gain(problem, path, share=1.5)
    bound = 1e-3 / 0.2 + 6.0 * math.sqrt(2e-3 * 0.7) / 1.3
    is_near(check, abs(np.mean(ratios) - 1.0), bound)


def descended(alpha=0.0, steps=60, **options):
    problem, start, eta = problem_of(), mf.Factors.pilot(np.linspace(-0.3, 0.4, 7)), 0.05
    schedule = mf.Constant(alpha)
    path = mf.follow_descent(problem, start, eta, steps, schedule, record=steps, **options)
    return problem, start, eta, path


def test_the_compensator_in_numbers():
    """Two paths of one sample a step: ends and variances add up over both."""
    ends, spread = np.zeros(7), np.zeros(7)
    paths = []
    for seed in (0, 1):
        problem, _, eta, path = descended(batch_size=1, seed=seed)
        paths.append(path)
        ends += path.gain[-1]
        for x in path.x[:-1]:
            rises = [
                -np.log(abs(1.0 - (eta * (z @ x - y) * z) ** 2))
                for z, y in zip(problem.Z, problem.y, strict=True)
            ]
            ends -= 0.5 * np.mean(rises, axis=0)
            spread += np.var(rises, axis=0)
    check = certify.compensator(problem, paths, eta, share=0.5)
    is_near(check, max(abs(ends) / np.sqrt(spread)), 6.0)


def test_the_averages_lasso_is_the_weighted_one():
    problem = problem_of()
    penalties, start = np.linspace(0.02, 0.08, 7), np.linspace(-1.0, 1.0, 7)

    def objective(x):
        return 0.5 * sum((problem.Z @ x - problem.y) ** 2) / 4.0 + sum(penalties * abs(x))

    # coordinate descent
    x = np.zeros(7)
    for _ in range(2000):
        for j in range(7):
            z = problem.Z[:, j]
            pull = z @ (problem.y - problem.Z @ x + z * x[j]) / 4.0
            x[j] = np.sign(pull) * max(abs(pull) - penalties[j], 0.0) / (z @ z / 4.0)
    least, mean = objective(x), 1.1 * x
    check = certify.averaged_lasso(problem, mean, start, penalties, 0.7)
    is_near(check, (objective(mean) - least) / (objective(start) - least), 0.7, rel=1e-6)


def test_constant_decay_in_numbers():
    problem, start, _, path = descended(alpha=0.05, steps=61)
    limit = mf.lasso_limit(problem, start, 0.05).x
    size = (0.5 * (path.m**2 + path.w**2)).max()
    value, moved = abs(path.x[-1] - limit).max() / size, abs(path.x[-1] - path.x[31]).max() / size
    assert moved > 0.1 * value  # still under way
    check = certify.constant_decay(problem, path, 0.05)
    is_near(check, value, rel=1e-6)
    assert check.verdict == certify.UNJUDGED
    # all that moved in the last half is a 20th of the value
    m, w = path.m.copy(), path.w.copy()
    m[31], w[31] = m[-1], w[-1]
    m[31, 2] += 0.05 * value * size / w[-1, 2]
    check = certify.constant_decay(problem, dataclasses.replace(path, m=m, w=w), 0.05)
    assert check.verdict == "refuted"
    assert check.bound == 1e-9


def test_early_stopping_compares_run_by_run():
    """Ratios 0.5, 50 and 25: their median, not that of either array."""
    check = certify.early_stopping(np.array([1.0, 5.0, 100.0]), np.array([2.0, 0.1, 4.0]), 1.7)
    is_near(check, 25.0, 1.7)


def test_the_average_identity_in_numbers():
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal((60, 4))
    problem, start, eta, path = descended(label_noise=noise)
    x = path.x[:-1].mean(axis=0)
    slope = problem.Z.T @ (problem.Z @ x - problem.y - noise.mean(axis=0)) / 4.0
    worst, terms = 0.0, [1.0]
    for j in range(7):
        ends = {
            sign: (
                abs(path.m[-1, j] + sign * path.w[-1, j]),
                abs(start.m[j] + sign * start.w[j]),
            )
            for sign in (1, -1)
        }
        pushed = path.shift[-1, j] + eta * 60 * slope[j]
        terms += [abs(path.gain[-1, j]), abs(pushed)]
        sign = max(ends, key=lambda s: ends[s][0])
        claimed = -0.5 * 0.3 * path.gain[-1, j] - sign * pushed
        worst = max(worst, abs(math.log(ends[sign][0] / ends[sign][1]) - claimed))
    check = certify.average_identity(problem, path, eta, noise, share=0.3)
    is_near(check, worst, 10.0 * EPS * 1060.0 * max(terms))


# ---- discrete


def test_bounds_of_discrete_argmins():
    problem, start, _, path = descended(alpha=0.1)
    largest = max(1.0, abs(path.gain).max(), abs(path.shift).max())
    bound = 10.0 * EPS * 1060.0 * largest
    size = (0.5 * (path.m**2 + path.w**2)).max()
    at = problem.with_targets(problem.Z @ path.x[-1])
    for gain, shift in ((None, None), (0.5 * path.gain[-1], None), (None, 0.9 * path.shift[-1])):
        check = certify.discrete_argmin(problem, path, gain, shift)
        used = [path.gain[-1] if gain is None else gain, path.shift[-1] if shift is None else shift]
        limit = mf.interpolator(at, start, 0.0, gain=used[0], shift=used[1])
        is_near(check, abs(path.x[-1] - limit.x).max() / size, bound)
    claimed = 0.5 * abs(start.m**2 - start.w**2) * np.exp(-0.9 * path.gain[-1])
    ends = 0.5 * abs(path.m[-1] ** 2 - path.w[-1] ** 2)
    check = certify.discrete_balance(path, 0.9 * path.gain[-1])
    is_near(check, abs(ends - claimed).max() / size, bound)


def test_sign_balance_in_numbers():
    rng = np.random.default_rng(0)
    start = STARTS["m ⊙ w"]
    m, w, crossings = *rng.standard_normal((2, 7)), np.array([0, 1, 0, 2, 0, 0, 0])
    run = SignDescent(
        **(dict.fromkeys(SignDescent._fields) | {"m": m, "w": w, "crossings": crossings})
    )
    excess, sizes = [], []
    for j in range(7):
        claimed = (1.0 - 0.1 * 0.2) ** 5 * (abs(start.m[j]) - abs(start.w[j]))
        excess.append(abs(abs(m[j]) - abs(w[j]) - claimed) - 0.2 * crossings[j])
        sizes.append((abs(start.m[j]) + abs(start.w[j]), abs(m[j]) + abs(w[j])))
    value = max(excess) / sum(max(column) for column in zip(*sizes, strict=True))
    is_near(certify.sign_balance(start, run, 0.1, 5, 0.2), value, 10.0 * EPS * 1005.0)


def test_the_lag_law_takes_the_last_two():
    is_near(certify.lag_law([9.0, 4.0, 1.5], 1.0), math.log2(4.0 / 1.5) - 1.0, 0.25)
    for errors in ([1.0], [1.0, 0.0]):
        with pytest.raises(mf.InputError, match="errors must be two numbers above 0 or more"):
            certify.lag_law(errors)


def test_steps_of_sgd_keep_four_rules():
    """Each rule broken alone by a tenth is what the value says."""
    rng = np.random.default_rng(0)
    K = rng.standard_normal((4, 9))
    K = K @ K.T
    top, trace = 8.0 / np.linalg.eigvalsh(K)[-1], 8.0 / np.trace(K)
    good = certify.sgd_threshold(K)
    assert good.holds
    assert good.bound == 1e-10
    small = [1e-3 * trace] * 3
    assert certify.sgd_threshold(K, [*small, top]).value == 0.0
    falls = [1e-3 * trace, 1.1e-3 * trace, 1e-3 * trace, top]
    assert certify.sgd_threshold(K, falls).value == pytest.approx(0.1)
    assert certify.sgd_threshold(K, [*small, 0.9 * top]).value == pytest.approx(0.1)
    # one sample: above its bound by a tenth
    one, rest = 1.1 * trace_bound(K, 1), [trace_bound(K, B) for B in (2, 3)]
    assert one < min(*rest, top)
    found = certify.sgd_threshold(K, [one, *rest, top]).value
    assert found == pytest.approx(max(0.1, one / trace - 1.0))


# ---- averages and integrals


def test_the_lasso_of_the_average_in_all_units():
    """Z and y times c: the flow is c² times as fast; gap and value are shares of the objective."""
    base_problem, found = problem_of(), []
    start = mf.LogFactors.of_scale(7, 40.0)
    for c in (1e-3, 1.0, 1e3):
        problem = mf.Regression(c * base_problem.Z, c * base_problem.y)
        schedule, time = mf.Constant(0.01 * c * c), 20.0 / c**2
        right, gap = certify.lasso_of_average(problem, start, schedule, time)
        wrong, _ = certify.lasso_of_average(problem, start, schedule, time, 2.0)
        assert right.bound == pytest.approx(1e-6)
        found.append([gap, wrong.value])
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert found[2] == pytest.approx(found[1], rel=1e-5)
    assert found[1][1] > 0.1


# ---- penalties


def test_bounds_of_penalties(paths):
    start, flow = STARTS["m ⊙ w"], paths["m ⊙ w"]
    drift = RTOL * (100.0 + flow.steps)
    problem, potential = problem_of(), start.potential()
    check = certify.isometry(problem, potential, flow, RTOL)
    assert check.bound == pytest.approx(drift + 1e-6, rel=1e-12)
    rule = certify.sign_rule(flow, RTOL, share=0.5)
    spent = flow.accumulated
    assert rule.bound == pytest.approx(drift * (1.0 + abs(spent).max()), rel=1e-12)
    zero = potential.gradient(np.zeros(7))
    wrong = [
        abs(flow.x[t, j])
        for t, j in np.ndindex(flow.x.shape)
        if flow.x[t, j] * (-spent[t, j] - 0.5 * zero[j]) < 0
    ]
    size = (0.5 * (flow.m**2 + flow.w**2)).max()
    assert rule.value == pytest.approx(max(wrong, default=0.0) / size, rel=1e-12)


def test_the_linear_risk_of_one_coordinate():
    """n = d = 1 and λ = z²: e^{−2λt}x*² + σ²(1 − e^{−λt})²/λ; a zero column keeps its x*."""
    z, t = 1.7, np.array([0.1, 1.0, 3.0])
    Z, x = np.array([[z, 0.0], [0.0, 0.0]]), np.array([0.8, -0.4])
    rate = z * z / 2.0
    expected = np.exp(-2 * rate * t) * 0.64 + 0.16 + 0.09 / 2 * (1 - np.exp(-rate * t)) ** 2 / rate
    assert certify.linear_risk(Z, x, 0.3, t) == pytest.approx(expected, rel=1e-12)


# ---- limits


def test_rates_and_the_slowest(path):
    problem = problem_of()
    limit = mf.interpolator(problem, path.start, 1.2)
    weights = base.metric(limit.start, limit.parameters)
    H = (problem.Z * weights) @ problem.Z.T / 4.0
    least = np.linalg.eigvalsh(H)[0]
    assert certify.slowest_rate(problem, limit) == pytest.approx(least, rel=1e-9)
    # a row twice: one rate less, not a rate of 0; and none where float64 can't hold them
    twice = mf.Regression(np.vstack([problem.Z, problem.Z[:1]]), np.append(problem.y, problem.y[0]))
    H = (twice.Z * weights) @ twice.Z.T / 5.0
    assert _slowest(twice, limit.x, weights) == pytest.approx(np.linalg.eigvalsh(H)[1], rel=1e-9)
    assert _slowest(problem, limit.x, np.full(7, 1e308)) == 0.0
    assert _slowest(problem, limit.x, np.where(np.arange(7) < 3, 1.0, 0.0)) == 0.0


@pytest.mark.parametrize("loss", [mf.Squared(), mf.PseudoHuber(0.7)], ids=["squared", "huber"])
@pytest.mark.parametrize("name", STARTS)
def test_a_limit_moves_as_its_differences_say(name, loss):
    """dx/dA by central differences, the misfit and lag by the equations they solve."""
    problem, start, h = problem_of(loss), STARTS[name], 1e-4
    x = [mf.interpolator(problem, start, total).x for total in (0.8 - h, 0.8 + h)]
    limit = mf.interpolator(problem, start, 0.8)
    moving = Moving.at(problem, limit)
    size = abs(moving.drift).max()
    assert moving.drift == pytest.approx((x[1] - x[0]) / (2.0 * h), abs=1e-5 * size)
    # at distance ρ in Zx, ν̇ = −φ″ρ/n; k = dκ/dA e^{κA} with Z diag(|∂g|²)Zᵀ k = δZx
    weights = base.metric(start, limit.parameters)
    K, curvature = (problem.Z * weights) @ problem.Z.T, problem.loss.curvature(problem.y, problem.y)
    k = np.linalg.solve(K, start.decay * problem.Z @ limit.x)
    rho = 4.0 * k / curvature
    assert problem.row_space.U @ moving.misfit == pytest.approx(rho, rel=1e-9)
    lag = weights * (problem.Z.T @ np.linalg.solve(K, rho))
    assert moving.lag == pytest.approx(lag, rel=1e-9)
    H = problem.row_space.U.T @ K @ np.diag(curvature) @ problem.row_space.U / 4.0
    assert moving.rates == pytest.approx(H, rel=1e-9, abs=1e-12 * abs(H).max())


def test_arrival_and_convergence_in_numbers(path):
    """Twice the first order, ten times what is left of the start, and the drift."""
    problem, start = problem_of(), path.start
    limit = mf.interpolator(problem, start, SCHEDULE.total_infinity)
    moving, rate = Moving.at(problem, limit), certify.slowest_rate(problem, limit)
    alpha = float(SCHEDULE.alpha(30.0))
    left = SCHEDULE.total_infinity - float(SCHEDULE.total(30.0))
    fading = math.exp(-rate * 30.0)
    scale = max(np.linalg.norm(problem.Z @ x) for x in path.x)
    check = certify.arrival(problem, limit, SCHEDULE, path, RTOL)
    value = np.linalg.norm(problem.Z @ (path.x[-1] - limit.x)) / scale
    misfit = alpha * np.linalg.norm(moving.misfit)
    bound = 2.0 * misfit / scale + 10.0 * fading + 100.0 * RTOL
    is_near(check, value, bound if value <= bound else math.nan, rel=1e-7)
    size = base.size_of(path)
    away = abs(moving.drift).max() * left + alpha * abs(moving.lag).max()
    bound = 2.0 * away / size + 10.0 * fading
    bound += RTOL * (100.0 + path.steps) * base.growth(path)
    check = certify.convergence(problem, limit, SCHEDULE, path, RTOL)
    value = abs(path.x[-1] - limit.x).max() / size
    is_near(check, value, bound if value <= bound else math.nan, rel=1e-7)
    # times at infinity are no last time
    beyond = dataclasses.replace(path, times=np.append(path.times[:-1], np.inf))
    check = certify.convergence(problem, limit, SCHEDULE, beyond, RTOL)
    assert check.value == pytest.approx(abs(path.x[-2] - limit.x).max() / size, rel=1e-7)


def test_agreement_in_numbers():
    problem, start = problem_of(), STARTS["m ⊙ w"]
    limit, potential = mf.interpolator(problem, start, 0.5), start.potential(0.5)
    sizes = np.hypot(limit.x, np.exp(potential.log_a))
    gap = 1e-9 * (abs(potential.value(limit.x)) + sizes.sum())
    length = np.linalg.norm(limit.x)
    bound = math.sqrt(2.0 * 2.0 * sizes.max() * gap) + 1e-7 * length
    for off, verdicts in (
        (0.5 * bound, ("confirmed", "confirmed")),
        (bound + 0.5e-6 * length, (certify.UNJUDGED,) * 2),
        (bound + 2e-6 * length, ("refuted", certify.UNJUDGED)),
    ):
        for status, verdict in zip(("optimal", "optimal_inaccurate"), verdicts, strict=True):
            x = limit.x + off * (np.arange(7) == 1)
            reference = mf.Reference(x, 0.0, status, "")
            check = certify.agreement(limit, reference, potential)
            assert check.verdict == verdict
            assert check.value == pytest.approx(off, rel=1e-6)
            if verdict != certify.UNJUDGED:
                assert check.bound == pytest.approx(bound, rel=1e-9)


def test_lasso_in_numbers():
    """Violations on and off the support, bounds, and the gap of another solver's point."""
    problem, alpha = problem_of(), 0.03
    x = np.array([1.0, 0.0, -0.5, 0.0, 0.0, 0.2, 0.0])
    slope = problem.Z.T @ (problem.Z @ x - problem.y) / 4.0 / (2.0 * alpha)
    off = [
        abs(s + np.sign(v)) if v else max(abs(s) - 1.0, 0.0) for s, v in zip(slope, x, strict=True)
    ]
    Z = abs(problem.Z)
    size = max(Z.T @ (Z @ abs(x) + abs(problem.y))) / 4.0 / (2.0 * alpha)
    check = certify.lasso_kkt(problem, x, alpha)
    is_near(check, max(off), 10.0 * 11.0 * EPS * (1.0 + size))
    agreement = certify.lasso_agreement(problem, x, alpha)
    best = mf.lasso_limit(problem, mf.Factors.pilot(np.zeros(7)), alpha).x

    def objective(x):
        return problem.value(x) + 2.0 * alpha * abs(x).sum()

    first = problem.value(np.zeros(7))
    value = abs(objective(x) - objective(best)) / first
    assert agreement.value == pytest.approx(value, rel=1e-6)
    assert 100.0 * EPS <= agreement.bound < 1e-8  # scikit-learn's tol=1e-12
    path = mf.direct_flow(problem, STARTS["m ⊙ w"], mf.Constant(alpha), TIMES, RTOL)
    limit = mf.lasso_limit(problem, STARTS["m ⊙ w"], alpha)
    away = 0.0
    for j in range(7):
        m, w = STARTS["m ⊙ w"].theta[:, j]
        for mass, start in ((limit.p[j], (m + w) ** 2 / 4), (limit.q[j], (m - w) ** 2 / 4)):
            away += (mass * math.log(mass / start) if mass else 0.0) - mass + start
    penalised = [
        problem.value(x) + alpha * (m @ m + w @ w)
        for x, m, w in zip(path.x, path.m, path.w, strict=True)
    ]
    least = problem.value(limit.x) + 2.0 * alpha * sum(limit.p + limit.q)
    value = max(2.0 * t * (F - least) / away for t, F in zip(path.times, penalised, strict=True))
    bound = 1.0 + 200.0 * RTOL * 30.0 * penalised[0] / away
    check = certify.lasso_suboptimality(problem, STARTS["m ⊙ w"], limit, alpha, path, RTOL)
    is_near(check, value, bound, rel=1e-6)


def test_the_excess_of_a_problem_whose_solution_is_0():
    """min ‖·‖₁ = 0: no relative excess, and a bound in the unit of x."""
    problem = mf.Regression(problem_of().Z, np.zeros(4))
    limit, best = mf.interpolator(problem, STARTS["m ⊙ w"], 2.0), mf.min_l1(problem)
    check = certify.l1_excess(limit, best, 2.0)
    assert check.value == 0.0
    assert math.isfinite(check.bound)


@pytest.mark.parametrize("depth", [3, 5])
def test_the_excess_bound_of_powers_falls_with_the_total(depth):
    """½L α^{L−2} Σ[|x|^{2/L} − (|x̂| + α^L)^{2/L} + α²] with α e^{−2A} for α."""
    problem = problem_of()
    start = mf.Powers(np.full(7, 0.5), np.full(7, 0.5), depth)
    best = mf.min_l1(problem)
    for total in (0.0, 0.4):
        limit, a = mf.interpolator(problem, start, total), 0.5 * math.exp(-2.0 * total)
        paid = sum(
            abs(x) ** (2 / depth) - (abs(y) + a**depth) ** (2 / depth) + a * a
            for x, y in zip(limit.x, best.x, strict=True)
        )
        wanted = 0.5 * depth * a ** (depth - 2) * paid / np.abs(best.x).sum() + 1e-9
        check = certify.l1_excess(limit, best, total)
        assert check.holds
        assert check.bound == pytest.approx(wanted, rel=1e-5)


# ---- Theorems 2.1 and 2.2


def test_bounds_of_theorem_2_1(path):
    start, drift = path.start, RTOL * (100.0 + path.steps)
    duals, spent = base.dual_units(path), np.abs(path.accumulated)
    units = np.maximum.accumulate(duals)
    check = certify.mirror_equation(start, path, RTOL)
    assert check.bound == pytest.approx(drift * (duals.max() + spent.max()), rel=1e-12)
    check = certify.closed_form(start, path, RTOL, 2.0)
    assert check.bound == pytest.approx(drift * (1.0 + (spent / units).max()), rel=1e-12)
    claimed = [start.at(-g, A)[0] for g, A in zip(path.accumulated, path.total, strict=True)]
    value = (abs(path.x - 2.0 * np.array(claimed)) / base.moved(path)).max()
    assert check.value == pytest.approx(value, rel=1e-12)
    check = certify.mirror_flow(problem_of(), start, path, RTOL)
    assert check.bound == pytest.approx(drift * duals.max(), rel=1e-12)
    check = certify.finite_time(problem_of(), start, path, RTOL)
    assert check.bound == pytest.approx(drift * base.growth(path), rel=1e-12)


@pytest.mark.parametrize("at", range(len(TIMES)))
def test_finite_time_looks_at_each_time(paths, at):
    """As many checks as times: x moved at any one of them is seen, with its size."""
    path = paths["m ⊙ w"]
    x = path.x.copy()
    x[at] += 0.1 * base.size_of(path) * problem_of().row_space.V[0]
    moved = dataclasses.replace(path, x=x)
    check = certify.finite_time(problem_of(), path.start, moved, RTOL, checks=len(TIMES))
    assert check.value > 1e-3
    assert certify.finite_time(problem_of(), path.start, path, RTOL, checks=len(TIMES)).holds


def test_the_dual_forms_exponents_explain(paths):
    """Bound: the drift of both; explained: 2 rtol·steps of the dual times its span of exponents."""
    direct, start = paths["m ⊙ w"], STARTS["m ⊙ w"]
    dual = mf.gradient_flow(problem_of(), start, SCHEDULE, TIMES, RTOL)
    by_dual, by_direct = (RTOL * (100.0 + flow.steps) for flow in (dual, direct))
    logs = [
        np.log(abs(part)) + 2.0 * dual.total[:, None] for part in (dual.m + dual.w, dual.m - dual.w)
    ]
    span = max(np.ptp(part, axis=0).max() for part in logs)
    most = base.path_bounds(direct, RTOL, 1.0, by_dual)[1] + 2.0 * by_dual * span
    size = base.size_of(direct)
    for factor, verdict in ((0.99, certify.UNJUDGED), (1.01, "refuted")):
        x = direct.x.copy()
        x[2, 3] += factor * most * size
        moved = dataclasses.replace(dual, x=x)
        check = certify.path_difference(moved, direct, RTOL)
        assert check.verdict == verdict
        assert check.value == pytest.approx(factor * most, rel=1e-5)
    assert certify.path_difference(dual, direct, RTOL).bound == pytest.approx(by_dual + by_direct)


def test_the_witness_in_numbers(path):
    """W, D and their terms by hand; the value of a path run backwards, the bounds of both."""
    problem, start = problem_of(), path.start
    x_star = np.linalg.lstsq(problem.Z, problem.y, rcond=None)[0]
    W, D, terms = [], [], []
    end = start.potential(1.3).value(x_star)
    for x, total in zip(path.x, path.total, strict=True):
        R = start.potential(total)
        products = R.gradient(x) * (x_star - x)
        W.append(end - R.value(x) - products.sum())
        D.append(R.divergence(x_star, x))
        terms.append(abs(end) + abs(R.value(x)) + abs(products).sum() + abs(x).sum())
    scale, rounding = max(np.abs(W)), 100.0 * EPS * max(terms)
    names = ("x", "parameters", "total")
    back = {name: getattr(path, name)[::-1] for name in names}
    check = certify.lyapunov_falls(
        problem, start, dataclasses.replace(path, **back), x_star, 1.3, RTOL
    )
    away = abs(path.x - x_star).sum(axis=1).max() * base.dual_units(path).max()
    value = max(np.diff(W[::-1])) / scale
    drift = RTOL * (100.0 + path.steps)
    is_near(check, value, (drift * away + rounding) / scale, rel=1e-9)
    early = {"total": path.total + 1.3}  # sharper than the last one
    W, D = [], []
    for x, total in zip(path.x, path.total + 1.3, strict=True):
        R = start.potential(total)
        W.append(end - R.value(x) - (R.gradient(x) * (x_star - x)).sum())
        D.append(R.divergence(x_star, x))
    check = certify.lyapunov_bounds_divergence(
        problem, start, dataclasses.replace(path, **early), x_star, 1.3
    )
    assert check.value == pytest.approx(max(np.subtract(D, W)) / max(np.abs(W)), rel=1e-9)
    assert check.value > check.bound > 0.0


def test_rises_of_the_loss_in_numbers(paths):
    path, problem = paths["m ⊙ w"], problem_of()
    unit = base.misfit_unit(problem, path)
    loss = np.array([4.0, 1.0, 2.25, 1.0, 1.21])
    shaky = dataclasses.replace(path, loss=loss)
    assert certify.eventually_falling(problem, shaky, 0.2, RTOL).value == pytest.approx(0.5 / unit)
    assert certify.eventually_falling(problem, shaky, 1.0, RTOL).value == pytest.approx(0.1 / unit)
    assert certify.eventually_falling(problem, shaky, 4.0, RTOL).bound == pytest.approx(1e-6)
    rest = dataclasses.replace(path, loss=np.array([0.0, 1.0, 2.25, 1.0, 0.5]))
    is_near(certify.stays_at_minimiser(problem, rest, RTOL), 1.5 / unit, 1e-6)


def test_linear_constants(path):
    """2σ²/n times the least |∂g|² that the map has, faded by κ."""
    problem, start = problem_of(), path.start
    grid = np.linspace(-3.0, 3.0, 6001)
    sigma = np.linalg.svd(problem.Z, compute_uv=False)[-1]
    assert certify.pl_constant(problem, path) == pytest.approx(2.0 * sigma**2 / 4.0, rel=1e-9)
    found = linear_constant(problem, start, 0.3, path)
    floor = found / certify.pl_constant(problem, path)
    if isinstance(start, mf.Factors):
        a = 0.5 * abs(start.m**2 - start.w**2) * math.exp(-4.0 * 0.3)
        assert floor == pytest.approx(2.0 * a.min(), rel=1e-9)
    else:
        low, high = start.domain
        lowest = min(
            start.at(np.clip(mu, 0.99 * low, 0.99 * high), 0.3)[1].min() for mu in 0.3 * grid[::20]
        )
        assert 0.0 < floor <= lowest * (1.0 + 1e-9) or floor == pytest.approx(lowest, rel=0.2)


# ---- Hessians, bias, depth


def test_bounds_of_hessians():
    problem, start = problem_of(), STARTS["m ⊙ w"]
    limit = mf.interpolator(problem, start, 0.5)
    m, w = limit.parameters
    top = np.linalg.eigvalsh(certify.hessian(problem, m, w))[-1]
    slope = abs(problem.gradient(m * w)).max()
    sharp = certify.limit_sharpness(problem, start, limit)
    weighted = np.linalg.eigvalsh((problem.Z * (m * m + w * w)) @ problem.Z.T / 4.0)[-1]
    assert sharp.bound == pytest.approx(700.0 * EPS + 2.0 * slope / weighted, rel=1e-9)
    size, sigma = np.hypot(m, w).max(), np.linalg.norm(problem.Z, 2)
    for ratio in (0.9, 1.05):
        growth, step = abs(1.0 - 2.0 * ratio), 2.0 * ratio / top
        far, near = 1e-8 * max(1.0, growth**40), 1e-8 * min(1.0, growth**40)
        bound = 40.0 * step * 3.0 * sigma**2 / 4.0 * size * far / growth
        bound += 700.0 * EPS * size * 40.0 / near
        check = certify.stability(problem, start, limit, ratio)
        assert check.bound == pytest.approx(bound if bound < 1.0 else np.nan, rel=1e-9, nan_ok=True)


def test_bounds_of_bias():
    start = mf.Factors.pilot(np.linspace(-0.3, 0.4, 7), 2.0)
    x = np.array([0.5, -1.0, 2.0, 0.7, -0.6, 1.1, -0.9])
    check = certify.late_l1(start, x, (1.0, 3.0), 0.3)
    first, second = (start.potential(total) for total in (1.0, 3.0))
    a, norm = np.exp(first.log_a), abs(x).sum()
    values = first.value(x), second.value(x)
    excess = 0.5 * sum(np.sqrt(x * x + a * a) - abs(x)) / norm
    rounding = 70.0 * EPS * (abs(values[0]) + abs(values[1])) / (8.0 * norm)
    value = abs((values[1] - values[0]) / (8.0 * norm) - 0.3)
    is_near(check, value, excess + rounding, rel=1e-9)
    wide = mf.Factors.pilot(np.zeros(7), 50.0).potential()
    a = np.exp(wide.log_a)
    quadratic = sum(x**2 / (4.0 * a))
    bound = max((x / a) ** 2) / 12.0 + 25.0 * EPS * sum(a) / quadratic
    is_near(certify.early_l2(wide, x), bound=bound)
    check = certify.smoothness(wide, claimed=1.0)
    is_near(check, bound=1e-6 / 6.0 + 1e4 * EPS * (1.0 + abs(wide.c).max()))
    assert check.value == pytest.approx(1.0 - 0.5 / a.min(), rel=1e-6)
    reach = certify.reachable_range(STARTS["m ⊙ w"], [0.0, 2.0], 1.5)
    R = STARTS["m ⊙ w"].potential()
    largest = max(abs(R.log_p).max(), abs(R.log_q).max())
    is_near(reach, bound=100.0 * EPS * (1.0 + 8.0 + 3.0 + largest))


def test_depth_in_numbers():
    problem, start = problem_of(), STARTS["4 layers"]
    flow = mf.direct_flow(problem, start, mf.Constant(0.2), [0.0, 5.0, 40.0], RTOL)
    x, drift = flow.x[-1], RTOL * (100.0 + flow.steps)
    off = []
    for j in np.flatnonzero(abs(x) > 1e-6 * abs(x).max()):
        pull = 1.5 * 0.4 * np.sign(x[j]) * abs(x[j]) ** (2 / 4 - 1)
        slope = problem.Z[:, j] @ (problem.Z @ x - problem.y) / 4.0
        off.append(abs(slope + pull) / (abs(slope) + abs(pull)))
    is_near(certify.deep_stationarity(problem, flow, 0.2, RTOL, 1.5), max(off), drift, rel=1e-6)
    strong = mf.direct_flow(problem, start, mf.Constant(9.0), [0.0, 0.1, 0.3], RTOL)
    objective = problem.value(start.x) + 9.0 * sum(sum(start.theta**2))
    rho = np.linalg.norm(problem.Z, axis=0) * math.sqrt(2.0 * objective / 4.0) / (4.0 * 9.0)
    most = np.maximum(abs(start.at(rho)[0]), abs(start.at(-rho)[0]))
    grown = np.exp(7.0 * strong.total)[:, None] * abs(strong.x) / most
    check = certify.collapse(problem, strong, 9.0, RTOL, exponent=7.0)
    is_near(check, grown.max(), 1.0 + 100.0 * RTOL * (100.0 + strong.steps))


# ---- margins and saddles


def test_margins_in_numbers():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((5, 8))
    problem = mf.Regression(Z, np.sign(Z[:, 0]), loss=mf.Logistic())
    start = mf.Factors(*rng.standard_normal((2, 8)))
    flow = mf.direct_flow(
        problem, start, mf.Constant(0.05, 1.0), [0.0, 200.0], RTOL, accumulate=True
    )
    x, A, drift = flow.x[-1], float(flow.total[-1]), RTOL * (100.0 + flow.steps)
    rows = problem.y[:, None] * Z
    q, R = np.linalg.lstsq(rows.T, -flow.accumulated[-1], rcond=None)[0], start.potential(A)
    other = np.linspace(-1.0, 1.0, 8)
    terms = R.value(x), -R.value(other), R.divergence(other, x)
    right = q * (rows @ x - rows @ other)
    size = sum(map(abs, terms)) + sum(abs(right))
    check = certify.margin_identity(problem, start, flow, RTOL, other)
    assert check.bound == pytest.approx(drift + 1e3 * EPS, rel=1e-12)
    assert check.holds
    wrong = certify.margin_identity(problem, start, flow, RTOL, other, total=2.0 * A)
    R2 = start.potential(2.0 * A)
    terms = R2.value(x), -R2.value(other), R2.divergence(other, x)
    size = sum(map(abs, terms)) + sum(abs(right))
    assert wrong.value == pytest.approx(abs(sum(terms) - sum(right)) / size, rel=1e-6)
    gamma = min(rows @ x)
    best = mf.max_margin(problem, start, A, gamma)
    paid = q @ (rows @ x - gamma)
    error = drift * sum(abs(x * R.gradient(x))) + best.gap
    check = certify.margin_gap(problem, start, flow, RTOL)
    is_near(check, (R.value(x) - R.value(best.x)) / paid, (paid + error) / paid, rel=1e-6)


def test_saddles_are_compared_by_a_trapezoid():
    from mirrorflow.certificates.saddles import _compared

    problem, tau = problem_of(), np.linspace(0.0, 2.0, 11)[1:]
    rng = np.random.default_rng(0)
    apart, density = rng.standard_normal((10, 4)), rng.random(10)
    integral, ratios = 0.2 * density[0], []
    for k in range(10):
        integral += 0.1 * (density[k] + density[k - 1]) if k else 0.0
        ratios.append(np.linalg.norm(apart[k]) / math.sqrt(integral))  # 4/n = 1
    is_near(_compared("x", problem, apart, density, tau), max(ratios), 1.01 + 1e-7)


# ---- rates


@pytest.fixture(scope="module")
def falling():
    """Of m ⊙ w, penalty-free from t = 0.3; its limit."""
    problem, start = problem_of(), STARTS["m ⊙ w"]
    schedule, limit = mf.Constant(0.4, 0.3), mf.interpolator(problem, start, 0.12)
    end = 30.0 / certify.slowest_rate(problem, limit)
    times = np.concatenate([[0.0, 0.3], np.linspace(2.0, end, 31)])
    path = mf.direct_flow(problem, start, schedule, times, RTOL, accumulate=True)
    return problem, start, path, limit


def test_rates_of_the_loss_in_numbers(falling):
    problem, start, path, _ = falling
    claimed, unit = linear_constant(problem, start, 0.12, path), base.misfit_unit(problem, path)
    seen = [
        (t, f)
        for t, f in zip(path.times, path.loss, strict=True)
        if t >= 0.3 and math.sqrt(f) > 1e4 * RTOL * unit
    ]
    assert 3 <= len(seen) < path.times.size - 1  # some are below rounding
    rates, slack = [], []
    for (before, first), (t, f) in itertools.pairwise(seen):
        rates.append(math.log(first / f) / (t - before))
        error = 400.0 * RTOL * unit / (math.sqrt(f) * (t - before))
        slack.append(error / max(rates[-1], claimed))
    check = certify.lower_rate(problem, start, 0.12, path, 0.3, RTOL)
    is_near(check, claimed / min(rates), 1.0 + max(slack))
    rising = dataclasses.replace(path, loss=path.loss[::-1])
    assert certify.lower_rate(problem, start, 0.12, rising, 0.3, RTOL).value == math.inf
    last = math.log(path.loss[4] / path.loss[5]) / (path.times[5] - path.times[4])
    part = dataclasses.replace(path, loss=path.loss[:6], times=path.times[:6])
    is_near(certify.linear_rate(problem, start, 0.12, part), claimed / last, 1.0)
    back = dataclasses.replace(part, loss=part.loss[::-1])
    assert certify.linear_rate(problem, start, 0.12, back).value == math.inf


def test_the_asymptotic_rate_in_numbers(falling):
    """The window, Duhamel's bound and the mixture of modes, one pair of times after the other."""
    problem, _, path, limit = falling
    Z, y = problem.Z, problem.y
    H = (Z * (limit.parameters**2).sum(axis=0)) @ Z.T / 4.0
    rates, modes = np.linalg.eigh(H)
    misfits = path.x @ Z.T - y
    lengths = np.linalg.norm(misfits, axis=1) / np.linalg.norm(y)
    window = [i for i, length in enumerate(lengths) if 1e4 * RTOL < length < 1e-3]
    off = {
        i: np.linalg.norm((Z * (path.parameters[i] ** 2).sum(axis=0)) @ Z.T / 4.0 - H, 2)
        for i in window
    }
    last, best = window[-1], (math.inf, math.nan)
    for first in window[:-1]:
        inside = [i for i in window if i >= first]
        epsilon = sum(
            0.5 * (off[i] + off[k]) * (path.times[k] - path.times[i])
            for i, k in itertools.pairwise(inside)
        )
        shares = modes.T @ misfits[first] / np.linalg.norm(misfits[first])
        B = epsilon * math.exp(epsilon) / abs(shares[0])
        if B < 1.0:
            left = sum(shares**2 * np.exp(-2.0 * rates * (path.times[last] - path.times[first])))
            seen = 2.0 * math.log(lengths[last] / lengths[first])
            bound = (-2.0 * math.log(1.0 - B) + 200.0 * RTOL / lengths[last]) / abs(seen)
            best = min(best, (bound, abs(seen - math.log(left)) / abs(seen)))
    check = certify.asymptotic_rate(problem, limit, path, RTOL)
    is_near(check, best[1], best[0], rel=1e-5)


def test_the_power_law_in_numbers():
    problem, start = problem_of(), STARTS["m ⊙ w"]
    schedule = mf.Quadratic(0.8, 1.5)
    limit = mf.interpolator(problem, start, schedule.total_infinity)
    end = 300.0 / certify.slowest_rate(problem, limit)
    path = mf.direct_flow(problem, start, schedule, [0.0, end], RTOL)
    vectors = []
    for t in (0.99 * end, end):
        limit = mf.interpolator(problem, start, float(schedule.total(t)))
        moving = Moving.at(problem, limit)
        vectors.append(float(schedule.alpha(t)) * moving.misfit)
    change = np.linalg.solve(moving.rates, (vectors[1] - vectors[0]) / (0.01 * end))
    size = np.linalg.norm(vectors[1])
    noise = 200.0 * RTOL * np.linalg.norm(problem.Z @ limit.x) / size
    check = certify.power_law(problem, start, schedule, path, RTOL)
    value = abs(path.loss[-1] / (size**2 / 8.0) - 1.0)
    is_near(check, value, 4.0 * np.linalg.norm(change) / size + noise, rel=1e-9)
    # pseudo-Huber is from quadratic by what `steepness` says
    bent = mf.Regression(problem.Z, problem.y, loss=mf.PseudoHuber(0.7))
    path = mf.direct_flow(bent, start, schedule, [0.0, end], RTOL)
    check = certify.power_law(bent, start, schedule, path, RTOL)
    limit = mf.interpolator(bent, start, float(schedule.total(end)))
    misfit = float(schedule.alpha(end)) * np.linalg.norm(Moving.at(bent, limit).misfit)
    more = 2.0 * (1.0 - bent.loss.steepness(misfit))
    assert more > 0.0
    assert check.bound > more
    assert check.holds


def test_a_short_pulse_adds_its_share():
    """A penalty for a 50,000th of the time: its integral is found, and what is left of it."""
    problem, start = problem_of(), mf.Factors.pilot(np.zeros(7), 1.5)
    at_rest = mf.Regression(problem.Z, np.zeros(4))
    pulse = mf.Piecewise([0.0, 20.0, 20.001], [0.0, 300.0, 0.0])
    times = [0.0, 19.0, 20.001, 21.0, 50.0]
    path = mf.direct_flow(at_rest, start, pulse, times, RTOL)
    given = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    path = dataclasses.replace(path, loss=given)
    rate = linear_constant(at_rest, start, 0.3, path)
    products = np.array([at_rest.gradient(x) @ x for x in path.x])
    most = 4.0 * (abs(products).max() + abs(np.diff(products)).max())
    worst = 0.0
    for t, f in zip(times[1:], given[1:], strict=True):
        added = 300.0 * (math.exp(-rate * (t - 20.001)) - math.exp(-rate * (t - 20.0))) / rate
        right = math.exp(-rate * t) * given[0] + most * (added if t > 20.0 else 0.0)
        worst = max(worst, f / right)
    check = certify.additive_penalty(at_rest, start, pulse, path, RTOL)
    assert check.value == pytest.approx(worst, rel=1e-6)


def test_what_is_left_of_the_start_counts_from_the_last_breakpoint(falling):
    problem, _, path, limit = falling
    schedule, last = mf.Constant(0.4, 0.3), 5
    weights = (path.parameters**2).sum(axis=1)
    rates = [_slowest(problem, x, w) for x, w in zip(path.x[: last + 1], weights, strict=False)]
    times = np.maximum(path.times[: last + 1], 0.3)
    faded = sum(min(rates[i], rates[i + 1]) * (times[i + 1] - times[i]) for i in range(last))
    size = (0.5 * weights).max()
    largest = (0.5 * (limit.parameters**2).sum(axis=0)).max()
    wanted = 10.0 * max(1.0, largest / size) * math.exp(-faded)
    found = _transient(problem, limit, schedule, path, last)
    assert found == pytest.approx(wanted, rel=1e-9)


# ---- sampled claims, late weights, entropies


def test_draws_of_the_risk_are_the_seeds():
    Z, x, times = problem_of().Z, np.linspace(-1.0, 1.0, 7), np.array([0.3, 2.0])
    values = [certify.risk_of_draws(Z, x, 0.4, times, seed).value for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    assert max(values) < 5.0
    wrong = certify.risk_of_draws(Z, x, 0.4, times, 0, power=1.0)
    assert wrong.verdict == "refuted"
    assert wrong.bound == 5.0
    # in other units of x and σ the same number of standard errors
    other = certify.risk_of_draws(Z, 10.0 * x, 4.0, times, 0).value
    assert other == pytest.approx(values[0], rel=1e-9)


def test_solvable_penalties_lose_what_sums_lose():
    start = STARTS["u³ − v³"]
    flow = mf.direct_flow(problem_of(), start, SCHEDULE, TIMES, RTOL, accumulate=True)
    r, first = flow.parameters**-1.0, start.theta**-1.0
    lost = max((first / r).max(), 1.0)
    assert lost > 1.0
    check = certify.solvable_penalty(start, flow, 0.0, 1.0, RTOL)
    assert check.holds
    assert check.bound == pytest.approx(RTOL * (100.0 + flow.steps) * lost, rel=1e-12)


def test_late_weights_in_numbers():
    problem = problem_of()
    start, totals = STARTS["4 layers"], (1.0, 1.25, 1.5)
    best = mf.interpolator(problem, start, np.inf)
    limits = [mf.interpolator(problem, start, total) for total in totals]
    apart = [abs(limit.x - best.x).max() for limit in limits]
    rates = [math.log(apart[i] / apart[i + 1]) / 0.25 for i in (0, 1)]
    bound = 10.0 * max(abs(rates[0] - 8.0), 0.1) * math.exp(-4.0 * 0.25)
    steep = abs(limits[2].metric * start.potential(1.5).gradient(limits[2].x)).max()
    rounding = 60.0 * EPS * steep / (apart[2] * 0.25)
    if apart[1] <= 1e-2 * abs(best.x[best.x != 0]).min():
        check = certify.late_weights(problem, start, totals, 7.0)
        is_near(check, abs(rates[1] - 7.0), bound + rounding, rel=1e-6)


def test_choices_among_minima_by_least_squares():
    """Columns twice: the residual of the equations on the support, and its bound."""
    rng = np.random.default_rng(3)
    half = rng.standard_normal((4, 7))
    problem = mf.Regression(np.hstack([half, half]), half[:, 0] - 0.5 * half[:, 4])
    start = mf.Factors.pilot(rng.standard_normal(14))
    endless = mf.interpolator(problem, start, np.inf)
    x = endless.x * np.linspace(0.9, 1.1, 14)
    moved = dataclasses.replace(endless, x=x)
    on = np.flatnonzero(x)
    logs = [
        np.sign(x[j]) * math.log(abs(x[j]) / (0.5 * (start.m[j] + np.sign(x[j]) * start.w[j]) ** 2))
        for j in on
    ]
    V = problem.row_space.V[:, on]
    residual = logs - V.T @ np.linalg.pinv(V.T, rcond=1e-10) @ logs
    s = np.linalg.svd(V, compute_uv=False)
    least = s[s > 1e-10 * s[0]].min()
    check = certify.entropic_choice(problem, start, moved)
    bound = 1e3 * EPS * (1.0 + max(map(abs, logs))) / least
    is_near(check, abs(residual).max(), bound, rel=1e-6)
    deep = mf.DeepFactors(rng.uniform(0.5, 1.0, (4, 14)))
    moved = dataclasses.replace(mf.interpolator(problem, deep, np.inf), x=x)
    goal = np.sign(x[on]) * abs(x[on]) ** -0.5
    residual = goal - V.T @ np.linalg.pinv(V.T, rcond=1e-10) @ goal
    check = certify.power_choice(problem, moved)
    is_near(check, abs(residual).max() / abs(goal).max(), 1e3 * EPS / least, rel=1e-6)


def test_the_l1_exponents_bound_is_both_constants():
    problem = mf.gaussian_recovery(8, 16, 2, 1)
    start = mf.Factors.pilot(np.linspace(-0.4, 0.5, 16))
    best, totals = mf.min_l1(problem).x, (1.0, 2.5)
    gap = certify.margin(problem, best)
    limits = tuple(mf.interpolator(problem, start, total) for total in totals)
    R, V = start.potential(), problem.row_space.V
    on = abs(best) > 1e-7 * abs(best).max()
    sign = np.sign(best[on])
    own = np.where(sign > 0, R.log_p[on], R.log_q[on])
    off = np.append(R.log_p[~on], R.log_q[~on])

    def seminorm(masses):
        nu = np.linalg.pinv(V[:, on].T) @ (sign * (np.log(masses) - own))
        return abs(V[:, ~on].T @ nu).max()

    mass = [(limit.p + limit.q)[~on].sum() for limit in limits]
    lower = max(
        seminorm(np.where(sign > 0, limit.p[on], limit.q[on])) - off.min() for limit in limits
    )
    upper = seminorm(abs(best[on])) + off.max() + math.log(2.0 * off.size)
    check = certify.l1_exponent(problem, R, limits, totals, best, 0.9 * gap)
    value = abs(math.log(mass[0] / mass[1]) / 6.0 - 0.9 * gap)
    is_near(check, value, (lower + upper) / 6.0, rel=1e-6)


def test_noise_that_is_decay_and_caps_in_numbers():
    rng = np.random.default_rng(0)
    Z = rng.choice([-1.0, 1.0], (4, 7))
    problem, start = mf.Regression(Z, Z[:, 0] - Z[:, 2]), mf.Factors.pilot(np.full(7, 0.2))
    path = mf.follow_descent(problem, start, 0.02, 300, batch_size=1, record=1)
    total = 0.5 * path.gain[-1].mean() / 4.0
    limit = mf.interpolator(problem.with_targets(Z @ path.x[-1]), start, total)
    size = (0.5 * (path.m**2 + path.w**2)).max()
    largest = max(1.0, abs(path.gain).max(), abs(path.shift).max())
    check = certify.noise_is_decay(problem, path, 0.5)
    bound = 10.0 * EPS * 1300.0 * largest
    is_near(check, abs(path.x[-1] - limit.x).max() / size, bound, rel=1e-6)
    H = 2.0 / 4.0 * (Z * (limit.p + limit.q)) @ Z.T
    check = certify.scale_cap(problem, limit, 0.3)
    is_near(check, 0.15 * np.linalg.eigvalsh(H)[-1], 1.0 + 1e-9, rel=1e-9)


def test_energies_in_numbers():
    """A claim that is off by a factor is off by that number."""
    problem, start = problem_of(), STARTS["m ⊙ w"]
    check = certify.energy(problem, start, 1e-9, claimed=3.0)
    is_near(check, 0.5, 1e-7, rel=1e-6)
    schedule, x_star = mf.Constant(0.3, 2.0), np.linspace(-1.0, 1.0, 7)
    wrong = certify.energy_balance(problem, start, schedule, 4.0, x_star, share=0.0)
    times = np.linspace(0.0, 4.0, 4001)
    flow = mf.direct_flow(problem, start, schedule, times, 1e-10)
    lengths = (flow.parameters**2).sum(axis=(1, 2)) * np.where(times <= 2.0, 0.3, 0.0)
    slopes = np.array([problem.gradient(x) @ (x - x_star) for x in flow.x])
    penalty, loss = (np.sum(0.5 * (f[1:] + f[:-1])) * 1e-3 for f in (lengths, slopes))
    # Σ of both sides; the drop is loss + penalty
    scale = abs(loss + penalty) + abs(loss) + penalty
    assert wrong.value == pytest.approx(penalty / scale, rel=2e-3)
    assert wrong.bound > 1e-7


def test_directions_of_margins_in_numbers():
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((4, 9))
    problem = mf.Regression(rows, np.ones(4), loss=mf.Exponential())
    start = mf.Factors.pilot(np.linspace(-0.2, 0.3, 9), 1e-2)
    flow = mf.direct_flow(problem, start, mf.Constant(0.1, 1.0), [0.0, 50.0], RTOL, accumulate=True)
    x, R = flow.x[-1], start.potential(float(flow.total[-1]))
    gamma = min(rows @ x)
    q = np.linalg.lstsq(rows.T, -flow.accumulated[-1], rcond=None)[0]
    best, u = mf.max_margin(problem, start, np.inf, 1.0).x, x / gamma
    epsilon = np.exp(R.log_a) / gamma
    top = math.log(1.0 / epsilon.max())
    assert top > 0.0

    def rest(u):
        return sum(
            abs(a) * (math.log(2.0 * abs(a)) - 1.0 + math.log(epsilon.max() / e)) - c * a
            for a, e, c in zip(u, epsilon, R.c, strict=True)
            if a != 0
        )

    paid = 2.0 * q @ (rows @ x - gamma) / gamma + epsilon.sum()
    error = 2.0 * RTOL * (100.0 + flow.steps) * abs(u * R.gradient(x)).sum()
    least = abs(best).sum()
    check = certify.margin_direction(problem, start, flow, RTOL)
    bound = (paid + rest(best) - rest(u) + error) / (top * least)
    is_near(check, abs(u).sum() / least - 1.0, bound, rel=1e-6)


def test_softmax_in_numbers():
    """Σ over classes of ∇R at a share of A, with K times the drift."""
    rng = np.random.default_rng(0)
    start = mf.Factors(*rng.standard_normal((2, 6)))
    problem = mf.Regression(rng.standard_normal((4, 6)), rng.standard_normal(4))
    flow = mf.direct_flow(problem, start, SCHEDULE, TIMES, RTOL)
    first = start.potential(0.0).gradient(start.x)
    worst = 0.0
    for x, total in zip(flow.x, flow.total, strict=True):
        now = start.potential(0.5 * total).gradient(x)
        for j in range(2):
            worst = max(worst, abs(now[3 * j : 3 * j + 3].sum() - first[3 * j : 3 * j + 3].sum()))
    check = certify.softmax_invariant(flow, 3, RTOL, 0.5)
    is_near(check, worst, 3.0 * RTOL * (100.0 + flow.steps), rel=1e-9)


def test_stationary_points_in_small_units():
    """What counts as 0 is a part of the largest |x|, in any unit."""
    found = []
    for unit in (1e-5, 1.0, 1e5):
        problem = mf.Regression(problem_of().Z, unit * problem_of().y)
        start = mf.DeepFactors(unit**0.25 * STARTS["4 layers"].theta)
        time = unit**-1.5  # of ∂g·∇f/θ
        flow = mf.direct_flow(problem, start, mf.Constant(0.2 / time), [0.0, 40.0 * time], RTOL)
        found.append(certify.deep_stationarity(problem, flow, 0.2 / time, RTOL, 2.0).value)
    assert 1e-3 < found[1] < 1.0
    assert found == pytest.approx([found[1]] * 3, rel=1e-4)


def test_a_certificate_says_its_numbers():
    text = repr(certify.Certificate.of("name", 0.25, 0.5))
    assert all(part in text for part in ("name", "0.25", "0.5", "True"))

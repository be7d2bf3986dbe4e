"""Certificates on every map and loss: they hold, and wrong constants of decay refute them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import mirrorflow as mf
from mirrorflow import certificates as certify

RTOL = 1e-9
DECAY = mf.Constant(0.3, 1.0)  # A = 0.3
TIMES = np.concatenate([[0.0], np.geomspace(1e-2, 1.0, 15)[:-1], np.geomspace(1.0, 300.0, 20)])
RNG = np.random.default_rng(5)
Z = RNG.standard_normal((6, 15))
Y = Z @ np.where(np.arange(15) < 2, 1.5, 0.0)
SIGNS = RNG.choice([-1.0, 1.0], (3, 15))
STARTS = {
    "factors": mf.Factors(*RNG.standard_normal((2, 15))),
    "powers": mf.Powers(*RNG.uniform(0.4, 1.0, (2, 15)), depth=3),
    "deep": mf.DeepFactors(RNG.uniform(0.4, 1.2, (3, 15)) * SIGNS),
}
LOSSES = {
    "squared": (mf.Squared(), Y),
    "pseudo_huber": (mf.PseudoHuber(0.7), Y),
    "poisson": (mf.Poisson(), np.round(np.exp(Y / 3.0)) + 1.0),
    "logistic": (mf.Logistic(), np.sign(Y)),
}


@pytest.fixture(scope="module", params=STARTS)
def start(request):
    return STARTS[request.param]


@pytest.fixture(scope="module", params=LOSSES)
def problem(request):
    loss, y = LOSSES[request.param]
    return mf.Regression(Z, y, loss=loss)


@pytest.fixture(scope="module")
def path(problem, start):
    return mf.direct_flow(problem, start, DECAY, TIMES, RTOL, accumulate=True)


def attained(problem):
    return bool(np.isfinite(problem.loss.minimiser(problem.y)).all())


def of_paths(problem, start, path):
    """Certificates that need nothing of the loss."""
    dual = mf.gradient_flow(problem, start, DECAY, TIMES, RTOL)
    yield certify.invariant(start, path, RTOL)
    yield certify.mirror_flow(problem, start, path, RTOL)
    yield certify.mirror_equation(start, path, RTOL)
    yield certify.closed_form(start, path, RTOL)
    yield certify.positional_bias(start, path, RTOL)
    yield certify.loss_slope(problem, DECAY, path, RTOL)
    yield certify.path_difference(dual, path, RTOL)
    yield certify.finite_time(problem, start, path, RTOL)
    yield certify.signs_kept(start, path, RTOL)


def test_theorem_2_1(problem, start, path):
    checks = list(of_paths(problem, start, path))
    assert [check for check in checks if not check.holds] == []
    assert all(check.bound < 0.05 for check in checks)


def test_theorems_2_2_and_2_3_where_the_minimum_is_attained(problem, start, path):
    if not attained(problem):
        limit = mf.interpolator(mf.Regression(problem.Z, problem.y), start, 0.3)
        with pytest.raises(mf.InputError, match="loss must have a minimum"):
            certify.asymptotic_rate(problem, limit, path, RTOL)
        return
    limit = mf.interpolator(problem, start, 0.3)
    checks = [
        certify.convergence(problem, limit, DECAY, path, RTOL),
        certify.arrival(problem, limit, DECAY, path, RTOL),
        certify.optimality(problem, limit, 0.3),
        certify.lyapunov_falls(problem, start, path, limit.x, 0.3, RTOL),
        certify.lyapunov_bounds_divergence(problem, start, path, limit.x, 0.3),
    ]
    if not isinstance(problem.loss, mf.Poisson):
        checks.append(certify.lower_rate(problem, start, 0.3, path, 1.0, RTOL))
        checks.append(certify.additive_penalty(problem, start, DECAY, path, RTOL))
    assert [check for check in checks if not check.holds] == []


def test_wrong_decay_is_refuted(problem, start, path):
    """Half of A in δA, and for κ ≠ 0 a gradient without its weight."""
    half = dataclasses.replace(path, total=0.5 * path.total)
    for check in (
        certify.invariant(start, half, RTOL),
        certify.mirror_flow(problem, start, half, RTOL),
        certify.mirror_equation(start, half, RTOL),
        certify.closed_form(start, half, RTOL),
        certify.positional_bias(start, half, RTOL),
        certify.loss_slope(problem, DECAY, half, RTOL),
        certify.finite_time(problem, start, half, RTOL),
    ):
        assert check.verdict == "refuted", check
    if start.kappa > 0:
        grad = np.array([problem.gradient(x) for x in path.x])
        wrong = dataclasses.replace(path, accumulated=path.accumulated + 1e-3 * grad)
        assert certify.mirror_equation(start, wrong, RTOL).verdict == "refuted"
    if attained(problem):
        for total in (0.15, 0.6):
            other = mf.interpolator(problem, start, total)
            assert certify.convergence(problem, other, DECAY, path, RTOL).verdict == "refuted"
        x_star = mf.interpolator(problem, start, 0.3).x
        low = certify.lyapunov_bounds_divergence(problem, start, path, x_star, 0.15)
        assert low.verdict == "refuted"


def test_the_weight_of_the_gradient(start):
    """∫∇f without e^{−κA} solves the mirror equation only where κ = 0."""
    problem = mf.Regression(Z, Y)
    times = np.linspace(0.0, 2.0, 2001)
    path = mf.direct_flow(problem, start, DECAY, times, RTOL, accumulate=True)
    grad = np.array([problem.gradient(x) for x in path.x])
    step = times[1]
    for weights, right in ((np.exp(-start.kappa * path.total), True), (1.0, start.kappa == 0)):
        rows = grad * np.reshape(weights, (-1, 1))
        sums = np.vstack([np.zeros(15), np.cumsum(0.5 * step * (rows[1:] + rows[:-1]), axis=0)])
        value = certify.mirror_equation(start, dataclasses.replace(path, accumulated=sums), RTOL)
        assert (value.value < 1e-3) == right, value  # the trapezoidal rule is off by h²


# ---- the integrators against scipy's, with every formula written out


def plain(problem, start):
    """x, ∂x/∂θ and φ′ as functions, none of them the library's."""
    depth = getattr(start, "depth", 3)
    maps = {
        mf.Factors: (lambda t: t[0] * t[1], lambda t: np.stack([t[1], t[0]])),
        mf.Powers: (
            lambda t: t[0] ** depth - t[1] ** depth,
            lambda t: depth * np.stack([t[0] ** (depth - 1), -(t[1] ** (depth - 1))]),
        ),
        mf.DeepFactors: (
            lambda t: t[0] * t[1] * t[2],
            lambda t: np.stack([t[1] * t[2], t[0] * t[2], t[0] * t[1]]),
        ),
    }
    y, delta = problem.y, problem.loss.parameter
    slopes = {
        mf.Squared: lambda z: z - y,
        mf.PseudoHuber: lambda z: (z - y) / np.sqrt(1.0 + ((z - y) / delta) ** 2),
        mf.Poisson: lambda z: np.exp(z) - y,
        mf.Logistic: lambda z: -y / (1.0 + np.exp(y * z)),
    }
    return *maps[type(start)], slopes[type(problem.loss)]


@pytest.mark.parametrize("method", ["Radau", "DOP853"])
def test_both_forms_are_scipys(problem, start, method):
    """They share a stepper; scipy's methods on the plain equations share nothing with them."""
    g, slopes, phi = plain(problem, start)
    shape, own = start.theta.shape, 1e-10
    times = np.array([0.1, 0.5, 1.0, 2.0, 10.0])

    def derivative(t, state):
        theta = state.reshape(shape)
        grad_f = Z.T @ phi(Z @ g(theta)) / 6
        return np.ravel(-slopes(theta) * grad_f - 2.0 * (0.3 if t < 1.0 else 0.0) * theta)

    state, states = start.theta.ravel(), []
    for begin, end in ((0.0, 1.0), (1.0, 10.0)):
        last = np.nextafter(end, 0.0)  # α stops at 1
        asked = np.minimum(times[(times > begin) & (times <= end)], last)
        span, options = (begin, last), {"rtol": own, "atol": 1e-3 * own}
        states.append(solve_ivp(derivative, span, state, method, asked, **options).y.T)
        state = states[-1][-1]
    theta = np.concatenate(states).reshape(-1, *shape)
    for integrate in (mf.gradient_flow, mf.direct_flow):
        flow = integrate(problem, start, DECAY, times, own)
        bound = 100.0 * own + own * (100 + flow.steps)  # scipy's tolerance, and ours, adding up
        assert np.abs(flow.parameters - theta).max() < bound * np.abs(theta).max()
        assert np.abs(flow.x - g(np.moveaxis(theta, 1, 0))).max() < bound * max(
            1, np.abs(flow.x).max()
        )


@pytest.mark.parametrize("layers", [2, 3])
def test_coordinates_that_are_zero_for_ever_judge_nothing(layers):
    """Two zero layers: x_j = 0 whatever ∇f is, so that no equation of ∇R can hold there."""
    rng = np.random.default_rng(layers)
    theta = rng.standard_normal((layers, 5))
    theta[:2, 0] = 0.0
    problem, start = mf.Regression(rng.standard_normal((2, 5)), [1.0, -1.0]), mf.DeepFactors(theta)
    flow = mf.direct_flow(problem, start, mf.Constant(0.1, 1.0), [0.5, 5.0], 1e-8, accumulate=True)
    assert not flow.x[:, 0].any()
    assert certify.mirror_equation(start, flow, 1e-8).holds
    assert certify.closed_form(start, flow, 1e-8).holds
    assert certify.mirror_flow(problem, start, flow, 1e-8).holds


@pytest.mark.parametrize("scale", [1e-2, 1.0, 30.0])
@pytest.mark.parametrize("depth", [3, 6])
def test_verdicts_know_the_units_of_the_dual(scale, depth):
    """∇R has units of u^{2−L}: neither ∫∇f nor the proof of a limit is held against 1."""
    rng = np.random.default_rng(depth)
    u, v = scale * np.exp(0.3 * rng.standard_normal((2, 6)))
    Z, start = rng.standard_normal((2, 6)), mf.Powers(u, v, depth)
    problem = mf.Regression(Z, Z @ (start.x + 0.5 * scale**depth * rng.standard_normal(6)))
    schedule, end = mf.Constant(0.0), 1.0 / scale ** (2 * depth - 2)
    flow = mf.direct_flow(problem, start, schedule, [0.1 * end, end], 1e-9, accumulate=True)
    assert certify.mirror_equation(start, flow, 1e-9).holds
    assert certify.closed_form(start, flow, 1e-9).holds
    other = mf.Powers(1.001 * u, v, depth)
    assert certify.closed_form(other, flow, 1e-9).verdict == "refuted"
    limit = mf.interpolator(problem, start, 0.0)
    assert limit.success
    assert certify.optimality(problem, limit, 0.0).verdict != "refuted"


def test_bounds_of_deep_limits_do_not_depend_on_units():
    """With u, v by s and y by s³ the gradient changes by 1/s, and its rounding with it."""
    draw = np.random.default_rng(0)
    Z, x, bounds = draw.standard_normal((3, 7)), draw.standard_normal(7), []
    for unit in (1e-6, 1.0, 1e6):
        start = mf.Powers(np.full(7, 0.8 * unit), np.full(7, 0.8 * unit), 3)
        problem = mf.Regression(Z, unit**3 * (Z @ x))
        check = certify.optimality(problem, mf.interpolator(problem, start, 0.0), 0.0)
        assert check.verdict == "confirmed"
        bounds.append(check.bound)
    assert bounds == pytest.approx([bounds[1]] * 3, rel=1e-6)

"""Mirror maps: closed forms against 50 digits, flows by the map against flows of the parameters."""

from __future__ import annotations

import json
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import mirrorflow as mf
from mirrorflow.maps import elliptic, quadrature
from mirrorflow.maps.base import MirrorMap

EPS = float(np.finfo(float).eps)
X, DX, RATES, Q = range(4)

FILE = json.loads((Path(__file__).parent / "data/map_cases.json").read_text("utf-8"))
CASES = FILE["cases"]


def numbers(values):
    """Decimal strings, or fractions, as floats."""
    if isinstance(values, list):
        return np.array([numbers(value) for value in values])
    top, _, bottom = values.partition("/")
    return float(top) / float(bottom or 1)


def start_of(key: str) -> MirrorMap:
    """The start of a reference case."""
    case = CASES[key]
    if "W0" in case:
        return mf.DeepFactors(numbers(case["W0"]).reshape(int(case["L"]), -1))
    if "u0" in case:
        return mf.Powers(numbers(case["u0"]), numbers(case["v0"]), int(key[-1]))
    return mf.SignedPower(numbers(case["theta0"]), float(key.rsplit("_", 1)[1]))


def end_of(key: str):
    """θ at T, (K, d), and the weighted integral of the gradient."""
    case = CASES[key]
    layers = {"u0": ("u", "v"), "W0": ("W",), "theta0": ("theta",)}
    names = next(layers[name] for name in layers if name in case)
    theta = np.concatenate([numbers(case[name]).ravel() for name in names])
    return theta.reshape(start_of(key).theta.shape), numbers(case["g_weighted"])


FLOWS = [key for key in CASES if "g_weighted" in CASES[key]]
SCHEDULE = mf.Quadratic(0.3, 1.0)


# ---- reference cases


@pytest.mark.parametrize("key", FLOWS)
def test_maps_lead_to_the_reference_cases_parameters(key):
    """θ_T = e^{−2A} θ(μ) with μ = −∫e^{−κA}∇f, and x = e^{−2LA}X(μ)."""
    start, (theta, accumulated), T = start_of(key), end_of(key), float(CASES[key]["T"])
    total = float(SCHEDULE.total(T))
    ours = start.parameters(np.array([total]), -accumulated[None])[0]
    assert np.abs(ours - theta).max() < 20 * EPS
    rows = start.at(-accumulated, total)
    assert np.abs(rows[X] - start.g(theta)).max() < 20 * EPS
    # the wrong scale, e^{−4A} in place of e^{−2LA}, is seen wherever L is not 2
    assert np.abs(np.exp((start.decay - 4.0) * total) * rows[X] - start.g(theta)).max() > 1e-4


@pytest.mark.parametrize("key", FLOWS)
@pytest.mark.parametrize("flow", [mf.gradient_flow, mf.direct_flow])
def test_flows_end_at_the_reference_cases(key, flow):
    case, start = CASES[key], start_of(key)
    problem = mf.Regression(numbers(case["Z"]), numbers(case["y"]))
    theta, accumulated = end_of(key)
    more = {"accumulate": True} if flow is mf.direct_flow else {}
    path = flow(problem, start, SCHEDULE, [float(case["T"])], 1e-11, **more)
    assert np.abs(path.parameters[0] - theta).max() < 1e-9
    if more:
        assert np.abs(path.accumulated[0] - accumulated).max() < 1e-9


@pytest.mark.parametrize("key", [key for key in FLOWS if "t_plus" in CASES[key]])
def test_domains_are_the_reference_cases(key):
    low, high = start_of(key).domain
    assert high == pytest.approx(numbers(CASES[key]["t_plus"]), rel=20 * EPS)
    assert -low == pytest.approx(numbers(CASES[key]["t_minus"]), rel=20 * EPS)


@pytest.mark.parametrize("key", [key for key in FLOWS if "wrong_unweighted_gradient" in CASES[key]])
def test_an_unweighted_gradient_misses_as_the_reference_says(key):
    """E4's wrong constant: F(z_T) − F(z₀) against −∫∇f."""
    case, start = CASES[key], start_of(key)
    Z, y = numbers(case["Z"]), numbers(case["y"])
    K, d = start.theta.shape

    def field(t, state):
        theta = state[: K * d].reshape(K, d)
        gradient = Z.T @ (Z @ start.g(theta) - y) / len(y)
        others = np.stack([np.prod(np.delete(theta, k, 0), axis=0) for k in range(K)])
        alpha = 0.3 / (1.0 + t) ** 2
        return np.concatenate([(-others * gradient - 2 * alpha * theta).ravel(), gradient])

    state = np.concatenate([start.theta.ravel(), np.zeros(d)])
    end = solve_ivp(field, (0.0, float(case["T"])), state, "DOP853", rtol=1e-12, atol=1e-14).y[
        :, -1
    ]
    moved = numbers(case["F"]) - numbers(case["F0"])
    miss = np.abs(moved + end[K * d :]).max()
    assert miss == pytest.approx(float(case["wrong_unweighted_gradient"]), rel=1e-8)


def test_three_layers_are_jacobis_functions():
    case = CASES["C06_L3_jacobi"]
    p, q, T = (float(case[name]) for name in "pqT")
    mu, z, x = numbers(case["F_z_x"]).T
    start = mf.DeepFactors(np.outer([p, q, 0.0], np.ones(len(mu))))
    rows = start.at(mu)
    assert rows[X] == pytest.approx(x, rel=30 * EPS)
    assert rows[Q] == pytest.approx(0.5 * z**2, rel=30 * EPS)
    assert start.domain[1] == pytest.approx(T, rel=4 * EPS)


# ---- every formula at 50 digits

SIZES = st.floats(0.05, 2.0)
WHERE = st.floats(-0.99, 0.99).filter(lambda value: value == 0 or abs(value) > 1e-12)
SCALES = st.sampled_from([1e-12, 1e-4, 1.0, 1.0, 1e3])


def inside(start: MirrorMap, where: float) -> float:
    """A μ in the domain of the only coordinate; where it is long x grows some e^30-fold at most."""
    low, high = (float(end[0]) for end in start.domain)
    rows = start.at(np.zeros(1))[:, 0]
    rate = rows[RATES] or rows[DX] / max(abs(rows[X]), 1e-300)
    far = 30.0 / rate if rate > 0 else 1.0
    return where * min(high if where > 0 else -low, far)


def compare(start: MirrorMap, mu: float, exact, condition: float) -> None:
    """X, X′, Q against mpmath's, to a few eps times the condition of what is left of a domain."""
    rows, bound = start.at(np.array([mu]))[:, 0], 40 * EPS * condition
    for row, value in zip((X, DX, Q), exact, strict=True):
        assert abs(rows[row] - value) <= bound * abs(value), (row, rows[row], value)


@given(SIZES, SIZES, SCALES, st.integers(2, 9), WHERE)
@settings(max_examples=150, deadline=None)
def test_powers_at_50_digits(u, v, scale, depth, where):
    start = mf.Powers([u * scale], [v * scale], depth)
    mu = inside(start, where)
    with mp.workdps(50):
        a, b, m = mp.mpf(u * scale), mp.mpf(v * scale), mp.mpf(mu)
        if depth == 2:
            a, b = a * mp.exp(2 * m), b * mp.exp(-2 * m)
        else:
            K, power = depth * (depth - 2), mp.mpf(-1) / (depth - 2)
            a, b = (a ** (2 - depth) - K * m) ** power, (b ** (2 - depth) + K * m) ** power
        x, parts = a**depth - b**depth, a**depth + b**depth
        slope = depth**2 * (a ** (2 * depth - 2) + b ** (2 * depth - 2))
        exact = x, slope, (a * a + b * b) / (2 * depth)
        # μ's own rounding aside, r and s are what loses digits; x besides where u ≈ v
        worth = 1.0 / (1.0 - abs(where)) + float(abs(parts / x)) if x else 1e300
        compare(start, mu, exact, depth * worth)


@given(
    st.floats(-2.0, 2.0).filter(lambda v: abs(v) > 1e-3),
    SCALES,
    st.sampled_from([1.2, 1.5, 1.999999, 2.0, 2.0000001, 2.5, 3.0, 5.0]),
    WHERE,
)
@settings(max_examples=150, deadline=None)
def test_signed_powers_at_50_digits(theta, scale, kappa, where):
    start = mf.SignedPower([theta * scale], kappa)
    mu = inside(start, where)
    with mp.workdps(50):
        a, k, m = mp.mpf(theta * scale), mp.mpf(kappa), mp.mpf(mu)
        if kappa == 2.0:
            size, bracket = abs(a) * mp.exp(2 * mp.sign(a) * m), mp.mpf(1)
        else:
            bracket = 1 + k * (2 - k) * abs(a) ** (k - 2) * mp.sign(a) * m
            size = abs(a) * abs(bracket) ** (1 / (2 - k))
        x = mp.sign(a) * mp.sign(bracket) * size**k
        exact = x, k**2 * size ** (2 * k - 2), size**2 / (2 * k)
        compare(
            start, mu, exact, (1 + kappa**2 / max(abs(2 - kappa), 1)) * float(1 + 1 / abs(bracket))
        )


@st.composite
def layers(draw):
    """One coordinate of 3 to 6 layers: other sizes, ties, one zero, near ties, any signs."""
    count = draw(st.integers(3, 6))
    pool = st.sampled_from([0.1, 0.5, 0.5 * (1 + 1e-7), 1.3, 2e-4]) | SIZES
    sizes = [draw(pool) for _ in range(count)]
    if draw(st.booleans()):
        sizes[draw(st.integers(0, count - 1))] = 0.0
    if draw(st.booleans()):
        sizes[0] = sizes[-1] = min(sizes)
    scale = draw(st.sampled_from([1e-6, 1.0, 1.0, 1e4]))
    signs = [draw(st.sampled_from([-1.0, 1.0])) for _ in range(count)]
    return scale * np.array(sizes)[:, None] * np.array(signs)[:, None]


@given(layers(), WHERE)
@settings(max_examples=25, deadline=None)
def test_deep_factors_at_50_digits(theta, where):
    """F(z) − F(z₀) = μ by mpmath's quadrature; x, X′ and the layers follow from z."""
    start = mf.DeepFactors(theta)
    if sum(theta[:, 0] == 0) > 1:  # x ≡ 0
        assert start.at(np.array([where]))[[X, DX], 0].tolist() == [0.0, 0.0]
        return
    mu = inside(start, where)
    rows = start.at(np.array([mu]))[:, 0]
    z = np.copysign(np.sqrt(2.0 * rows[Q]), rows[X])
    with mp.workdps(50):
        sizes = sorted(abs(mp.mpf(value)) for value in theta[:, 0])
        least, others = sizes[0], sizes[1:]
        squares = [(size - least) * (size + least) for size in others]
        z0 = least * mp.sign(mp.mpf(start.x[0]) or 1)

        def speed(s):
            return mp.sqrt(mp.fprod(s * s + square for square in squares))

        exact_z = mp.mpf(z)
        floor = mp.sqrt(min(squares))
        # in log-like steps: no scale of the integrand is skipped
        ends = [mp.asinh(end / floor) if floor else mp.log(abs(end)) for end in (z0, exact_z)]
        back = (lambda s: floor * mp.sinh(s)) if floor else (lambda s: mp.sign(z0) * mp.exp(s))
        jacobian = (lambda s: floor * mp.cosh(s)) if floor else back
        steps = mp.linspace(*ends, 9)
        F = mp.quad(lambda s: jacobian(s) / speed(back(s)), steps, maxdegree=6)
        miss = abs(F - mp.mpf(mu)) * speed(exact_z) / mp.sqrt(exact_z**2 + floor**2)
        slack = 1.0 / (1.0 - abs(where))
        spread = 1.0 + abs(float(mp.log(others[-1] / (floor or others[-1]))))
        assert miss < 60 * EPS * slack * spread
        value = speed(exact_z)
        assert abs(rows[X] - exact_z * value) <= 20 * EPS * abs(exact_z * value)
        if z:
            slope = value**2 * (1 + sum(exact_z**2 / (exact_z**2 + square) for square in squares))
            assert abs(rows[DX] - slope) <= 20 * EPS * slope


@given(layers().filter(lambda theta: len(theta) == 3), WHERE)
@settings(max_examples=150, deadline=None)
def test_three_layers_agree_with_quadrature(theta, where):
    start = mf.DeepFactors(theta)
    mu = np.array([inside(start, where)])
    out = np.empty((2, 4, 1))
    for kernel, table, rows in (
        (start.point, elliptic.tabulate, out[0]),
        (quadrature.point, quadrature.tabulate, out[1]),
    ):
        kernel(np.ascontiguousarray(table(*start._invariants())), 0, 1, 0.1, mu, rows)
    z = np.sqrt(np.maximum(out[:, Q], 0.0))
    scale = np.maximum(z[0], np.sqrt(start._invariants()[1][0]))
    assert np.abs(z[0] - z[1]) <= 300 * EPS / (1.0 - abs(where)) * scale


def rows_written(start: MirrorMap, theta):
    """What `written` fills, of θ (K, d)."""
    K = len(theta)
    out = np.full((1 + K + K * (K + 1) // 2, start.d), np.nan)
    degree = start.degree
    start.written(np.ascontiguousarray(theta), 0, start.d, degree, np.empty(start.d), out)
    return out


STARTS = {
    "u² − v²": mf.Powers([0.7, 0.5, 1.1], [0.4, 0.9, 0.3], 2),
    "u³ − v³": mf.Powers([0.7, 0.5, 1.1], [0.4, 0.9, 0.3], 3),
    "u⁴ − v⁴": mf.Powers([0.7, 0.5, 1.1], [0.4, 0.9, 0.3], 4),
    "u⁶ − v⁶": mf.Powers([0.7, 0.5, 1.1], [0.4, 0.9, 0.8], 6),
    "2 layers": mf.DeepFactors([[0.7, 0.5, -1.1], [0.4, -0.9, 0.3]]),
    "3 layers": mf.DeepFactors([[0.7, 0.5, -1.1], [0.4, -0.9, 0.3], [0.9, 0.0, 0.6]]),
    "3, ties": mf.DeepFactors([[0.7, 0.5, -0.6], [0.7, -0.9, 0.6], [0.9, 0.5, 0.6]]),
    "4 layers": mf.DeepFactors(np.array([[0.7, 0.5, -1.1], [0.8, -0.9, 0.5],
                                         [0.9, 0.0, 0.6], [1.2, 0.7, -0.9]])),
    "5, ties": mf.DeepFactors(np.array([[0.7, 0.5, 0.8], [0.7, 0.9, -0.8], [0.9, 0.5, -0.8],
                                        [1.0, 0.5, 0.8], [1.1, 1.2, 0.8]])),
    "6 layers": mf.DeepFactors(np.array([[0.7, 0.5, 0.8], [0.8, 0.9, -0.7], [0.9, 0.8, -0.8],
                                         [1.0, 0.9, 0.8], [1.1, 1.2, 0.8], [0.9, 0.8, 1.0]])),
    "|θ|^1.5": mf.SignedPower([0.7, -0.5, 1.1], 1.5),
    "|θ|²": mf.SignedPower([0.7, -0.5, 1.1], 2.0),
    "|θ|³": mf.SignedPower([0.7, -0.5, 1.1], 3.0),
}  # fmt: skip


@pytest.fixture(params=STARTS)
def start(request) -> MirrorMap:
    return STARTS[request.param]


def points(start: MirrorMap, count: int, seed: int = 0):
    """μ inside the domain, (count, d)."""
    low, high = (np.clip(end, -0.6, 0.6) for end in start.domain)
    return low + (high - low) * np.random.default_rng(seed).uniform(0.1, 0.9, (count, start.d))


def test_written_derivatives_are_mpmaths(start):
    with mp.workdps(50):
        for j in range(start.d):
            theta = [mp.mpf(value) for value in start.theta[:, j]]
            K = len(theta)

            def g(*values):
                if isinstance(start, mf.Powers):
                    return values[0] ** start.depth - values[1] ** start.depth
                if isinstance(start, mf.SignedPower):
                    return values[0] * abs(values[0]) ** (mp.mpf(start.power) - 1)
                return mp.fprod(values)

            orders = [[int(i == k) for i in range(K)] for k in range(K)]
            orders += [
                [int(i == k) + int(i == l) for i in range(K)] for k in range(K) for l in range(k, K)
            ]
            exact = [g(*theta)] + [mp.diff(g, tuple(theta), tuple(order)) for order in orders]
            ours = rows_written(start, start.theta)[:, j]
            assert np.abs(ours - np.array([float(value) for value in exact])).max() < 1e-14 * 36


def test_a_power_that_passes_through_zero_has_no_infinite_row():
    """θ|θ|^{κ−1} at θ = 0: value and slope 0, and 0 for a second derivative that κ < 2 has not."""
    for kappa in (1.5, 2.0, 3.0):
        assert not rows_written(mf.SignedPower([1.0], kappa), np.zeros((1, 1))).any()


def test_logarithms_of_factors_are_kept():
    start = mf.LogFactors([-900.0, 2.0], [-901.0, -3.0])
    assert start.log_p.tolist() == [-900.0, 2.0]
    assert start.log_q.tolist() == [-901.0, -3.0]


def test_the_metric_is_the_gradients_square(start):
    """X(0) = x₀, X = g(θ(μ)), X′ = |∂g(θ(μ))|², and e^{−δA} with e^{−2A}θ: g is homogeneous."""
    assert start.at(np.zeros(start.d))[X] == pytest.approx(start.x, rel=1e-14, abs=1e-16)
    mu = points(start, 7)
    for total in (0.0, 0.4):
        theta = start.parameters(np.full(len(mu), total), mu)
        for layers_, some in zip(theta, mu, strict=True):
            rows, written = start.at(some, total), rows_written(start, layers_)
            squares = (written[1 : 1 + len(layers_)] ** 2).sum(axis=0)
            assert rows[X] == pytest.approx(written[0], rel=1e-12, abs=1e-15)
            # e^{−δA}X′ and |∂g(e^{−2A}θ)|² differ by the gradient's own weight
            assert rows[DX] * np.exp(-start.kappa * total) == pytest.approx(squares, rel=1e-12)


def test_conjugates_are_integrals_of_the_map(start):
    nodes, weights = np.polynomial.legendre.leggauss(24)
    mu = 0.5 * points(start, 1)[0]
    integral = sum(
        0.5 * weight * mu * start.at(0.5 * mu * (node + 1.0), 0.1)[X]
        for node, weight in zip(nodes, weights, strict=True)
    )
    change = start.at(mu, 0.1)[Q] - start.at(np.zeros(start.d), 0.1)[Q]
    assert change == pytest.approx(integral, rel=1e-9, abs=1e-14)


def test_the_potentials_gradient_inverts_the_map(start):
    for total in (0.0, 0.7):
        R = start.potential(total)
        for mu in points(start, 5):
            x = R.inverse_gradient(mu)
            back = R.gradient(x)
            # near a zero of X′ (θ = 0, κ < 2) μ is known as well as x says
            assert np.abs(R.inverse_gradient(back) - x).max() < 1e-14 * max(1.0, np.abs(x).max())
            assert np.abs(back - mu).max() < 1e-9
            y = R.inverse_gradient(0.5 * mu)
            divergence = R.value(x) - R.value(y) - R.gradient(y) @ (x - y)
            assert R.divergence(x, y) == pytest.approx(divergence, rel=1e-7, abs=1e-13)
            assert R.divergence(x, y) > 0.0
            assert R.divergence(x, x) == 0.0
        assert R.minimizer == pytest.approx(np.exp(-start.decay * total) * start.x, rel=1e-14)


def test_locked_signs_end_at_an_infinite_gradient():
    """On the edge of the domain of x: values finite, gradients ∓∞, outside refused."""
    start = mf.DeepFactors([[0.5, -0.5, 0.0], [0.5, 0.5, 0.0], [0.9, 0.9, 1.0]])
    R = start.potential()
    assert R.gradient(np.zeros(3)).tolist() == [-np.inf, np.inf, 0.0]
    assert R.domain[0].tolist() == [0.0, -np.inf, 0.0]
    assert R.domain[1].tolist() == [np.inf, 0.0, 0.0]
    assert np.isfinite(R.value(np.zeros(3)))
    assert R.divergence(np.zeros(3), start.x) > 0.0
    assert R.divergence(start.x, np.zeros(3)) == np.inf
    assert R.value([-0.1, 0.0, 0.0]) == np.inf
    with pytest.raises(mf.InputError, match=r"x\[0\] = -0.1 does not"):
        R.gradient([-0.1, 0.0, 0.0])


def test_beyond_the_domain_nothing_is_finite(start):
    """A trial step may land there, and must be seen to."""
    for end in start.domain:
        if np.isfinite(end).any():
            rows = start.at(np.where(np.isfinite(end), 1.001 * end, 0.0))
            assert not np.isfinite(rows[X][np.isfinite(end)]).any()
            assert not np.isfinite(rows[DX][np.isfinite(end)]).any()


def test_two_layers_and_squares_are_m_times_w():
    rng = np.random.default_rng(5)
    m, w = rng.standard_normal((2, 6))
    w[0], w[1], m[1] = m[0], 0.0, 0.0
    factors, deep = mf.Factors(m, w), mf.DeepFactors([m, w])
    mu = rng.standard_normal((4, 6))
    for some in mu:
        assert np.array_equal(factors.at(some, 0.3)[[X, DX, Q]], deep.at(some, 0.3)[[X, DX, Q]])
    total = np.full(4, 0.3)
    assert np.array_equal(factors.parameters(total, mu), deep.parameters(total, mu))
    u, v = np.abs(m) + 0.1, np.abs(w) + 0.1
    squares, twice = mf.Powers(u, v, 2), mf.Factors(u + v, u - v)
    for some in mu:
        ours, theirs = squares.at(some, 0.3), twice.at(2.0 * some, 0.3)
        assert ours[X] == pytest.approx(theirs[X], rel=1e-14)
        assert ours[DX] == pytest.approx(2.0 * theirs[DX], rel=1e-14)
        assert ours[Q] == pytest.approx(0.5 * theirs[Q], rel=1e-14)


# ---- flows

PROBLEM = mf.Regression(np.random.default_rng(2).standard_normal((2, 3)), [0.8, -0.5])
TIMES = [0.5, 2.0, 10.0]
DECAYS = {"none": mf.Constant(0.0), "stops": mf.Constant(0.2, 1.0), "stays": mf.Constant(0.01)}


@pytest.mark.parametrize("decay", DECAYS)
def test_flows_of_the_map_are_flows_of_the_parameters(start, decay):
    """E4: mirror flow of e^{2LA}x under a reweighted gradient, though decay does not commute."""
    schedule, rtol = DECAYS[decay], 1e-10
    times = [0.1, 0.3, 0.5] if isinstance(start, mf.SignedPower) and start.power < 2 else TIMES
    by_map = mf.gradient_flow(PROBLEM, start, schedule, times, rtol)
    written = mf.direct_flow(PROBLEM, start, schedule, times, rtol, accumulate=True)
    assert by_map.success
    assert written.success
    bound = 1e3 * rtol * np.abs(written.x).max()
    assert np.abs(by_map.x - written.x).max() < bound
    assert np.abs(by_map.parameters - written.parameters).max() < 1e3 * rtol
    for i, total in enumerate(written.total):
        x = start.at(-written.accumulated[i], total)[X]
        assert np.abs(x - written.x[i]).max() < 10.0 * bound
    if decay == "stops" and start.degree != 2.0:  # the scale of degree 2 is wrong for others
        wrong = np.exp((start.decay - 4.0) * written.total[-1]) * x
        assert np.abs(wrong - written.x[-1]).max() > 1e4 * bound


def test_flows_follow_the_plain_equations(start):
    """By scipy's Radau, which shares nothing with the project's stepper."""
    alpha, times = 0.05, [0.2, 0.5]
    K, d = start.theta.shape

    def field(t, state):
        theta = state.reshape(K, d)
        gradient = PROBLEM.Z.T @ (PROBLEM.Z @ start.g(theta) - PROBLEM.y) / PROBLEM.n
        return (-rows_written(start, theta)[1 : 1 + K] * gradient - 2 * alpha * theta).ravel()

    rival = solve_ivp(field, (0.0, 0.5), start.theta.ravel(), "Radau", times, rtol=1e-9, atol=1e-11)
    x = start.g(rival.y.T.reshape(len(times), K, d))
    for flow in (mf.gradient_flow, mf.direct_flow):
        ours = flow(PROBLEM, start, mf.Constant(alpha), times, 1e-10).x
        assert np.abs(ours - x).max() < 1e-6 * np.abs(x).max()


def test_signs_change_where_x_may_pass_through_zero():
    """κ < 2: X′ = 0 at θ = 0, and the mirror flow goes on to its limit on the other side."""
    start = mf.SignedPower([0.7, -0.5, 1.1], 1.5)
    flow = mf.gradient_flow(PROBLEM, start, mf.Constant(0.0), [1e4], 1e-10)
    limit = mf.interpolator(PROBLEM, start, 0.0)
    assert (np.sign(flow.x[-1]) != np.sign(start.x)).any()
    assert limit.status == "converged"
    assert np.abs(flow.x[-1] - limit.x).max() < 1e-9


@pytest.mark.parametrize("total", [0.0, 0.4])
def test_flows_end_at_the_maps_limits(start, total):
    """Theorem 2.3 at every degree: argmin R(e^{2LA}x) on Zx = y."""
    schedule = mf.Constant(total, 1.0) if total else mf.Constant(0.0)
    flow = mf.gradient_flow(PROBLEM, start, schedule, [1e7], 1e-10)
    limit = mf.interpolator(PROBLEM, start, total)
    if limit.status == "converged":
        assert flow.loss[-1] < 1e-18
        assert np.abs(flow.x[-1] - limit.x).max() < 1e-7
    else:  # locked signs without a solution
        assert not all(side.all() for side in start.signs)
        assert flow.loss[-1] > 1e-6


def test_steps_beyond_a_domain_are_taken_back():
    """BDF's long steps on a plateau end beyond the domain, where no matrix can be factorized."""
    problem, start = mf.gaussian_recovery(40, 100, 5, 0), mf.Powers([0.5] * 100, [0.5] * 100, 4)
    times = np.append([0.5, 1.0, 2.0], np.geomspace(3.0, 1e6, 21))
    for rtol in (1e-4, 1e-6):
        flow = mf.gradient_flow(problem, start, mf.Constant(1.0, 2.0), times, rtol)
        assert flow.success
        assert flow.loss[-1] < 1e-12


# ---- bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mf.Powers([1.0, 0.0], [1.0, 1.0], 3), r"u must be between .* but u\[1\] is 0"),
        (lambda: mf.Powers([1.0], [-1.0], 3), r"v must be between .* but v\[0\] is -1"),
        (lambda: mf.Powers([1.0], [1.0, 2.0], 3), r"v must have 1 entry \(as many as u\)"),
        (lambda: mf.Powers([1.0], [1.0], 1), r"depth must be at least 2, but it is 1"),
        (lambda: mf.Powers([1.0], [1.0], 2.5), r"depth must be a whole number, but it is 2.5"),
        (lambda: mf.Powers([1e-60], [1.0], 4), r"u must be between 3.2e-38 and .* is 1e-60"),
        (lambda: mf.DeepFactors([[1.0]]), r"layers must have 2 to 6 rows, but .* \(1, 1\)"),
        (lambda: mf.DeepFactors(np.ones((7, 2))), r"layers must have 2 to 6 rows"),
        (lambda: mf.DeepFactors([1.0, 2.0]), r"layers must have 2 axes"),
        (lambda: mf.DeepFactors([[1.0], [np.nan], [1.0]]), r"layers must be finite"),
        (lambda: mf.DeepFactors([[1.0], [1e-60], [1.0]]), r"layers must be 0 or in size between"),
        (lambda: mf.SignedPower([1.0, 0.0], 1.5), r"theta must not be 0, .* but theta\[1\] is"),
        (lambda: mf.SignedPower([1.0], 1.0), r"kappa must be a finite number above 1"),
        (lambda: mf.SignedPower([[1.0, 2.0]], 3.0), r"theta must have 1 axis"),
        (lambda: mf.LogFactors([0.0, 1.0], [0.0]), r"log_q must have 2 entries \(as log_p\)"),
    ],
)
def test_bad_starts_are_refused(make, message):
    with pytest.raises(mf.InputError, match=message):
        make()


def test_starts_show_themselves():
    assert repr(STARTS["u³ − v³"]) == "Powers(d=3, depth=3, largest_x=1.3)"
    assert "layers=3" in repr(STARTS["3 layers"])
    assert "power=1.5" in repr(STARTS["|θ|^1.5"])


@pytest.mark.parametrize("kappa", [2.000001, 2.0001, 2.001, 2.01])
def test_gradients_are_found_where_the_domain_is_far_wider_than_the_way(kappa):
    """Just above κ = 2 the domain has a far end, from where Newton's steps are short."""
    theta = np.array([-2.5, -1.0, 0.9, 2.5, 1.3, -1.4])
    x = np.array([-2.8, -0.1, 1.5, 0.8, 0.1, -1.1])
    potential, limit = (mf.SignedPower(theta, k).potential(0.3) for k in (kappa, 2.0))
    mu = potential.gradient(x)
    assert potential.inverse_gradient(mu) == pytest.approx(x, rel=1e-12)
    assert mu == pytest.approx(limit.gradient(x), abs=20 * (kappa - 2.0))

"""R_a against its formula at high precision: value, derivatives, splitting, limits, no underflow.

The references use the printed formulas in 80 digits and the factors' stored digits; the library
works in logarithms of p̄ and q̄. A tolerance is a multiple of eps times the size of the
logarithms and terms that enter, which is what one rounding of each costs.
"""

from __future__ import annotations

import math
import warnings

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mpf
from scipy.optimize import minimize_scalar

from mirrorflow import Factors, HyperbolicEntropy, InputError

EPS = np.finfo(float).eps
DIGITS = 80
identity = settings(deadline=None, max_examples=60, derandomize=True)

sizes = st.floats(1e-3, 1e1)
signs = st.sampled_from([-1.0, 1.0])
reals = st.builds(lambda size, sign: sign * size, sizes, signs)
two_sided = st.tuples(reals, reals).filter(lambda f: abs(f[0]) != abs(f[1]))
positive = st.builds(lambda m: (m, m), reals)  # v₀ = 0: x ≥ 0 forever
negative = st.builds(lambda m: (m, -m), reals)  # u₀ = 0: x ≤ 0 forever
# p̄q̄ = a²/4 underflows from A = 93 on, a itself from 186 on
totals = st.sampled_from([0.0, 0.1, 0.7, 2.0, 5.0, 20.0, 80.0, 100.0, 150.0, 180.0, 190.0, 1000.0])
points = st.one_of(
    st.just(0.0), st.builds(lambda size, sign: sign * size, st.floats(1e-6, 1e3), signs)
)


def potential(m: float, w: float, total: float = 0.0) -> HyperbolicEntropy:
    return HyperbolicEntropy.of(Factors([m], [w]), total)


def masses(m: float, w: float, total: float) -> tuple[mpf, mpf]:
    """p̄ = ½u₀²e^{−4A} and q̄ = ½v₀²e^{−4A}."""
    u, v = (mpf(m) + mpf(w)) / mpmath.sqrt(2), (mpf(m) - mpf(w)) / mpmath.sqrt(2)
    decay = mpmath.exp(-4 * mpf(total))
    return u**2 / 2 * decay, v**2 / 2 * decay


def scale(m: float, w: float, total: float) -> tuple[mpf, mpf]:
    """a = ½|m₀² − w₀²|e^{−4A} and c = log|u₀/v₀|."""
    a = abs(mpf(m) ** 2 - mpf(w) ** 2) / 2 * mpmath.exp(-4 * mpf(total))
    return a, mpmath.log(abs((mpf(m) + mpf(w)) / (mpf(m) - mpf(w))))


def asinh(z: mpf) -> mpf:
    """For z up to e^{4000}: squaring costs no digits, mpmath's exponents are unbounded."""
    return mpmath.sign(z) * mpmath.log(abs(z) + mpmath.sqrt(z * z + 1))


def formula(x: mpf, m: float, w: float, total: float) -> mpf:
    """One coordinate of R as printed, with its one-sided forms."""
    if abs(m) != abs(w):
        a, c = scale(m, w, total)
        return (x * asinh(x / a) - mpmath.sqrt(x * x + a * a) - x * c) / 2
    mass = sum(masses(m, w, total))
    size = x if m == w else -x
    return (size * mpmath.log(size / mass) - size) / 2 if size > 0 else mpf(0)


def slope(x: mpf, m: float, w: float, total: float) -> mpf:
    """One coordinate of ∇R as printed, with its one-sided forms."""
    if abs(m) != abs(w):
        a, c = scale(m, w, total)
        return (asinh(x / a) - c) / 2
    mass = sum(masses(m, w, total))
    return mpmath.log(x / mass) / 2 if m == w else -mpmath.log(-x / mass) / 2


def rounding(x: float, R: HyperbolicEntropy) -> float:
    """eps times the logarithms behind ∇R(x); −inf of a missing side counts for nothing."""
    logs = [float(v[0]) for v in (R.log_p, R.log_q, R.c) if np.isfinite(v[0])]
    size = abs(math.log(abs(x))) if x else 0.0
    return 4 * EPS * (1.0 + size + sum(abs(v) for v in logs))


def inside(factors: tuple[float, float], x: float) -> float:
    """x, or its mirror image where the coordinate is bound to the other sign."""
    m, w = factors
    return x if abs(m) != abs(w) else math.copysign(x, m * w)


# by hand, because hypothesis draws the simpler branches of one_of far more often
any_factors = st.sampled_from([two_sided] * 4 + [positive, negative]).flatmap(lambda kind: kind)


# ---- the reference point, the scale and c


@identity
@given(f=two_sided, total=totals)
def test_scale_and_shift(f, total):
    """log a = log(½|m₀² − w₀²|) − 4A and c = log|u₀/v₀|, which A does not move."""
    R = potential(*f, total)
    with mpmath.workdps(DIGITS):
        a, c = scale(*f, total)
        log_a, c = float(mpmath.log(a)), float(c)
    assert R.log_a[0] == pytest.approx(log_a, rel=4 * EPS, abs=16 * EPS * (1 + abs(c)))
    assert R.c[0] == pytest.approx(c, rel=16 * EPS, abs=0.0)


@identity
@given(f=any_factors, total=totals)
def test_reference_masses(f, total):
    R = potential(*f, total)
    with mpmath.workdps(DIGITS):
        logs = [float(mpmath.log(mass)) if mass else -np.inf for mass in masses(*f, total)]
    assert np.allclose([R.log_p[0], R.log_q[0]], logs, rtol=4 * EPS, atol=16 * EPS)


def test_log_a_by_numbers():
    """m = 2, w = 1: a₀ = 3/2; pilot with β: a₀ = β/2; after A: times e^{−4A}."""
    assert np.exp(potential(2.0, 1.0).log_a[0]) == pytest.approx(1.5)
    assert np.exp(potential(1.0, 2.0).log_a[0]) == pytest.approx(1.5)
    pilot = HyperbolicEntropy.of(Factors.pilot([0.3, -4.0, 0.0], beta=0.5))
    assert np.allclose(np.exp(pilot.log_a), 0.25)
    assert np.exp(potential(2.0, 1.0, 0.25).log_a[0]) == pytest.approx(1.5 / math.e)
    assert potential(2.0, 1.0).c[0] == pytest.approx(math.log(3.0))
    assert potential(1.0, 2.0).c[0] == pytest.approx(math.log(3.0))
    assert potential(2.0, -1.0).c[0] == pytest.approx(-math.log(3.0))


# ---- value, gradient, Hessian


@identity
@given(f=any_factors, total=totals, x=points)
def test_value_is_the_formula(f, total, x):
    R, x = potential(*f, total), inside(f, x)
    with mpmath.workdps(DIGITS):
        expected = float(formula(mpf(x), *f, total))
    size = abs(x) + (float(np.exp(R.log_a[0])) if abs(f[0]) != abs(f[1]) else 0.0)
    assert R.value([x]) == pytest.approx(expected, rel=0.0, abs=rounding(x, R) * size)


@identity
@given(fs=st.lists(two_sided, min_size=2, max_size=4), total=totals, x=points)
def test_value_sums_over_coordinates(fs, total, x):
    m, w = zip(*fs, strict=True)
    R, x = HyperbolicEntropy.of(Factors(m, w), total), x * np.arange(1, len(fs) + 1)
    parts = [potential(*f, total).value([z]) for f, z in zip(fs, x, strict=True)]
    # below the smallest normal number rounding is no longer relative
    rounding = 4 * EPS * np.abs(parts).sum() + np.finfo(float).tiny
    assert R.value(x) == pytest.approx(sum(parts), rel=0.0, abs=rounding)


@identity
@given(f=any_factors, total=totals, x=points)
def test_gradient_is_the_formula(f, total, x):
    R, x = potential(*f, total), inside(f, x)
    if x == 0 and abs(f[0]) == abs(f[1]):
        return
    with mpmath.workdps(DIGITS):
        expected = float(slope(mpf(x), *f, total))
    assert R.gradient([x])[0] == pytest.approx(expected, rel=0.0, abs=rounding(x, R))


@identity
@given(f=any_factors, total=st.floats(0.0, 300.0), x=points.filter(bool))
def test_derivatives_of_the_value(f, total, x):
    """∇R and ∇²R are the numerical derivatives of R's formula, at 50 digits."""
    R, x = potential(*f, total), inside(f, x)
    with mpmath.workdps(50):
        first = mpmath.diff(lambda z: formula(z, *f, total), mpf(x), relative=True)
        second = mpmath.diff(lambda z: formula(z, *f, total), mpf(x), 2, relative=True)
        first, second = float(first), float(second)
    # central differences of first order in h ≈ 1e-25 and 1e-16
    assert R.gradient([x])[0] == pytest.approx(first, rel=1e-12, abs=rounding(x, R) + 1e-14)
    assert R.hessian_diagonal([x])[0] == pytest.approx(second, rel=1e-10, abs=0.0)


@identity
@given(f=any_factors, total=totals, x=points.filter(bool))
def test_hessian_is_the_formula(f, total, x):
    with mpmath.workdps(DIGITS):
        a = scale(*f, total)[0] if abs(f[0]) != abs(f[1]) else mpf(0)
        expected = float(1 / (2 * mpmath.sqrt(mpf(x) ** 2 + a**2)))
    R = potential(*f, total)
    # exp(log a) carries the absolute rounding of log a
    assert R.hessian_diagonal([x])[0] == pytest.approx(expected, rel=rounding(x, R), abs=0.0)


def test_hessian_where_a_underflows():
    """Between A = 177 and 187 the curvature at the minimum passes the largest double."""
    for total in (170.0, 177.0, 180.0, 186.0, 190.0, 1000.0):
        R = potential(1.0, 0.5, total)
        curvature = R.hessian_diagonal(R.minimizer)[0]
        assert curvature > 1e295


# ---- the mirror map and its inverse


@identity
@given(f=any_factors, total=totals, g=st.floats(-20.0, 20.0))
def test_inverse_gradient_is_the_flow_of_the_factors(f, total, g):
    """At θ = −g: x = m w with m = e^{−2A}(m₀ cosh g − w₀ sinh g), w likewise."""
    R = potential(*f, total)
    with mpmath.workdps(DIGITS):
        m0, w0, g_ = mpf(f[0]), mpf(f[1]), mpf(g)
        decay = mpmath.exp(-2 * mpf(total))
        m = decay * (m0 * mpmath.cosh(g_) - w0 * mpmath.sinh(g_))
        w = decay * (w0 * mpmath.cosh(g_) - m0 * mpmath.sinh(g_))
        expected, size = float(m * w), float((m * m + w * w) / 2)
    found = R.inverse_gradient([-g])[0]
    tolerance = 8 * EPS * (1 + 4 * total + 2 * abs(g) + 10) * size
    assert found == pytest.approx(expected, rel=0.0, abs=tolerance + 1e-320)


@identity
@given(f=any_factors, total=totals, x=points.filter(bool))
def test_inverse_gradient_undoes_the_gradient(f, total, x):
    R, x = potential(*f, total), inside(f, x)
    theta = R.gradient([x])
    # dx/dθ = 2√(x² + a²); log a adds its own rounding
    size = math.hypot(x, float(np.exp(R.log_a[0])))
    assert R.inverse_gradient(theta)[0] == pytest.approx(x, rel=0.0, abs=4 * rounding(x, R) * size)


@identity
@given(f=two_sided, total=st.floats(0.0, 100.0), theta=st.floats(-30.0, 30.0))
def test_gradient_undoes_the_inverse_gradient(f, total, theta):
    R = potential(*f, total)
    x = R.inverse_gradient([theta])
    assert R.gradient(x)[0] == pytest.approx(theta, rel=0.0, abs=2 * rounding(x[0], R))


def test_inverse_gradient_keeps_small_x_relative():
    """x = a sinh(2θ + c): p − q is not formed as a difference."""
    R = potential(2.0, 0.0)
    assert R.inverse_gradient([1e-14])[0] == pytest.approx(4e-14, rel=1e-14, abs=0.0)
    assert R.inverse_gradient([-1e-14])[0] == pytest.approx(-4e-14, rel=1e-14, abs=0.0)


@identity
@given(f=st.one_of(any_factors, st.just((0.0, 0.0))), total=st.floats(0.0, 150.0))
def test_minimizer_is_the_decayed_start(f, total):
    """argmin R = e^{−4A} m₀w₀, the positional bias; ∇R vanishes there."""
    R = potential(*f, total)
    with mpmath.workdps(DIGITS):
        expected = float(mpmath.exp(-4 * mpf(total)) * mpf(f[0]) * mpf(f[1]))
    tolerance = 8 * EPS * (12 + 4 * total) * max(f[0] ** 2, f[1] ** 2) * math.exp(-4 * total)
    assert R.minimizer[0] == pytest.approx(expected, rel=0.0, abs=tolerance)
    if any(f):
        assert abs(R.gradient(R.minimizer)[0]) <= 2 * rounding(expected, R)


@pytest.mark.parametrize("f", [(2.0, 0.5), (0.3, -1.7), (1.2, 1.2), (-1.2, 1.2)])
@pytest.mark.parametrize("total", [0.0, 0.3])
def test_minimizer_by_numerical_minimisation(f, total):
    """A bracketing minimiser of the formula; flat minima resolve to about √eps."""
    low, high = potential(*f, total).domain
    bounds = max(low[0], -10.0), min(high[0], 10.0)
    with mpmath.workdps(30):
        best = minimize_scalar(
            lambda x: float(formula(mpf(x), *f, total)),
            bounds=bounds,
            method="bounded",
            options={"xatol": 1e-10},
        )
    found = potential(*f, total).minimizer[0]
    assert found == pytest.approx(best.x, rel=1e-6)
    assert potential(*f, total).value([found]) == pytest.approx(best.fun, rel=1e-12)


def test_the_flow_starts_where_the_gradient_vanishes():
    factors = Factors([1.0, 0.3, -0.2, 2.0, 0.7], [0.5, 0.9, 0.1, 2.0, -0.7])
    R = HyperbolicEntropy.of(factors)
    assert np.abs(R.gradient(factors.x)).max() < 8 * EPS
    assert np.allclose(R.minimizer, factors.x, rtol=16 * EPS)


@pytest.mark.parametrize("exchange", [False, True])
def test_small_c_survives_a_large_scale(exchange):
    """m = 1e8, w = 1e-8: x₀ = 1 is lost where c is the difference of log p̄ and log q̄."""
    factors = (1e-8, 1e8) if exchange else (1e8, 1e-8)
    R = potential(*factors)
    assert R.c[0] == pytest.approx(2e-16, rel=1e-15, abs=0.0)
    assert R.minimizer[0] == pytest.approx(1.0, rel=1e-14)


# ---- the splitting x = p − q


def kl(p: mpf, reference: mpf) -> mpf:
    """KL(p‖p̄) = p log(p/p̄) − p + p̄."""
    return (p * mpmath.log(p / reference) if p else mpf(0)) - p + reference


@identity
@given(f=two_sided, total=st.floats(0.0, 2.0), size=st.floats(1e-2, 1e1), sign=signs)
def test_twice_the_potential_is_the_least_kl_of_a_splitting(f, total, size, sign):
    """2R(x) = min over p − q = x of KL(p‖p̄) + KL(q‖q̄), less Σ(p̄ + q̄)."""
    x, R = sign * size, potential(*f, total)
    with mpmath.workdps(30):
        p_bar, q_bar = masses(*f, total)

        def split(t: float) -> float:
            """The smaller of the two masses is e^t, the larger |x| more."""
            small = mpmath.exp(mpf(t))
            p, q = (small + mpf(x), small) if x > 0 else (small, small - mpf(x))
            return float(kl(p, p_bar) + kl(q, q_bar) - p_bar - q_bar)

        best = minimize_scalar(split, bounds=(-50.0, 10.0), method="bounded")
    # at a minimum the value errs with the square of the place; `bounded` stops at 1e-5
    assert 2 * R.value([x]) == pytest.approx(best.fun, rel=1e-8, abs=1e-8 * size)


@identity
@given(f=any_factors, total=totals, theta=st.floats(-30.0, 30.0))
def test_split_at_a_dual_point(f, total, theta):
    """p = p̄e^{2θ}, q = q̄e^{−2θ}; their difference is x."""
    R = potential(*f, total)
    with mpmath.workdps(DIGITS):
        p_bar, q_bar = masses(*f, total)
        p = float(p_bar * mpmath.exp(2 * mpf(theta)))
        q = float(q_bar * mpmath.exp(-2 * mpf(theta)))
    found = R.split(np.array([theta]))
    rel = 4 * EPS * (1 + 4 * total + 2 * abs(theta) + 10)
    assert found[0][0] == pytest.approx(p, rel=rel, abs=1e-320)
    assert found[1][0] == pytest.approx(q, rel=rel, abs=1e-320)


# ---- the Bregman divergence


def bregman(x: float, y: float, m: float, w: float, total: float) -> float:
    """D = R(x) − R(y) − R'(y)(x − y) from the formulas; digits enough for the cancellation."""
    with mpmath.workdps(60):
        X, Y, f = mpf(x), mpf(y), (m, w, total)
        return float(formula(X, *f) - formula(Y, *f) - slope(Y, *f) * (X - Y))


@identity
@given(f=any_factors, total=totals, x=points, y=points.filter(bool))
def test_divergence_is_its_definition(f, total, x, y):
    R, x, y = potential(*f, total), inside(f, x), inside(f, y)
    expected = bregman(x, y, *f, total)
    a = float(np.exp(R.log_a[0])) if abs(f[0]) != abs(f[1]) else 0.0
    tolerance = (rounding(x, R) + rounding(y, R)) * (abs(x) + abs(y) + 2 * a)
    assert R.divergence([x], [y]) == pytest.approx(expected, rel=0.0, abs=tolerance)


@pytest.mark.parametrize("total", [90.0, 95.0, 150.0, 180.0, 190.0, 1000.0])
@pytest.mark.parametrize(("x", "y"), [(1.0, -1.0), (0.0, 1.0), (2.0, 0.0), (-3.0, 1e-3)])
def test_divergence_keeps_its_exponents_in_logs(total, x, y):
    """Across a sign D ≈ 4A|x| stays finite, though pq = a²/4 underflows from A = 93 on."""
    found = potential(1.0, 0.5, total).divergence([x], [y])
    assert found == pytest.approx(bregman(x, y, 1.0, 0.5, total), rel=1e-12)


@identity
@given(f=any_factors, total=totals, x=points.filter(bool))
def test_divergence_of_a_point_from_itself_is_zero(f, total, x):
    x = inside(f, x)
    assert potential(*f, total).divergence([x], [x]) == 0.0


@identity
@given(f=two_sided, total=st.floats(0.0, 20.0), x=points, y=points)
def test_divergence_is_the_value_plus_a_constant_around_the_minimizer(f, total, x, y):
    """D(x, x̂) = R(x) − R(x̂) where ∇R(x̂) = 0."""
    R = potential(*f, total)
    tolerance = 4 * (rounding(x, R) * abs(x) + EPS * 200 * float(np.exp(R.log_a[0])))
    expected = R.value([x]) - R.value(R.minimizer)
    assert R.divergence([x], R.minimizer) == pytest.approx(expected, rel=1e-12, abs=tolerance)
    assert R.divergence([x], [y]) >= 0.0


# ---- the two limits, as rates


def test_late_potential_is_half_log_one_over_a_times_l1():
    """a → 0: R_a(x) = ½ log(1/a)‖x‖₁ + O(1), so R grows by 2‖x‖₁ per unit of A."""
    factors = Factors([1.0, 0.3, -0.2, 0.5], [0.5, 0.9, 0.1, 0.0])
    x = np.array([1.0, -2.0, 0.0, 0.25])
    l1 = np.abs(x).sum()
    A = np.array([20.0, 50.0, 100.0, 186.0, 187.0, 400.0, 1000.0])
    values = np.array([HyperbolicEntropy.of(factors, total).value(x) for total in A])
    assert np.allclose(np.diff(values) / np.diff(A), 2.0 * l1, rtol=1e-11)
    log_a = np.array([HyperbolicEntropy.of(factors, total).log_a[0] for total in A])
    # the bounded remainder, divided by the growing logarithm
    ratio = values / (-0.5 * log_a * l1)
    assert np.polyfit(np.log(-log_a), np.log(np.abs(ratio - 1.0)), 1)[0] == pytest.approx(-1, 0.05)


def test_early_potential_is_quadratic():
    """a → ∞: R_a(x) − R_a(0) = x²/(4a) − x⁴/(48a³) + … where c = 0."""
    x, a = 1.5, np.array([4.0, 8.0, 16.0, 32.0])
    gaps = []
    for scale_ in a:
        R = potential(math.sqrt(2.0 * scale_), 0.0)
        rise = R.value([x]) - R.value([0.0])
        assert R.divergence([x], [0.0]) == pytest.approx(rise, rel=1e-11)
        gaps.append(1.0 - rise / (x**2 / (4.0 * scale_)))
    rate, constant = np.polyfit(np.log(a), np.log(gaps), 1)
    assert rate == pytest.approx(-2.0, abs=0.05)
    assert math.exp(constant) == pytest.approx(x**2 / 12.0, rel=0.1)


def test_one_dimension_turns_from_quadratic_to_absolute_value():
    """R(2x)/R(x), measured from the minimum, goes from 4 to 2 as A grows."""
    ratios = []
    for total in (0.0, 1.0, 5.0, 50.0, 500.0):
        R = potential(100.0, 0.0, total)
        base = R.value([0.0])
        ratios.append((R.value([2.0]) - base) / (R.value([1.0]) - base))
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] == pytest.approx(4.0, rel=1e-6)
    assert ratios[-1] == pytest.approx(2.0, rel=1e-2)


# ---- long times


@pytest.mark.parametrize("total", [186.0, 187.0, 250.0, 1000.0, 1e6])
def test_nothing_underflows(total):
    """a = e^{−4A} is no double from A ≈ 186 on; log a, the values and gradients are exact."""
    R = potential(1.0, 0.5, total)
    assert R.log_a[0] == pytest.approx(math.log(0.375) - 4 * total, rel=4 * EPS)
    with mpmath.workdps(60 + int(4 * total)) if total < 2000 else mpmath.workdps(60):
        value = float(formula(mpf(2), 1.0, 0.5, total))
        first = float(slope(mpf(2), 1.0, 0.5, total))
    assert R.value([2.0]) == pytest.approx(value, rel=8 * EPS)
    assert R.gradient([2.0])[0] == pytest.approx(first, rel=8 * EPS)
    # θ ≈ 2A: its last digit moves x by 4A·eps
    back = R.inverse_gradient(
        R.gradient(
            [
                2.0,
            ]
        )
    )[0]
    assert back == pytest.approx(2.0, rel=16 * EPS * total)
    assert R.hessian_diagonal([2.0])[0] == 0.25
    assert R.value([0.0]) == 0.0
    assert R.gradient([0.0])[0] == pytest.approx(-0.5 * math.log(3.0))


def test_a_factor_next_to_nothing():
    """w/m is computed, m/w overflows."""
    for f in ((1.0, 5e-324), (5e-324, -1.0)):
        R = potential(*f)
        assert R.log_a[0] == pytest.approx(math.log(0.5))
        assert abs(R.c[0]) <= 1e-322


def test_extreme_x():
    R = potential(1.0, 0.5)
    for x in (1e-300, 1e150, -1e300):
        with mpmath.workdps(50):
            expected = float(slope(mpf(x), 1.0, 0.5, 0.0))
        assert R.gradient([x])[0] == pytest.approx(expected, rel=8 * EPS)
        assert math.isfinite(R.value([x]))


# ---- domains


def test_domains():
    """Two-sided (any signs, either factor larger), bound to x ≥ 0, to x ≤ 0, to x = 0."""
    factors = Factors([2.0, 1.0, -2.0, 1.5, -1.5, 1.5, 0.0], [1.0, -2.0, 0.0, 1.5, -1.5, -1.5, 0.0])
    lower, upper = HyperbolicEntropy.of(factors, 3.0).domain
    inf = np.inf
    assert np.array_equal(lower, [-inf, -inf, -inf, 0, 0, -inf, 0])
    assert np.array_equal(upper, [inf, inf, inf, inf, inf, 0, 0])


OUTSIDE = [((1.5, 1.5), -1.0), ((1.5, -1.5), 1.0), ((0.0, 0.0), 1.0), ((0.0, 0.0), -1e-9)]


@pytest.mark.parametrize(("f", "x"), OUTSIDE)
def test_outside_the_domain_the_value_is_infinite(f, x):
    R = HyperbolicEntropy.of(Factors([f[0], 1.0], [f[1], 0.0]))
    assert R.value([x, 0.0]) == math.inf
    assert R.divergence([x, 0.0], [0.0, 0.0]) == math.inf
    assert R.divergence([x, 0.0], R.minimizer) == math.inf


@pytest.mark.parametrize(("f", "x"), OUTSIDE)
def test_outside_the_domain_there_is_no_gradient(f, x):
    R = HyperbolicEntropy.of(Factors([1.0, f[0]], [0.0, f[1]]))
    with pytest.raises(InputError, match=rf"x must lie in the domain of R, but x\[1\] = {x:g}"):
        R.gradient([0.0, x])


def test_the_boundary_of_the_domain():
    R = HyperbolicEntropy.of(Factors([1.5, 1.5, 0.0], [1.5, -1.5, 0.0]), 2.0)
    zero = np.zeros(3)
    assert R.value(zero) == 0.0
    assert np.array_equal(R.gradient(zero), [-np.inf, np.inf, 0.0])
    assert np.array_equal(R.hessian_diagonal(zero), [np.inf] * 3)
    assert R.minimizer[2] == 0.0
    # D(0, x̂) = ½ Σ masses that the minimum holds
    assert R.divergence(zero, R.minimizer) == pytest.approx(0.5 * np.abs(R.minimizer).sum())
    assert R.divergence(R.minimizer, zero) == math.inf


def test_only_zero_lives_where_both_factors_vanish():
    R = HyperbolicEntropy.of(Factors([0.0], [0.0]), 1.0)
    assert (R.value([0.0]), R.gradient([0.0])[0], R.inverse_gradient([5.0])[0]) == (0.0, 0.0, 0.0)
    assert R.divergence([0.0], [0.0]) == 0.0
    assert (R.log_p[0], R.log_q[0], R.log_a[0], R.c[0]) == (-np.inf, -np.inf, -np.inf, 0.0)


def test_nothing_warns():
    """Every special case at once, as errors if numpy grumbles."""
    factors = Factors([2.0, 1.5, 1.5, 0.0, 0.1], [1.0, 1.5, -1.5, 0.0, 3.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for total in (0.0, 10.0, 100.0, 190.0, 1000.0):
            R = HyperbolicEntropy.of(factors, total)
            for x in ([0.0] * 5, [1.0, 2.0, -3.0, 0.0, -1e-9], [-1e-200, 1e200, 0.0, 0.0, 1e9]):
                assert not math.isnan(R.value(x))
                assert not np.isnan(R.gradient(x)).any()
                assert not np.isnan(R.hessian_diagonal(x)).any()
                assert not math.isnan(R.divergence(x, R.minimizer))
            assert np.isfinite(R.minimizer).all()


# ---- what is refused


@pytest.mark.parametrize("total", [-1e-9, math.nan, math.inf, None])
def test_total_must_be_finite_and_not_negative(total):
    with pytest.raises(InputError, match=rf"total must be a .*number.* but it is {total}"):
        HyperbolicEntropy.of(Factors([1.0], [0.0]), total)


@pytest.mark.parametrize("method", ["value", "gradient", "hessian_diagonal", "inverse_gradient"])
@pytest.mark.parametrize(
    ("x", "rule"),
    [
        ([1.0], r"must have 2 entries \(one for each coordinate\), but it has 1"),
        ([[1.0, 2.0]], r"must have 1 ax[ei]s, but its shape is \(1, 2\)"),
        ([], r"must not be empty"),
        ([1.0, math.nan], r"must be finite, but .*1.* is nan"),
        ([-math.inf, 1.0], r"must be finite, but .*0.* is -inf"),
        ([1.0, 1j], r"must hold real numbers, but its dtype is complex128"),
    ],
)
def test_points_are_checked(method, x, rule):
    R = HyperbolicEntropy.of(Factors([1.0, 2.0], [0.0, 1.0]))
    name = "theta" if method == "inverse_gradient" else "x"
    with pytest.raises(InputError, match=f"{name} {rule}"):
        getattr(R, method)(x)


def test_divergence_checks_both_points():
    R = HyperbolicEntropy.of(Factors([1.0], [0.0]))
    for pair in (([1.0, 2.0], [1.0]), ([1.0], [math.nan])):
        with pytest.raises(InputError, match=r"x must|y must"):
            R.divergence(*pair)


def test_a_representation_has_the_range_of_the_scales():
    R = HyperbolicEntropy.of(Factors([4.0, 2.0], [0.0, 1.0]), 0.3)
    low, high = sorted(R.log_a.tolist())
    assert repr(R) == f"HyperbolicEntropy(d=2, log_a_min={low:.3g}, log_a_max={high:.3g})"


def test_whole_numbers_are_points():
    R = HyperbolicEntropy.of(Factors([1.0, 2.0], [0.0, 1.0]))
    assert R.value([1, -2]) == R.value([1.0, -2.0])
    assert np.array_equal(R.gradient(np.array([1, -2])), R.gradient([1.0, -2.0]))


@pytest.mark.parametrize("x", [1e-3, 1e-6, 1e-7, 1e-8, 1e-12])
def test_divergence_of_near_points_is_not_lost_in_rounding(x):
    """D_R(x, 0) = x²/(4a)(1 + O(x²/a²)) ≥ 0, to the rounding of its terms, which are of order a."""
    R = HyperbolicEntropy.of(Factors.pilot([0.0], beta=2.0))
    for point in (x, -x):
        found = R.divergence(np.array([point]), np.zeros(1))
        assert found >= 0.0
        assert found == pytest.approx(x**2 / 4, rel=1e-6, abs=1e-15)


def test_divergence_is_infinite_outside_the_domain_of_either_point():
    R = HyperbolicEntropy.of(Factors.balanced([1.0]))
    inside, outside = np.array([0.5]), np.array([-0.5])
    assert R.divergence(outside, inside) == np.inf
    assert R.divergence(inside, outside) == np.inf
    assert np.isfinite(R.divergence(inside, inside))


def test_restricted_keeps_the_parts_asked_for():
    R = HyperbolicEntropy.of(Factors([2.0, 1.5, -2.0, 1.0], [1.0, -0.5, 1.0, 0.25]))
    up, down = np.array([True, True, False, False]), np.array([True, False, True, False])
    parts = R.restricted(up, down)
    np.testing.assert_array_equal(parts.log_p, [*R.log_p[:2], -np.inf, -np.inf])
    np.testing.assert_array_equal(parts.log_q, [R.log_q[0], -np.inf, R.log_q[2], -np.inf])
    np.testing.assert_array_equal(parts.c, [R.c[0], np.inf, -np.inf, 0.0])


@pytest.mark.parametrize("total", [0.0, 0.7, 20.0])
def test_the_floor_is_the_least_metric(total):
    """2(p + q) is least where p = q."""
    R = HyperbolicEntropy.of(Factors([2.0, 1.5, -3.0], [1.0, -0.5, 1.0]), total)
    theta = (R.log_q - R.log_p) / 4.0
    np.testing.assert_allclose(R.floor, R.metric(theta), rtol=1e-13)
    for away in (-0.1, 0.1):
        assert (R.metric(theta + away) > R.floor).all()

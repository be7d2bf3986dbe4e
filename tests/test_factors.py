"""Factors: both initialisations, u and v, the invariant, and what is refused."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrorflow import Factors, InputError

EPS = np.finfo(float).eps
identity = settings(deadline=None, max_examples=60, derandomize=True)

# magnitudes whose squares neither overflow nor become subnormal, and 0
sizes = st.one_of(st.just(0.0), st.floats(1e-100, 1e100))
reals = st.builds(lambda size, sign: sign * size, sizes, st.sampled_from([-1.0, 1.0]))
betas = st.floats(1e-6, 1e6)
vectors = st.lists(reals, min_size=1, max_size=5)


def exactly(values: np.ndarray) -> list[Fraction]:
    return [Fraction(float(value)) for value in values]


@identity
@given(x=vectors, beta=betas)
def test_pilot_meets_both_of_its_equations(x, beta):
    """m w = x and m² − w² = β, in exact arithmetic on the stored digits."""
    factors = Factors.pilot(x, beta)
    for m, w, target in zip(exactly(factors.m), exactly(factors.w), x, strict=True):
        # one rounding each in m, in x/m
        assert abs(m * w - Fraction(target)) <= 2 * EPS * abs(target)
        # storing m and w costs an ulp of m² and w²; β is their difference
        assert abs(m**2 - w**2 - Fraction(beta)) <= 8 * EPS * (m**2 + w**2)


@identity
@given(x=reals, beta=betas)
def test_pilot_is_the_formula_of_algorithm_1(x, beta):
    with mpmath.workdps(250):
        b, z = mpmath.mpf(beta), mpmath.mpf(x)
        m = mpmath.sqrt((b + mpmath.sqrt(b**2 + 4 * z**2)) / 2)
        expected = float(m), float(z / m)
    factors = Factors.pilot([x], beta)
    assert factors.m[0] == pytest.approx(expected[0], rel=4 * EPS, abs=0.0)
    assert factors.w[0] == pytest.approx(expected[1], rel=4 * EPS, abs=0.0)


def test_pilot_by_numbers():
    """β = 3, x = 2: m = 2, w = 1; β defaults to 1, with m = 1, w = 0 at x = 0."""
    three = Factors.pilot([2.0, -2.0, 0.0], beta=3.0)
    assert np.allclose(three.m, [2.0, 2.0, math.sqrt(3.0)], rtol=2 * EPS)
    assert np.allclose(three.w, [1.0, -1.0, 0.0], rtol=2 * EPS)
    one = Factors.pilot([0.0])
    assert (one.m[0], one.w[0]) == (1.0, 0.0)


def test_pilot_at_the_ends_of_the_number_range():
    for x in (1e-300, 1e150, 1e300, 1.7e308):
        factors = Factors.pilot([x, -x])
        assert np.allclose(factors.x, [x, -x], rtol=4 * EPS, atol=0.0)
        assert factors.m[0] == pytest.approx(max(1.0, math.sqrt(x)), rel=4 * EPS, abs=0.0)


@identity
@given(x=vectors)
def test_balanced_factors_are_equal_in_size(x):
    factors = Factors.balanced(x)
    assert np.array_equal(np.abs(factors.m), np.abs(factors.w))
    assert (factors.m >= 0).all()
    assert np.allclose(factors.x, x, rtol=2 * EPS, atol=0.0)
    assert np.array_equal(np.sign(factors.w), np.sign(x))
    assert not factors.imbalance.any()


@identity
@given(m=vectors, w=reals)
def test_u_and_v_carry_one_over_root_two(m, w):
    factors = Factors(m, [w] * len(m))
    with mpmath.workdps(250):
        root = mpmath.sqrt(2)
        u = [float((mpmath.mpf(a) + mpmath.mpf(w)) / root) for a in m]
        v = [float((mpmath.mpf(a) - mpmath.mpf(w)) / root) for a in m]
    assert np.allclose(factors.u, u, rtol=4 * EPS, atol=0.0)
    assert np.allclose(factors.v, v, rtol=4 * EPS, atol=0.0)


@identity
@given(m=vectors, w=reals)
def test_u_and_v_split_x_and_a(m, w):
    """½(u² − v²) = x and |uv| = ½|m² − w²| = a₀."""
    factors = Factors(m, [w] * len(m))
    size = 8 * EPS * (factors.m**2 + factors.w**2)
    assert (np.abs(0.5 * (factors.u**2 - factors.v**2) - factors.x) <= size).all()
    assert (np.abs(factors.u * factors.v - 0.5 * factors.imbalance) <= size).all()


@identity
@given(m=reals, gap=st.sampled_from([1e-15, 1e-12, 1e-8, 1e-3, 1.0, 2.5]), swap=st.booleans())
def test_imbalance_is_m_squared_minus_w_squared(m, gap, swap):
    """To three roundings of itself, even where m² and w² agree to most digits."""
    m, w = (m, m * (1.0 - gap))[:: -1 if swap else 1]
    found = Fraction(float(Factors([m], [w]).imbalance[0]))
    expected = Fraction(m) ** 2 - Fraction(w) ** 2
    assert abs(found - expected) <= 2 * EPS * abs(expected)


def test_imbalance_of_neighbours_does_not_cancel():
    """m² = 1 + 2⁻²⁹ + 2⁻⁶⁰ has no room for its last digit."""
    found = Factors([1.0 + 2.0**-30], [1.0]).imbalance[0]
    assert Fraction(float(found)) == Fraction(1, 2**29) + Fraction(1, 2**60)


def test_x_is_the_product_for_any_signs():
    factors = Factors([1.5, -2.0, 0.0, -1.0], [2.0, 3.0, 0.0, -4.0])
    assert np.array_equal(factors.x, [3.0, -6.0, 0.0, 4.0])
    assert factors.d == 4


def test_factors_own_read_only_float64_copies():
    m = np.array([1, 2, 3])
    factors = Factors(m, [0, 1, 0])
    m[0] = 7
    assert factors.m.dtype == factors.w.dtype == np.float64
    assert factors.m[0] == 1.0
    for stored in (factors.m, factors.w):
        with pytest.raises(ValueError, match="read-only"):
            stored[0] = 5.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        factors.m = m


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: Factors([], []), r"m must not be empty, but its shape is \(0,\)"),
        (lambda: Factors(1.0, 1.0), r"m must have 1 ax[ei]s, but its shape is \(\)"),
        (lambda: Factors([[1.0, 2]], [1.0]), r"m must have 1 axis, but its shape is \(1, 2\)"),
        (lambda: Factors([1.0], [[1.0, 2]]), r"w must have 1 axis, but its shape is \(1, 2\)"),
        (lambda: Factors([1.0, 2.0], [1.0]), r"w must have 2 entries \(as many as m\).* has 1"),
        (lambda: Factors([math.nan], [1.0]), r"m must be finite, but m\[.*0.*\] is nan"),
        (lambda: Factors([1.0], [math.inf]), r"w must be finite, but w\[.*0.*\] is inf"),
        (lambda: Factors([1j], [1.0]), r"m must hold real numbers, but its dtype is complex128"),
        (lambda: Factors([None], [1.0]), r"m must hold real numbers, but its dtype is object"),
        (lambda: Factors(["1"], [1.0]), r"m must hold real numbers, but its dtype is <U1"),
        (lambda: Factors([[1.0], [1.0, 2.0]], [1.0]), r"m must be a rectangular array"),
        (lambda: Factors.pilot([math.nan]), r"x must be finite, but x\[.*0.*\] is nan"),
        (lambda: Factors.pilot([]), r"x must not be empty"),
        (lambda: Factors.pilot([1.0], 0.0), r"beta must be a finite number above 0.* is 0\.0"),
        (lambda: Factors.pilot([1.0], -1.0), r"beta must be a finite number above 0.* is -1\.0"),
        (lambda: Factors.pilot([1.0], math.nan), r"beta must be .* but it is nan"),
        (lambda: Factors.pilot([1.0], math.inf), r"beta must be a finite number.* is inf"),
        (lambda: Factors.balanced([math.inf]), r"x must be finite, but x\[.*0.*\] is inf"),
        (lambda: Factors.balanced([[1.0, 2]]), r"x must have 1 axis, but its shape is \(1, 2\)"),
    ],
)
def test_errors_name_argument_value_and_rule(make, rule):
    with pytest.raises(InputError, match=rule):
        make()


def test_factors_from_a_file(tmp_path):
    path = tmp_path / "start.npz"
    np.savez(path, m0=[1.0, -2.0], w0=np.array([3, 4]), Z=np.array([object()], dtype=object))
    factors = Factors.load(path)
    assert np.array_equal(factors.m, [1.0, -2.0])
    assert np.array_equal(factors.w, [3.0, 4.0])


def test_a_file_without_factors_gives_none(tmp_path):
    np.savez(tmp_path / "data.npz", Z=np.ones((1, 2)), y=np.ones(1))
    assert Factors.load(tmp_path / "data.npz") is None


def test_factors_from_a_file_that_does_not_fit(tmp_path):
    path = tmp_path / "start.npz"
    np.savez(path, w0=np.ones(2))
    with pytest.raises(InputError, match=r"m0 and w0 come together, but .* holds only w0"):
        Factors.load(path)
    np.savez(path, m0=np.ones(3), w0=np.ones(2))
    with pytest.raises(InputError, match=r"start\.npz: w must have 3 entries .* has 2"):
        Factors.load(path)
    np.savez(path, m0=[1.0, np.nan], w0=np.ones(2))
    with pytest.raises(InputError, match=r"start\.npz: m must be finite.* is nan"):
        Factors.load(path)
    with pytest.raises(InputError, match=r"absent\.npz does not exist"):
        Factors.load(tmp_path / "absent.npz")


def test_parameters_where_the_rise_alone_is_no_float():
    """m₀ cosh μ + w₀ sinh μ for u₀ and v₀ that make up for e^{±μ}."""
    start = Factors([3e-200, 2e-200], [1e-200, -1e-200])
    mu, total = np.array([[500.0, -480.0]]), np.array([0.7])
    m, w = start.parameters(total, mu)[0]
    sinh = 0.5 * np.exp(np.log(1e-200) + np.abs(mu[0])) * np.exp(-2.0 * total)
    np.testing.assert_allclose(m, [4.0, 3.0] * sinh, rtol=1e-12)
    np.testing.assert_allclose(w, [4.0, -3.0] * sinh, rtol=1e-12)

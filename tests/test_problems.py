"""Regressions: the loss and its scaling, the row space, the generators, what is refused."""

from __future__ import annotations

import dataclasses
import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrorflow import InputError, Regression, diabetes, digits_sensing, gaussian_recovery
from mirrorflow.problems import load, random_stream

EPS = np.finfo(float).eps
identity = settings(deadline=None, max_examples=50, derandomize=True)


@st.composite
def dyadic_problems(draw: st.DrawFn) -> tuple[list, list, list]:
    """Z, y, x in eighths of small integers, so that floats and fractions agree exactly."""
    n = draw(st.integers(1, 4))
    d = draw(st.integers(n + 1, 7))
    eighth = st.integers(-40, 40).map(lambda i: i / 8)
    row = st.lists(eighth, min_size=d, max_size=d)
    Z = draw(st.lists(row, min_size=n, max_size=n))
    return Z, draw(st.lists(eighth, min_size=n, max_size=n)), draw(row)


def exact_loss(Z: list, y: list, x: list) -> Fraction:
    """1/(2n) Σ (z·x − y)² in rational numbers."""
    residuals = [
        sum(Fraction(a) * Fraction(b) for a, b in zip(row, x, strict=True)) - Fraction(target)
        for row, target in zip(Z, y, strict=True)
    ]
    return sum(r * r for r in residuals) / (2 * len(y))


@identity
@given(case=dyadic_problems())
def test_loss_is_half_the_mean_square(case):
    Z, y, x = case
    assert Regression(Z, y).value(np.array(x)) == pytest.approx(
        float(exact_loss(Z, y, x)), rel=8 * EPS, abs=0.0
    )


@identity
@given(case=dyadic_problems())
def test_gradient_is_the_derivative_of_the_loss(case):
    """Central differences of a quadratic are exact; in rational numbers nothing is rounded."""
    Z, y, x = case
    gradient = Regression(Z, y).gradient(np.array(x))
    for j in range(len(x)):
        up = [value + (i == j) for i, value in enumerate(x)]
        down = [value - (i == j) for i, value in enumerate(x)]
        slope = float((exact_loss(Z, y, up) - exact_loss(Z, y, down)) / 2)
        assert gradient[j] == pytest.approx(slope, rel=8 * EPS, abs=1e-13)


def test_loss_by_numbers():
    problem = Regression([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]], [3.0, -1.0])
    assert problem.value(np.zeros(3)) == 10.0 / 4
    assert np.array_equal(problem.gradient(np.zeros(3)), [-1.5, -2.5, -0.5])
    assert (problem.n, problem.d, problem.name, problem.x_true) == (2, 3, "custom", None)


def test_problems_own_read_only_float64_copies():
    Z, y = np.array([[1, 2, 3]]), np.array([4])
    problem = Regression(Z, y, x_true=[1, 0, 1])
    Z[0, 0] = y[0] = 9
    assert problem.Z[0, 0] == 1.0
    assert problem.y[0] == 4.0
    for array in (problem.Z, problem.y, problem.x_true):
        assert array.dtype == np.float64
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        problem.y = y


@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (1, 1)])
def test_as_many_samples_as_features_is_legal_but_warned_about(shape):
    n, d = shape
    with pytest.warns(UserWarning, match=rf"n = {n} samples for d = {d} features: with n ≥ d"):
        problem = Regression(np.ones(shape), np.ones(n))
    assert (problem.n, problem.d) == shape


def test_fewer_samples_than_features_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Regression(np.ones((2, 3)), np.ones(2))


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: Regression([], []), r"Z must have 2 ax[ei]s, but its shape is \(0,\)"),
        (lambda: Regression(np.ones((0, 3)), []), r"Z must not be empty.* \(0, 3\)"),
        (lambda: Regression(np.ones((2, 0)), np.ones(2)), r"Z must not be empty.* \(2, 0\)"),
        (lambda: Regression([1.0, 2.0], [1.0]), r"Z must have 2 ax[ei]s.* \(2,\)"),
        (lambda: Regression([[1.0, 2.0], [1.0]], [1.0, 1.0]), r"Z must be a rectangular array"),
        (
            lambda: Regression([[1.0, math.nan]], [1.0]),
            r"Z must be finite, but Z\[.*0, 1.*\] is nan",
        ),
        (lambda: Regression([[1.0, -math.inf]], [1.0]), r"Z must be finite.*0, 1.* is -inf"),
        (lambda: Regression([[1.0, 2.0]], [math.nan]), r"y must be finite, but y\[.*0.*\] is nan"),
        (lambda: Regression([[1.0, 2.0]], [1.0, 2.0]), r"y must have 1 entr.*row of Z.* has 2"),
        (lambda: Regression([[1.0, 2.0]], [[1.0, 2.0]]), r"y must have 1 axis.* \(1, 2\)"),
        (lambda: Regression([[1.0, 2.0]], [1.0], [1.0]), r"x_true must have 2 .*column of Z.* 1"),
        (lambda: Regression([[1.0, 2.0]], [1.0], [1, math.inf]), r"x_true must be finite.* is inf"),
        (lambda: Regression([[1j, 2.0]], [1.0]), r"Z must hold real numbers, .* complex128"),
        (lambda: Regression([["a", "b"]], [1.0]), r"Z must hold real numbers, .* <U1"),
        (lambda: Regression([[1.0, 2.0]], None), r"y must hold real numbers, .* object"),
        (lambda: gaussian_recovery(0, 5, 1, 0), r"n must be at least 1, but it is 0"),
        (lambda: gaussian_recovery(2, 0, 0, 0), r"d must be at least 1, but it is 0"),
        (lambda: gaussian_recovery(2, 5, 6, 0), r"k must be at least 0 and at most 5, .* is 6"),
        (lambda: gaussian_recovery(2, 5, -1, 0), r"k must be at least 0 and at most 5, .* is -1"),
        (lambda: gaussian_recovery(2, 5, 1, -1), r"seed must be at least 0, but it is -1"),
        (lambda: gaussian_recovery(2.0, 5, 1, 0), r"n must be a whole number, but it is 2\.0"),
        (lambda: gaussian_recovery(2, True, 1, 0), r"d must be a whole number, but it is True"),
        (lambda: gaussian_recovery(2, 5, 1, None), r"seed must be a whole number, but it is None"),
        (lambda: gaussian_recovery(2, 5, 1, 0, -0.1), r"noise must be .*at least 0.* is -0\.1"),
        (lambda: gaussian_recovery(2, 5, 1, 0, math.nan), r"noise must be .* but it is nan"),
        (lambda: gaussian_recovery(2, 5, 1, 0, math.inf), r"noise must be a finite .* is inf"),
        (lambda: diabetes(degree=0), r"degree must be at least 1 and at most 6, but it is 0"),
        (lambda: diabetes(degree=7), r"degree must be at least 1 and at most 6, but it is 7"),
        (lambda: diabetes(n=443), r"n must be at least 1 and at most 442, but it is 443"),
        (lambda: diabetes(seed=-3), r"seed must be at least 0, but it is -3"),
        (lambda: digits_sensing(1797, 5, 0), r"index must be at least 0 and at most 1796.* 1797"),
        (lambda: digits_sensing(-1, 5, 0), r"index must be at least 0 and at most 1796.* -1"),
        (lambda: digits_sensing(0, 0, 0), r"n must be at least 1, but it is 0"),
    ],
)
def test_errors_name_argument_value_and_rule(make, rule):
    with pytest.raises(InputError, match=rule):
        make()


# ---- the row space


def random_problem(n: int, d: int, rank: int, seed: int, inside: bool = True) -> Regression:
    rng = np.random.default_rng([n, d, rank, seed])
    Z = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, d))
    y = Z @ rng.standard_normal(d) if inside else rng.standard_normal(n)
    return Regression(Z, y)


shapes = st.tuples(st.integers(1, 8), st.integers(1, 6), st.integers(0, 99)).map(
    lambda t: (t[0], t[0] + t[1], t[2])
)


@identity
@given(shape=shapes, lost=st.integers(0, 7), inside=st.booleans())
def test_row_space_against_least_squares(shape, lost, inside):
    """Z = U diag(s) V; {x : Vx = b} are the least-squares solutions of Zx = y, any rank."""
    n, d, seed = shape
    problem = random_problem(n, d, max(1, n - lost), seed, inside)
    space = problem.row_space
    U, s, V = space.U, space.s, space.V
    condition = s[0] / s[-1]
    tight = 100 * EPS * d
    assert space.rank == np.linalg.matrix_rank(problem.Z) == max(1, n - lost)
    assert np.abs((U * s) @ V - problem.Z).max() <= tight * s[0]
    assert np.abs(V @ V.T - np.eye(space.rank)).max() <= tight
    assert np.abs(U.T @ U - np.eye(space.rank)).max() <= tight
    assert (np.diff(s) <= 0).all()
    shortest, *_ = np.linalg.lstsq(problem.Z, problem.y, rcond=None)
    size = condition * (np.linalg.norm(shortest) + np.linalg.norm(problem.y) / s[0])
    assert np.abs(V.T @ space.b - shortest).max() <= tight * condition * size
    misfit = np.linalg.norm(problem.Z @ shortest - problem.y)
    assert space.misfit == pytest.approx(misfit, abs=tight * condition * np.linalg.norm(problem.y))
    # random y lies in the range only if the range is everything
    assert space.consistent == (inside or max(1, n - lost) == n)


@pytest.mark.parametrize("scale", [1e-100, 1e-20, 1e20, 1e100])
def test_rank_and_consistency_do_not_depend_on_units(scale):
    for inside in (True, False):
        problem = random_problem(5, 9, 3, 0, inside)
        for other in (
            Regression(problem.Z, scale * problem.y),
            Regression(scale * problem.Z, problem.y),
        ):
            assert (other.row_space.rank, other.row_space.consistent) == (3, inside)


def test_a_single_contradiction_is_seen():
    """Twice the same row with different targets; the least-squares solution takes their mean."""
    problem = Regression([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]], [1.0, 3.0])
    space = problem.row_space
    assert (space.rank, space.consistent) == (1, False)
    assert space.misfit == pytest.approx(math.sqrt(2.0))
    assert np.allclose(space.V.T @ space.b, [1.0, 1.0, 0.0])


def test_a_matrix_of_zeros_has_rank_zero():
    assert Regression(np.zeros((2, 3)), np.zeros(2)).row_space.consistent
    space = Regression(np.zeros((2, 3)), [0.0, 2.0]).row_space
    assert (space.rank, space.consistent, space.misfit) == (0, False, 2.0)


def test_the_factorization_is_made_once():
    problem = random_problem(3, 5, 3, 0)
    assert problem.row_space is problem.row_space


def test_other_targets_share_the_factorization():
    problem = random_problem(4, 7, 3, 1)
    y = np.random.default_rng(0).standard_normal(4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = problem.with_targets(y)
    fresh = Regression(problem.Z, y)
    assert other.row_space.V is problem.row_space.V
    assert np.allclose(other.row_space.b, fresh.row_space.b, rtol=1e-13, atol=1e-14)
    assert other.row_space.misfit == pytest.approx(fresh.row_space.misfit)
    assert (problem.row_space.consistent, other.row_space.consistent) == (True, False)
    assert np.array_equal(other.y, y)
    assert other.x_true is None
    with pytest.raises(InputError, match=r"y must have 4 entries .*row of Z.* has 3"):
        problem.with_targets(y[:3])
    with pytest.raises(InputError, match=r"y must be finite"):
        problem.with_targets([1.0, 2.0, math.nan, 0.0])


# ---- generators


@identity
@given(n=st.integers(1, 8), more=st.integers(1, 8), seed=st.integers(0, 2**40), data=st.data())
def test_gaussian_recovery_plants_k_signs(n, more, seed, data):
    d = n + more
    k = data.draw(st.integers(0, d))
    problem = gaussian_recovery(n, d, k, seed)
    assert problem.Z.shape == (n, d)
    assert problem.name == "gaussian"
    assert np.count_nonzero(problem.x_true) == k
    assert set(np.abs(problem.x_true[problem.x_true != 0])) <= {1.0}
    assert np.array_equal(problem.y, problem.Z @ problem.x_true)
    assert problem.row_space.consistent
    assert problem.value(problem.x_true) == 0.0


def test_gaussian_recovery_repeats_and_its_parts_do_not_shift_each_other():
    base = gaussian_recovery(5, 9, 3, 7)
    again, noisy = gaussian_recovery(5, 9, 3, 7), gaussian_recovery(5, 9, 3, 7, noise=0.5)
    denser, other = gaussian_recovery(5, 9, 4, 7), gaussian_recovery(5, 9, 3, 8)
    taller = gaussian_recovery(6, 9, 3, 7)
    assert np.array_equal(base.Z, again.Z)
    assert np.array_equal(base.y, again.y)
    assert np.array_equal(base.Z, noisy.Z)
    assert np.array_equal(base.x_true, noisy.x_true)
    assert np.array_equal(base.Z, denser.Z)
    assert np.array_equal(base.x_true, taller.x_true)
    assert not np.isclose(base.Z, other.Z).any()
    assert not np.array_equal(base.y, noisy.y)


def test_gaussian_recovery_has_unit_variance_and_the_noise_it_is_given():
    """Means and variances of N samples to five standard errors, 5/√N and 5√(2/N)."""
    problem = gaussian_recovery(400, 500, 5, 0, noise=0.3)
    noise = (problem.y - problem.Z @ problem.x_true) / 0.3
    for sample in (problem.Z.ravel(), noise):
        assert abs(sample.mean()) < 5 / math.sqrt(sample.size)
        assert abs(sample.var() - 1.0) < 5 * math.sqrt(2.0 / sample.size)


def test_places_and_signs_are_uniform():
    x = np.array([gaussian_recovery(1, 8, 2, seed).x_true for seed in range(800)])
    # 200 expected at each place, ± five standard errors of a binomial
    assert np.abs(np.count_nonzero(x, axis=0) - 200).max() < 5 * math.sqrt(800 * 0.25 * 0.75)
    assert abs(x.sum()) < 5 * math.sqrt(1600)


def test_gaussian_recovery_is_pinned():
    """Published rows name seeds; another stream would silently be another problem."""
    problem = gaussian_recovery(2, 3, 1, 0)
    first_row = [1.0258564023369239, -0.35239838677438584, 0.3381061460740878]
    assert np.allclose(problem.Z[0], first_row, rtol=1e-14)
    assert np.array_equal(problem.x_true, [0.0, 0.0, 1.0])


def test_streams_differ_by_every_part_of_their_key():
    keys = [("a",), ("b",), ("a", 1), ("a", 2), ("a", "b"), ("b", "a"), ("a", 1, 1), ("a" * 9,)]
    drawn = [random_stream(*key).standard_normal() for key in keys]
    assert len(set(drawn)) == len(keys)
    assert drawn == [random_stream(*key).standard_normal() for key in keys]


def test_diabetes_sizes():
    sizes = []
    for degree in (1, 2, 3, 4):
        problem = diabetes(degree, n=9)
        sizes.append(problem.d)
        assert (problem.n, problem.name, problem.x_true) == (9, "diabetes", None)
        assert problem.row_space.consistent
    assert sizes == [10, 65, 285, 1000]


def test_diabetes_is_scaled_over_all_patients():
    """Root mean square 1 in each column, y standardised; degree 1 first, and standardised."""
    from sklearn.datasets import load_diabetes

    problem = diabetes(4, n=442)
    assert np.allclose(np.mean(problem.Z**2, axis=0), 1.0, rtol=1e-12)
    assert problem.y.mean() == pytest.approx(0.0, abs=1e-13)
    assert problem.y.var() == pytest.approx(1.0)
    measured, progression = load_diabetes(return_X_y=True)
    assert np.allclose(problem.Z[:, :10], measured * math.sqrt(442), atol=1e-12)
    assert np.corrcoef(problem.y, progression)[0, 1] == pytest.approx(1.0)


def test_diabetes_draws_patients_without_repetition():
    everyone, some, others = diabetes(4, n=442), diabetes(4, n=60), diabetes(4, n=60, seed=1)
    rows = [np.flatnonzero((row == everyone.Z).all(axis=1)) for row in some.Z]
    assert all(found.size == 1 for found in rows)
    chosen = np.concatenate(rows)
    assert np.unique(chosen).size == 60
    assert np.array_equal(everyone.y[chosen], some.y)
    assert not np.array_equal(some.Z, others.Z)


def test_digits_sensing_measures_one_image():
    from sklearn.datasets import load_digits

    problem = digits_sensing(3, 40, 0)
    assert problem.Z.shape == (40, 64)
    assert np.array_equal(problem.x_true * 16.0, load_digits().data[3])
    assert 0.0 <= problem.x_true.min() < problem.x_true.max() <= 1.0
    assert np.array_equal(problem.y, problem.Z @ problem.x_true)
    assert np.array_equal(problem.Z, digits_sensing(4, 40, 0).Z)
    assert not np.array_equal(problem.Z, digits_sensing(3, 40, 1).Z)
    big = digits_sensing(0, 63, 2).Z.ravel()
    assert abs(big.var() - 1.0) < 5 * math.sqrt(2.0 / big.size)


def test_digits_sensing_with_more_measurements_than_pixels_warns():
    with pytest.warns(UserWarning, match=r"n = 70 samples for d = 64"):
        digits_sensing(0, 70, 0)


# ---- names, scales, standardizing


def test_names_come_from_columns_that_have_text_for_names():
    import pandas as pd

    table = pd.DataFrame({"age": [34, 51], "dose": [1.5, 0.5], "sex": [0, 1]})
    assert Regression(table, [1.0, 2.0]).names == ("age", "dose", "sex")
    assert Regression(table, [1.0, 2.0], names=list("abc")).names == ("a", "b", "c")
    assert Regression(table.to_numpy(), [1.0, 2.0]).names is None
    assert Regression(pd.DataFrame(table.to_numpy()), [1.0, 2.0]).names is None
    assert gaussian_recovery(2, 3, 1, 0).names is None


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda frame: frame.rename(columns={"age": "Unnamed: 0"}), "Z must have a name for each"),
        (lambda frame: frame.rename(columns={"age": "dose"}), "columns 1 and 2 are both 'dose'"),
        (lambda frame: frame.rename(columns={"age": ""}), "column 1 has none"),
    ],
)
def test_a_row_number_of_pandas_is_no_feature(make, rule):
    import pandas as pd

    frame = pd.DataFrame({"age": [34, 51], "dose": [1.5, 0.5], "sex": [0, 1]})
    with pytest.raises(InputError, match=rule):
        Regression(make(frame), [1.0, 2.0])


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        (["a"], r"names must have 2 entries \(one for each column of Z\), but it has 1"),
        ("ab", r"names must be a sequence of strings, but it is 'ab'"),
        (7, r"names must be a sequence of strings, but it is 7"),
        (["a", "a"], r"names must name each column once"),
    ],
)
def test_names_that_do_not_fit_are_refused(names, rule):
    with pytest.raises(InputError, match=rule):
        Regression([[1.0, 2.0]], [1.0], names=names)


def test_scales_are_root_mean_squares():
    import scipy.sparse as sp

    Z = np.array([[3.0, 0.0, 1e-150], [4.0, 0.0, 1e-150]])
    expected = [math.sqrt(12.5), 0.0, 1e-150]
    for given_Z in (Z, sp.csr_array(Z)):
        assert np.allclose(Regression(given_Z, [1.0, 2.0]).scales(), expected, rtol=4 * EPS)


@identity
@given(case=dyadic_problems(), power=st.integers(-40, 40), shift=st.integers(-9, 9))
def test_standardized_is_invariant_under_units_and_origins(case, power, shift):
    """Columns 2^k Z + c and y + c give the same regression, up to the rounding of means."""
    Z, y, x = (np.array(part) for part in case)
    one = Regression(Z, y, x).standardized()
    other = Regression(Z * 2.0**power + shift * 2.0**power, y + shift).standardized()
    # means are off by eps of the largest entry (≤ 14), scales are at least 1/8·√(1/4 − 1/16)
    assert np.allclose(one.Z, other.Z, rtol=1e-12, atol=1e-12)
    assert np.allclose(one.y, other.y, rtol=1e-12, atol=1e-12)


@identity
@given(case=dyadic_problems())
def test_standardized_is_the_formula(case):
    """Means 0, root mean squares 1 (0 of constants), predictions the same up to a constant."""
    Z, y, x = (np.array(part) for part in case)
    problem = Regression(Z, y, x, "mine", [f"g{j}" for j in range(len(x))])
    standard = problem.standardized()
    constant = np.ptp(Z, axis=0) == 0
    assert np.allclose(standard.Z.mean(axis=0), 0.0, atol=1e-13)
    assert np.allclose(standard.scales(), ~constant, atol=1e-13)
    assert not standard.Z[:, constant].any()
    assert np.allclose(standard.y, y - y.mean(), atol=1e-13)
    predicted = Z @ x
    assert np.allclose(standard.Z @ standard.x_true, predicted - predicted.mean(), atol=1e-11)
    assert (standard.name, standard.names) == ("mine", problem.names)
    assert np.array_equal(problem.Z, Z)
    for array in (standard.Z, standard.y, standard.x_true):
        assert not array.flags.writeable
    assert standard.row_space is not problem.row_space


def test_standardized_refuses_what_it_would_fill():
    import scipy.sparse as sp

    with pytest.raises(InputError, match="Z must be dense to be standardized"):
        Regression(sp.csr_array(np.eye(2, 3)), [1.0, 2.0]).standardized()


def test_standardizing_says_nothing_twice():
    with pytest.warns(UserWarning, match="one least-squares solution"):
        problem = Regression(np.arange(6.0).reshape(3, 2) ** 2, np.ones(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        problem.standardized()


def test_the_warning_points_at_the_caller(tmp_path):
    """Not at a line of this package, whichever of its functions made the problem."""
    from mirrorflow import load

    (tmp_path / "a.csv").write_text("a,y\n1,2\n3,4\n")
    for make in (
        lambda: Regression(np.ones((2, 1)), [1.0, 2.0]),
        lambda: gaussian_recovery(3, 2, 1, 0),
        lambda: digits_sensing(0, 64, 0),
        lambda: load(tmp_path / "a.csv"),
    ):
        with pytest.warns(UserWarning, match="n ≥ d") as caught:
            make()
        assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("value", [0.1, 1.0 / 3.0, -1e7 / 7.0])
def test_a_constant_column_is_0_where_its_mean_rounds(value):
    n = next(n for n in range(3, 100) if np.full(n, value).mean() != value)
    Z = np.column_stack([np.full(n, value), np.arange(float(n)), np.arange(n) ** 2.0])
    with pytest.warns(UserWarning, match="nothing to select"):
        problem = Regression(Z, np.arange(float(n)))
    assert not problem.standardized().Z[:, 0].any()


def test_a_read_only_view_of_what_can_be_written_to_is_copied():
    base = np.ones((2, 3))
    view = base[:]
    view.flags.writeable = False
    problem = Regression(view, [1.0, 2.0])
    base[0, 0] = 7.0
    assert problem.Z[0, 0] == 1.0


@pytest.mark.parametrize("entry", [1e200, -1e200, np.nan])
def test_read_only_arrays_are_checked_too(entry):
    Z = np.array([[1.0, 2.0, entry]])
    Z.flags.writeable = False
    with pytest.raises(InputError, match=r"Z\[0, 2\]"):
        Regression(Z, [1.0])


def test_other_targets_have_no_known_truth():
    assert Regression([[1.0, 2.0]], [3.0], [1.0, 1.0]).with_targets([4.0]).x_true is None


def test_the_largest_features_are_those_of_largest_size(tmp_path):
    np.savez(tmp_path / "a.npz", Z=[[1.0, 2.0, 3.0, 4.0]], y=[1.0], names=["a", "b", "c", "d"])
    problem = load(tmp_path / "a.npz")
    assert problem.leading(np.array([1.0, -3.0, 0.0, 2.0]), 2) == "b (-3), d (+2)"
    assert problem.leading(np.array([0.0, -3.0, 0.0, 0.0])) == "b (-3)"

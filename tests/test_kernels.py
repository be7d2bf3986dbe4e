"""Compiled loops one by one: vectors, roots of curvatures, tables, and both systems, against NumPy,
differences and closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import mirrorflow as mf
from mirrorflow.compiled import curvature, layout, tables, vectors
from mirrorflow.flows import direct, dual
from tests.systems import EPS, LOSSES, SHAPES, System, bounds, near, problem_of, start_of

# ---- vectors


@pytest.mark.parametrize("n", range(1, 10))
def test_products_over_some_columns(n):
    """Columns low … high alone count, and only they are written to."""
    rng = np.random.default_rng(n)
    Z, wide = rng.standard_normal((n, 9)), np.full((2, 9), -1.0)
    holes = Z * (rng.random((n, 9)) < 0.5)
    x, v = rng.standard_normal(9), rng.standard_normal(n)
    for low, high in ((0, 9), (2, 7), (4, 4)):
        some = slice(low, high)
        for matrix, (data, columns) in (
            (Z, (Z, wide)),
            (holes, layout.readable(scipy.sparse.csr_array(holes))),
        ):
            out, back = np.full(n, 0.5), np.full(9, 0.5)
            vectors.add_product(data, columns, x, *bounds(low, high), out)
            assert out == near(0.5 + matrix[:, some] @ x[some])
            vectors.transposed_product(data, columns, v, *bounds(low, high), back)
            assert back[some] == near(matrix[:, some].T @ v)
            assert (np.delete(back, np.arange(low, high)) == 0.5).all()
        out, weights = np.full((n, n), 0.5), rng.random(9)
        vectors.add_gram(Z, weights, np.empty((vectors.PANEL, 9)), *bounds(low, high), out)
        square = (Z[:, some] * weights[some]) @ Z[:, some].T
        assert np.tril(out) == near(np.tril(0.5 + square))
        assert vectors.largest(x, *bounds(low, high)) == np.abs(x[some]).max(initial=0.0)


@pytest.mark.parametrize("d", [1, 511, 512, 513, 1030])
def test_weighted_squares_of_many_columns(d):
    rng = np.random.default_rng(d)
    Z, weights = rng.standard_normal((2, d)), rng.standard_normal(d)
    ends, low = [], np.uintp(0)
    while low < d:
        low = vectors.block_end(low, np.uintp(d))
        ends.append(int(low))
    assert ends == [*range(vectors.BLOCK, d, vectors.BLOCK), d]
    for data, columns in ((Z, np.full((2, d), -1.0)), layout.readable(scipy.sparse.csc_array(Z))):
        out = np.full((2, 2), np.nan)
        vectors.gram(data, columns, weights, np.empty((vectors.PANEL, d)), out)
        assert np.tril(out) == near(np.tril((Z * weights) @ Z.T), d)


def test_sparse_data_as_they_are_read():
    """By columns, rows ascending within each, in whatever order they were given."""
    Z = np.array([[0.0, 1.0, 0.0, 2.0], [3.0, 0.0, 0.0, 4.0]])
    shuffled = scipy.sparse.csc_array(Z)
    shuffled.data[1:], shuffled.indices[1:] = [1.0, 4.0, 2.0], [0, 1, 0]
    shuffled.has_sorted_indices = False
    for data in (scipy.sparse.csr_array(Z), scipy.sparse.coo_array(Z), shuffled):
        entries, columns = layout.readable(data)
        assert (entries == [[3.0, 1.0, 2.0, 4.0], [1.0, 0.0, 0.0, 1.0]]).all()
        assert (columns == [[0.0, 1.0, 2.0, 2.0], [1.0, 2.0, 2.0, 4.0]]).all()
    dense, columns = layout.readable(np.asfortranarray(Z))
    assert dense.flags.c_contiguous
    assert (dense == Z).all()
    assert (columns == -1.0).all()
    assert columns.shape == (2, 4)


@pytest.mark.parametrize("n", range(1, 8))
def test_factors_are_those_of_the_matrix(n):
    """L below, Lᵀ above, 1/D between; what is above A's diagonal is not read; A may be F."""
    rng = np.random.default_rng(n)
    A, b = rng.standard_normal((n, n)) + 4.0 * np.eye(n), rng.standard_normal(n)
    whole, F = np.tril(A) + np.tril(A, -1).T + 0.3 * np.eye(n), np.full((n, n), np.nan)
    assert vectors.factorize(A, 0.3, F)
    L = np.tril(F, -1) + np.eye(n)
    assert L @ np.diag(1.0 / np.diag(F)) @ L.T == near(whole, 10.0)
    assert (np.triu(F, 1) == np.tril(F, -1).T).all()
    x = b.copy()
    vectors.solve_factors(F, x)
    assert whole @ x == near(b, 100.0)


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9])
def test_factors_solve_indefinite_systems(n):
    rng = np.random.default_rng(n)
    A = rng.standard_normal((n, n))
    A = A + A.T
    factors, b = np.empty((n, n)), rng.standard_normal(n)
    assert vectors.factorize(A, 0.3, factors)
    x = b.copy()
    vectors.solve_factors(factors, x)
    shifted = A + 0.3 * np.eye(n)
    bound = 1e3 * EPS * np.linalg.cond(shifted) * np.abs(x).max()  # without pivots
    assert np.abs(x - np.linalg.solve(shifted, b)).max() < bound


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
@pytest.mark.parametrize("at", range(3))
def test_no_factors_where_a_pivot_is_none(bad, at):
    A = np.diag([2.0, -3.0, 1.0])
    assert vectors.factorize(A, 0.0, np.empty((3, 3)))
    A[at, at] = bad
    assert not vectors.factorize(A, 0.0, np.empty((3, 3)))


def test_exponentials_are_exact_to_a_few_units_in_the_last_place():
    """e^x and e^x − 1 on the whole range, against NumPy's, which are within one unit."""
    x = np.concatenate([np.linspace(-645, 705, 4001), np.linspace(-1, 1, 4001), [0.0]])
    minus_1, whole = np.array([vectors.exponential_minus_1(value) for value in x]).T
    assert np.abs(whole / np.exp(x) - 1.0).max() < 4 * EPS
    small = np.abs(x) > 0
    assert np.abs(minus_1[small] / np.expm1(x[small]) - 1.0).max() < 8 * EPS


def test_exponentials_within_their_range():
    """Kept above e^−650 and below e^709: never 0, denormal or infinite."""
    for x in (-700.0, -1e9, -650.0):
        assert vectors.exponential_minus_1(x)[1] == pytest.approx(
            math.exp(-650.0), rel=1e-14, abs=0.0
        )
        assert vectors.exponential_minus_1(x)[0] == -1.0
    for x in (709.0, 800.0):
        assert vectors.exponential_minus_1(x)[1] == pytest.approx(math.exp(709.0), rel=1e-14)


# ---- roots of curvatures


def small_of(curvatures, B=None):
    """`small` with these curvatures; with Bᵀ (r, n) below."""
    small = np.zeros((layout.SMALL if B is None else layout.BASIS + len(B), curvatures.size))
    small[layout.CURVATURE] = curvatures
    if B is not None:
        small[layout.BASIS :] = B
    return small


@pytest.mark.parametrize("reduced", [False, True])
@pytest.mark.parametrize("r", [1, 2, 3, 5])
def test_roots_of_curvatures(reduced, r):
    """LLᵀ = weight·C or weight·BᵀCB, and L, Lᵀ, L⁻¹ and LᵀML as their names say."""
    rng = np.random.default_rng(r)
    n = r + 2 if reduced else r
    C, v = rng.uniform(0.5, 2.0, n), rng.standard_normal(r)
    B = np.linalg.qr(rng.standard_normal((n, r)))[0].T if reduced else None
    small, pairs = small_of(C, B), np.full((4, r, r), np.nan)
    curvature.take_root(small, pairs, 0.3)
    wanted = 0.3 * np.diag(C) if B is None else 0.3 * (B * C) @ B.T
    L = np.tril(pairs[layout.ROOTS]) if reduced else np.diag(small[layout.ROOT])
    assert near(wanted) == L @ L.T
    assert (np.diag(L) > 0).all()
    M = rng.standard_normal((r, r))
    M += M.T
    pairs[layout.MATRIX] = np.where(np.tri(r, dtype=bool), M, np.nan)
    curvature.between_roots(small, pairs)
    assert np.tril(pairs[layout.MATRIX]) == near(np.tril(L.T @ M @ L))
    for move, expected in (
        (curvature.by_root, L @ v),
        (curvature.by_root_transposed, L.T @ v),
        (curvature.by_inverse_root, np.linalg.solve(L, v)),
    ):
        out = v.copy()
        move(small, pairs, out)
        assert out == near(expected, 10.0)


def test_curvatures_that_vanish_leave_the_root_regular():
    """0 and negative ones count as 1e-20 of the largest; if all are 0, as 1e-280."""
    small, pairs = small_of(np.array([4.0, 0.0, -3.0])), np.empty((3, 3, 3))
    curvature.take_root(small, pairs, 0.25)
    assert small[layout.ROOT] == pytest.approx([1.0, 1e-10, 1e-10], rel=1e-13, abs=0.0)
    small[layout.CURVATURE] = 0.0
    curvature.take_root(small, pairs, 1.0)
    assert small[layout.ROOT] == pytest.approx(1e-140, rel=1e-13, abs=0.0)
    # one sample of three curved: BᵀCB of rank 1 has a root whose inverse is finite
    B = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 2)))[0].T
    small, pairs = small_of(np.array([1.0, 0.0, 0.0]), B), np.empty((4, 2, 2))
    curvature.take_root(small, pairs, 1.0)
    L = np.tril(pairs[layout.ROOTS])
    exact = np.outer(B[:, 0], B[:, 0])
    trace = B[:, 0] @ B[:, 0]
    assert pytest.approx(exact, abs=3.0 * curvature.RIDGE * trace) == L @ L.T
    # a₁₁ − a₁₀²/(a₀₀ + ridge) + ridge; digits are lost where they cancel
    ridge, ratio = curvature.RIDGE * trace, (B[1, 0] / B[0, 0]) ** 2
    assert L[1, 1] ** 2 == pytest.approx(ridge * (1.0 + ratio), rel=0.1, abs=0.0)
    vector = np.ones(2)
    curvature.by_inverse_root(small, pairs, vector)
    assert np.isfinite(vector).all()


# ---- tables of schedules


def test_segments_by_their_pieces():
    """From one on: the segment whose end is not passed, but never that of another piece."""
    table = np.zeros((5, 5))
    table[:, 0] = 0, 0, 0, 1, 1
    table[:, 1], table[:, 2] = [0.0, 1.0, 2.0, 4.0, 5.0], [1.0, 2.0, 4.0, 5.0, 9.0]
    for first, t, wanted in (
        (0, 0.0, 0),
        (0, 1.0, 0),
        (0, 1.5, 1),
        (0, 3.0, 2),
        (0, 6.0, 2),
        (1, 0.5, 1),
        (3, 4.5, 3),
        (3, 5.5, 4),
        (4, 99.0, 4),
    ):
        assert tables.next_segment(table, first, t) == wanted
    assert [tables.last_segment(table, s) for s in range(5)] == [2, 2, 2, 4, 4]


@pytest.mark.parametrize("K", [1, 2, 3, 7])
def test_series_are_chebyshevs(K):
    rng = np.random.default_rng(K)
    series = rng.standard_normal((2, K))
    table = np.concatenate(
        [[[0.0, 9.0, 9.5], [0.0, 1.0, 3.0]], [np.zeros(2 * K), series.ravel()]], 1
    )
    for t in (1.0, 1.3, 2.0, 3.0):
        wanted = [np.polynomial.chebyshev.chebval(t - 2.0, row) for row in series]
        assert tables.evaluate(table, 1, t) == near(wanted, K)


class Waves:
    """α = 1 + ½ sin(ωt) up to t = 2, then ¼ for ever."""

    breakpoints = (2.0, 50.0)

    def __init__(self, omega):
        self.omega = omega

    def alpha(self, t):
        t = np.asarray(t)
        return np.where(t < 2.0, 1.0 + 0.5 * np.sin(self.omega * t), 0.25)

    def total(self, t):
        t = np.asarray(t)
        early = np.minimum(t, 2.0)
        waves = early + 0.5 * (1.0 - np.cos(self.omega * early)) / self.omega
        return waves + 0.25 * np.maximum(t - 2.0, 0.0)


@pytest.mark.parametrize("omega", [3.0, 40.0])
def test_tables_of_a_schedule_of_ones_own(omega):
    """Segments follow each other without gaps; A and α to rounding; no more than they need."""
    schedule = Waves(omega)
    table = tables.tabulate(schedule, 7.0)
    assert (table[1:, 1] == table[:-1, 2]).all()
    assert table[[0, -1], [1, 2]].tolist() == [0.0, 7.0]
    assert table[-1, :3].tolist() == [1.0, 2.0, 7.0]  # constant: one segment
    assert (table[:-1, 0] == 0.0).all()
    for s, t in itertools.product(range(len(table)), (0.0, 0.2, 0.77)):
        at = table[s, 1] + t * (table[s, 2] - table[s, 1])
        total, alpha = tables.evaluate(table, s, at)
        assert alpha == pytest.approx(float(schedule.alpha(at)), abs=2e-13)
        assert total == pytest.approx(float(schedule.total(at)), abs=3e-14)
    # a piece begins with 33 halves, each of which but the last ones 24 points resolve
    assert len(table) == {3.0: 34, 40.0: 45}[omega]
    if omega == 3.0:
        assert tables.tabulate(schedule, 2.0)[-1, :3].tolist() == [0.0, 1.0, 2.0]
    assert tables.tabulate(mf.Constant(0.3), 0.0).shape == (1, 3 + 4)


def test_constant_pieces_take_two_coefficients():
    schedule = mf.Piecewise([0.0, 1.0, 4.0], [0.3, 0.0, 2.0])
    table = tables.tabulate(schedule, 6.0)
    assert table.shape == (3, 3 + 4)
    assert (table[:, :3] == [[0, 0, 1], [1, 1, 4], [2, 4, 6]]).all()
    assert table[:, 3:] == near(
        np.array([[0.15, 0.15, 0.3, 0.0], [0.3, 0.0, 0.0, 0.0], [2.3, 2.0, 2.0, 0.0]])
    )


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(["constant", "harmonic", "quadratic", "geometric", "piecewise"]),
    end=st.floats(1e-3, 1e9),
)
def test_tables_hold_schedules_to_rounding(kind, end):
    schedule = {
        "constant": mf.Constant(0.7, 3.0),
        "harmonic": mf.Harmonic(0.5, 2.0),
        "quadratic": mf.Quadratic(1.0, 5.0),
        "geometric": mf.Geometric(0.8, 0.9),
        "piecewise": mf.Piecewise([0.0, 1.0, 4.0], [0.3, 0.0, 2.0]),
    }[kind]
    table = tables.tabulate(schedule, end)
    inside = [t for t in schedule.breakpoints if t < end]
    starts = [0.0, *inside]
    for t in np.append(np.geomspace(1e-6 * end, end, 37), inside):
        piece = np.searchsorted(inside, t)  # a breakpoint belongs to the piece before it
        first = int(np.flatnonzero(table[:, 0] == piece)[0])
        assert table[first, 1] == starts[piece]
        total, alpha = tables.evaluate(table, tables.next_segment(table, first, t), t)
        before = np.nextafter(t, 0.0) if t in inside else t
        assert total == pytest.approx(schedule.total(t), rel=1e-13, abs=1e-13 * table[first, 3 + 0])
        assert alpha == pytest.approx(schedule.alpha(before), rel=1e-11, abs=1e-16)


def test_schedules_with_rounding_of_their_own_need_few_segments():
    """A(t) as A(∞) minus the rest, and integrals to 1e-12: their noise is not resolved."""

    class Ramp:
        breakpoints = (4.0,)

        def alpha(self, t):
            return 0.5 * np.maximum(1.0 - np.asarray(t) / 4.0, 0.0)

        def total(self, t):
            return 1.0 - np.maximum(1.0 - np.asarray(t) / 4.0, 0.0) ** 2

    assert len(tables.tabulate(Ramp(), 1e3)) < 200
    integrated = mf.Schedule.of(lambda t: np.exp(-t) * (1.0 + 0.5 * np.sin(5.0 * t)))
    table = tables.tabulate(integrated, 50.0)
    assert len(table) < 1000
    for t in (1e-9, 0.3, 7.0, 49.0):
        total, alpha = tables.evaluate(table, tables.next_segment(table, 0, t), t)
        assert total == pytest.approx(float(integrated.total(t)), rel=1e-11)
        assert alpha == pytest.approx(float(integrated.alpha(t)), rel=1e-11)


# ---- both systems


@pytest.fixture(params=[False, True], ids=["dense", "sparse"])
def sparse(request):
    return request.param


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.filterwarnings("ignore:Z has n = ")
def test_the_dual_system_and_its_linear_systems(shape, loss, sparse):
    """ν̇ by its equation; (shift − J)⁻¹b, J by differences of that; J kept where it is not new."""
    problem = problem_of(shape, loss, sparse)
    for name in ("m ⊙ w", "u³ − v³", "3 layers"):
        of = System(problem, start_of(name, problem.d), dual)
        b = np.random.default_rng(0).standard_normal(of.size)
        assert of.derivative(0.3, 0.2) == near(of.velocity(of.state, 0.3, 0.2), 10.0)
        assert of.wide[dual.X] == near(of.x(of.state, 0.3), 10.0)
        J = of.jacobian(0.3, 0.2)
        assert dual.linearise(*of.calls(), 0.3, of.state, 0.7, True)
        for shift, state in ((0.7, of.state), (2.0, 9.0 * of.state)):
            assert dual.linearise(*of.calls(), 0.3, state, shift, state is of.state)
            x = b.copy()
            dual.solve(of.small, of.pairs, x)
            assert (shift * np.eye(of.size) - J) @ x == pytest.approx(b, abs=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.filterwarnings("ignore:Z has n = ")
def test_the_direct_system_and_its_linear_systems(shape, loss, sparse, accumulate):
    problem = problem_of(shape, loss, sparse)
    for name in ("m ⊙ w", "u³ − v³", "3 layers", "4 layers"):
        of = System(problem, start_of(name, problem.d), direct, accumulate)
        b = np.random.default_rng(0).standard_normal(of.state.size)
        for usual in (0.0, 1.0) if (name, loss) == ("m ⊙ w", "squared") else (0.0,):
            of.numbers[layout.USUAL] = usual
            assert of.derivative(0.3, 0.2) == near(of.velocity(of.state, 0.3, 0.2), 10.0)
            assert direct.linearise(*of.calls(), 0.3, 0.2, of.state, 0.7)
            x = b.copy()
            direct.solve(*of.calls()[:5], x)
            J = of.jacobian(0.3, 0.2)
            assert (0.7 * np.eye(b.size) - J) @ x == pytest.approx(b, abs=1e-8)


@pytest.mark.parametrize("K", [1, 2, 3, 4])
def test_blocks_are_inverted(K):
    """Symmetric K×K blocks of each coordinate; of two layers alike to the last bit."""
    rng = np.random.default_rng(K)
    blocks = rng.standard_normal((5, K, K)) + 4.0 * np.eye(K)
    blocks += blocks.transpose(0, 2, 1)
    if K == 2:
        blocks[:, 1, 1] = blocks[:, 0, 0]
    out = np.array(blocks.reshape(5, K * K).T, order="C")
    direct._invert(out, K)
    inverse = out.T.reshape(5, K, K)
    assert inverse == near(np.linalg.inv(blocks))
    if K == 2:
        assert (inverse[:, 0, 0] == inverse[:, 1, 1]).all()
        assert (inverse[:, 0, 1] == inverse[:, 1, 0]).all()


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("name", ["m ⊙ w", "3 layers"])
def test_errors_of_the_direct_system(name, accumulate):
    """Of a coordinate: its error by the length of θ_j, or by max|x|/|∇g_j| where that is less."""
    problem = problem_of("wide", "huber", False)
    for factor, still in ((1.0, False), (1e-3, False), (1.0, True)):
        start = start_of(name, problem.d)
        of = System(problem, start.through(factor * start.theta), direct, accumulate)
        if still:  # a coordinate that is 0 for ever
            of.state[: of.size].reshape(-1, of.d)[:, 2] = 0.0
        rng = np.random.default_rng(2)
        error = rng.standard_normal(of.state.size)
        of.derivative(0.3, 0.2)
        direct.scale(of.small, of.wide, of.numbers)
        theta = of.state[: of.size].reshape(-1, of.d)
        x, slopes = of.x(of.state, 0.3), start.grad_g(theta)
        fitted = of.slope(x)
        grad = problem.Z.T @ fitted / problem.n
        curved = problem.loss.curvature(problem.Z @ x, problem.y).max()
        pull = np.abs(grad).max() / (curved * np.sum(problem.Z**2) / problem.n)
        top = max(np.abs(x).max(), pull)
        assert of.numbers[layout.LARGEST_X] == near(top)
        for larger in (1.0, 7.0):  # what was larger before counts
            of.numbers[layout.LARGEST_X] *= larger
            assert direct.weigh(of.wide, of.numbers, of.state) == 100.0 * EPS
            top *= larger
            lengths, steep = np.sum(theta**2, axis=0), np.sum(slopes**2, axis=0)
            own = np.sum(error[: of.size].reshape(-1, of.d) ** 2, axis=0)
            worst = np.sqrt(own * np.maximum(1.0 / (lengths + 1e-280), steep / top**2))
            if accumulate:
                units = np.where(steep > 0, np.sqrt(lengths / np.where(steep > 0, steep, 1.0)), 1.0)
                weight = math.exp(-of.start.kappa * 0.3)
                grown = np.abs(error[of.size :]) / (weight * units + np.abs(of.state[of.size :]))
                worst = np.append(worst, grown)
            assert direct.size(of.wide, of.numbers, of.state, error) == near(worst.max())
    for at, bad in itertools.product((0, of.size - 1, -1), (np.nan, np.inf)):
        error[at], kept = bad, error[at]
        assert direct.size(of.wide, of.numbers, of.state, error) == np.inf
        error[at] = kept
    of.wide[direct.X] = of.numbers[layout.LARGEST_X] = 0.0
    direct.weigh(of.wide, of.numbers, of.state)
    assert of.wide[direct.WEIGHTS] == near(1.0 / (np.sum(theta**2, axis=0) + 1e-280), 1e280)


def test_the_rows_of_the_direct_system():
    """Scratch and what is asked of a map: 1 + K + K(K + 1)/2 rows, then K² + 2K."""
    for K in (1, 2, 3, 4):
        before = direct.X - layout.OWN
        asked = 1 + K + K * (K + 1) // 2
        assert direct.rows_of_wide(K) == layout.OWN + before + asked + K * K + 2 * K


@pytest.mark.parametrize("name", ["m ⊙ w", "u³ − v³"])
@pytest.mark.parametrize("far", [0.1, 3.0])
def test_errors_of_the_dual_system(name, far, sparse):
    """Root mean square of Zᵀδν times the parts' rates, or X′/max|x| where that is more."""
    problem = problem_of("four rows", "huber", sparse)
    dense = problem.Z.toarray() if sparse else problem.Z
    start = start_of(name, problem.d)
    if far > 1.0:  # x a small difference of large parts
        start = start.through(far * np.abs(start.theta))
    of = System(problem, start, dual)
    error = np.random.default_rng(2).standard_normal(of.size)
    of.derivative(0.0, 0.0)
    dual.scale(of.ready.matrix, of.small, of.wide, of.numbers)
    x = of.x(of.state, 0.0)
    fitted = of.slope(x)
    curved = problem.loss.curvature(dense @ x, problem.y).max()
    top = max(np.abs(x).max(), np.abs(dense.T @ fitted).max() / (curved * np.sum(dense**2)))
    assert of.numbers[layout.LARGEST_X] == near(top)
    metric = start.potential(0.0).metric(dense.T @ of.state)
    rates = of.wide[dual.RATES].copy()
    assert (rates > 0).all()
    squares = np.sum(dense**2, axis=1) @ of.state**2 / problem.d
    for larger in (1.0, 50.0, 0.0) if start.rate > 0.0 else (1.0, 50.0):  # 0: x was never but 0
        if larger == 0.0:
            of.numbers[layout.LARGEST_X] = of.wide[dual.X] = 0.0
            weights = rates
        else:
            of.numbers[layout.LARGEST_X] *= larger
            top *= larger
            weights = np.maximum(rates, metric / top)
            if start.rate > 0.0 and weights.max() <= 2.0 * start.rate:
                weights = np.full(problem.d, start.rate)
        rounding = dual.weigh(of.wide, of.pairs, of.numbers, of.state)
        uneven = start.rate == 0.0 or np.ptp(weights) > 0.0
        worst = max(start.rate, (metric / top).max() if larger > 0.0 else 0.0)
        worst = weights.max() if uneven else worst
        assert rounding == near(100.0 * EPS * worst * math.sqrt(squares), EPS)
        assert of.numbers[layout.PLAIN] == (not uneven)
        found = dual.size(*of.calls()[:5], error)
        assert found == near(math.sqrt(np.mean((weights * (dense.T @ error)) ** 2)))
        for bad in (np.nan, np.inf):
            wrong = error.copy()
            wrong[1] = bad
            assert dual.size(*of.calls()[:5], wrong) == np.inf

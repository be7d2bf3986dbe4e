"""Many limits in one call: the same points as one by one, whatever the batch."""

from __future__ import annotations

from itertools import chain

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import mirrorflow as mf
from mirrorflow.limits import exact, newton, polyhedral
from mirrorflow.limits.optimality import Points, smooth_proofs

EPS = np.finfo(float).eps
FINITE = [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 100.0, 186.0, 300.0, 1000.0]


def pilots(problem, count, seed=0, beta=1.0):
    rng = np.random.default_rng(seed)
    return [
        mf.Factors.pilot(rng.normal(0, problem.d**-0.25, problem.d), beta) for _ in range(count)
    ]


def flat(paths):
    return list(chain.from_iterable(paths))


@pytest.fixture
def again(monkeypatch):
    """Totals of paths after a run's first one: what was lost on the way is solved by itself."""
    paths, solve = [], newton.Solver.__call__  # of a solver and a start

    def spy(solver, start, parts, b, free, totals, kappa=None):
        paths.append(((solver, start), totals.tolist()))
        return solve(solver, start, parts, b, free, totals, kappa)

    monkeypatch.setattr(newton.Solver, "__call__", spy)
    return lambda: [t for i, (run, t) in enumerate(paths) if run in [s for s, _ in paths[:i]]]


def exact_limit(problem, factors, total, nu):
    """argmin R_a over Zx = y by Newton's method in 60 digits, from ν near the solution."""
    with mpmath.workdps(60):
        Z, y = mpmath.matrix(problem.Z.tolist()), mpmath.matrix(problem.y.tolist())
        nu, decay = mpmath.matrix(nu.tolist()), mpmath.exp(-4 * mpmath.mpf(total))
        pairs = [
            (mpmath.mpf(m), mpmath.mpf(w))
            for m, w in zip(factors.m.tolist(), factors.w.tolist(), strict=True)
        ]
        for _ in range(8):
            bend = [mpmath.exp(value) for value in Z.T * nu]
            p = [(m + w) ** 2 / 4 * decay * e for (m, w), e in zip(pairs, bend, strict=True)]
            q = [(m - w) ** 2 / 4 * decay / e for (m, w), e in zip(pairs, bend, strict=True)]
            H = Z * mpmath.diag([a + b for a, b in zip(p, q, strict=True)]) * Z.T
            x = mpmath.matrix([a - b for a, b in zip(p, q, strict=True)])
            step = mpmath.lu_solve(H, y - Z * x)
            nu += step
        assert mpmath.norm(step) < mpmath.mpf(10) ** -45
        return np.array([float(value) for value in x])


def test_reference_limits(case):
    """The 60-digit cases at the end of a path that starts at A = 0."""
    totals = [0.0, case.total] if case.total > 0 else [0.0]
    limit = mf.interpolators(case.problem, [case.factors], totals)[0][-1]
    assert limit.status == "converged"
    if case.raw["limit"] is not None:
        assert np.abs(limit.x - case.raw["limit"]).max() < 1e-13


def test_sixty_digits(small):
    problem, factors = small
    totals = [0.0, 1.0, 8.0]
    for total, limit in zip(totals, mf.interpolators(problem, [factors], totals)[0], strict=True):
        exact = exact_limit(problem, factors, total, limit.dual)
        assert np.abs(limit.x - exact).max() <= 20 * EPS * (1 + 4 * total) * np.abs(exact).max()


@pytest.mark.parametrize("name", ["gaussian", "digits", "diabetes", "nearly L1"])
def test_bounds_of_the_single_solver(recovery, again, name):
    """Residuals at rounding up to A = 1000, together, and the same points as one by one."""
    problem = {
        "gaussian": lambda: recovery[0],
        "digits": lambda: mf.digits_sensing(0, 40, 0),
        "diabetes": mf.diabetes,
        "nearly L1": lambda: recovery[0],
    }[name]()
    runs = pilots(problem, 3, beta=1e-6 if name == "nearly L1" else 1.0)
    paths = mf.interpolators(problem, runs, FINITE)
    assert not again()
    for path in paths:
        for total, limit in zip(FINITE, path, strict=True):
            bound = 50 * EPS * (1 + 4 * total)
            scale = float((np.abs(problem.Z) @ np.abs(limit.x)).max())
            assert limit.status == "converged"
            assert limit.constraint_residual <= bound * scale
            assert limit.stationarity_residual <= bound
            assert limit.gap <= bound * (1 + 4 * total) * np.abs(limit.x).sum()
    for total in (0.0, 4.0, 100.0):
        alone = mf.interpolator(problem, runs[0], total)
        difference = np.abs(paths[0][FINITE.index(total)].x - alone.x).max()
        assert difference <= 50 * EPS * (1 + 4 * total) * np.abs(alone.x).max()


def test_proofs_are_what_they_say(recovery):
    """Residual, stationarity and gap by the public potential, coordinate by coordinate."""
    problem, _ = recovery
    runs = pilots(problem, 3, seed=4)
    for factors, path in zip(runs, mf.interpolators(problem, runs, [0.5, 3.0]), strict=True):
        for total, limit in zip([0.5, 3.0], path, strict=True):
            R = mf.HyperbolicEntropy.of(factors, total)
            assert np.abs(limit.x - (limit.p - limit.q)).max() <= 4 * EPS * limit.p.max()
            residual = np.abs(problem.Z @ limit.x - problem.y).max()
            assert abs(limit.constraint_residual - residual) <= 1e-14
            off = np.abs(0.5 * problem.Z.T @ limit.dual - R.gradient(limit.x)).max()
            assert abs(limit.stationarity_residual - off) <= 1e-13  # ν is rounded
            dual = 0.5 * (problem.y @ limit.dual - (limit.p + limit.q).sum())
            assert abs(limit.gap - abs(R.value(limit.x) - dual)) <= 1e-12


@pytest.mark.parametrize("direction", [-1.0, 1.0])
def test_a_primal_point_that_is_off_shows_in_both_proofs(recovery, direction):
    problem, factors = recovery
    limit, R = mf.interpolator(problem, factors, 1.0), mf.HyperbolicEntropy.of(factors, 1.0)
    x = limit.x + direction * 1e-4 * np.abs(limit.x)
    kappa = problem.row_space.s * (problem.row_space.U.T @ limit.dual)
    parts = (limit.p, limit.q, x, limit.parameters, limit.metric, kappa)
    points = Points(*(part[None] for part in parts), np.ones(1, int), np.ones(1, bool))
    counted = np.full(100, True)
    stationarity, gap = smooth_proofs(problem, R, problem.row_space.b, points, counted)
    expected = np.abs(0.5 * problem.Z.T @ limit.dual - R.gradient(x)).max()
    assert stationarity[0] == pytest.approx(expected, rel=1e-6)
    assert gap[0] == pytest.approx(abs(R.value(x) - R.value(limit.x)), rel=1e-6)


@pytest.mark.parametrize(("spoil", "accepted"), [(1e-10, True), (1e-6, False)])
def test_a_point_that_is_off_says_so(recovery, monkeypatch, spoil, accepted):
    problem, factors = recovery
    good = mf.interpolators(problem, [factors], [1.0])[0][0]
    follow = newton.follow

    def spoiled(*arguments):
        reached = follow(*arguments)
        found = arguments[-2]
        found += 0.5 * spoil
        return reached

    monkeypatch.setattr(newton, "follow", spoiled)
    off = mf.interpolators(problem, [factors], [1.0])[0][0]
    assert off.success == accepted
    assert off.constraint_residual > 1e3 * good.constraint_residual


def test_composition_and_order_do_not_matter(recovery, monkeypatch):
    problem, _ = recovery
    runs, totals = pilots(problem, 7), [0.0, 1.0, 8.0, 100.0]
    paths = mf.interpolators(problem, runs, totals)
    order = [3, 0, 6, 1, 5, 2, 4]
    shuffled = mf.interpolators(problem, [runs[i] for i in order], totals)
    monkeypatch.setattr(exact, "ENTRIES", 3 * problem.d)  # three limits at a time
    few = mf.interpolators(problem, runs, totals)
    alone = mf.interpolators(problem, runs[3:4], [8.0])[0][0]
    bounds = [50 * EPS * (1 + 4 * total) for total in totals]
    for i, path in enumerate(paths):
        for others in (shuffled[order.index(i)], few[i]):
            for bound, limit, other in zip(bounds, path, others, strict=True):
                assert (limit.status, limit.iterations) == (other.status, other.iterations)
                assert np.abs(limit.x - other.x).max() <= bound * np.abs(limit.x).max()
    # nor which other totals are on the path
    assert np.abs(alone.x - paths[3][2].x).max() <= bounds[2] * np.abs(alone.x).max()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_optimality_for_any_factors(seed):
    """Signs, magnitudes over six decades, zeros and balanced coordinates in one batch."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(1, 6)), int(rng.integers(8, 20))
    Z = rng.standard_normal((n, d))
    problem, runs = mf.Regression(Z, rng.standard_normal(n)), []
    for i in range(6):
        m, w = 10.0 ** rng.uniform(-3, 3, (2, d)) * rng.choice([-1.0, 1.0], (2, d))
        if i % 3 == 1:
            m[0] = w[0] = 0.0
        if i % 3 == 2:
            w[:2] = m[:2]
        runs.append(mf.Factors(m, w))
    totals = [0.0, 0.5, 3.0, 20.0, np.inf]
    for i, path in enumerate(mf.interpolators(problem, runs, totals)):
        assert len(path) == len(totals)
        for total, limit in zip(totals, path, strict=True):
            reach = 1 + 4 * (0 if np.isinf(total) else total) + 20  # log of six decades
            mass = float((np.abs(Z) @ (limit.p + limit.q)).max())
            assert limit.status == "converged"
            assert limit.constraint_residual <= 50 * EPS * reach * mass
            assert limit.stationarity_residual <= 50 * EPS * reach
            assert i % 3 != 1 or limit.x[0] == 0.0
            assert i % 3 != 2 or (limit.x[:2] >= 0).all()


@pytest.mark.parametrize("seed", [2, 4, 10, 16])
def test_wild_masses_stay_together(again, seed):
    """Masses over twelve decades: steps of full length lose these paths, shortened ones don't."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(1, 6)), int(rng.integers(8, 20))
    Z, y = rng.standard_normal((n, d)), 10.0 ** rng.uniform(-3, 3) * rng.standard_normal(n)
    runs = [mf.Factors(*(10.0 ** rng.uniform(-3, 3, (2, d)))) for _ in range(5)]
    paths = mf.interpolators(mf.Regression(Z, y), runs, [0.0, 8.0])
    assert not again()
    assert {limit.status for limit in flat(paths)} == {"converged"}


def test_few_newton_steps_on_the_default_problem(recovery, again):
    problem, _ = recovery
    paths = mf.interpolators(problem, pilots(problem, 20), [0.0, 0.5, 1.0, 2.0, 4.0, 8.0])
    steps = np.array([[limit.iterations for limit in path] for path in paths])
    assert not again()
    assert steps.max() <= 8
    assert steps.mean() <= 5.5


def test_rank_deficient_and_inconsistent(again):
    rng = np.random.default_rng(0)
    Z, y = rng.standard_normal((3, 8)), rng.standard_normal(3)
    totals = [0.0, 2.0, 300.0, np.inf]
    apart = mf.Regression(np.vstack([Z, Z]), np.r_[y + 0.3, y - 0.3])
    runs = pilots(apart, 3)
    plain = mf.interpolators(mf.Regression(Z, y), runs, totals)
    twice = mf.interpolators(mf.Regression(np.vstack([Z, Z]), np.r_[y, y]), runs, totals)
    other = mf.interpolators(apart, runs, totals)
    assert not again()
    for a, b, c in zip(flat(plain), flat(twice), flat(other), strict=True):
        assert (a.status, b.status, c.status) == ("converged", "converged", "inconsistent")
        assert np.abs(a.x - b.x).max() < 1e-12
        assert np.abs(a.x - c.x).max() < 1e-12
        assert c.constraint_residual < 1e-11  # to the fit, not to y


def test_balanced_runs_beside_free_ones(again):
    problem = mf.Regression([[1.0, 2.0, 3.0]], [-1.0])
    runs = [
        mf.Factors.balanced([1.0, 1.0, 1.0]),
        mf.Factors.pilot([0.1, 0.2, 0.3]),
        mf.Factors([1.0, 1.0, 1.0], [1.0, 1.0, 0.0]),
    ]
    totals = [0.0, 3.0, np.inf]
    paths = mf.interpolators(problem, runs, totals)
    for factors, path in zip(runs, paths, strict=True):
        for total, limit in zip(totals, path, strict=True):
            alone = mf.interpolator(problem, factors, total)
            assert limit.status == alone.status
            assert limit.x == pytest.approx(alone.x, rel=1e-12, abs=1e-15)
    assert paths[0][0].status == "no_interpolator_in_sign_cone"


def test_nothing_to_fit():
    """y = 0, and Z = 0: every A, without a hint of a scale."""
    Z = np.random.default_rng(1).standard_normal((3, 8))
    for problem in (mf.Regression(Z, np.zeros(3)), mf.Regression(0 * Z, np.zeros(3))):
        for path in mf.interpolators(problem, pilots(problem, 2), [0.0, 1.0, 186.0, 300.0]):
            assert [limit.status for limit in path] == ["converged"] * 4
            sizes = [np.abs(limit.x).max() for limit in path]
            assert sizes[1] == pytest.approx(np.exp(-4) * sizes[0], rel=1e-12)


def test_infinity_agrees_with_highs(recovery, monkeypatch):
    problem, _ = recovery
    solved = []

    def spy(columns, b, *rest):
        solved.append(b)
        return minimum(columns, b, *rest)

    minimum = polyhedral.minimum_l1_face
    monkeypatch.setattr(polyhedral, "minimum_l1_face", spy)
    paths = mf.interpolators(problem, pilots(problem, 4), [8.0, np.inf])
    assert len(solved) == 1  # all runs share the face
    signed = np.hstack([problem.Z, -problem.Z])
    other = linprog(np.ones(200), A_eq=signed, b_eq=problem.y, method="highs-ipm")
    for path in paths:
        assert np.abs(path[1].x - (other.x[:100] - other.x[100:])).max() < 1e-9
        assert path[1].gap < 1e-12
        assert np.abs(path[0].x - path[1].x).max() < 1e-3


def test_shared_face_splits_by_each_runs_masses():
    """Duplicate columns: one face of minimum L1, another point of it for every run."""
    rng = np.random.default_rng(3)
    half = rng.standard_normal((5, 12))
    problem = mf.Regression(np.hstack([half, half]), half @ np.r_[1.0, -2.0, 0.5, np.zeros(9)])
    runs = [mf.Factors.pilot(rng.normal(0, 0.4, 24)) for _ in range(3)]
    for factors, path in zip(runs, mf.interpolators(problem, runs, [1000.0, np.inf]), strict=True):
        late, limit = path
        assert np.abs(limit.x - late.x).max() < 50 * EPS * 4001
        weights = np.where(limit.x > 0, factors.u**2, factors.v**2)
        on = np.flatnonzero(np.abs(limit.x[:12]) > 0)
        assert limit.x[on] / limit.x[on + 12] == pytest.approx(
            weights[on] / weights[on + 12], rel=1e-10
        )


def test_endless_limits_of_any_starts_are_those_alone():
    """Deep ones, all signs, locked signs, in any order: each list ends with its own limit."""
    problem = mf.gaussian_recovery(6, 14, 2, 0)
    ones = np.ones(14)
    runs = [
        mf.Powers(0.5 * ones, 0.5 * ones, 3),
        mf.Factors.pilot(0.3 * ones),
        mf.Factors.balanced(np.where(problem.x_true != 0, np.sign(problem.x_true), 1.0)),
        mf.Powers(0.7 * ones, 0.4 * ones, 4),
        mf.Factors.pilot(np.linspace(-1.0, 1.0, 14)),
    ]
    alone = [mf.interpolator(problem, run, np.inf) for run in runs]
    assert all(limit.success for limit in alone)
    for order in (range(5), reversed(range(5))):
        some = list(order)
        paths = mf.interpolators(problem, [runs[i] for i in some], [np.inf])
        for i, (limit,) in zip(some, paths, strict=True):
            assert limit.start is runs[i]
            assert np.array_equal(limit.x, alone[i].x)


def test_lost_paths_are_solved_one_by_one(recovery, again, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # `last` below is the run that is solved just now
    problem, _ = recovery
    runs, totals = pilots(problem, 4), [0.0, 1.0, 4.0]
    expected, follow = mf.interpolators(problem, runs, totals), newton.follow

    def found_of(start):
        return {1: 1, 2: 0}.get(next(i for i, run in enumerate(runs) if run is start), 3)

    def losing(*arguments):
        reached = follow(*arguments)
        if arguments[-3].size == 1:  # alone
            return reached
        return found_of(last[-1])

    last, solve = [], newton.Solver.__call__

    def noting(solver, start, *rest):
        last.append(start)
        return solve(solver, start, *rest)

    monkeypatch.setattr(newton, "follow", losing)
    monkeypatch.setattr(newton.Solver, "__call__", noting)
    paths = mf.interpolators(problem, runs, totals)
    assert sorted(t for total in again()[-5:] for t in total) == [0.0, 1.0, 1.0, 4.0, 4.0]
    for run, path, before in zip(runs, paths, expected, strict=True):
        for t, (a, b) in enumerate(zip(path, before, strict=True)):
            assert np.abs(a.x - b.x).max() < 1e-12
            # what the lost path has cost counts too
            lost = t >= found_of(run)
            again_alone = mf.interpolator(problem, run, totals[t]).iterations if lost else 0
            assert a.iterations == b.iterations + again_alone


def test_one_total_that_is_not_found_leaves_the_others(recovery, monkeypatch):
    """The path ends after its first total, the second has no solution by itself either."""
    problem, _ = recovery
    (run,), totals = pilots(problem, 1), [0.0, 1.0, 4.0, 9.0]
    (expected,), follow = mf.interpolators(problem, [run], totals), newton.follow

    def losing(*arguments):
        reached = follow(*arguments)
        asked = arguments[-3]
        return min(reached, 1) if asked.size > 1 else reached * int(asked[0] != 1.0)

    monkeypatch.setattr(newton, "follow", losing)
    (path,) = mf.interpolators(problem, [run], totals)
    assert [limit.success for limit in path] == [True, False, True, True]
    for limit, before in zip(path, expected, strict=True):
        if limit.success:
            assert np.abs(limit.x - before.x).max() < 1e-12


def test_the_largest_total(small):
    """1e9 itself is taken, where exponents 4A round to 1e-6; the next number is refused."""
    problem, factors = small
    endless = mf.interpolator(problem, factors, np.inf)
    above = np.nextafter(1e9, np.inf)
    (path,) = mf.interpolators(problem, [factors], [1e9])
    for limit in (mf.interpolator(problem, factors, 1e9), *path):
        assert np.abs(limit.x - endless.x).max() < 1e-5
    with pytest.raises(mf.InputError, match=r"total must be at most 1e\+09 or inf"):
        mf.interpolator(problem, factors, above)
    with pytest.raises(mf.InputError, match=r"totals must be at most 1e\+09 or inf"):
        mf.interpolators(problem, [factors], [above])


def test_overflowing_masses_are_said_to_fail(small):
    problem, factors = small
    huge = mf.Factors(np.full(15, 1e170), np.full(15, 1e150))
    good, bad = mf.interpolators(problem, [factors, huge], [0.0, 1.0])
    assert [limit.status for limit in good] == ["converged", "converged"]
    assert {limit.status for limit in bad} == {
        mf.interpolator(problem, huge, total).status for total in (0.0, 1.0)
    }


def test_no_runs_no_paths(small):
    assert mf.interpolators(small[0], [], [0.0, np.inf]) == []


@pytest.mark.parametrize(
    ("totals", "message"),
    [
        ([-1.0, 0.0], "totals must be at least 0, but it holds -1"),
        ([1.0, 1.0], r"totals must ascend strictly, but totals\[1\] = 1 follows 1"),
        ([np.nan], "totals must be at least 0, but it holds nan"),
        ([], "totals must be a non-empty list of numbers"),
        ([0.0, 2e9], r"totals must be at most 1e\+09 or inf, but one is 2e\+09"),
    ],
)
def test_bad_totals(small, totals, message):
    problem, factors = small
    with pytest.raises(mf.InputError, match=message):
        mf.interpolators(problem, [factors], totals)


def test_bad_factors(small):
    problem, factors = small
    with pytest.raises(mf.InputError, match="start must have d = 15"):
        mf.interpolators(problem, [factors, mf.Factors([1.0], [0.0])], [1.0])
    with pytest.raises(
        mf.InputError, match="problem must be a Regression and start a parametrization"
    ):
        mf.interpolators(problem, list(factors.m), [1.0])
    with pytest.raises(
        mf.InputError, match=r"starts must be a list, but they are one Factors; write \[start\]"
    ):
        mf.interpolators(problem, factors, [1.0])


@pytest.mark.parametrize("shape", [(40, 100), (7, 23)], ids=str)
def test_a_limit_is_the_same_to_the_bit_in_any_company(shape):
    """Alone, in another order or in part; with and without balanced coordinates, all of them."""
    problem = mf.gaussian_recovery(*shape, 2, 0)
    runs = pilots(problem, 13)
    m, w = runs[4].m.copy(), runs[4].w.copy()
    m[0] = w[0]
    runs[4] = mf.Factors(m, w)
    totals = [0.0, 1.0, 4.0, 30.0, np.inf]
    together = mf.interpolators(problem, runs, totals)
    order = np.random.default_rng(1).permutation(13).tolist()
    for chosen in (order, order[:5], [4], [12]):
        found = mf.interpolators(problem, [runs[i] for i in chosen], totals)
        for limit, other in zip(flat(found), flat(together[i] for i in chosen), strict=True):
            assert identical(limit, other)


def identical(limit, other):
    return all(
        np.array_equal(getattr(limit, name), getattr(other, name))
        for name in limit.__dataclass_fields__
    )


def test_minimum_l1_of_many_columns_does_not_depend_on_who_asks_first():
    """Its dual is not unique: the one found must be that of Z and y."""
    problem = mf.gaussian_recovery(40, 7000, 4, 0)
    runs = [*pilots(problem, 2), *pilots(problem, 1, 1, 100.0), *pilots(problem, 1, 2, 1e-4)]
    together = mf.interpolators(problem, runs, [np.inf])
    turned = mf.interpolators(problem, runs[::-1], [np.inf])[::-1]
    for run, (limit,), (other,) in zip(runs, together, turned, strict=True):
        assert limit.success
        assert np.abs(limit.x - problem.x_true).max() < 1e-10
        assert identical(limit, other)
        assert identical(limit, mf.interpolator(problem, run, np.inf))

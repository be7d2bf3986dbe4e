"""Gradient descent and SGD against plain loops, gradient flow, and scikit-learn's Lasso."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.sparse
import threadpoolctl
from sklearn.linear_model import Lasso

from mirrorflow import Constant, Factors, Harmonic, Piecewise, Regression, gaussian_recovery
from mirrorflow.certificates.hessians import hessian
from mirrorflow.checks import InputError
from mirrorflow.descent import REGULARIZERS, descend, follow_descent, stable_step_size
from mirrorflow.descent.minibatches import Minibatches
from mirrorflow.flows import direct_flow
from mirrorflow.limits import interpolator
from mirrorflow.stepwise import SHAPES, Stepwise

NONE = Stepwise("constant", 0.0)


def starts(d: int, count: int, seed: int = 0, spread: float = 0.3) -> list[Factors]:
    rng = np.random.default_rng(seed)
    return [Factors.pilot(spread * rng.standard_normal(d)) for _ in range(count)]


def soft(z, tau):
    return np.sign(z) * np.maximum(np.abs(z) - tau, 0.0)


def plain(problem, factors, alphas, eta, regularizer, l1="proximal", batches=None, scale=1.0):
    """The loop as the paper's formulas read: every x from the start on, (steps + 1, d)."""
    m, w, x = factors.m, factors.w, factors.x
    path = [x]
    for k, alpha in enumerate(alphas):
        rows = slice(None) if batches is None else batches[k]
        Z, y = problem.Z[rows], problem.y[rows]
        g = scale * Z.T @ (Z @ x - y) / y.size
        if regularizer == "factors":
            m, w = m - eta * (w * g + 2 * alpha * m), w - eta * (m * g + 2 * alpha * w)
            x = m * w
        elif regularizer == "mask_l1":
            if l1 == "proximal":
                m, w = soft(m - eta * w * g, eta * alpha), w - eta * m * g
            else:
                m, w = m - eta * (w * g + alpha * np.sign(m)), w - eta * m * g
            x = m * w
        elif l1 == "proximal":
            x = soft(x - eta * g, eta * alpha)
        else:
            x = x - eta * (g + alpha * np.sign(x))
        path.append(x)
    return np.array(path)


class TestStepwise:
    @pytest.mark.parametrize("per", [1, 3, 1000])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_alpha_and_total_are_the_papers(self, shape, per):
        schedule = Stepwise(shape, 0.7, per=per, decay=0.9)
        k = np.arange(1, 2501)
        j = [1 + (step - 1) // per for step in range(1, 2501)]
        phi = {
            "constant": lambda j: 1.0,
            "harmonic": lambda j: 1 / j,
            "quadratic": lambda j: 1 / j**2,
            "geometric": lambda j: 0.9**j,
        }[shape]
        alphas = np.array([0.7 * phi(block) for block in j])
        np.testing.assert_allclose(schedule.alpha(k), alphas, rtol=1e-12)
        sums = np.concatenate([[0.0], np.cumsum(1e-2 * alphas)])
        np.testing.assert_allclose(
            schedule.total(np.arange(2501), 1e-2), sums, rtol=1e-11, atol=1e-15
        )
        assert schedule.alpha(7) == pytest.approx(alphas[6], rel=1e-12)

    def test_default_decay_is_the_papers(self):
        assert Stepwise("geometric", 1.0).alpha(2) == pytest.approx(0.95**2)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_from_total(self, shape):
        for options, per in (({"per": 50}, 50), ({}, 1)):
            schedule = Stepwise.from_total(shape, 3.0, 1234, 1e-3, **options)
            assert schedule.per == per
            assert 1e-3 * schedule.alpha(np.arange(1, 1235)).sum() == pytest.approx(3.0, rel=1e-11)

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (("linear", 1.0), "constant, harmonic, quadratic, geometric.*'linear'"),
            (("constant", -1.0), "alpha .* at least 0.*-1"),
            (("constant", float("nan")), "alpha .*nan"),
            (("harmonic", 1.0, 0), "per .* at least 1.*0"),
            (("harmonic", 1.0, 2.5), "per .* whole"),
            (("geometric", 1.0, 1, 1.0), "decay .* below 1"),
            (("geometric", 1.0, 1, 0.0), "decay .* above 0"),
        ],
    )
    def test_bad_input(self, arguments, says):
        with pytest.raises(InputError, match=says):
            Stepwise(*arguments)

    def test_bad_total(self):
        with pytest.raises(InputError, match="total"):
            Stepwise.from_total("constant", -1.0, 10, 0.1)
        with pytest.raises(InputError, match="steps"):
            Stepwise.from_total("constant", 1.0, 0, 0.1)


@pytest.fixture(scope="module", params=["wide", "nearly square"])
def problem(request) -> Regression:
    """Both ways to compute the gradient: by Z twice (d ≥ 2n), and by ZᵀZ."""
    n = 8 if request.param == "wide" else 15
    return gaussian_recovery(n, 20, 3, seed=1, noise=0.1)


class TestAgainstPlainLoops:
    SCHEDULE = Stepwise("harmonic", 0.3, per=7)

    @pytest.mark.parametrize("l1", ["proximal", "subgradient"])
    @pytest.mark.parametrize("regularizer", REGULARIZERS)
    @pytest.mark.parametrize("loss", ["half_mse", "mse"])
    def test_every_regularizer(self, problem, regularizer, l1, loss):
        factors, eta = starts(20, 1)[0], 0.01
        run = descend(
            problem,
            factors,
            self.SCHEDULE,
            eta,
            300,
            regularizer=regularizer,
            record=300,
            loss=loss,
            l1=l1,
        )
        scale = 2.0 if loss == "mse" else 1.0
        alphas = self.SCHEDULE.alpha(np.arange(1, 301))
        path = plain(problem, factors, alphas, eta, regularizer, l1, scale=scale)
        if l1 == "subgradient" and regularizer != "factors":
            # rounding decides the sign of what is zero but for rounding: one chatter more or less
            np.testing.assert_allclose(run.x[0], path, atol=2 * eta * 0.3)
            np.testing.assert_allclose(run.x[0, :20], path[:20], atol=1e-13)
        else:
            np.testing.assert_allclose(run.x[0], path, rtol=1e-10, atol=1e-13)
        residuals = run.x[0] @ problem.Z.T - problem.y
        np.testing.assert_allclose(run.loss[0], scale * 0.5 * np.mean(residuals**2, axis=1))
        np.testing.assert_allclose(
            run.distance[0], np.linalg.norm(run.x[0] - problem.x_true, axis=1)
        )
        np.testing.assert_allclose(run.total[0], self.SCHEDULE.total(run.steps, eta), rtol=1e-12)
        np.testing.assert_allclose(run.m * run.w, run.x[:, -1], rtol=1e-14)
        np.testing.assert_array_equal(run.steps, np.arange(301))
        assert run.status == ("completed",)
        assert run.success

    def test_papers_loss_rescales_step_and_strength(self, problem):
        factors = starts(20, 1)[0]
        paper = descend(problem, factors, Stepwise("constant", 0.2), 0.01, 200, loss="mse")
        ours = descend(problem, factors, Stepwise("constant", 0.1), 0.02, 200)
        np.testing.assert_allclose(paper.x, ours.x, rtol=1e-12)
        np.testing.assert_allclose(paper.loss, 2 * ours.loss, rtol=1e-12)

    def test_continuous_schedule_is_read_where_the_step_starts(self, problem):
        factors, schedule, eta = starts(20, 1)[0], Harmonic(0.4, 0.3), 0.01
        run = descend(problem, factors, schedule, eta, 50, record=50)
        path = plain(problem, factors, [schedule.alpha(eta * k) for k in range(50)], eta, "factors")
        np.testing.assert_allclose(run.x[0], path, rtol=1e-10)
        np.testing.assert_allclose(run.times, eta * np.arange(51))

    def test_any_signs_and_balanced_coordinates(self, problem):
        rng = np.random.default_rng(5)
        factors = Factors(rng.standard_normal(20), rng.standard_normal(20))
        alphas = np.zeros(100)
        run = descend(problem, factors, NONE, 0.005, 100, record=100)
        np.testing.assert_allclose(
            run.x[0], plain(problem, factors, alphas, 0.005, "factors"), rtol=1e-9, atol=1e-12
        )
        balanced = Factors.balanced(rng.standard_normal(20))
        # a small step: (1 ∓ η∇f) stays positive, and then signs are kept, by rounding too
        run = descend(problem, balanced, NONE, 0.005, 20000)
        assert (run.x[0] * np.sign(balanced.x) >= 0).all()
        assert run.loss[0, -1] < 0.5 * run.loss[0, 0]

    def test_sgd_steps_use_the_drawn_rows(self, problem):
        factors, size = starts(20, 1)[0], 3
        draws = Minibatches(np.array([4]), problem.n, size)
        weights = draws.next(200)[:, 0]
        batches = [np.flatnonzero(row) for row in weights]
        for regularizer in REGULARIZERS:
            run = descend(
                problem,
                factors,
                self.SCHEDULE,
                0.005,
                200,
                batch_size=size,
                seed=4,
                regularizer=regularizer,
                record=200,
            )
            alphas = self.SCHEDULE.alpha(np.arange(1, 201))
            path = plain(problem, factors, alphas, 0.005, regularizer, batches=batches)
            np.testing.assert_allclose(run.x[0], path, rtol=1e-9, atol=1e-12)


def product(count: int):
    """`count` runs that differ in everything."""
    schedules = [
        Stepwise("constant", 0.1),
        Stepwise("geometric", 0.5, per=20),
        Constant(0.2, stop=1.0),
        Harmonic(0.3, 0.5),
    ]
    return {
        "factors": starts(20, count, seed=3),
        "schedule": [schedules[i % 4] for i in range(count)],
        "regularizer": [REGULARIZERS[i % 3] for i in range(count)],
        "seed": [i // 2 for i in range(count)],
    }


class TestBatches:
    @pytest.mark.parametrize("batch_size", [None, 2, 7])
    def test_each_row_is_to_the_bit_the_run_alone(self, problem, batch_size):
        """Also where step sizes differ, and where some of them diverge."""
        lipschitz = np.linalg.norm(problem.Z, 2) ** 2 / problem.n
        runs = product(29) | {"step_size": np.geomspace(0.02, 20.0, 29) / lipschitz}
        options = {"steps": 1500, "batch_size": batch_size, "record": 7}
        together = descend(problem, **runs, **options)
        assert together.x.shape == (29, 8, 20)
        assert set(together.status) == {"completed", "diverged"}
        np.testing.assert_array_equal(together.step_size, runs["step_size"])
        for i in range(29):
            alone = descend(problem, **{name: runs[name][i] for name in runs}, **options)
            for name in ("x", "m", "w", "loss", "distance", "total", "diverged_at", "valid"):
                np.testing.assert_array_equal(getattr(together, name)[i], getattr(alone, name)[0])
            np.testing.assert_array_equal(together.times[i], alone.times)
            assert together.message[i] == alone.message[0]
            at, schedule = together.diverged_at[i], runs["schedule"][i]
            made = at - 1 if at >= 0 else 1500
            if isinstance(schedule, Stepwise):  # A counts the steps before the one that was lost
                spent = schedule.total(made, runs["step_size"][i])
                assert together.total[i, -1] == pytest.approx(spent, rel=1e-11, abs=0.0)

    def test_step_sizes_broadcast_like_the_rest(self, problem):
        one = starts(20, 1)[0]
        run = descend(problem, one, Harmonic(0.4, 0.3), (0.01, 0.02), 50, record=50)
        for i, eta in enumerate((0.01, 0.02)):
            alphas = [Harmonic(0.4, 0.3).alpha(eta * k) for k in range(50)]
            path = plain(problem, one, alphas, eta, "factors")
            np.testing.assert_allclose(run.x[i], path, rtol=1e-10, atol=1e-13)
            np.testing.assert_allclose(run.total[i, -1], eta * sum(alphas), rtol=1e-12)
        many = descend(problem, starts(20, 3), NONE, [0.01], 5)
        assert many.x.shape[0] == 3
        assert many.step_size.shape == (3,)
        assert descend(problem, one, NONE, np.float64(0.01), 5).step_size == 0.01

    def test_what_is_recorded_changes_nothing(self, problem):
        options = {"step_size": 0.004, "steps": 2500, "batch_size": 3}
        runs = product(6)
        few = descend(problem, **runs, **options, record=[])
        many = descend(problem, **runs, **options, record=[1, 2, 999, 1000, 1001, 2000])
        np.testing.assert_array_equal(few.steps, [0, 2500])
        np.testing.assert_array_equal(many.steps, [0, 1, 2, 999, 1000, 1001, 2000, 2500])
        np.testing.assert_array_equal(few.x, many.x[:, [0, -1]])
        np.testing.assert_allclose(few.total, many.total[:, [0, -1]], rtol=1e-13)

    def test_one_row_more_than_is_asked_for_is_kept_the_start(self, problem):
        cases = {1: [0, 40], 2: [0, 20, 40], 100: list(range(41)), (0, 7): [0, 7, 40]}
        for record, steps in cases.items():
            run = descend(problem, starts(20, 1), NONE, 0.01, 40, record=record)
            np.testing.assert_array_equal(run.steps, steps)

    def test_a_representation_says_what_was_run(self, problem):
        run = descend(problem, starts(20, 3), NONE, [0.01, 0.01, 50.0], 40, record=4)
        worst = f"{run.loss[:, -1].max():.3g}"
        sizes = "runs=3, d=20, steps=40, recorded=5, diverged=1"
        assert repr(run) == f"Descent({sizes}, worst_loss_end={worst})"

    def test_no_steps(self, problem):
        factors = starts(20, 1)[0]
        run = descend(problem, factors, NONE, 0.1, 0)
        np.testing.assert_array_equal(run.steps, [0])
        np.testing.assert_array_equal(run.x[0, 0], factors.x)
        np.testing.assert_array_equal(run.m[0], factors.m)
        assert run.status == ("completed",)

    def test_unknown_truth_has_no_distance(self, problem):
        nameless = Regression(problem.Z, problem.y)
        assert descend(nameless, starts(20, 1), NONE, 0.01, 3).distance is None


class TestReadings:
    @pytest.mark.parametrize("batch_size", [None, 3])
    def test_gain_and_shift_are_those_of_the_accumulators(self, problem, batch_size):
        """At every recorded step; the shift but for a vector in the row space of Z."""
        one, V = starts(20, 1)[0], problem.row_space.V
        options = {"batch_size": batch_size, "seed": 4, "record": 10}
        fast = descend(problem, [one, one], Harmonic(0.4, 0.3), [0.02, 0.05], 200, **options)
        for i, eta in enumerate((0.02, 0.05)):
            path = follow_descent(problem, one, eta, 200, Harmonic(0.4, 0.3), **options)
            np.testing.assert_allclose(fast.gain[i], path.gain, rtol=1e-11, atol=1e-13)
            apart = fast.shift[i] - path.shift
            assert np.abs(apart - (apart @ V.T) @ V).max() < 1e-13
            assert np.abs(path.shift - (path.shift @ V.T) @ V).max() > 1e-6
            at = problem.with_targets(problem.Z @ fast.x[i, -1])
            end = interpolator(at, one, 0.0, gain=fast.gain[i, -1], shift=fast.shift[i, -1])
            assert np.abs(end.x - fast.x[i, -1]).max() < 1e-13

    def test_they_are_nan_where_they_have_no_value(self, problem):
        one = starts(20, 1)[0]
        kinds = ["factors", "mask_l1", "l1_on_x", "factors"]
        begins = [one, one, one, Factors.balanced(one.x)]
        run = descend(problem, begins, NONE, 0.01, 5, regularizer=kinds)
        assert np.isnan(run.gain).all(axis=(1, 2)).tolist() == [False, True, True, True]
        assert np.isfinite(run.gain[0]).all()
        lost = descend(problem, [one, one], NONE, [0.01, 9.0], 200, record=200)
        assert (np.diff(lost.gain[1, ~lost.valid[1]], axis=0) == 0.0).all()
        assert np.isfinite(lost.gain).all()


class TestMinibatches:
    @pytest.mark.parametrize("size", [1, 5, 20, 21, 36, 39])
    def test_rows_are_distinct_and_uniform(self, size):
        n, steps = 40, 4000
        weights = Minibatches(np.array([0, 1]), n, size).next(steps)
        assert set(np.unique(weights)) == {0.0, 1.0 / size}
        np.testing.assert_array_equal(np.count_nonzero(weights, axis=2), size)
        counts = np.count_nonzero(weights, axis=0)
        share = size / n
        # hypergeometric counts: 5 standard deviations, over 80 of them
        assert np.abs(counts - steps * share).max() < 5 * np.sqrt(steps * share * (1 - share))
        # neighbouring rows are together as often as chance has it
        both = np.count_nonzero(weights[..., :-1] * weights[..., 1:], axis=0)
        pairs = share * (size - 1) / (n - 1)
        assert np.abs(both - steps * pairs).max() <= 5 * np.sqrt(steps * pairs * (1 - pairs))
        # and steps are independent
        again = np.count_nonzero(weights[1:] * weights[:-1], axis=0)
        twice = share**2
        assert np.abs(again - steps * twice).max() <= 6 * np.sqrt(steps * twice)

    def test_streams_belong_to_seeds_and_ignore_the_cut(self):
        whole = Minibatches(np.array([3, 8]), 10, 4)
        cut = Minibatches(np.array([8]), 10, 4)
        pieces = np.concatenate([cut.next(1), cut.next(5), cut.next(14)])
        drawn = whole.next(20)
        np.testing.assert_array_equal(drawn[:, 1:], pieces)
        assert (drawn[:, 0] != drawn[:, 1]).any()

    def test_whole_batch_is_gradient_descent(self, problem):
        factors = starts(20, 2)
        full = descend(problem, factors, NONE, 0.01, 100, batch_size=problem.n, seed=[1, 2])
        np.testing.assert_array_equal(full.x, descend(problem, factors, NONE, 0.01, 100).x)

    def test_same_seed_same_path(self, problem):
        one = starts(20, 1)[0]
        run = descend(problem, [one] * 3, NONE, 0.01, 100, batch_size=2, seed=[5, 6, 5])
        np.testing.assert_allclose(run.x[0], run.x[2], rtol=1e-12)
        assert np.abs(run.x[0, -1] - run.x[1, -1]).max() > 1e-3

    def test_seeds_in_any_order(self, problem):
        one = starts(20, 1)[0]
        run = descend(problem, one, NONE, 0.01, 100, batch_size=2, seed=[9, 3])
        alone = descend(problem, one, NONE, 0.01, 100, batch_size=2, seed=9)
        np.testing.assert_allclose(run.x[0], alone.x[0], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    ("discrete", "continuous"),
    [
        (NONE, Constant(0.0)),
        (Stepwise("constant", 0.15), Constant(0.15)),
        (Harmonic(0.5, 0.4), Harmonic(0.5, 0.4)),
        (Constant(0.5, stop=1.0), Constant(0.5, stop=1.0)),
    ],
    ids=["none", "constant", "harmonic", "stopped"],
)
def test_gradient_descent_converges_to_the_flow_with_order_one(discrete, continuous):
    problem, factors, end = gaussian_recovery(12, 30, 3, seed=2), starts(30, 1, seed=7)[0], 2.0
    exact = direct_flow(problem, factors, continuous, [end], rtol=1e-11).x[0]
    step_sizes = end / np.array([1000, 2000, 4000, 8000])
    errors = [
        np.linalg.norm(descend(problem, factors, discrete, eta, round(end / eta)).x[0, -1] - exact)
        for eta in step_sizes
    ]
    slope = np.polyfit(np.log(step_sizes), np.log(errors), 1)[0]
    assert slope == pytest.approx(1.0, abs=0.1)
    assert errors[-1] < 1e-2 * np.linalg.norm(exact)


def test_mean_of_sgd_is_near_the_flow():
    problem, factors, end = gaussian_recovery(12, 30, 3, seed=2), starts(30, 1, seed=7)[0], 2.0
    runs, schedule = 200, Constant(0.15)
    exact = direct_flow(problem, factors, schedule, [end], rtol=1e-10).x[0]

    def final(eta, **options):
        return descend(problem, factors, schedule, eta, round(end / eta), **options).x[:, -1]

    # C from gradient descent; SGD's own bias, of the same order, is given as much again
    steady = np.linalg.norm(final(2e-3)[0] - exact) / 2e-3
    for eta in (4e-3, 1e-3):
        ends = final(eta, batch_size=3, seed=range(runs))
        spread = np.sqrt(ends.var(axis=0, ddof=1).sum() / runs)
        assert np.linalg.norm(ends.mean(axis=0) - exact) < 2 * steady * eta + 3 * spread
        # the bound must mean something: far less than one run's noise, and than what a wrong
        # gradient would do
        assert 2 * steady * eta + 3 * spread < 0.1 * np.linalg.norm(exact - factors.x)
        assert spread > 0


class TestL1:
    def test_l1_on_x_ends_at_the_lasso(self):
        problem = gaussian_recovery(20, 30, 4, seed=5, noise=0.2)
        strengths = [0.02, 0.1, 0.4]
        step = 1.0 / (np.linalg.norm(problem.Z, 2) ** 2 / problem.n)
        run = descend(
            problem,
            starts(30, 1)[0],
            [Stepwise("constant", alpha) for alpha in strengths],
            step,
            20000,
            regularizer="l1_on_x",
        )
        for i, alpha in enumerate(strengths):
            lasso = Lasso(alpha, fit_intercept=False, tol=1e-14, max_iter=10**6)
            x = lasso.fit(problem.Z, problem.y).coef_
            np.testing.assert_allclose(run.x[i, -1], x, atol=1e-8)
            np.testing.assert_array_equal(run.x[i, -1] == 0, x == 0)
            assert (x == 0).any()
        np.testing.assert_array_equal(run.m, run.x[:, -1])
        np.testing.assert_array_equal(run.w, 1.0)

    @pytest.mark.parametrize("regularizer", ["mask_l1", "l1_on_x"])
    def test_subgradient_stays_within_its_chatter_of_proximal(self, regularizer):
        problem = gaussian_recovery(20, 30, 4, seed=5)
        factors, schedule = starts(30, 1)[0], Stepwise("constant", 0.3)
        gaps = []
        for eta in (2e-3, 5e-4):
            one, two = (
                descend(
                    problem, factors, schedule, eta, round(4 / eta), regularizer=regularizer, l1=l1
                ).x[0, -1]
                for l1 in ("proximal", "subgradient")
            )
            assert (one == 0).any()
            assert not (two == 0).any()
            gaps.append(np.abs(one - two).max())
            assert 0 < gaps[-1] < 20 * eta
        assert gaps[1] < 0.6 * gaps[0]


class TestDivergence:
    def test_step_is_exact_rows_before_are_kept_and_others_go_on(self, problem):
        # on x alone the iteration is linear: the same start, at the same step size, diverges
        # for L1 on x but not where the factors, of size 0.1, slow it down
        lipschitz = np.linalg.norm(problem.Z, 2) ** 2 / problem.n
        eta = 2.5 / lipschitz
        tame = Factors(np.full(20, 0.1), np.full(20, 0.05))
        wild = starts(20, 1)[0]
        path = plain(problem, wild, np.full(400, 0.02), eta, "l1_on_x")
        beyond = int(np.argmax(np.abs(path).max(axis=1) > 1e50))
        assert 100 < beyond < 400
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run = descend(
                problem,
                [tame, wild, tame],
                Stepwise("constant", 0.02),
                eta,
                2300,
                regularizer=["factors", "l1_on_x", "mask_l1"],
                record=[50, beyond - 1, beyond, beyond + 1, 1000, 2000],
            )
        assert run.status == ("completed", "diverged", "completed")
        np.testing.assert_array_equal(run.diverged_at, [-1, beyond, -1])
        assert str(beyond) in run.message[1]
        assert "step_size" in run.message[1]
        assert not run.success
        np.testing.assert_array_equal(run.valid[1], run.steps < beyond)
        assert run.valid[0].all()
        for row, step in enumerate(run.steps):
            last = path[min(step, beyond - 1)]
            np.testing.assert_allclose(run.x[1, row], last, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(run.m[1], run.x[1, -1])
        np.testing.assert_allclose(
            run.total[1], 0.02 * eta * np.minimum(run.steps, beyond - 1), rtol=1e-12
        )
        for array in (run.x, run.m, run.w, run.loss, run.distance, run.total):
            assert np.isfinite(array).all()
        for i, regularizer in [(0, "factors"), (2, "mask_l1")]:
            alone = descend(
                problem,
                tame,
                Stepwise("constant", 0.02),
                eta,
                2300,
                regularizer=regularizer,
                record=[],
            )
            np.testing.assert_allclose(run.x[i, -1], alone.x[0, -1], rtol=1e-9, atol=1e-12)

    def test_within_one_group_and_by_sgd(self, problem):
        lipschitz = np.linalg.norm(problem.Z, 2) ** 2 / problem.n
        small, large = starts(20, 1)[0], Factors(np.full(20, 6.0), np.linspace(-6, 6, 20))
        runs = descend(
            problem,
            [small, large, small, large],
            NONE,
            0.2 / lipschitz,
            1500,
            batch_size=problem.n - 1,
            seed=[0, 1, 2, 3],
            record=1500,
        )
        assert runs.status == ("completed", "diverged", "completed", "diverged")
        for i in (1, 3):
            at = runs.diverged_at[i]
            draws = Minibatches(np.array([i]), problem.n, problem.n - 1)
            batches = [np.flatnonzero(row) for row in draws.next(at)[:, 0]]
            with np.errstate(all="ignore"):
                path = plain(problem, large, np.zeros(at), 0.2 / lipschitz, "factors", "", batches)
            # growth is doubly exponential at the end: each step squares the size
            assert np.abs(path[at - 1]).max() < 1e101
            assert not np.abs(path[at]).max() < 1e99
            np.testing.assert_allclose(runs.x[i, :at], path[:at], rtol=1e-6)
        alone = descend(
            problem, small, NONE, 0.2 / lipschitz, 1500, batch_size=problem.n - 1, seed=2
        )
        np.testing.assert_allclose(runs.x[2, -1], alone.x[0, -1], rtol=1e-9, atol=1e-12)

    def test_steps_within_one_look_are_found_for_each_run(self, problem):
        # four divergences at different steps of one block, by SGD with different strengths
        lipschitz = np.linalg.norm(problem.Z, 2) ** 2 / problem.n
        factors = [Factors(np.full(20, size), np.linspace(-size, size, 20)) for size in (6, 9)]
        schedules = [Stepwise("constant", alpha * lipschitz) for alpha in (0.0, 5.5, 6.0, 0.1)]
        starting = [factors[0], starts(20, 1)[0], factors[1], factors[0], starts(20, 1)[0]]
        strength = [schedules[0], schedules[1], schedules[3], schedules[2], schedules[3]]
        options = {"step_size": 0.2 / lipschitz, "steps": 900, "batch_size": problem.n - 2}
        run = descend(problem, starting, strength, seed=range(5), record=[], **options)
        assert run.status == ("diverged",) * 4 + ("completed",)
        assert len(set(run.diverged_at)) >= 4
        for i in range(5):
            alone = descend(problem, starting[i], strength[i], seed=i, record=900, **options)
            assert alone.diverged_at[0] == run.diverged_at[i]
            np.testing.assert_allclose(run.x[i, -1], alone.x[0, -1], rtol=1e-6, atol=1e-11)
            assert run.total[i, -1] == pytest.approx(alone.total[0, -1], rel=1e-12)

    def test_the_first_step_may_be_the_one(self, problem):
        wild = Factors(np.full(20, 1e24), np.full(20, 1e24))
        run = descend(problem, wild, Stepwise("constant", 0.1), 1.0, 3, record=[1, 3])
        assert run.status == ("diverged",)
        assert not run.success
        np.testing.assert_array_equal(run.diverged_at, [1])
        np.testing.assert_array_equal(run.valid, [[True, False, False]])
        np.testing.assert_array_equal(run.x, np.full((1, 3, 20), wild.x))
        np.testing.assert_array_equal(run.total, np.zeros((1, 3)))
        assert "Step 1 left" in run.message[0]

    def test_too_strong_a_penalty_diverges_too(self):
        blank = Regression(np.zeros((1, 3)), [0.0])
        run = descend(blank, Factors.pilot(np.zeros(3)), Stepwise("constant", 150.0), 0.01, 3000)
        # from ½ on, every step multiplies (m ± w)/2 by 1 − 2ηα = −2
        np.testing.assert_array_equal(run.diverged_at, [int(np.ceil(np.log2(2e50)))])

    def test_the_largest_size_itself_is_within_bounds(self):
        blank = Regression(np.zeros((1, 2)), [0.0])
        largest = Factors([1e50, 0.0], [1.0, 1.0])
        run = descend(blank, largest, NONE, 0.1, 3, regularizer="l1_on_x")
        assert run.status == ("completed",)
        np.testing.assert_array_equal(run.x[0, -1], [1e50, 0.0])

    def test_ends_early_where_all_diverge(self, problem):
        """Ten million steps would take a minute."""
        wild = [Factors(np.full(20, 9.0), np.full(20, 9.0))] * 2
        run = descend(problem, wild, NONE, 1.0, 10**7, record=[1, 10**7])
        assert set(run.status) == {"diverged"}
        assert (run.diverged_at < 100).all()


class TestStableStepSize:
    @pytest.mark.parametrize("loss", ["half_mse", "mse"])
    def test_it_is_where_gradient_descent_leaves_its_limit(self, problem, loss):
        """Beside the limit the distance shrinks just below, and grows just above."""
        start = starts(20, 1)[0]
        limit = interpolator(problem, start, 0.0)
        m, w = limit.parameters
        scale = 2.0 if loss == "mse" else 1.0
        edge = 2.0 / (scale * np.linalg.eigvalsh(hessian(problem, m, w))[-1])
        assert stable_step_size(problem, start, loss=loss) == pytest.approx(edge, rel=1e-9)
        nudge = 1e-7 * np.random.default_rng(0).standard_normal(20)
        beside = Factors(m + nudge, w)
        assert stable_step_size(problem, beside, loss=loss) == pytest.approx(edge, rel=1e-5)
        run = descend(problem, beside, NONE, edge * np.array([0.97, 1.03]), 100, loss=loss)
        assert run.loss[0, -1] < 1e-2 * run.loss[0, 1]
        assert run.loss[1, -1] > 1e2 * run.loss[1, 1]

    def test_a_large_start_is_the_limit_to_what_it_can_take(self, problem):
        """m² + w² at x₀ counts where it is larger than at the limit."""
        large = Factors(np.full(20, 6.0), np.zeros(20))
        far = np.linalg.norm(6.0 * problem.Z, 2) ** 2 / problem.n
        assert stable_step_size(problem, large) <= 2.0 / far * (1 + 1e-12)

    def test_l1_on_x_steps_on_x(self, problem):
        start = starts(20, 1)[0]
        edge = stable_step_size(problem, start, "l1_on_x")
        assert edge == pytest.approx(2 * problem.n / np.linalg.norm(problem.Z, 2) ** 2, rel=1e-12)
        run = descend(
            problem, start, NONE, [0.99 * edge, 1.01 * edge], 20000, regularizer="l1_on_x"
        )
        assert run.status == ("completed", "diverged")

    @pytest.mark.parametrize("loss", ["half_mse", "mse"])
    def test_the_advice_is_not_the_step_just_used(self, problem, loss):
        start = starts(20, 1)[0]
        edge = stable_step_size(problem, start, loss=loss)
        run = descend(problem, start, NONE, [3.0 * edge, 30.0 * edge], 3000, loss=loss)
        assert run.status == ("diverged", "diverged")
        for message in run.message:
            assert f"use a step_size below {edge:g} " in message
        # by minibatches a step below 2/λ_max may be too large: then below itself
        steep = Regression(np.array([[1.0, 0.0, 0.0], [0.0, 0.01, 0.0]]), [0.0, 1.0])
        unit = Factors(np.ones(3), np.ones(3))
        edge = stable_step_size(steep, unit, "l1_on_x")
        run = descend(
            steep, unit, NONE, 0.9 * edge, 5000, batch_size=1, regularizer="l1_on_x", seed=1
        )
        assert run.status == ("diverged",)
        assert f"below {0.9 * edge:g} (" in run.message[0]

    def test_nothing_to_fit_bears_every_step(self):
        blank = Regression(np.zeros((1, 3)), [0.0])
        assert stable_step_size(blank, Factors.pilot(np.zeros(3))) == np.inf


def test_a_subgradient_is_that_of_the_old_m():
    """A step that takes m through 0 by the gradient alone: sign(m) is 1 until the next."""
    problem, factors = Regression([[1.0, 0.0]], [0.0]), Factors([0.3, 1.0], [3.0, 1.0])
    run = descend(
        problem,
        factors,
        Stepwise("constant", 0.1),
        0.2,
        1,
        regularizer="mask_l1",
        l1="subgradient",
    )
    g = 0.3 * 3.0
    assert run.m[0, 0] == pytest.approx(0.3 - 0.2 * (3.0 * g + 0.1), rel=1e-14)
    assert run.m[0, 0] < 0
    x = descend(
        Regression([[1.0, 0.0]], [0.0]),
        Factors([1.0, 0.0], [0.3, 0.0]),
        Stepwise("constant", 0.1),
        1.5,
        1,
        regularizer="l1_on_x",
        l1="subgradient",
    ).x[0, -1, 0]
    assert x == pytest.approx(0.3 - 1.5 * (0.3 + 0.1), rel=1e-14)


def test_strengths_of_ones_own_go_through_piecewise(problem):
    """A bare array of α_k is refused with the way that takes it, and that way takes it."""
    one, eta = starts(20, 1)[0], 0.013
    alphas = np.random.default_rng(2).uniform(0.0, 0.5, 200)
    for given in (alphas, list(alphas), 0.1, np.float64(0.1), 1):
        with pytest.raises(InputError, match=r"Piecewise\(step_size \* np.arange\(steps\), alphas"):
            descend(problem, one, given, eta, 200)
    own = Piecewise(eta * np.arange(200), alphas)
    run = descend(problem, one, own, eta, 200, record=200)
    path = plain(problem, one, alphas, eta, "factors")
    np.testing.assert_allclose(run.x[0], path, rtol=1e-10, atol=1e-13)


class TestBadInput:
    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"batch_size": 9}, "batch_size must be at least 1 and at most 8, but it is 9"),
            ({"batch_size": 0}, "batch_size"),
            ({"regularizer": "l2"}, "regularizer .* factors, mask_l1, l1_on_x, .*'l2'"),
            ({"regularizer": ["factors", "l2"]}, "regularizer .*'l2'"),
            ({"step_size": -0.1}, "step_size .* above 0.*-0.1"),
            ({"step_size": 0.0}, "step_size"),
            ({"step_size": float("nan")}, "step_size"),
            ({"steps": -1}, "steps must be at least 0, but it is -1"),
            ({"steps": 1.5}, "steps must be a whole number"),
            ({"seed": [0, 1, 2], "regularizer": ["factors"] * 2}, "3 for seed, 2 for regularizer"),
            ({"seed": [0, 1, 2], "step_size": [0.1] * 2}, "2 for step_size, 3 for seed"),
            ({"step_size": [0.1, 0.0]}, "step_size must be .* above 0, but it is 0.0"),
            ({"step_size": "small"}, "step_size must be a number, but it is 'small'"),
            ({"step_size": [[0.1]]}, "step_size"),
            ({"step_size": []}, "0 for step_size"),
            ({"factors": []}, "0 for factors"),
            ({"factors": [], "schedule": [], "seed": [], "regularizer": []}, "0 for factors"),
            ({"factors": Factors.pilot([1.0])}, "d = 20 .* 1"),
            ({"factors": [np.zeros(20)]}, "factors must be Factors"),
            ({"factors": Factors(np.full(20, 1e40), np.full(20, 1e20))}, "1e\\+60"),
            ({"factors": Factors(np.full(20, 1e55), np.zeros(20))}, "1e\\+55"),
            ({"factors": Factors(np.zeros(20), np.full(20, 1e55))}, "1e\\+55"),
            ({"schedule": 0.1}, "schedule"),
            ({"schedule": [0.1]}, "schedule"),
            ({"schedule": [NONE, None, NONE]}, "members of mirrorflow.Schedule"),
            ({"seed": -1}, "seed .* at least 0"),
            ({"seed": 0.5}, "seed"),
            ({"record": 0}, "record"),
            ({"record": 0.5}, "record"),
            ({"record": [3, 2]}, "record must ascend"),
            ({"record": [11]}, "record .* at most 10"),
            ({"loss": "rmse"}, "loss .* half_mse, mse"),
            ({"l1": "smooth"}, "l1 .* proximal, subgradient"),
        ],
    )
    def test_one_sentence_says_what_is_wrong(self, changes, says):
        arguments = {
            "problem": gaussian_recovery(8, 20, 3, seed=1),
            "factors": starts(20, 1)[0],
            "schedule": NONE,
            "step_size": 0.01,
            "steps": 10,
        }
        with pytest.raises(InputError, match=says):
            descend(**{**arguments, **changes})

    def test_a_sparse_problem_is_refused(self):
        dense = gaussian_recovery(8, 20, 3, seed=1)
        sparse = Regression(scipy.sparse.csr_array(dense.Z), dense.y)
        with pytest.raises(InputError, match=r"dense Z for descend, .*160 of 160 entries"):
            descend(sparse, starts(20, 1)[0], NONE, step_size=0.01, steps=10)


def test_blas_threads_are_one_within_and_as_before_afterwards(problem):
    class Watching(Stepwise):
        def alpha(self, k):
            within.extend(threads())
            return super().alpha(k)

    def threads():
        pools = threadpoolctl.threadpool_info()
        return [pool["num_threads"] for pool in pools if pool["user_api"] == "blas"]

    with threadpoolctl.threadpool_limits(2, "blas"):
        before, within = threads(), []
        descend(problem, starts(20, 1), Watching("constant", 0.0), 0.01, 10)
        assert set(within) == {1}
        assert threads() == before


def test_an_interruption_leaves_nothing_behind(problem):
    class Interrupting(Stepwise):
        def alpha(self, k):
            raise KeyboardInterrupt

    factors = starts(20, 1)[0]
    before, settings = factors.m.copy(), np.geterr()
    with pytest.raises(KeyboardInterrupt):
        descend(problem, factors, Interrupting("constant", 0.0), 0.01, 10**9)
    np.testing.assert_array_equal(factors.m, before)
    assert np.geterr() == settings


def test_torch_is_not_loaded():
    code = (
        "import sys; from mirrorflow import Factors, Regression\n"
        "from mirrorflow.descent import descend; from mirrorflow.stepwise import Stepwise\n"
        "problem = Regression([[1.0, 2.0]], [2.0])\n"
        "descend(problem, Factors.pilot([0.0, 0.0]), Stepwise('constant', 0.0), 0.01, 10)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Noise: gains of SGD and of Pesme's flow, label noise, averages, early stopping."""

from __future__ import annotations

import numpy as np
import pytest

import mirrorflow as mf
from mirrorflow import certificates as certify
from mirrorflow.claims.noise import _errors
from mirrorflow.descent.stochastic import label_noise, slow_manifold, stochastic_flow
from mirrorflow.flows.quadrature import time_average
from tests.drawn import case, drawn

NONE = mf.Constant(0.0)


@pytest.mark.parametrize("tau", ["1.0", "10.0", "50.0"])
def test_label_noise_moves_along_the_slow_manifold(tau):
    inputs, expected = case(f"slow_manifold_tau_{tau}")
    problem, start = drawn(2)
    variances = label_noise(problem, 1.0)
    assert variances == pytest.approx(inputs["s2"], rel=1e-12)
    assert label_noise(problem, 2.0, batch_size=1) == pytest.approx(4 * 8 * variances)
    limit = slow_manifold(problem, start, variances, float(tau))
    assert np.abs(limit.x - expected["x"]).max() < 1e-10
    assert certify.manifold_flow(problem, start, variances, float(tau)).holds
    for other in (0.5 * variances, 2.0 * variances, 0.0 * variances + variances.mean()):
        check = certify.manifold_flow(problem, start, variances, float(tau), claimed=other)
        assert check.verdict == "refuted"


def test_at_the_end_of_slow_time_a_weighted_l1_norm_is_least():
    problem, start = drawn(2)
    weights = label_noise(problem, 1.0) / label_noise(problem, 1.0).max()
    x = slow_manifold(problem, start, weights, 400.0).x
    scaled = mf.Regression(problem.Z / weights, problem.y)
    best = mf.interpolator(scaled, mf.Factors.pilot(np.zeros(20)), np.inf).x
    assert np.abs(weights * x).sum() == pytest.approx(np.abs(best).sum(), rel=2e-3)


def test_the_time_average_keeps_its_identity_and_the_noise_its_share():
    inputs, _ = case("lasso_of_the_average_identity")
    problem, start = drawn(1)
    steps, eta = 2000, inputs["eta"]
    noise = inputs["sigma"] * np.random.default_rng(0).standard_normal((steps, 8))
    path = mf.follow_descent(problem, start, eta, steps, label_noise=noise, record=steps)
    assert certify.average_identity(problem, path, eta, noise).value < 1e-11
    for share in (0.0, 0.5, 2.0):
        check = certify.average_identity(problem, path, eta, noise, share)
        assert check.verdict == "refuted"
    for changed in (0.5 * noise, 0.0 * noise):
        assert certify.average_identity(problem, path, eta, changed).verdict == "refuted"


@pytest.mark.slow
def test_the_time_average_under_label_noise_is_a_weighted_lasso():
    """What is left of the objective falls about like 1/K; x_K itself does not converge."""
    inputs, expected = case("lasso_of_the_average_rate")
    problem, start = drawn(1)
    eta, sigma = inputs["eta"], inputs["sigma"]
    penalties = 0.5 * eta * label_noise(problem, sigma)
    begin, mean, left, made = start, np.zeros(20), {}, 0
    for seed in range(20):
        options = {"label_noise": sigma, "seed": seed, "record": 20_000}
        path = mf.follow_descent(problem, begin, eta, 20_000, **options)
        begin, made = mf.Factors(path.m[-1], path.w[-1]), made + 20_000
        mean += 20_000.0 / made * (path.x[:-1].mean(axis=0) - mean)
        left[made] = certify.averaged_lasso(problem, mean, start.x, penalties)
    assert left[400_000].holds
    assert left[400_000].value < 0.3 * left[40_000].value
    now = certify.averaged_lasso(problem, path.x[-1], start.x, penalties)
    assert now.value > 10 * left[400_000].value
    for factor in (2.0, 3.0):
        check = certify.averaged_lasso(problem, mean, start.x, factor * penalties)
        assert check.verdict == "refuted"
    assert expected["rate"] < -0.5


def test_steps_under_a_constant_penalty_end_at_the_lasso():
    inputs, expected = case("constant_decay_fixed_point")
    problem, start = drawn(1)
    alpha = inputs["alpha"]
    eta, momentum = inputs["runs"][-1]
    path = mf.follow_descent(
        problem, start, eta, 40_000, mf.Constant(alpha), momentum=momentum, record=2
    )
    assert certify.constant_decay(problem, path, alpha).holds
    assert np.abs(path.x[-1] - expected["x"]).max() < 1e-9
    for other in (0.5 * alpha, 2.0 * alpha):
        assert certify.constant_decay(problem, path, other).verdict == "refuted"
    short = mf.follow_descent(problem, start, eta, 300, mf.Constant(alpha))
    assert certify.constant_decay(problem, short, alpha).verdict == "can't be judged"


def test_pesmes_flow_gains_along_each_path():
    inputs, _ = case("stochastic_flow")
    problem, start = drawn(1)
    for seed, schedule in ((0, NONE), (1, mf.Constant(0.3, 1.0))):
        path = stochastic_flow(problem, start, schedule, inputs["gamma"], 10.0, 10_000, seed)
        assert certify.stochastic_gain(problem, path).holds
        for share in (0.5, 2.0):
            assert certify.stochastic_gain(problem, path, share).verdict == "refuted"
        # its steps are those of (S)GD, so that x is an argmin exactly
        assert path.total == pytest.approx(float(schedule.total(10.0)), rel=1e-3)
    with pytest.raises(mf.InputError, match="noise must be"):
        stochastic_flow(problem, start, NONE, -1.0, 1.0, 10)


def test_the_compensated_gain_of_sgd_is_a_martingale():
    inputs, _ = case("compensator")
    problem, start = drawn(1)
    eta = inputs["eta"]
    paths = [
        mf.follow_descent(problem, start, eta, 1500, batch_size=1, seed=seed, record=1500)
        for seed in range(8)
    ]
    assert certify.compensator(problem, paths, eta).holds
    for share in (0.0, 0.5, 2.0):
        assert certify.compensator(problem, paths, eta, share).verdict == "refuted"
    few = mf.follow_descent(problem, start, eta, 1500, batch_size=1)
    with pytest.raises(mf.InputError, match="paths must hold every step"):
        certify.compensator(problem, [few], eta)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2])
def test_sgds_gain_spread_and_mean_follow_their_laws(batch):
    """As printed, 100 runs: relative errors of the mean gain, orders of spread and mean."""
    inputs, expected = case(f"gain_B{batch}_mu0.0")
    problem, start = drawn(1)
    flow, means, off, plain, gains = mf.interpolator(problem, start, 0.0).x, [], [], [], []
    printed = expected["relative_error_pred_noisetoo_none_standarderror"]
    for eta, (relative, *_, error) in zip(inputs["etas"], printed, strict=True):
        run = mf.descend(
            problem, [start] * 100, NONE, eta, round(150 / eta), batch, range(100), record=1
        )
        gain = mf.predicted_gain(problem, start, NONE, eta, batch_size=batch)
        gains.append(run.gain[:, -1].sum(axis=1))
        means.append(float(gain.sum()))
        assert gains[-1].mean() / means[-1] - 1.0 == pytest.approx(relative, abs=6 * error)
        off.append(run.x[:, -1] - mf.interpolator(problem, start, 0.0, gain=gain).x)
        plain.append(run.x[:, -1] - flow)
    for i in (0, 1):
        assert certify.gain_law(means[i : i + 2], gains[i : i + 2]).holds
        drift = [float(mf.predicted_gain(problem, start, NONE, e).sum()) for e in inputs["etas"]]
        assert certify.gain_law(drift[i : i + 2], gains[i : i + 2]).verdict == "refuted"
        assert certify.spread_law(*off[i : i + 2]).holds
        assert certify.spread_law(*plain[i : i + 2]).verdict == "refuted"
        assert certify.mean_law(*off[i : i + 2]).verdict != "refuted"
        assert certify.mean_law(*plain[i : i + 2]).verdict == "refuted"


@pytest.mark.parametrize(
    ("order", "spread", "verdict"),
    [(2.0, 0.3, "confirmed"), (1.5, 0.3, "refuted"), (1.0, 0.3, "refuted")]
    + [(order, 30.0, "can't be judged") for order in (2.0, 1.5)],
)
def test_the_law_of_the_mean_is_judged_where_it_is_seen(order, spread, verdict):
    """Means of order η^p among 100 runs of spread η^1.5: noise is not taken for an order."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        first, second = (
            eta**order + spread * eta**1.5 * rng.standard_normal((100, 5)) for eta in (0.1, 0.05)
        )
        assert certify.mean_law(first, second).verdict == verdict


@pytest.mark.slow
def test_momentum_amplifies_drift_but_not_noise():
    inputs, expected = case("gain_B2_mu0.8")
    problem, start = drawn(1)
    mu, flow = inputs["momentum"], {}
    predicted: dict[str, list[float]] = {"own": [], "noise too": [], "none": []}
    gains = []
    for eta in inputs["etas"][:2]:
        step = eta * (1.0 - mu)
        options = {"batch_size": 2, "momentum": mu}
        gains.append([
            mf.follow_descent(
                problem, start, step, round(100 / eta), seed=seed, record=1, **options
            ).gain[-1].sum()
            for seed in range(20)
        ])  # fmt: skip
        flow["own"] = mf.predicted_gain(problem, start, NONE, step, **options).sum()
        drift = mf.predicted_gain(problem, start, NONE, eta).sum()
        noise = flow["own"] - drift * (1.0 + mu) / (1.0 - mu)
        flow |= {"noise too": (drift + noise) * (1.0 + mu) / (1.0 - mu), "none": drift + noise}
        for name, value in flow.items():
            predicted[name].append(float(value))
    assert certify.gain_law(predicted["own"], gains).holds
    for name in ("noise too", "none"):
        assert certify.gain_law(predicted[name], gains).verdict == "refuted"
    assert expected["slopes"]


def test_the_first_order_of_noise_that_is_decay():
    """±1 designs, one sample: the mean gain is η D_R(x_∞, x₀), to first order in η."""
    inputs, expected = case("sign_design_first_order")
    problem, start = drawn(1)
    signs = mf.Regression(np.sign(problem.Z), np.sign(problem.Z)[:, :3].sum(axis=1))
    away = start.potential().divergence(mf.interpolator(signs, start, 0.0).x, start.x)
    relative = []
    for eta in inputs["etas"]:
        run = mf.descend(signs, [start] * 100, NONE, eta, round(60 / eta), 1, range(100), record=1)
        relative.append(run.gain[:, -1].mean() / (eta * away) - 1.0)
    assert abs(2.0 * relative[1] - relative[0]) < 0.02 < abs(relative[0])
    assert 1.6 < relative[0] / relative[1] < 2.6
    assert max(expected["relative"]) < 0.2


def test_stopped_early_the_error_has_no_log_d():
    errors = np.array([_errors(np.random.default_rng(seed), 200, 400) for seed in range(6)])
    assert certify.early_stopping(errors[:, 0], errors[:, 1]).holds
    assert certify.early_stopping(errors[:, 2], errors[:, 1]).verdict == "refuted"
    _, expected = case("early_stopping_n200")
    printed = expected["median_stopped_oracle_lasso_supportdiff_off"][:3]
    ratios = np.median(errors, axis=0) / [printed[0], printed[1], printed[2]]
    assert ((ratios > 0.5) & (ratios < 2.5)).all()


def test_the_average_follows_the_lasso_path_as_scales_shrink():
    """max|∇f(x̄) − ∇f(LASSO)| = O(λ/log(1/a)), λ = log(1/a)/(2t), where the path is monotone."""
    problem, start = drawn(1)
    penalty = 0.5 * float(np.abs(problem.gradient(np.zeros(20))).max())
    best = mf.lasso_limit(problem, start, 0.5 * penalty).x
    for size in (10.0, 40.0, 160.0):
        scale = mf.LogFactors.of_scale(20, size)
        mean, _ = time_average(problem, scale, NONE, [size / (2.0 * penalty)])
        off = np.abs(problem.gradient(mean[-1]) - problem.gradient(best)).max()
        assert off <= penalty / size
    other = mf.lasso_limit(problem, start, penalty).x  # twice the penalty
    assert np.abs(problem.gradient(mean[-1]) - problem.gradient(other)).max() > 20 * penalty / size

"""Discrete steps: gains and shifts against 60 digits, limits exact at any step size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mirrorflow as mf
from mirrorflow import certificates as certify
from mirrorflow.descent.mean_square import gram_of_gradients, stable_step_sgd, trace_bound
from tests.drawn import CASES, case, drawn

EPS = float(np.finfo(float).eps)
STEPPED = [name for name, case in CASES.items() if isinstance(case["inputs"].get("steps"), list)]


def stepped(name):
    """The run of a case with its own batches, labels and clipping factors."""
    inputs = CASES[name]["inputs"]
    steps, y = inputs["steps"], inputs["y"]
    loss = mf.PseudoHuber(1.0) if name == "pseudo_huber" else mf.Squared()
    noise = np.zeros((len(steps), len(y)))
    for k, step in enumerate(steps):
        noise[k, step["rows"]] = step.get("noise", 0.0)
    factor = np.array([step.get("factor", 1.0) for step in steps])
    more = {"momentum": inputs.get("momentum", 0.0), "nesterov": inputs.get("nesterov", False)}
    if "sam" in inputs:
        more["sam"] = mf.Sam(inputs["sam"], bool(inputs.get("one_sam")))
    problem = mf.Regression(inputs["Z"], y, loss=loss)
    path = mf.follow_descent(
        problem,
        mf.Factors(inputs["m0"], inputs["w0"]),
        # a factor on the gradient alone is another step size, with the decay's kept
        factor * [step["eta"] for step in steps],
        len(steps),
        [step["alpha"] for step in steps] / factor,
        batch_size=[step["rows"] for step in steps],
        label_noise=noise,
        **more,
    )
    return problem, path


@pytest.mark.parametrize("name", STEPPED)
def test_gain_and_shift_are_those_of_60_digits(name):
    _, path = stepped(name)
    expected = CASES[name]["expected"]
    assert path.success
    for value, key in ((path.m, "m"), (path.w, "w"), (path.x, "x"), (path.total, "A_eff")):
        assert np.abs(value[-1] - expected[key]).max() < 1e-14
    for value, key in ((path.gain, "Lambda"), (path.shift, "r")):
        # where momentum takes m ± w near 0 some digits go
        assert np.abs(value[-1] - expected[key]).max() < 200 * EPS * np.abs(path.gain).max()


@pytest.mark.parametrize("name", STEPPED)
def test_each_wrong_constant_flips(name):
    """The flow's scale, half the gain, no shift, the shift with the wrong sign."""
    problem, path = stepped(name)
    gain, shift = path.gain[-1], path.shift[-1]
    flow, zero = 4.0 * path.total[-1] + 0.0 * gain, 0.0 * shift
    assert certify.discrete_argmin(problem, path).holds
    assert certify.discrete_balance(path).holds
    wrong = [(flow, zero), (flow + 0.5 * (gain - flow), shift), (gain, zero), (gain, -shift)]
    for other, r in wrong:
        assert certify.discrete_argmin(problem, path, other, r).verdict == "refuted"
    for other in (flow, 2.0 * gain - flow):
        assert certify.discrete_balance(path, other).verdict == "refuted"


ALGORITHMS = {
    "gd": {},
    "sgd": {"batch_size": 1},
    "heavy ball": {"momentum": 0.8},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "n-sam": {"sam": mf.Sam(0.1)},
    "1-sam": {"sam": mf.Sam(0.05, per_sample=True)},
    "normalized sam": {"sam": mf.Sam(0.05, per_sample=True, normalized=True)},
    "labels": {"label_noise": 0.3},
    "clipping": {"clip": 0.5},
    "rates": {"learning_rates": (2.0, 0.5)},
}


def random_run(algorithm, loss, n, d, steps, strength, speed, seed):
    """A problem and a run of it by one of the algorithms."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((n, d))
    problem = mf.Regression(Z, Z[:, 0] + Z[:, -1], loss=loss)
    start = mf.Factors(*(rng.standard_normal((2, d)) * [[0.3], [0.3]] + [[1.0], [0.0]]))
    options = ALGORITHMS[algorithm]
    edge = n / np.linalg.norm(Z, 2) ** 2 * (1.0 - options.get("momentum", 0.0))
    edge /= 4.0 if "batch_size" in options else 1.0
    alphas = strength * 0.97 ** np.arange(steps)
    path = mf.follow_descent(problem, start, speed * edge, steps, alphas, seed=seed, **options)
    return problem, path


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    algorithm=st.sampled_from(sorted(ALGORITHMS)),
    loss=st.sampled_from([mf.Squared(), mf.PseudoHuber(0.5)]),
    n=st.integers(2, 8),
    more=st.integers(1, 21),
    steps=st.integers(5, 400),
    strength=st.sampled_from([0.0, 0.3, 0.8]),
    speed=st.floats(0.05, 1.0),
    seed=st.integers(0, 2**16),
)
def test_a_run_of_any_length_is_an_argmin(algorithm, loss, n, more, steps, strength, speed, seed):
    problem, path = random_run(algorithm, loss, n, n + more, steps, strength, speed, seed)
    for check in (certify.discrete_argmin(problem, path), certify.discrete_balance(path)):
        assert check.verdict != "refuted", (path.status, check)
        if path.success:
            assert check.value <= 0.1 * check.bound


@pytest.mark.slow
def test_600_random_runs_keep_a_tenth_of_their_bounds():
    """And the flow's gain, and twice the rest of it, flip."""
    rng, worst, seen, names = np.random.default_rng(19), 0.0, 0, sorted(ALGORITHMS)
    for trial in range(600):
        n, d, steps = rng.integers([2, 4, 5], [9, 30, 401])
        given = max(n + 1, d), steps, rng.choice([0.0, 0.3, 0.8]), rng.uniform(0.05, 1.0), trial
        loss = mf.PseudoHuber(0.5) if rng.random() < 0.3 else mf.Squared()
        problem, path = random_run(names[trial % len(names)], loss, n, *given)
        checks = certify.discrete_argmin(problem, path), certify.discrete_balance(path)
        assert path.success, (trial, path)
        assert all(check.holds for check in checks), (trial, checks)
        worst = max(worst, *(check.value / check.bound for check in checks))
        flow = 4.0 * path.total[-1] + 0.0 * path.gain[-1]
        scale = 0.5 * np.abs(path.start.imbalance) * np.exp(-path.gain[-1])
        if scale.max() > 1e-6:  # else a is below all bounds
            for gain in (flow, 2.0 * path.gain[-1] - flow):
                assert certify.discrete_balance(path, gain).verdict == "refuted", trial
            seen += 1
    assert worst <= 0.1
    assert seen > 500


def test_gradient_descent_ends_where_foretold_on_the_papers_problem():
    """40×100: within 1e-10 of the discrete limit, 1e-4 and more away from the flow's."""
    problem = mf.gaussian_recovery(40, 100, 5, 0)
    start = mf.Factors.pilot(np.zeros(100))
    edge = 40.0 / np.linalg.norm(problem.Z, 2) ** 2
    path = mf.follow_descent(problem, start, 0.5 * edge, 20_000, mf.Constant(0.5, 1.0))
    limit = mf.discrete_limit(problem, path)
    assert np.abs(path.x[-1] - limit.x).max() < 1e-10
    assert np.abs(path.x[-1] - mf.interpolator(problem, start, path.total[-1]).x).max() > 1e-4


def test_beyond_the_edge_of_stability_the_limit_is_exact_and_the_scale_capped():
    inputs = CASES["beyond_the_edge"]["inputs"]
    problem, start = mf.Regression(inputs["Z"], inputs["y"]), mf.Factors(inputs["m0"], inputs["w0"])
    flow = mf.interpolator(problem, start, 0.0)
    top = inputs["top_of_flow_limit"]
    assert np.linalg.eigvalsh(gram_of_gradients(problem, flow) / problem.n)[-1] == pytest.approx(
        top
    )
    for ratio in (0.5, 1.5, 2.2):
        step = 2.0 * ratio / top
        path = mf.follow_descent(problem, start, step, 12_000)
        limit = mf.discrete_limit(problem, path)
        assert np.abs(path.x[-1] - limit.x).max() < 1e-9
        assert certify.scale_cap(problem, limit, step).holds
        assert certify.scale_cap(problem, flow, step).holds == (ratio <= 1.0)
    assert path.flips.sum() > 0  # |h| > 1: a factor of m ± w changed sign


@pytest.mark.parametrize("name", ["inconsistent", "balanced_coordinates"])
def test_inconsistent_data_and_balanced_coordinates(name):
    inputs, expected = CASES[name]["inputs"], CASES[name]["expected"]
    problem, start = mf.Regression(inputs["Z"], inputs["y"]), mf.Factors(inputs["m0"], inputs["w0"])
    path = mf.follow_descent(problem, start, inputs["eta"], inputs["steps"])
    assert np.abs(path.x[-1] - expected["x"]).max() < CASES[name]["bound"]
    assert certify.discrete_argmin(problem, path).holds
    if name == "inconsistent":  # whose run is long enough to have arrived
        assert mf.discrete_limit(problem, path).status == "inconsistent"
        assert np.abs(mf.discrete_limit(problem, path).x - expected["x"]).max() < 1e-9


def test_a_step_that_sets_a_factor_to_zero_locks_the_sign():
    """h = δ takes m + w to 0: from then on the coordinate is balanced, its x at most 0."""
    problem = mf.Regression([[1.0, 0.5]], [-1.0])
    start = mf.Factors([1.0, 0.5], [0.0, 0.25])
    g = float(problem.gradient(start.x)[0])
    path = mf.follow_descent(problem, start, [1.0 / g, *[0.3] * 400], 401)
    assert path.m[-1, 0] + path.w[-1, 0] == 0.0
    assert path.start.u[0] == 0.0
    assert path.success
    assert "coordinate 0 to 0: it is balanced from then on" in path.message
    assert certify.discrete_argmin(problem, path).holds
    assert np.isfinite(path.gain).all()
    outside = mf.follow_descent(problem, start, [1.0 / g, 0.3], 2, momentum=0.5)
    assert outside.status == "outside"
    assert certify.discrete_argmin(problem, outside).verdict == "can't be judged"


def test_unequal_learning_rates_keep_their_own_invariant():
    rng = np.random.default_rng(5)
    Z = rng.standard_normal((3, 7))
    problem, start = mf.Regression(Z, Z[:, 0]), mf.Factors(*rng.standard_normal((2, 7)))
    path = mf.follow_descent(problem, start, 0.02, 300, learning_rates=(4.0, 1.0))
    assert certify.discrete_argmin(problem, path).holds
    first = start.m**2 / 4.0 - start.w**2
    last = path.m[-1] ** 2 / 4.0 - path.w[-1] ** 2
    assert np.abs(last - first * np.exp(-path.gain[-1])).max() < 1e-13
    same = mf.follow_descent(problem, start, 0.02, 300)
    assert np.abs(same.gain[-1] - path.gain[-1]).max() > 1e-4


def test_the_stepper_is_torchs():
    """Heavy ball and Nesterov with weight decay, as torch.optim.SGD runs them."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    Z = rng.standard_normal((4, 9))
    problem, start = mf.Regression(Z, Z[:, 0]), mf.Factors(*rng.standard_normal((2, 9)))
    for nesterov in (False, True):
        m, w = (torch.tensor(a, requires_grad=True) for a in start.theta)
        sgd = torch.optim.SGD([m, w], 0.03, 0.7, weight_decay=2 * 0.2, nesterov=nesterov)
        for _ in range(50):
            sgd.zero_grad()
            residual = torch.tensor(Z) @ (m * w) - torch.tensor(problem.y)
            ((residual**2).sum() / 8).backward()
            sgd.step()
        path = mf.follow_descent(
            problem, start, 0.03, 50, np.full(50, 0.2), momentum=0.7, nesterov=nesterov
        )
        assert np.abs(path.m[-1] - m.detach().numpy()).max() < 1e-13
        assert np.abs(path.w[-1] - w.detach().numpy()).max() < 1e-13


def test_minibatches_and_schedules_are_those_of_descend():
    problem = mf.gaussian_recovery(6, 14, 2, 0)
    start = mf.Factors.pilot(np.full(14, 0.1))
    for schedule in (mf.Harmonic(0.3, 0.5), mf.Stepwise("geometric", 0.4)):
        fast = mf.descend(problem, start, schedule, 0.02, 40, 2, seed=3)
        path = mf.follow_descent(problem, start, 0.02, 40, schedule, batch_size=2, seed=3)
        assert np.abs(fast.m[0] - path.m[-1]).max() < 1e-13
        assert path.total[-1] == pytest.approx(fast.total[0, -1], rel=1e-13)


@pytest.mark.parametrize(
    "name", ["heavy_ball_0.0_alpha_0.0", "nesterov_0.8_alpha_0.0", "heavy_ball_0.8_alpha_0.5"]
)
def test_the_limit_known_before_training_is_off_by_the_square_of_the_step(name):
    inputs, expected = CASES[name]["inputs"], CASES[name]["expected"]
    problem, start = mf.Regression(inputs["Z"], inputs["y"]), mf.Factors(inputs["m0"], inputs["w0"])
    schedule = mf.Constant(inputs["alpha"], inputs["stop"] or None)
    momentum, nesterov = inputs["parameter"], inputs["kind"] == "nesterov"
    errors, plain = [], []
    for eta, (flow, predicted, _) in zip(
        inputs["etas"][:2], expected["errors_flow_pred_wrong"], strict=False
    ):
        steps = round(250 / eta)
        alphas = np.where(np.arange(steps) * eta < inputs["stop"] - 1e-9, inputs["alpha"], 0.0)
        step_size = eta * (1.0 - momentum)
        more = {"momentum": momentum, "nesterov": nesterov}
        path = mf.follow_descent(problem, start, step_size, steps, alphas, **more)
        gain = mf.predicted_gain(problem, start, schedule, step_size, **more)
        limit = mf.interpolator(problem, start, path.total[-1], gain=gain)
        errors.append(np.abs(path.x[-1] - limit.x).max())
        without = mf.interpolator(problem, start, path.total[-1])
        plain.append(np.abs(path.x[-1] - without.x).max())
        assert errors[-1] == pytest.approx(predicted, rel=1e-4)
        assert plain[-1] == pytest.approx(flow, rel=1e-4)
    assert certify.lag_law(errors).holds == (
        name != "nesterov_0.8_alpha_0.0"
    )  # 1.75 at these steps
    assert not certify.lag_law(plain).holds
    assert certify.lag_law(plain, order=1.0).holds


def test_the_mean_gain_of_sgd_is_as_predicted():
    """Drift and noise: the mean over 60 runs, extrapolated to η = 0, within 6 standard errors."""
    problem = mf.gaussian_recovery(6, 14, 2, 1)
    start = mf.Factors.pilot(np.full(14, 0.2))
    relative, noise = [], []
    for eta in (0.02, 0.01):
        predicted = mf.predicted_gain(problem, start, mf.Constant(0.0), eta, batch_size=1).sum()
        gains = [
            mf.follow_descent(
                problem, start, eta, round(40 / eta), batch_size=1, seed=seed, record=1
            )
            .gain[-1]
            .sum()
            for seed in range(30)
        ]
        relative.append(np.mean(gains) / predicted - 1.0)
        noise.append(np.std(gains) / predicted / 30**0.5)
    extrapolated = 2.0 * relative[1] - relative[0]
    bound = 0.02 + 6.0 * (2.0 * noise[1] + noise[0])
    assert abs(extrapolated) < bound < 0.4
    drift = mf.predicted_gain(problem, start, mf.Constant(0.0), eta).sum()
    assert abs(drift / predicted - 1.0) > bound  # without the noise's share


def lagged(problem, start, eta, alphas, weights):
    """θ ← θ − η Σ_j weights_j(grad + 2αθ)_{k−j}."""
    theta, past = start.theta, []
    for alpha in alphas:
        m, w = theta
        g = problem.gradient(m * w)
        past = [np.stack([w * g, m * g]) + 2.0 * alpha * theta, *past][: len(weights)]
        theta = theta - eta * sum(c * old for c, old in zip(weights, past, strict=False))
    return theta[0] * theta[1]


@pytest.mark.parametrize("alpha", ["0.0", "0.5"])
@pytest.mark.parametrize("name", ["delay_3", "average_4"])
def test_late_and_averaged_gradients_gain_by_their_mean_lag(name, alpha):
    """Asynchronous gradients three steps late, and means of the last five: the cases' errors."""
    inputs, expected = case(f"{name}_alpha_{alpha}")
    problem, start = drawn(1)
    weights = [0.0, 0.0, 0.0, 1.0] if name == "delay_3" else [0.2] * 5
    schedule = mf.Constant(inputs["alpha"], inputs["stop"] or None)
    for eta, (_, printed, wrong) in zip(
        inputs["etas"][:1], expected["errors_flow_pred_wrong"], strict=False
    ):
        steps = round(250 / eta)
        alphas = np.where(np.arange(steps) * eta < inputs["stop"] - 1e-9, inputs["alpha"], 0.0)
        x = lagged(problem, start, eta, alphas, weights)
        errors = []
        for lag in (inputs["lag"], 0.5 * inputs["lag"]):
            gain = mf.predicted_gain(problem, start, schedule, eta, delay=lag)
            limit = mf.interpolator(problem, start, float(eta * alphas.sum()), gain=gain)
            errors.append(np.abs(x - limit.x).max())
        assert errors[0] == pytest.approx(printed, rel=0.02)
        assert errors[1] == pytest.approx(wrong, rel=0.02)


def test_the_hyperbolic_step_and_the_catapult():
    """(S ± x)⁺ = (S ± x)(δ ∓ h)²; alone and with y = 0, m² + w² falls iff η(m² + w²) < 4."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        m, w, eta, alpha, z = rng.standard_normal(5) * [1.0, 1.0, 0.3, 0.2, 1.0]
        eta, alpha, problem = abs(eta), abs(alpha), mf.Regression([[z]], [0.7])
        path = mf.follow_descent(problem, mf.Factors([m], [w]), eta, 1, [alpha])
        S, x, delta = 0.5 * (m * m + w * w), m * w, 1.0 - 2.0 * eta * alpha
        h, after = eta * problem.gradient(np.array([x]))[0], 0.5 * (path.m**2 + path.w**2)[-1, 0]
        for sign in (1.0, -1.0):
            claimed = (S + sign * x) * (delta - sign * h) ** 2
            assert after + sign * path.x[-1, 0] == pytest.approx(claimed, rel=1e-12, abs=1e-14)
    flat = mf.Regression([[1.0]], [0.0])
    for size, falls in ((3.9, True), (4.1, False), (2.1, True)):
        start = mf.Factors([np.sqrt(0.7 * size / 0.5)], [np.sqrt(0.3 * size / 0.5)])
        path = mf.follow_descent(flat, start, 0.5, 1)
        assert ((path.m**2 + path.w**2)[-1, 0] < size / 0.5) == falls


def test_norms_of_what_is_stable():
    """tr H = (2/n)Σ‖z_j‖²√(x_j² + a_j²): SGD keeps a weighted L1 norm, GD only the largest term."""
    problem, start = drawn(1)
    limit = mf.interpolator(problem, start, 0.3)
    H = gram_of_gradients(problem, limit) / problem.n
    sizes = 2.0 / problem.n * np.square(problem.Z).sum(axis=0)
    whole = sizes * np.hypot(limit.x, 0.5 * np.exp(-1.2))
    assert np.trace(H) == pytest.approx(whole.sum(), rel=1e-12)
    assert np.linalg.eigvalsh(H)[-1] >= whole.max()
    step = stable_step_sgd(H * problem.n, 1)
    assert 0.5 * (sizes * np.abs(limit.x)).sum() <= 1.0 / step


def test_twice_the_loss_paid_is_the_divergence():
    rng = np.random.default_rng(2)
    Z = rng.standard_normal((5, 12))
    problem, start = mf.Regression(Z, Z[:, 0]), mf.Factors.pilot(0.3 * rng.standard_normal(12))
    assert certify.energy(problem, start).holds
    for claimed in (1.0, 4.0):
        assert certify.energy(problem, start, claimed=claimed).verdict == "refuted"


def test_one_sample_sgd_on_sign_designs_is_weight_decay():
    inputs, expected = (CASES["sign_design_B1_is_decay"][key] for key in ("inputs", "expected"))
    problem, start = mf.Regression(inputs["Z"], inputs["y"]), mf.Factors(inputs["m0"], inputs["w0"])
    rows = np.random.default_rng(7).integers(8, size=20_000)
    path = mf.follow_descent(problem, start, inputs["eta"], rows.size, batch_size=rows[:, None])
    assert path.gain[-1] / 4.0 == pytest.approx(np.full(20, expected["A_eff"]), rel=1e-10)
    assert np.abs(path.x[-1] - expected["x"]).max() < 1e-10
    assert certify.noise_is_decay(problem, path).holds
    for share in (0.0, 0.5, 2.0):
        assert certify.noise_is_decay(problem, path, share).verdict == "refuted"
    with pytest.raises(mf.InputError, match="problem must have rows z_i with all"):
        certify.noise_is_decay(mf.gaussian_recovery(3, 9, 1, 0), path)


def test_the_mean_square_stable_step_is_exact():
    """Against 60 digits, and against the growth of the second moment over all minibatches."""
    case = CASES["thresholds"]
    K, expected = np.array(case["inputs"]["K"]), case["expected"]
    steps = [stable_step_sgd(K, B) for B in range(1, 7)]
    assert steps == pytest.approx(expected["eta_star"], rel=1e-12)
    assert [trace_bound(K, B) for B in range(1, 7)] == pytest.approx(expected["simple_bound"])
    assert certify.sgd_threshold(K).holds
    assert steps[-1] == pytest.approx(2.0 / np.linalg.eigvalsh(K / 6)[-1], rel=1e-12)
    # residuals r ← r − (η/B) Σ_{i∈batch} K_{·i} r_i: growth of E r rᵀ, all batches of two
    for scale, grows in ((0.99, False), (1.01, True)):
        total = np.zeros((36, 36))
        pairs = [(i, j) for i in range(6) for j in range(i)]
        for pair in pairs:
            pick = np.diag(np.isin(np.arange(6), pair) / 2.0)
            T = np.eye(6) - scale * steps[1] * K @ pick
            total += np.kron(T, T) / len(pairs)
        assert (np.abs(np.linalg.eigvals(total)).max() > 1.0) == grows


@pytest.mark.parametrize("batch", [1, 2])
def test_the_second_moment_of_sgd_itself_grows_as_the_operator_says(batch):
    """E‖Zx − y‖² over all sequences of minibatches, of steps on (m, w) that begin ε from the limit.

    The operator M ← E(I − ηKP)M(I − ηKP)ᵀ is that of the samples, linear; what it leaves is O(ε).
    """
    problem, start = drawn(3, n=4, d=12)
    limit = mf.interpolator(problem, start, 0.3)
    K, (m, w) = gram_of_gradients(problem, limit), limit.parameters
    J = np.hstack([problem.Z * w, problem.Z * m])  # of Zx in (m, w)
    assert np.abs(J @ J.T - K).max() < 1e-10 * K.max()
    batches = [list(rows) for rows in itertools.combinations(range(4), batch)]

    def operator(eta, chosen):
        picks = (np.diag(np.isin(np.arange(4), rows) / len(rows)) for rows in chosen)
        moves = [np.eye(4) - eta * K @ pick for pick in picks]
        return np.mean([np.kron(move, move) for move in moves], axis=0)

    edge, eps = stable_step_sgd(K, batch), 1e-4
    values, vectors = np.linalg.eig(operator(edge, batches))
    assert np.abs(values).max() == pytest.approx(1.0, abs=1e-9)
    worst = np.real(vectors[:, np.argmax(np.abs(values))]).reshape(4, 4)
    worst /= np.trace(worst)  # the second moment that neither grows nor falls at η*
    sizes, directions = np.linalg.eigh(worst)
    assert sizes.min() > -1e-10
    for factor, steps in ((1.0, 4 if batch == 1 else 2), (0.5, 2), (2.0, 2)):
        reached = 0.0
        for size, v in zip(sizes, directions.T, strict=True):
            for side in (eps, -eps):  # what is odd in ε cancels
                move = np.linalg.lstsq(J, side * v, rcond=None)[0].reshape(2, 12)
                first = mf.Factors(m + move[0], w + move[1])
                for rows in itertools.product(batches, repeat=steps):
                    x = mf.follow_descent(
                        problem, first, factor * edge, steps, batch_size=rows, record=1
                    ).x[-1]
                    square = np.sum((problem.Z @ x - problem.y) ** 2)
                    reached += 0.5 * size * square / len(batches) ** steps

        def claimed(chosen, eta=factor * edge, steps=steps):
            grown = np.linalg.matrix_power(operator(eta, chosen), steps) @ worst.ravel()
            return eps**2 * np.trace(grown.reshape(4, 4))

        assert reached == pytest.approx(claimed(batches), rel=(20 * eps) ** 2 * factor)
        # at half or twice the step it falls or grows, and the full batch's operator is another
        assert (abs(reached / eps**2 - 1.0) < (20 * eps) ** 2) == (factor == 1.0)
        assert abs(reached / claimed([range(4)]) - 1.0) > 0.1


def test_orthogonal_gradients_scale_linearly():
    for B in (1, 2, 5):
        assert stable_step_sgd(3.0 * np.eye(5), B) == pytest.approx(2.0 * B / 3.0, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"momentum": 1.0}, "momentum must be below 1"),
        ({"momentum": -0.1}, "momentum must be .*at least 0"),
        ({"step_size": -1.0}, "step_size must be .*above 0"),
        ({"step_size": np.ones(9)}, "per-coordinate steps, as Adam takes, leave the row space"),
        ({"step_size": np.ones((10, 9))}, "step_size must have 1 axis"),
        ({"step_size": np.nan}, "step_size must be a finite number"),
        ({"learning_rates": (np.ones(9), 1.0)}, "learning_rates"),
        ({"learning_rates": np.ones(9)}, "rates per coordinate leave the row space"),
        ({"steps": 0}, "steps must be .*at least 1"),
        ({"schedule": np.full(10, -1.0)}, "schedule must be at least 0"),
        ({"learning_rates": (1.0,)}, "learning_rates must be two numbers"),
        ({"learning_rates": (2.0, 1.0), "momentum": 0.5}, "momentum must be 0 with"),
        ({"sam": mf.Sam(0.1), "momentum": 0.5}, "momentum must be 0 with sam"),
        ({"batch_size": 9}, "batch_size must be"),
        ({"batch_size": [[0], [7]]}, "batch_size must be .*lists of row numbers"),
        ({"label_noise": np.ones((2, 3))}, "label_noise must have shape"),
        ({"clip": 0.0}, "clip must be .*above 0"),
    ],
)
def test_bad_input(change, message):
    problem = mf.gaussian_recovery(4, 9, 2, 0)
    given = {"factors": mf.Factors.pilot(np.zeros(9)), "step_size": 0.1, "steps": 10, **change}
    with pytest.raises(mf.InputError, match=message):
        mf.follow_descent(problem, **given)


def test_what_the_gain_of_a_limit_must_be():
    problem, start = mf.gaussian_recovery(4, 9, 2, 0), mf.Factors.pilot(np.zeros(9))
    with pytest.raises(mf.InputError, match="gain must have 9 entries"):
        mf.interpolator(problem, start, 0.0, gain=np.zeros(3))
    for bad in (np.full(9, np.nan), np.full(9, np.inf)):
        for name in ("gain", "shift"):
            with pytest.raises(mf.InputError, match=f"{name} must be finite"):
                mf.interpolator(problem, start, 0.0, **{name: bad})
    with pytest.raises(mf.InputError, match="shift must have 9 entries"):
        mf.interpolator(problem, start, 0.0, shift=np.zeros((9, 1)).repeat(2).ravel())
    with pytest.raises(mf.InputError, match="gain and shift are for Factors"):
        mf.interpolator(problem, mf.Ham(np.zeros(9), 1.0), 0.0, gain=np.zeros(9))
    # a gain of 4A is the total A; at A = ∞ only the choice among minima could change
    total = mf.interpolator(problem, start, 0.7)
    assert mf.interpolator(problem, start, 0.0, gain=np.full(9, 2.8)).x == pytest.approx(total.x)
    endless = mf.interpolator(problem, start, np.inf)
    assert mf.interpolator(problem, start, np.inf, gain=np.ones(9)).x == pytest.approx(endless.x)
    with pytest.raises(mf.InputError, match="schedule must fade"):
        mf.predicted_gain(problem, start, mf.Constant(0.1), 0.1)


def test_a_run_that_diverges_ends_before_it_does():
    problem, start = mf.gaussian_recovery(4, 9, 2, 0), mf.Factors.pilot(np.zeros(9), 4.0)
    path = mf.follow_descent(problem, start, 5.0, 1000)
    assert path.status == "diverged"
    assert "smaller step size" in path.message
    assert path.steps[-1] < 1000
    assert f"Step {path.steps[-1] + 1} left" in path.message
    assert np.isfinite(path.x).all()
    # up to there the certificates hold
    assert certify.discrete_balance(path).holds
    assert certify.discrete_argmin(problem, path).verdict != "refuted"
    assert repr(path).startswith("DescentPath(d=9, steps=")

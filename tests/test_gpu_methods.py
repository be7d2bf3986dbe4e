"""The weight maps of gpu_bench: derivatives, starts, penalties, what moves between epochs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gpu_bench import methods
from gpu_bench.experiment import Experiment, Place
from gpu_bench.initial_masks import erk_densities
from gpu_bench.methods import METHODS, Plan
from gpu_bench.methods.base import Strength, around
from gpu_bench.ranks import Ranks
from gpu_bench.settings import OneShot
from mirrorflow.checks import InputError
from mirrorflow.pilot import free_total, largest_total

SIZES = (40, 7, 53)
LAYERS = {"conv.weight": (10, 4), "shortcut.0.weight": (7, 1), "fc.weight": (53, 1)}
NAMES = list(METHODS)
DECAY = 0.02
EPS = torch.finfo(torch.float64).eps


def weights(seed=0, scale=0.3):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(sum(SIZES), generator=generator, dtype=torch.float64)


def steps_of(rate_sum, steps=100):
    """Learning rates of a run without momentum."""
    return np.full(steps, rate_sum / steps)


def begun(name, epochs=10, rate_sum=50.0, x=None, **options):
    """A method that has begun a run, and its parameters."""
    x = weights() if x is None else x
    method = METHODS[name](**options)
    method.begin(Plan(epochs, steps_of(rate_sum), SIZES, DECAY, layers=LAYERS), x)
    return method, method.inverse(x)


def moved(method, parameters):
    """The parameters away from their start, where no coordinate is special."""
    generator = torch.Generator().manual_seed(1)
    return tuple(
        p + 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters
    )


ELSEWHERE = [("str", {"start": -1.5}), ("continuous", {"start": 0.3})]
ELSEWHERE += [("continuous", {"start": 0.3, "plain": True}), ("spred", {"init": "independent"})]


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in NAMES), *ELSEWHERE])
def test_gradients_are_autograds(name, options):
    """(∂g/∂θ)ᵀ ∂x in closed form against torch.autograd, float64."""
    method, parameters = begun(name, **options)
    for epoch in range(1, 4):  # a temperature that is not 1
        method.after_epoch(epoch, 0.5, 1.0)
    leaves = tuple(p.detach().clone().requires_grad_() for p in moved(method, parameters))
    slope = weights(seed=2)
    expected = torch.autograd.grad(method.weight(*leaves), leaves, slope)
    if name == "rigl":  # its mask does not learn
        expected = (expected[0], torch.zeros_like(slope))
    found = method.gradients(tuple(leaf.detach() for leaf in leaves), slope.clone())
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kappa", [1.3, 3.0, 3.5])
def test_gradient_of_other_powers(kappa):
    method, parameters = begun("powerprop", kappa=kappa)
    leaf = parameters[0].detach().clone().requires_grad_()
    slope = weights(seed=2)
    (expected,) = torch.autograd.grad(leaf * leaf.abs() ** (kappa - 1.0), leaf, slope)
    torch.testing.assert_close(method.gradients(parameters, slope)[0], expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rate", [1.0, 7.0])
def test_penalties_are_the_gradients_of_what_they_say(name, rate):
    """On top of a gradient that is there already; s learns `rate` times as fast, so both
    parts of its gradient count so often."""
    terms = {
        "lasso": lambda x: 0.7 * x.abs().sum(),
        "mask-l1": lambda m, w: 0.7 * m.abs().sum(),
        "continuous": lambda theta, s: 0.7 * (torch.sigmoid(s) * 2.0).sum(),  # 1/σ(0)
    }
    term = terms.get(name, lambda *_: torch.zeros((), dtype=torch.float64))
    options = {"total": 0.7 * 50.0} if name in terms else {}
    method, parameters = begun(name, **options, **({"rate": rate} if name == "continuous" else {}))
    leaves = tuple(p.detach().clone().requires_grad_() for p in moved(method, parameters))
    value = term(*leaves) + sum(0.0 * leaf.sum() for leaf in leaves)
    expected = torch.autograd.grad(value, leaves)
    found = tuple(torch.ones_like(leaf) for leaf in leaves)
    method.penalize(tuple(leaf.detach() for leaf in leaves), found)
    rates = (1.0, rate) if name == "continuous" else (1.0,) * len(leaves)
    for ours, theirs, times in zip(found, expected, rates, strict=True):
        torch.testing.assert_close(ours, times * (1.0 + theirs), rtol=1e-12, atol=1e-14)


DECAYS = {"str": (0.02, 1.5 / 50.0), "mask-l1": (0.02, 0.02), "continuous": (0.02, 0.0)}
DECAYS |= {"rigl": (0.02, 0.0)}
DECAYS |= {"dense": (0.02,), "ham": (0.02,), "powerprop": (0.02,), "lasso": (0.0,)}
DECAYS |= dict.fromkeys(("spred", "pilot"), (0.06, 0.06))  # 2α


@pytest.mark.parametrize("name", NAMES)
def test_decays_are_those_of_the_docstrings(name):
    """One for each parameter."""
    total = free_total(steps_of(50.0), 0.03)
    strengths = {"str": 1.5, "spred": total, "pilot": total}
    method, _ = begun(name, **({"total": strengths[name]} if name in strengths else {}))
    assert [float(decay) for decay in method.decays()] == pytest.approx(DECAYS[name], abs=1e-15)


STARTS = [(name, {}) for name in NAMES] + [
    ("powerprop", {"kappa": 1.3}),
    ("powerprop", {"kappa": 3.5}),
    ("continuous", {"start": -0.7}),
    ("continuous", {"start": 0.7}),
    ("continuous", {"start": 0.7, "plain": True}),
    ("pilot", {"beta": 0.01}),
    ("pilot", {"beta": 0.0}),
    ("mask-l1", {"beta": 5.0}),
]


@pytest.mark.parametrize(("name", "options"), STARTS)
def test_starts_at_the_weights_it_is_given(name, options):
    method, parameters = begun(name, **options)
    x = weights() * (parameters[1] if name == "rigl" else 1.0)
    # STR's thresholds are σ(s₀) at the start, σ(−8) = 3.4e-4
    tolerance = 3.4e-4 if name == "str" else 1e-15 + 4 * EPS * float(x.abs().max())
    assert float((method.weight(*parameters) - x).abs().max()) <= tolerance
    assert len(parameters) == len(method.decays())


def test_layers_without_a_mask_are_plain_weights():
    """The shortcut and the last layer: x = θ/1, no penalty, no slope of s, nothing to harden."""
    x = weights()
    method, (theta, s) = begun("continuous", start=-2.0, plain=True)
    plain = slice(SIZES[0], None)
    for epoch in range(1, 11):
        method.after_epoch(epoch, 0.5, 1.0)
        assert torch.equal(method.weight(theta, s)[plain], x[plain])
    assert torch.equal(method.fold(theta, s)[plain], x[plain])
    assert not method.fold(theta, s)[: SIZES[0]].any()
    slope = torch.ones_like(x)
    found = method.gradients((theta, s), slope)
    assert torch.equal(found[0][plain], slope[plain])
    method.penalize((theta, s), found)
    assert not found[1][plain].any()


def test_the_independent_start_of_spred():
    """w₀ the initial weights, m₀ uniform within 1/√fan_in, its own for every seed."""
    drawn = []
    for seed in (0, 0, 1):
        method = METHODS["spred"](init="independent")
        vars(method)["_seed"] = seed
        method.begin(Plan(10, steps_of(50.0), SIZES, DECAY, layers=LAYERS), weights())
        m, w = method.inverse(weights())
        assert torch.equal(w, weights())
        for part, (_, fan_in) in zip(m.split(SIZES), LAYERS.values(), strict=True):
            assert 0.7 / math.sqrt(fan_in) < float(part.abs().max()) <= 1.0 / math.sqrt(fan_in)
        assert min(int((part < 0).sum()) for part in m.split(SIZES)) > 0
        assert method.imbalance is None  # no β, so no scale a
        drawn.append(m)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_the_second_step_of_ham_is_its_formula_and_changes_no_sign():
    """∂x from before the step, sign(x) from after it; an exponent of at most 5; 0 stays 0."""
    method, (x,) = begun("ham", steepness=7.0, total=2.0)
    x[3] = 0.0
    before, slope = x.clone(), weights(seed=2)
    slope[5], rate = 1e3, 0.3
    method.after_step((x,), slope, torch.tensor(-rate, dtype=torch.float64))
    exponent = -rate * (7.0 * torch.sign(before) * slope + 2.0 / 50.0)
    torch.testing.assert_close(x, before * exponent.clamp(-5.0, 5.0).exp())
    assert torch.equal(x.sign(), before.sign())
    assert abs(float(exponent[5])) > 5.0


def test_the_default_strength_of_ham_trains_digits():
    """Two epochs go below the loss of chance; four times as steep, the authors' value, diverges."""
    flags = {"device": "cpu", "precision": "float32", "layout": "contiguous"}
    for steepness, status in ((METHODS["ham"]().steepness, "completed"), (200.0, "diverged")):
        own = methods.option_groups()(ham=METHODS["ham"](steepness=steepness))
        (one,) = OneShot(methods=("ham",), seeds=1, epochs=2, options=own, **flags).runs()
        experiment = Experiment(one.spec, Place(Path()), Ranks())
        history = experiment.trainer().train(experiment.batches)
        assert history.status == status
        if status == "completed":
            assert history.epochs[-1].loss < math.log(10.0)


# --- RigL ---


def active(parameters):
    return [int(part.sum()) for part in parameters[1].split(SIZES)]


def test_rigl_starts_with_erk_densities_and_its_exact_number_of_weights():
    """Places by the seed, densities by the shapes, as the masks at initialisation have them."""
    found = []
    for seed in (0, 0, 1):
        method = METHODS["rigl"](sparsity=0.75)
        vars(method)["_seed"] = seed
        method.begin(Plan(10, steps_of(50.0), SIZES, DECAY, layers=LAYERS), weights())
        theta, mask = method.inverse(weights())
        densities = erk_densities(LAYERS, 0.75)
        expected = [densities[name] * n for name, n in zip(LAYERS, SIZES, strict=True)]
        assert active((theta, mask)) == pytest.approx(expected, abs=1.0)
        assert int(mask.sum()) == 25
        assert not theta[mask == 0].any()
        found.append(mask)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("step", [20, 60])
def test_rigl_lets_the_smallest_go_and_takes_up_where_the_gradient_is_largest(step):
    """⌊f·n⌋ of each layer's n weights, f falling as a cosine; new ones and their velocity are 0."""
    method, (theta, mask) = begun("rigl", sparsity=0.5, fraction=0.6, interval=20)
    old, before, count = mask.clone(), theta.clone(), active((theta, mask))
    slope, velocity = weights(seed=2), weights(seed=3) * mask
    moving = (theta, mask), (velocity.clone(), torch.zeros_like(mask)), slope
    assert method.between_steps(step, *moving)
    assert active((theta, mask)) == count
    share = 0.3 * (1.0 + math.cos(math.pi * step / 75))
    start = 0
    for size, n in zip(SIZES, count, strict=True):
        part, start = slice(start, start + size), start + size
        moved = int(share * n)
        by_size = before[part].abs().masked_fill(old[part] == 0, -1.0).argsort(descending=True)
        kept = set(by_size[: n - moved].tolist())
        others = [i for i in slope[part].abs().argsort(descending=True).tolist() if i not in kept]
        assert set(mask[part].nonzero().flatten().tolist()) == kept | set(others[:moved])
    stayed = (old * mask).bool()
    assert torch.equal(theta, torch.where(stayed, before, 0.0))
    assert torch.equal(moving[1][0], torch.where(stayed, velocity, 0.0))
    assert not torch.equal(mask, old)


def test_rigl_moves_every_interval_and_stays_in_the_last_quarter():
    method, parameters = begun("rigl", interval=10)  # of 100 steps
    velocities = tuple(map(torch.zeros_like, parameters))
    moved = [
        step
        for step in range(1, 101)
        if method.between_steps(step, parameters, velocities, weights(seed=step))
    ]
    assert moved == [10, 20, 30, 40, 50, 60, 70]


def test_rigl_may_move_at_the_last_step_of_three_quarters():
    method, parameters = begun("rigl", interval=25)  # of 100 steps
    velocities, slope = tuple(map(torch.zeros_like, parameters)), weights(seed=1)
    steps = (25, 50, 75, 76, 100)
    moved = [step for step in steps if method.between_steps(step, parameters, velocities, slope)]
    assert moved == [25, 50, 75]


@pytest.mark.parametrize("flat", [True, False])
def test_rigl_keeps_its_number_where_weights_and_gradients_are_zero(flat):
    """A weight that is 0 is still one that it has; of places without slope any may be taken up."""
    method, (theta, mask) = begun("rigl", sparsity=0.5, fraction=0.5, interval=10)
    old, count = mask.clone(), active((theta, mask))
    theta.zero_()
    slope = torch.zeros_like(theta) if flat else weights(seed=2)
    velocities = torch.zeros_like(theta), torch.zeros_like(mask)
    assert method.between_steps(10, (theta, mask), velocities, slope)
    assert active((theta, mask)) == count
    share, places = (
        0.25 * (1.0 + math.cos(math.pi * 10 / 75)),
        zip(*(vector.split(SIZES) for vector in (old, mask)), count, strict=True),
    )
    for before, after, n in places:
        assert int((before * after).sum()) >= n - int(share * n)


def test_strs_shared_decay_is_that_of_the_weights():
    method, _ = begun("str", shared=True, total=9.0)
    assert method.decays() == (DECAY, DECAY)


def test_starts_of_the_products():
    for name in ("pilot", "mask-l1"):
        m, w = begun(name, beta=0.5)[1]
        torch.testing.assert_close(m**2 - w**2, torch.full_like(m, 0.5))
    for name, options in (("spred", {}), ("pilot", {"beta": 0.0})):
        m, w = begun(name, **options)[1]
        assert torch.equal(m.abs(), w.abs())


@pytest.mark.parametrize("name", ["spred", "pilot"])
def test_total_sets_alpha(name):
    """A is that of free decay, and the decay of m and w is 2α."""
    method, _ = begun(name, rate_sum=80.0, total=2.0)
    assert free_total(steps_of(80.0), method.alpha) == pytest.approx(2.0)
    assert method.alpha == pytest.approx(0.025, rel=0.05)
    decays = [float(decay) for decay in method.decays()]
    assert decays == pytest.approx([2.0 * method.alpha] * 2)


@pytest.mark.parametrize("name", ["spred", "pilot"])
def test_a_total_is_no_more_than_the_steps_allow(name):
    """Tuned or not given, it is lowered to that; given, it is refused."""
    rates = np.full(20, 0.1)
    for options, expected in (({}, 3.0), ({"total": 6.0}, 6.0), ({"total": 0.1}, 0.1)):
        method = METHODS[name](**options)
        method.begin(Plan(2, rates, SIZES, momentum=0.9), weights())
        allowed = min(expected, largest_total(rates, 0.9))
        assert free_total(rates, method.alpha, 0.9) == pytest.approx(allowed)
    METHODS[name]().check_steps(rates, 0.9)
    METHODS[name](total=0.1).check_steps(rates, 0.9)
    with pytest.raises(InputError, match=f"^--{name}.total must be at most .* needs [0-9]+ steps"):
        METHODS[name](total=6.0).check_steps(rates, 0.9)


def test_controller_reaches_its_swing_and_returns():
    """T/2 risings multiply α by 2.11, as δ = 1.01 does in 75 of 150 epochs; then it falls."""
    method, _ = begun("pilot", epochs=30, total=5.0)
    decay = method.decays()[0]
    first, alphas = method.alpha, []
    for epoch in range(1, 31):
        method.after_epoch(epoch, epoch / 30, 1.0)
        alphas.append(method.alpha)
    assert max(alphas) == pytest.approx(2.11 * first)
    assert alphas.index(max(alphas)) == 14
    assert alphas[-1] == pytest.approx(first)
    # the very tensor that a captured step reads has followed
    assert method.decays()[0] is decay
    assert float(decay) == pytest.approx(2.0 * first)
    paper = METHODS["pilot"]()
    paper.begin(Plan(150, steps_of(1.0), SIZES), weights())
    assert paper.readings()["delta"] == pytest.approx(1.01, abs=1e-4)


def test_threshold_as_a_fraction_of_the_start():
    x = weights()
    method, _ = begun("pilot", x=x, threshold=0.5)
    K = 0.5 * float(x.abs().sum())
    assert method.readings()["threshold"] == pytest.approx(K)
    before = method.alpha
    method.after_epoch(1, 0.5, 0.99 * K)
    assert method.alpha < before
    method, _ = begun("pilot", x=x, threshold=0.5)
    method.after_epoch(1, 0.5, 1.01 * K)
    assert method.alpha > before


def test_a_swing_of_1_keeps_alpha():
    method, _ = begun("pilot", swing=1.0)
    before = method.alpha
    for epoch in range(1, 11):
        method.after_epoch(epoch, epoch / 10, 1.0)
        assert method.alpha == before  # what rises in the first half falls again in the second


@pytest.mark.parametrize("rate_sum", [50.0, 5000.0])
def test_str_opens_its_thresholds_whatever_the_length_of_the_run(rate_sum):
    """Without gradient s decays to s₀ e^{−total}: the decay has to grow with 1/Σ η."""
    method, (_, s) = begun("str", rate_sum=rate_sum, start=-10.0, total=1.5)
    steps = 20_000
    for _ in range(steps):
        s = s - rate_sum / steps * method.decays()[1] * s
    # Euler's error is total²/(2·steps) = 6e-5
    torch.testing.assert_close(s, torch.full_like(s, -10.0 * math.exp(-1.5)), rtol=1e-4, atol=0)


def test_str_cuts_to_exact_zeros_layer_by_layer():
    method, (theta, s) = begun("str")
    s = torch.tensor([-50.0, 50.0, 0.0], dtype=torch.float64)
    first, second, third = method.weight(theta, s).split(SIZES)
    theta = theta.split(SIZES)
    torch.testing.assert_close(first, theta[0])
    assert not second.any()
    assert torch.equal(third != 0, theta[2].abs() > 0.5)


def test_weights_that_are_zero_give_str_no_undefined_gradient():
    """The sign of 0 is 0: they move neither themselves nor their threshold."""
    method, (theta, s) = begun("str", start=-2.0)
    theta[::3] = 0.0
    slope = weights(seed=2)
    found = method.gradients((theta, s), slope)
    assert not found[0][theta == 0].any()
    changed = torch.where(theta == 0, 5.0, slope)
    torch.testing.assert_close(method.gradients((theta, s), changed)[1], found[1], rtol=0, atol=0)
    assert found[1].isfinite().all()


def test_weights_at_their_threshold_are_cut_and_do_not_move():
    method, (theta, s) = begun("str", start=-2.0)
    theta[::3] = torch.sigmoid(s[0])
    at = theta == torch.sigmoid(s[0])
    assert not method.weight(theta, s)[at].any()
    assert not method.gradients((theta, s), torch.ones_like(theta))[0][at].any()


def test_continuous_hardens_geometrically_and_ends_hard():
    method, (theta, _) = begun("continuous", epochs=5, start=-0.2)
    taus = [method.readings()["tau"]]
    for epoch in range(1, 5):
        method.after_epoch(epoch, 0.5, 1.0)
        taus.append(method.readings()["tau"])
    assert taus == pytest.approx([200.0 ** (k / 4) for k in range(5)])
    s = torch.linspace(-1.0, 1.0, theta.numel(), dtype=torch.float64)
    s[50] = 0.0  # undecided: as many as s > 0 asks, it is cut
    scale = 1.0 + math.exp(0.2)  # 1/σ(−0.2)
    hard = method.fold(theta, s)
    torch.testing.assert_close(hard, torch.where(s > 0, scale * theta, 0.0))
    assert float(hard[50]) == 0.0
    # far from s = 0 the trained network is already the folded one
    far = s.abs() > 0.2
    torch.testing.assert_close(method.weight(theta, s)[far], hard[far], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "option"), [("lasso", "l1"), ("mask-l1", "l1"), ("continuous", "mask_l1")]
)
def test_l1_shrinks_runs_of_any_length_alike(name, option):
    """λ = total / Σ(η/(1 − momentum))."""
    method, _ = begun(name, rate_sum=80.0, total=2.0)
    assert method.readings()[option] == pytest.approx(0.025)


def test_the_tensor_of_a_strength_is_its_factor_times_its_value():
    """From the start, in the dtype of the weights, and after every change."""
    plan = Plan(1, steps_of(1.0), SIZES, like=torch.zeros(0, dtype=torch.float64))
    strength = Strength(0.3, plan, factor=2.0)
    assert strength.tensor.dtype == torch.float64
    assert float(strength.tensor) == 0.6
    strength.set(0.25)
    assert (strength.value, float(strength.tensor)) == (0.25, 0.5)


def test_a_grid_goes_from_the_first_values_outwards():
    """All combinations once each, by how many places they lie from the first values."""
    options = {"lr": (0.1, 0.2, 0.4), "total": (3.0, 1.0), "beta": (1.0, 2.0, 3.0)}
    grid = around(**options)
    assert len(grid) == len({tuple(setting.items()) for setting in grid}) == 18
    assert all(list(setting) == list(options) for setting in grid)
    away = [sum(options[name].index(value) for name, value in s.items()) for s in grid]
    assert away == sorted(away)
    assert grid[:2] == (
        {"lr": 0.1, "total": 3.0, "beta": 1.0},
        {"lr": 0.1, "total": 3.0, "beta": 2.0},
    )


def test_unknown_method_lists_the_others():
    with pytest.raises(InputError, match=r"continuous, dense, .*, spred, but 'magic' is not"):
        methods.find("magic")

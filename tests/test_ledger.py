"""The ledger of m² − w²: what SGD may do to it, in any network, and what else shows."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from gpu_bench import data, methods, models
from gpu_bench.rates import learning_rates
from gpu_bench.train import Trainer
from mirrorflow.checks import InputError
from mirrorflow.pilot import BalanceLedger, named_factors, parameter_groups, reparametrize

STEPS, CLASSES = 40, 3


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Block(nn.Module):
    """A small transformer block with a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.first, self.second = nn.LayerNorm(8), nn.LayerNorm(8)
        self.inner, self.outer = nn.Linear(8, 16), nn.Linear(16, 8)
        self.classifier = nn.Linear(8, CLASSES)

    def forward(self, x):
        x = x.reshape(len(x), 4, 8)
        x = self.first(x + self.attention(x, x, x, need_weights=False)[0])
        x = self.second(x + self.outer(functional.gelu(self.inner(x))))
        return self.classifier(x.mean(1))


def mlp():
    return nn.Sequential(
        nn.Linear(32, 16, bias=False),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, CLASSES),
    )


def train(
    make=mlp,
    dtype=torch.float64,
    momentum=0.9,
    nesterov=False,
    fault=None,
    init="pilot",
    restart=None,
):
    """Train with minibatches, a falling η, a moving α and global clipping; return the ledger."""
    torch.manual_seed(0)
    module = reparametrize(make().to(dtype), init=init)
    told = 0.5 if fault == "momentum" else momentum
    ledger = BalanceLedger(named_factors(module), told, nesterov)
    factors, rest = parameter_groups(module, 1e-4, 0.0)
    twins = [[pair[i] for pair in zip(*[iter(factors["params"])] * 2, strict=True)] for i in (0, 1)]
    groups = [{"params": twin} for twin in twins] + [rest]
    if fault == "adam":
        optimizer = torch.optim.Adam(groups, lr=0.01, betas=(momentum, 0.999))
    else:
        optimizer = torch.optim.SGD(groups, lr=0.1, momentum=momentum, nesterov=nesterov)
    x = torch.randn(STEPS, 16, 32, dtype=dtype)
    labels = torch.randint(CLASSES, (STEPS, 16))
    for k in range(STEPS):
        if restart and k and k % restart == 0:
            ledger.restart()
        eta, alpha = 0.05 * (1 + math.cos(math.pi * k / STEPS)), 0.02 * (1 + k % 3)
        optimizer.zero_grad()
        loss = functional.cross_entropy(module(x[k]), labels[k])
        if fault == "outside":
            loss = loss + 0.01 * sum(m.sum() for _, m, _ in named_factors(module))
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 0.5)
        if fault == "clipping":
            nn.utils.clip_grad_norm_(twins[0], 0.05)
        ledger.before_step(eta, alpha)
        for i, group in enumerate(optimizer.param_groups[:2]):
            group["lr"] = eta * (0.5 if fault == "rates" and i else 1.0)
            group["weight_decay"] = 2 * alpha * (fault != "one factor" or not i)
            if fault == "alpha":
                group["weight_decay"] *= 1.5
        optimizer.step()
    return ledger


@pytest.mark.parametrize("make", [mlp, Block])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_any_network_keeps_the_ledger(make, dtype, momentum, nesterov):
    certificate = train(make, dtype, momentum, nesterov).certificate()
    eps = torch.finfo(dtype).eps
    assert certificate.bound == pytest.approx(4 * eps * STEPS * (1 + 1 / (1 - momentum)))
    assert certificate.holds
    assert certificate.value > 0.0


@pytest.mark.parametrize(
    "fault", ["one factor", "rates", "adam", "outside", "clipping", "momentum", "alpha"]
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("nesterov", [False, True])
def test_each_fault_breaks_it(fault, dtype, nesterov):
    certificate = train(dtype=dtype, nesterov=nesterov, fault=fault).certificate()
    assert certificate.verdict == "refuted"
    assert certificate.value > 5 * certificate.bound


@pytest.mark.parametrize("nesterov", [False, True])
def test_restarts_carry_the_momentum_and_the_worst_part(nesterov):
    """Parts of 8 steps have a bound for 8, and a fault in an early one is not forgotten."""
    ledger = train(nesterov=nesterov, restart=8)
    assert ledger.certificate().holds
    assert ledger.certificate().bound == pytest.approx(4 * 2**-52 * 8 * 11)
    ledger = train(fault="outside", restart=8)
    ledger.restart()
    assert ledger.certificate().verdict == "refuted"


def test_a_weight_set_in_place_needs_a_restart():
    def pruned(restart):
        m, w = torch.full((4,), 1.5), torch.full((4,), 0.5)
        ledger = BalanceLedger([("x", m, w)], 0.9)
        for k in range(6):
            if k == 3:
                m[0] = 0.0
                if restart:
                    ledger.resume()
            ledger.before_step(0.0, 0.0, [(torch.zeros(4), torch.zeros(4))])
        return ledger.certificate().holds

    assert pruned(restart=True)
    assert not pruned(restart=False)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    rates=st.lists(st.floats(0.0, 0.3), min_size=1, max_size=30),
    alpha=st.floats(0.0, 1.0),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    nesterov=st.booleans(),
    seed=st.integers(0, 99),
)
def test_gradients_of_any_size(rates, alpha, momentum, nesterov, seed):
    """g need be no gradient of anything: the ledger is an identity."""
    rng = np.random.default_rng(seed)
    m, w = (nn.Parameter(torch.from_numpy(rng.standard_normal(5))) for _ in "mw")
    nesterov = nesterov and momentum > 0
    optimizer = torch.optim.SGD([m, w], lr=0.1, momentum=momentum, nesterov=nesterov)
    ledger = BalanceLedger([("x", m, w)], momentum, nesterov)
    for eta in rates:
        g = torch.from_numpy(rng.standard_normal(5))
        m.grad, w.grad = (g * w).detach(), (g * m).detach()
        ledger.before_step(eta, alpha)
        optimizer.param_groups[0] |= {"lr": eta, "weight_decay": 2 * alpha}
        optimizer.step()
    assert ledger.certificate().holds


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_without_gradient_all_is_decay(momentum, nesterov):
    """m² − w² = c²β then: the share of the gradient is 0, that of the decay ¼ log(β/(m² − w²))."""
    m, w = (nn.Parameter(torch.full((3,), x, dtype=torch.float64)) for x in (1.5, 0.5))
    optimizer = torch.optim.SGD([m, w], lr=0.1, momentum=momentum, nesterov=nesterov)
    ledger = BalanceLedger([("x", m, w)], momentum, nesterov)
    for eta, alpha in zip([0.1, 0.2, 0.1], [0.3, 0.1, 0.2], strict=True):
        m.grad, w.grad = torch.zeros_like(m), torch.zeros_like(w)
        ledger.before_step(eta, alpha)
        optimizer.param_groups[0] |= {"lr": eta, "weight_decay": 2 * alpha}
        optimizer.step()
    (share,) = ledger.shares()
    lost = 0.25 * math.log(2.0 / float((m**2 - w**2)[0].detach()))
    assert (share.name, share.total) == ("x", pytest.approx(lost, rel=1e-12))
    assert share.decay == pytest.approx(lost, rel=1e-12)
    assert share.gradient == pytest.approx(0.0, abs=1e-12)


def test_gradient_noise_has_a_share_of_its_own():
    """Λ of two steps by hand at μ = 0: P ← P(δ² − h²)."""
    m, w = (torch.full((1,), x, dtype=torch.float64) for x in (1.5, 0.5))
    ledger, lost, free = BalanceLedger([("x", m, w)]), 0.0, 1.0
    for eta, alpha, g in ((0.1, 0.2, 1.0), (0.2, 0.1, -0.5)):
        ledger.before_step(eta, alpha, [(g * w, g * m)])
        delta, h = 1 - 2 * eta * alpha, eta * g
        m[:], w[:] = delta * m - h * w, delta * w - h * m
        lost -= 0.25 * math.log(delta**2 - h**2)
        free *= delta
    (share,) = ledger.shares()
    assert share.total == pytest.approx(lost, rel=1e-12)
    assert share.decay == pytest.approx(-0.5 * math.log(free), rel=1e-12)
    assert share.gradient > 1e-3


def test_a_balanced_start_has_no_scale_to_lose():
    ledger = train(init="balanced")
    assert ledger.certificate().holds
    assert all(math.isnan(share.total) for share in ledger.shares())


def test_a_weight_that_is_no_number_is_not_judged():
    m, w = torch.ones(2), torch.zeros(2)
    ledger = BalanceLedger([("x", m, w)])
    ledger.before_step(0.1, 0.0, [(torch.full((2,), math.nan), torch.zeros(2))])
    m.fill_(math.nan)
    ledger.restart()
    m.fill_(1.0)  # what comes after does not hide it
    ledger.resume()
    assert ledger.certificate().verdict == "can't be judged"


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def trainer_on(digits, dtype="float32", epochs=3, name="pilot"):
    batches = data.Batches(digits, 128, 0, dtype=getattr(torch, dtype))
    rates = learning_rates(0.2, "cosine", epochs, len(batches), 0.3)
    method = methods.METHODS[name]()
    model = models.build("resnet20", digits.shape, digits.classes, 0)
    model = model.to(getattr(torch, dtype))
    return Trainer(model, method, rates, epochs, ledger=True), batches


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_resnet_through_the_trainer(digits, dtype):
    trainer, batches = trainer_on(digits, dtype, epochs=2)
    trainer.train(batches)
    certificate = trainer.ledger.certificate()
    assert certificate.holds
    eps = torch.finfo(getattr(torch, dtype)).eps
    assert certificate.bound == pytest.approx(4 * eps * len(batches) * 11)
    shares = trainer.ledger.shares()
    assert [share.name for share in shares] == list(trainer.x.layout.names)
    m, w = trainer.parameters
    lost = 0.25 * np.log(1.0 / np.abs((m**2 - w**2).numpy()))
    sizes = np.cumsum(trainer.x.sizes)[:-1]
    for share, part in zip(shares, np.split(lost, sizes), strict=True):
        assert share.total == pytest.approx(np.quantile(part, 0.5, method="lower"), rel=1e-4)


def test_a_fault_in_the_trainer_shows(digits):
    trainer, batches = trainer_on(digits, epochs=1)
    trainer.decays = trainer.decays[0], torch.zeros(())
    trainer.train(batches)
    assert trainer.ledger.certificate().verdict == "refuted"


def test_the_ledger_changes_no_bit_and_goes_on_from_a_checkpoint(digits):
    whole, batches = trainer_on(digits)
    plain, _ = trainer_on(digits)
    plain.ledger = None
    states = []
    whole.train(batches, tell=lambda epoch: states.append(whole.state()))
    plain.train(batches)
    assert torch.equal(whole.x.values, plain.x.values)
    resumed, _ = trainer_on(digits)
    resumed.restore(states[0])
    resumed.train(batches)
    assert resumed.ledger.certificate() == whole.ledger.certificate()
    assert resumed.ledger.shares() == whole.ledger.shares()


def test_refusals():
    m = torch.ones(2)
    for factors, momentum, words in (
        ([], 0.0, "factors must hold"),
        ([("x", m, torch.ones(3))], 0.0, "must pair m and w of one shape"),
        ([("x", m, m.double())], 0.0, "must pair m and w of one shape"),
        ([("x", m, m)], 1.0, "momentum must be"),
    ):
        with pytest.raises(InputError, match=words):
            BalanceLedger(factors, momentum)
    ledger = BalanceLedger([("x", m, m)])
    with pytest.raises(InputError, match="must come after backward, but a factor of x"):
        ledger.before_step(0.1, 0.1)
    for eta, alpha in itertools.product((0.1, -0.1, math.nan), repeat=2):
        if (eta, alpha) != (0.1, 0.1):
            with pytest.raises(InputError, match=r"(step_size|alpha) must be a finite number"):
                ledger.before_step(eta, alpha, [(m, m)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("power", range(0, 9))
def test_weights_whose_squares_underflow_are_no_fault(dtype, power) -> None:
    """Decay carries weights to where m² is below the least normal number of their dtype."""
    size = torch.finfo(dtype).tiny ** 0.5 * 10.0 ** (1 - power)
    torch.manual_seed(power)
    m = (size * torch.randn(50, dtype=dtype)).requires_grad_()
    w = (size * torch.randn(50, dtype=dtype)).requires_grad_()
    optimizer = torch.optim.SGD([m, w], lr=0.1, momentum=0.9, weight_decay=2 * 0.05)
    ledger = BalanceLedger([("x", m, w)], momentum=0.9)
    for _ in range(60):
        optimizer.zero_grad()
        (m * w * torch.randn(50, dtype=dtype)).sum().backward()
        ledger.before_step(0.1, 0.05)
        optimizer.step()
    check = ledger.certificate()
    assert check.verdict == "confirmed", check

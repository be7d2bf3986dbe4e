"""The trainer of gpu_bench against torch's own optimizer, and its bookkeeping."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from gpu_bench import methods
from gpu_bench.flat import Flat
from gpu_bench.rates import learning_rates
from gpu_bench.train import Trainer
from mirrorflow import pilot
from mirrorflow.checks import InputError

EPOCHS, STEPS, CLASSES = 4, 5, 3


def network(seed=0):
    """A small convolutional network in float64."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 4, CLASSES),
    ).double()


@pytest.fixture(autouse=True)
def _one_thread():
    """These networks are too small for two threads, which would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Fixed:
    """Batches of random images whose labels can be learned."""

    def __init__(self, broken=False):
        generator = torch.Generator().manual_seed(3)
        self.images = torch.randn(STEPS, 16, 2, 4, 4, generator=generator, dtype=torch.float64)
        self.labels = (self.images.mean((2, 3, 4)) > 0).long()
        if broken:
            self.images[2] = math.nan

    def epoch(self, k):
        yield from zip(self.images, self.labels, strict=True)


RATE_SUM = learning_rates(0.2, "cosine", EPOCHS, STEPS, 1.0).sum() / (1.0 - 0.9)


def trained(name, epochs=EPOCHS, peak=0.2, model=None, batches=None, evaluate=None, **options):
    model = network() if model is None else model
    rates = learning_rates(peak, "cosine", epochs, STEPS, 1.0)
    trainer = Trainer(model, methods.METHODS[name](**options), rates, epochs, weight_decay=3e-3)
    history = trainer.train(Fixed() if batches is None else batches, evaluate)
    trainer.fold()
    return model, trainer, history


def by_torch(model, groups, alphas=None, penalty=lambda: 0.0):
    """The same training with torch.optim.SGD; `alphas` gives α of each epoch's "factors"."""
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    rates = iter(learning_rates(0.2, "cosine", EPOCHS, STEPS, 1.0))
    for epoch in range(EPOCHS):
        for images, labels in Fixed().epoch(epoch):
            rate = float(next(rates))
            for group in optimizer.param_groups:
                group["lr"] = rate
                if alphas is not None and group.get("name") == "factors":
                    group["weight_decay"] = 2.0 * alphas[epoch]
            optimizer.zero_grad()
            (functional.cross_entropy(model(images), labels) + penalty()).backward()
            optimizer.step()
    return model


def assert_same(ours, theirs):
    for (name, one), (other, two) in zip(
        ours.state_dict().items(), theirs.state_dict().items(), strict=True
    ):
        assert name == other
        torch.testing.assert_close(
            one, two, rtol=1e-9, atol=1e-11, msg=lambda m, n=name: f"{n} {m}"
        )


@pytest.mark.parametrize(("name", "l1"), [("dense", 0.0), ("lasso", 0.01)])
def test_plain_weights_are_torchs_sgd(name, l1):
    ours, *_ = trained(name, **({"total": l1 * RATE_SUM} if l1 else {}))
    theirs = network()
    prunable = [theirs[0].weight, theirs[3].weight, theirs[6].weight]
    rest = [p for p in theirs.parameters() if all(p is not q for q in prunable)]
    groups = [
        {"params": prunable, "weight_decay": 0.0 if l1 else 3e-3},
        {"params": rest, "weight_decay": 3e-3},
    ]
    by_torch(theirs, groups, penalty=lambda: l1 * sum(p.abs().sum() for p in prunable))
    assert_same(ours, theirs)


PRODUCTS = {
    "pilot": ("pilot", {"swing": 1.5 ** (EPOCHS / 2), "beta": 0.7}, 0.02),
    "spred": ("balanced", {}, 0.02),
    "mask-l1": ("pilot", {"beta": 0.7}, 0.01),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_mirrorflows_parametrization_under_torchs_sgd(name):
    """x a plain parameter with chain-rule updates = autograd through m ⊙ w."""
    init, options, strength = PRODUCTS[name]
    ours, _, history = trained(name, total=strength * RATE_SUM, **options)
    alphas = [epoch.alpha for epoch in history.epochs]
    theirs = pilot.reparametrize(network(), beta=0.7, init=init)
    masks = [m for _, m, _ in pilot.named_factors(theirs)]
    by_torch(
        theirs,
        pilot.parameter_groups(theirs, 3e-3, 1.5e-3 if name == "mask-l1" else 0.02),
        None if name == "mask-l1" else alphas,
        lambda: 0.01 * (name == "mask-l1") * sum(m.abs().sum() for m in masks),
    )
    assert_same(ours, pilot.fold(theirs))
    assert (len(set(alphas)) > 1) == (name == "pilot")


def test_total_is_the_sum_over_the_steps():
    """A = Σ η_k α_k/(1 − momentum), with α as the controller moved it."""
    _, trainer, history = trained("pilot", total=0.02 * RATE_SUM, swing=1.3 ** (EPOCHS / 2))
    rates = learning_rates(0.2, "cosine", EPOCHS, STEPS, 1.0).reshape(EPOCHS, STEPS)
    alphas = [epoch.alpha for epoch in history.epochs]
    assert len(set(alphas)) > 1
    expected = np.cumsum(rates.sum(1) * alphas) / (1.0 - 0.9)
    assert [epoch.total for epoch in history.epochs] == pytest.approx(list(expected))
    assert trainer.plan.rate_sum == pytest.approx(rates.sum() / 0.1)


@pytest.mark.parametrize(("epochs", "peak"), [(2, 0.2), (6, 0.05)])
def test_asked_total_is_spent(epochs, peak):
    _, trainer, _ = trained("spred", epochs=epochs, peak=peak, total=0.3)
    assert pilot.free_total(trainer.rates, trainer.method.alpha, 0.9) == pytest.approx(0.3)
    assert trainer.total == pytest.approx(trainer.method.alpha * trainer.plan.rate_sum)


def test_records_what_happened():
    model, trainer, history = trained("lasso", total=1e-2 * RATE_SUM)
    first, last = history.epochs[0], history.epochs[-1]
    assert history.status == "completed"
    assert [epoch.number for epoch in history.epochs] == [1, 2, 3, 4]
    assert last.norm == pytest.approx(
        sum(model[i].weight.abs().sum().item() for i in (0, 3, 6)), rel=1e-12
    )
    assert last.loss < first.loss
    assert last.accuracy > 0.7
    assert math.isnan(last.test_accuracy)
    assert trainer.initial_norm == pytest.approx(
        sum(network()[i].weight.abs().sum().item() for i in (0, 3, 6)), rel=1e-12
    )


def test_running_accuracy_and_loss_are_the_epochs():
    """With η = 0 nothing moves but batch norm's statistics, and both can be read off."""
    _, _, history = trained("dense", peak=1e-300)
    model, batches = network().train(), Fixed()
    with torch.no_grad():
        pairs = [(model(images), labels) for images, labels in batches.epoch(0)]
    loss = np.mean([functional.cross_entropy(a, b).item() for a, b in pairs])
    hits = np.mean([(a.argmax(1) == b).double().mean().item() for a, b in pairs])
    assert history.epochs[2].loss == pytest.approx(loss, rel=1e-9)
    assert history.epochs[2].accuracy == pytest.approx(hits)


def test_test_accuracy_is_read_in_evaluation_mode():
    model = network()
    held = Fixed()

    def evaluate():
        return trainer.accuracy(held.epoch(0))

    rates = learning_rates(0.2, "cosine", EPOCHS, STEPS, 1.0)
    trainer = Trainer(model, methods.METHODS["dense"](), rates, EPOCHS)
    history = trainer.train(held, evaluate)
    model.eval()
    hits = (model(held.images.flatten(0, 1)).argmax(1) == held.labels.flatten()).double().mean()
    assert history.epochs[-1].test_accuracy == pytest.approx(float(hits))


@pytest.mark.parametrize("count", [1, 3, STEPS])
def test_refreshed_statistics_are_means_over_the_batches(count):
    """Of each batch's mean and unbiased variance at these weights; nothing else moves."""
    model, trainer, _ = trained("pilot")
    norm = model[1]
    others = {k: v.clone() for k, v in model.state_dict().items() if not k.startswith("1.running")}
    trainer.refresh(itertools.islice(Fixed().epoch(0), count))
    with torch.no_grad():
        seen = [model[0](images) for images, _ in itertools.islice(Fixed().epoch(0), count)]
    mean = torch.stack([part.mean((0, 2, 3)) for part in seen]).mean(0)
    variance = torch.stack([part.var((0, 2, 3)) for part in seen]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(norm.running_var, variance, rtol=1e-12, atol=1e-14)
    assert norm.momentum == 0.1
    left = model.state_dict()
    del others["1.num_batches_tracked"]
    assert all(torch.equal(left[name], value) for name, value in others.items())


def test_a_loss_that_is_not_a_number_stops_the_run():
    _, _, history = trained("pilot", batches=Fixed(broken=True))
    assert history.status == "diverged"
    assert "lower --lr" in history.message
    assert len(history.epochs) == 1


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_weights_that_are_no_numbers_stop_the_run(name):
    """Also where the last step of an epoch spoils them and every loss before it was finite."""
    trainer = Trainer(network(), methods.METHODS[name](), np.full(2 * STEPS, 1e-300), 2)
    trainer.rates[STEPS - 1] = math.inf
    history = trainer.train(Fixed())
    assert history.status == "diverged"
    assert [math.isfinite(epoch.loss) for epoch in history.epochs] == [True]
    assert not math.isfinite(history.epochs[0].norm)
    assert "‖x‖₁" in history.message


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_same_bits_twice(name):
    one, two = (trained(name)[0].state_dict() for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_ham_is_torchs_sgd_and_a_second_step():
    ours, *_ = trained("ham", steepness=3.0, total=1.5)
    theirs = network()
    prunable = [theirs[0].weight, theirs[3].weight, theirs[6].weight]
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=3e-3)
    rates = learning_rates(0.2, "cosine", EPOCHS, STEPS, 1.0)
    beta, steps = 1.5 / rates.sum(), iter(rates)
    for epoch in range(EPOCHS):
        for images, labels in Fixed().epoch(epoch):
            optimizer.param_groups[0]["lr"] = rate = float(next(steps))
            optimizer.zero_grad()
            functional.cross_entropy(theirs(images), labels).backward()
            slopes = [weight.grad.clone() for weight in prunable]
            optimizer.step()
            with torch.no_grad():
                for weight, slope in zip(prunable, slopes, strict=True):
                    weight *= torch.exp(-rate * (3.0 * weight.sign() * slope + beta))
    assert_same(ours, theirs)


GENTLE = {"ham": {"total": 0.3, "steepness": 1.0}, "pilot": {"total": 0.3}, "spred": {"total": 0.3}}
GENTLE |= {"lasso": {"total": 0.1}, "mask-l1": {"total": 0.1}, "rigl": {"sparsity": 0.3}}


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_every_method_learns(name):
    _, _, history = trained(name, epochs=12, **GENTLE.get(name, {}))
    assert history.epochs[-1].accuracy > 0.9
    assert history.epochs[-1].loss < 0.7 * history.epochs[0].loss


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_every_epoch_starts_at_the_methods_weights(name):
    """Also where the epoch's end has changed the map itself (a temperature)."""
    starts = []

    class Watched(Fixed):
        def epoch(self, k):
            x = trainer.method.weight(*trainer.parameters)
            starts.append(torch.equal(trainer.x.values, x))
            yield from super().epoch(k)

    rates = learning_rates(0.2, "cosine", EPOCHS, STEPS, 1.0)
    trainer = Trainer(network(), methods.METHODS[name](), rates, EPOCHS)
    trainer.train(Watched())
    assert starts == [True] * EPOCHS


class _Watch(TorchDispatchMode):
    """Counts what waits for the device or can't be captured."""

    waits = ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name
        if name in self.waits:
            self.found.append(name)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_nothing_in_a_step_waits_for_the_device(name):
    """Else it could be neither captured in a CUDA graph nor run ahead of the device."""
    rates = learning_rates(0.2, "cosine", EPOCHS, STEPS, 1.0)
    trainer = Trainer(network(), methods.METHODS[name](), rates, EPOCHS)
    images, labels = next(Fixed().epoch(1))
    watch = _Watch()
    with watch:
        trainer._step(images, labels)
    assert watch.found == []
    with watch:  # the watch sees what it is for
        images.sum().item()
    assert watch.found == ["aten::_local_scalar_dense"]


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_a_step_works_in_place(name):
    """A captured step replays on fixed memory: nothing that lasts may be replaced by it."""
    rates = learning_rates(0.2, "cosine", EPOCHS, STEPS, 1.0)
    model = network()
    trainer = Trainer(model, methods.METHODS[name](), rates, EPOCHS)
    images, labels = next(Fixed().epoch(1))

    def lasting():
        tensors = [*trainer.parameters, *trainer.velocities, trainer.rest_velocity]
        tensors += [trainer.x.values, trainer.x.gradient, trainer.rest.values, trainer.sums]
        tensors += [*model.parameters(), *(p.grad for p in model.parameters())]
        tensors += [decay for decay in trainer.method.decays() if torch.is_tensor(decay)]
        return [tensor.data_ptr() for tensor in tensors]

    before = lasting()
    trainer.minus_rate.fill_(-0.1)
    for epoch in range(1, 4):
        trainer._step(images, labels)
        trainer.method.after_epoch(epoch, 0.5, 1.0)
    assert lasting() == before


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_flat_parameters_are_the_modules(layout):
    model = network().to(memory_format=layout)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    flat = Flat(dict(model.named_parameters()))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert model[0].weight.is_contiguous(memory_format=layout)
    assert flat.values.numel() == sum(p.numel() for p in model.parameters())
    flat.values.mul_(2.0)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, 2.0 * before[name])
    images, labels = next(Fixed().epoch(1))
    functional.cross_entropy(model(images), labels).backward()
    expected = sum(float(p.grad.abs().sum()) for p in model.parameters())
    assert float(flat.gradient.abs().sum()) == pytest.approx(expected)
    assert expected > 0
    parts = flat.layout.views(flat.values)
    assert parts["6.bias"].equal(model[6].bias.detach())


def test_learning_rates():
    cosine = learning_rates(0.4, "cosine", 10, 10, 1.0)
    assert cosine[:10] == pytest.approx(0.04 * np.arange(1, 11))
    assert cosine[10] == pytest.approx(0.4)
    assert cosine[55] == pytest.approx(0.2)
    assert 0 < cosine[-1] < 1e-3
    step = learning_rates(0.4, "step", 8, 10, 0.5)
    assert step[[4, 5, 39, 40, 59, 60, 79]] == pytest.approx(
        [0.4, 0.4, 0.4, 0.04, 0.04, 0.004, 0.004]
    )
    assert learning_rates(0.4, "constant", 3, 2, 0.0) == pytest.approx(np.full(6, 0.4))
    with pytest.raises(InputError, match="--schedule must be one of cosine"):
        learning_rates(0.4, "linear", 3, 2, 0.0)
    with pytest.raises(InputError, match="--warmup"):
        learning_rates(0.4, "cosine", 3, 2, 4.0)


# --- RigL: a mask that moves between steps ---


def moving(interval=4):
    """A trainer of RigL over 4 epochs of 5 steps."""
    rates = learning_rates(0.2, "cosine", EPOCHS, STEPS, 1.0)
    method = methods.METHODS["rigl"](sparsity=0.6, interval=interval)
    return Trainer(network(), method, rates, EPOCHS, weight_decay=3e-3)


def test_rigl_is_sgd_on_the_weights_it_has():
    """Between two moves: torch's SGD on the masked network, whose other weights stay 0."""
    trainer = moving(interval=1000)
    mask = trainer.parameters[1].clone()
    theirs = network()
    weights = [theirs[0].weight, theirs[3].weight, theirs[6].weight]
    views = trainer.x.layout.views(mask)
    with torch.no_grad():
        for weight, view in zip(weights, views.values(), strict=True):
            weight.mul_(view)
            weight.register_hook(lambda slope, view=view: slope * view)
    trainer.train(Fixed())
    by_torch(theirs, [{"params": list(theirs.parameters()), "weight_decay": 3e-3}])
    assert_same(trainer.fold(), theirs)


def test_rigl_has_the_same_zeros_at_every_step_and_other_ones_after_a_move():
    trainer, seen = moving(), []
    step = trainer.step

    def watched(*words):
        step(*words)
        assert int(trainer.parameters[1].sum()) == round(0.4 * len(trainer.x.values))
        assert not trainer.x.values[trainer.parameters[1] == 0].any()
        seen.append(trainer.parameters[1].clone())

    trainer.step = watched
    trainer.train(Fixed())
    changed = [k for k in range(1, len(seen)) if not torch.equal(seen[k - 1], seen[k])]
    assert changed == [3, 7, 11]  # after steps 4, 8 and 12 of 20; 16 is in the last quarter


def test_rigl_goes_on_from_a_state_with_the_same_bits():
    whole = moving()
    states = []
    whole.train(Fixed(), None, lambda _: states.append(whole.state()))
    for state in states[:-1]:
        again = moving()
        again.restore(state)
        again.train(Fixed())
        for name, tensor in whole._tensors().items():
            assert torch.equal(again._tensors()[name], tensor), name

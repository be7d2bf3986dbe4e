"""Masks at initialisation: exact counts, and each generator against an independent answer."""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from gpu_bench import initial_masks, masks, models
from gpu_bench.initial_masks import (
    INITIAL_MASKS,
    erk,
    erk_densities,
    initial_mask,
    random,
    snip,
    snip_scores,
    synflow,
    synflow_scores,
)
from mirrorflow.checks import InputError

SPARSITIES = [0.5, 0.8, 0.9, 0.95, 0.98, 0.99]


def images_of(size: int, count: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, size, size, generator=generator), torch.arange(count) % 10


@functools.cache
def network(name: str) -> nn.Module:
    return models.build(name, (3, 32, 32), 10, 0)


@pytest.fixture
def model() -> nn.Module:
    """Convolutions with a shortcut, batch norm that has seen images, dropout, a classifier."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False),
        models.BasicBlock(6, 8, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(8, 10),
    )
    with torch.no_grad():
        net(3.0 + images_of(8)[0])
    net[1].eval()  # modes differ within the model
    return net


def plain(seed: int = 0, bias: bool = False) -> nn.Module:
    """Neither shortcuts nor normalisation."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(5, 7, 3, padding=1, stride=2, bias=bias),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(28, 9, bias=bias),
        nn.ReLU(),
        nn.Linear(9, 10, bias=bias),
    )


def layers(*sizes: int) -> nn.Module:
    return nn.ModuleList([nn.Linear(size, 1) for size in sizes])


def counts(found: dict[str, Tensor]) -> list[int]:
    return [int(mask.count_nonzero()) for mask in found.values()]


def check_count(found: dict[str, Tensor], model: nn.Module, sparsity: float) -> None:
    weights = masks.prunable(model)
    assert list(found) == list(weights)
    assert all(mask.dtype == torch.bool for mask in found.values())
    assert all(mask.shape == weights[name].shape for name, mask in found.items())
    total = sum(weight.numel() for weight in weights.values())
    assert total - sum(counts(found)) == math.floor(sparsity * total + 0.5)


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], two[name]) for name in one.keys() | two.keys())


# Counts


@pytest.mark.parametrize("sparsity", SPARSITIES)
@pytest.mark.parametrize("name", ["resnet18", "resnet20", "resnet50"])
@pytest.mark.parametrize("generator", ["random", "erk"])
def test_random_counts_are_exact(generator: str, name: str, sparsity: float) -> None:
    found = initial_mask(generator, network(name), sparsity, 0)
    check_count(found, network(name), sparsity)
    weights = masks.prunable(network(name))
    shapes = {key: weight.shape for key, weight in weights.items()}
    wanted = dict.fromkeys(shapes, 1 - sparsity)
    if generator == "erk":
        wanted = erk_densities(shapes, sparsity)
    for key, count in zip(found, counts(found), strict=True):
        assert abs(count - wanted[key] * found[key].numel()) < 1, key


def slow(*values: object) -> object:
    """SynFlow's 100 rounds take a second or two for ResNet-20, up to a minute for ResNet-50."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "size", "sparsity"),
    [
        ("resnet20", 8, 0.5),
        ("resnet20", 8, 0.99),
        *(slow("resnet20", 8, sparsity) for sparsity in SPARSITIES[1:-1]),
        *(slow("resnet18", 8, sparsity) for sparsity in SPARSITIES),
        *(slow("resnet50", 32, sparsity) for sparsity in SPARSITIES),
    ],
)
def test_scored_counts_are_exact(name: str, size: int, sparsity: float) -> None:
    net = network(name)
    found = initial_mask("snip", net, sparsity, 0, batches=[images_of(size)])
    check_count(found, net, sparsity)
    found = initial_mask("synflow", net, sparsity, 0, shape=(3, size, size))
    check_count(found, net, sparsity)
    assert min(counts(found)) >= 1


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    sparsity=st.floats(0.0, 1.0, exclude_max=True),
)
def test_random_counts_are_exact_on_any_layers(sizes: list[int], sparsity: float) -> None:
    for generator in (random, erk):
        found = counts(generator(layers(*sizes), sparsity, 0))
        total = sum(sizes)
        kept = max(total - math.floor(sparsity * total + 0.5), 1)
        assert sum(found) == kept
        assert min(found) >= (1 if kept >= len(sizes) else 0)


def test_largest_remainders_by_hand() -> None:
    # 15 of 31 stay: 3.5, 5.5, 6.5 round down to 14, and the first of the equal halves goes up
    assert counts(random(layers(7, 11, 13), 0.5, 0)) == [4, 5, 6]
    # 12 of 31: 2.80, 4.36, 5.14 (11 after rounding down); 5 of 31: 1.29, 1.82, 2.14
    assert counts(random(layers(7, 11, 13), 0.6, 0)) == [3, 4, 5]
    assert counts(random(layers(7, 11, 13), 0.83, 0)) == [1, 2, 2]
    # 10 of 103: the three small layers keep their only weight, at the large one's cost
    assert counts(random(layers(1, 1, 1, 100), 0.9, 0)) == [1, 1, 1, 7]
    # 2 of 4 layers' 20 weights: no room for one in each
    assert sum(counts(random(layers(5, 5, 5, 5), 0.9, 0))) == 2


# Random places


def test_places_are_uniform() -> None:
    net, runs = nn.Linear(10, 4), 800
    hits = sum(random(net, 0.7, seed)["weight"].double() for seed in range(runs))
    assert isinstance(hits, Tensor)
    assert hits.sum() == runs * 12
    z = (hits - runs * 0.3) / (runs * 0.3 * 0.7) ** 0.5
    assert z.abs().max() < 4.5  # 40 places, fixed seeds; 4.5 σ is a chance of 3e-4


def test_streams_belong_to_generator_layer_and_seed() -> None:
    net = layers(50, 50)  # equal layers: random and erk keep equally many
    one = random(net, 0.5, 0)
    assert same(one, random(copy.deepcopy(net), 0.5, 0))
    assert not torch.equal(one["0.weight"], one["1.weight"])
    for other in (random(net, 0.5, 1), erk(net, 0.5, 0)):
        assert counts(other) == counts(one)
        assert not any(torch.equal(one[key], other[key]) for key in one)
    # another layer elsewhere leaves the places of these
    more = random(layers(50, 50, 20), 0.5, 0)
    assert all(torch.equal(one[key], more[key]) for key in one)


# ERK


def shapes_of(name: str) -> dict[str, torch.Size]:
    return {key: weight.shape for key, weight in masks.prunable(network(name)).items()}


def bisected(shapes: dict[str, torch.Size], sparsity: float) -> dict[str, float]:
    """min(1, ε raw) with ε by bisection: no notion of which layers saturate."""
    size = {name: float(np.prod(shape)) for name, shape in shapes.items()}
    raw = {name: float(np.sum(shape)) / size[name] for name, shape in shapes.items()}
    low, high = 0.0, max(1 / value for value in raw.values())
    for _ in range(200):
        middle = (low + high) / 2
        kept = sum(size[name] * min(1.0, middle * raw[name]) for name in shapes)
        low, high = (middle, high) if kept < (1 - sparsity) * sum(size.values()) else (low, middle)
    return {name: min(1.0, high * raw[name]) for name in shapes}


@pytest.mark.parametrize("sparsity", SPARSITIES)
@pytest.mark.parametrize("name", ["resnet18", "resnet20", "resnet50"])
def test_erk_is_the_bisected_solve(name: str, sparsity: float) -> None:
    shapes = shapes_of(name)
    assert erk_densities(shapes, sparsity) == pytest.approx(bisected(shapes, sparsity), rel=1e-12)


@settings(max_examples=200, deadline=None)
@given(
    shapes=st.lists(
        st.one_of(
            st.tuples(st.integers(1, 64), st.integers(1, 64)),
            st.tuples(st.integers(1, 64), st.integers(1, 64), st.integers(1, 7), st.integers(1, 7)),
        ),
        min_size=1,
        max_size=8,
    ),
    sparsity=st.floats(0.0, 0.999),
)
def test_erk_is_the_bisected_solve_on_any_layers(
    shapes: list[tuple[int, ...]], sparsity: float
) -> None:
    named = {f"layer{i}": torch.Size(shape) for i, shape in enumerate(shapes)}
    found = erk_densities(named, sparsity)
    assert found == pytest.approx(bisected(named, sparsity), rel=1e-10)
    assert all(0 < density <= 1 for density in found.values())
    total = sum(shape.numel() for shape in named.values())
    kept = sum(found[name] * shape.numel() for name, shape in named.items())
    assert kept == pytest.approx((1 - sparsity) * total, rel=1e-12)


def test_erk_by_hand() -> None:
    # n·raw = Σ shape: 20, 8, 12. Of 124 weights 62 stay: ε = 62/40 would put the 16 of b at
    # 8·1.55 = 12.4 and the 8 of c at 18.6 > 8; without c ε = 54/28 puts b at 15.4.
    shapes = {"a": torch.Size([10, 10]), "b": torch.Size([4, 4]), "c": torch.Size([8, 1, 1, 1])}
    shapes["c"] = torch.Size([2, 4, 1, 1])
    assert sum(shape.numel() for shape in shapes.values()) == 124
    epsilon = 54 / 28
    expected = {"a": epsilon * 20 / 100, "b": epsilon * 8 / 16, "c": 1.0}
    assert erk_densities(shapes, 0.5) == pytest.approx(expected, rel=1e-15)
    # at 40 % b is full too, and only then: 74.4 − 8 − 16 are left for a
    assert erk_densities(shapes, 0.4) == pytest.approx({"a": 0.504, "b": 1.0, "c": 1.0})
    assert erk_densities(shapes, 0.0) == {"a": 1.0, "b": 1.0, "c": 1.0}


@pytest.mark.parametrize("sparsity", SPARSITIES)
@pytest.mark.parametrize("name", ["resnet18", "resnet20", "resnet50"])
def test_equal_is_the_same_number_in_every_layer_that_is_not_full(name, sparsity):
    """To one weight, and no layer that is full is larger than another's number."""
    model = models.build(name, (3, 32, 32), 10, 0)
    mask = initial_mask("equal", model, sparsity, 0)
    check_count(mask, model, sparsity)
    kept = {key: int(part.sum()) for key, part in mask.items()}
    free = [count for key, count in kept.items() if count < mask[key].numel()]
    full = [count for key, count in kept.items() if count == mask[key].numel()]
    assert not free or max(free) - min(free) <= 1
    assert not (free and full) or max(full) <= max(free) + 1


# SNIP


class Masked(nn.Module):
    """x = m ⊙ w with m = 1."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.m = nn.Parameter(torch.ones_like(weight))

    def forward(self, weight: Tensor) -> Tensor:
        return self.m * weight


def test_snip_is_the_gradient_of_a_mask(model: nn.Module) -> None:
    model.double()
    first, second = images_of(8, 8, 1), images_of(8, 5, 2)
    scores = snip_scores(model, [first, second])
    reference = copy.deepcopy(model).train()
    reference[4].eval()  # dropout
    for name in list(masks.prunable(reference)):
        module = reference.get_submodule(name.removesuffix(".weight"))
        parametrize.register_parametrization(module, "weight", Masked(module.weight))
    loss = sum(
        functional.cross_entropy(reference(images.double()), labels) * len(labels) / 13
        for images, labels in (first, second)
    )
    assert isinstance(loss, Tensor)
    loss.backward()
    for name, score in scores.items():
        module = reference.get_submodule(name.removesuffix(".weight"))
        gradient = module.parametrizations.weight[0].m.grad
        assert torch.allclose(score, gradient.abs(), rtol=1e-10, atol=1e-14), name
        assert score.max() > 1e-5


def test_snip_keeps_the_largest_scores(model: nn.Module) -> None:
    batches = [images_of(8)]
    scores = torch.cat([score.flatten() for score in snip_scores(model, batches).values()])
    keep = torch.cat([mask.flatten() for mask in snip(model, 0.8, batches).values()])
    assert scores[keep].min() > scores[~keep].max()


def test_snip_of_a_cut_weight_is_zero() -> None:
    net = plain()
    with torch.no_grad():
        net[0].weight[0, 0] = 0.0
    score = snip_scores(net, [images_of(8)])["0.weight"]
    assert not score[0, 0].any()
    assert score[1:].any()


def test_snip_averages_over_images_not_batches() -> None:
    images, labels = images_of(8, 9)
    net = plain().double()
    whole = snip_scores(net, [(images, labels)])
    parts = snip_scores(net, [(images[:2], labels[:2]), (images[2:], labels[2:])])
    for name in whole:
        # the same float64 sums in another order
        assert torch.allclose(whole[name], parts[name], rtol=1e-11, atol=1e-14), name
    half = snip_scores(plain(), iter([(images.bfloat16().float(), labels)]))
    other = snip_scores(plain(), iter([(images.bfloat16(), labels)]))
    assert same(half, other)


# SynFlow


@pytest.mark.parametrize("sparsity", [None, 0.5, 0.9])
def test_synflow_conserves(sparsity: float | None) -> None:
    net = plain()
    kept = None if sparsity is None else random(net, sparsity, 0)
    scores = synflow_scores(net, (3, 8, 8), kept)
    absolute = copy.deepcopy(net).double()
    for name, weight in masks.prunable(absolute).items():
        weight.data.abs_().mul_(1.0 if kept is None else kept[name])
    flow = absolute(torch.ones(1, 3, 8, 8, dtype=torch.float64)).sum().item()
    assert flow > 0
    for name, score in scores.items():
        assert (score >= 0).all()
        assert float(score.sum()) == pytest.approx(flow, rel=1e-12), name
        assert kept is None or not score[~kept[name]].any()


def test_synflow_scores_are_sums_over_paths() -> None:
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, -4.0]]))
        net[2].weight.copy_(torch.tensor([[-5.0, 6.0]]))
    scores = synflow_scores(net, (2,))
    assert scores["0.weight"].tolist() == [[5.0, 10.0], [18.0, 24.0]]
    assert scores["2.weight"].tolist() == [[15.0, 42.0]]


def test_synflow_does_not_overflow() -> None:
    net = nn.Sequential(*[nn.Linear(64, 64, bias=False) for _ in range(60)])
    with torch.no_grad():
        for layer in net:
            layer.weight.fill_(4.0)
    scores = synflow_scores(net, (64,))
    total = 64.0 * 256.0**60  # 2e146; float32 ends at 3e38
    assert all(float(score.sum()) == pytest.approx(total, rel=1e-10) for score in scores.values())
    with torch.no_grad():
        for layer in net:
            layer.weight.fill_(2.0**-16)
    total = 64.0 * 2.0**-600  # float32 ends at 1e-45
    scores = synflow_scores(net, (64,))
    assert all(float(score.sum()) == pytest.approx(total, rel=1e-10) for score in scores.values())


def test_synflow_reads_batch_norm_in_evaluation_mode() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    norm = net[1]
    with torch.no_grad():
        norm.running_mean.fill_(1e6)  # would switch every channel off
        norm.running_var.copy_(torch.tensor([1.0, 4.0, 9.0, 16.0]))
        norm.weight.copy_(torch.tensor([-1.0, 1.0, 2.0, -2.0]))
        norm.bias.fill_(-0.5)
    slope = norm.weight.double().abs() / (norm.running_var.double() + norm.eps).sqrt()
    expected = 4.0 * slope[:, None, None, None] * net[0].weight.double().abs()  # 2×2 pixels
    scores = synflow_scores(net, (3, 2, 2))["0.weight"]
    assert torch.allclose(scores, expected, rtol=1e-12, atol=0)


def by_the_paper(net: nn.Module, sparsity: float, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Tanaka et al., Algorithm 1, as their program does it: |·| in place, .grad, a global sort."""
    net = copy.deepcopy(net).double().eval()
    for tensor in net.state_dict().values():
        tensor.abs_()
    weights = masks.prunable(net)
    dense = {name: weight.detach().clone() for name, weight in weights.items()}
    kept = {name: torch.ones_like(weight) for name, weight in dense.items()}
    total = sum(weight.numel() for weight in dense.values())
    for k in range(1, 101):
        net.zero_grad()
        for name, weight in weights.items():
            weight.data.copy_(dense[name] * kept[name])
        net(torch.ones(1, *shape, dtype=torch.float64)).sum().backward()
        flat = torch.cat([(w.grad * w.detach()).flatten() for w in weights.values()])
        flat[torch.cat([mask.flatten() for mask in kept.values()]) == 0] = -1.0
        cut = math.floor((1 - (1 - sparsity) ** (k / 100)) * total + 0.5)
        keep = torch.zeros(total, dtype=torch.float64)
        keep[flat.argsort(descending=True, stable=True)[: total - cut]] = 1.0
        parts = keep.split([weight.numel() for weight in weights.values()])
        kept = {n: part.view(dense[n].shape) for n, part in zip(weights, parts, strict=True)}
    return {name: mask.bool() for name, mask in kept.items()}


@pytest.mark.parametrize("build", [plain, lambda: plain(1, bias=True)])
@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_synflow_is_the_papers(build: Callable[[], nn.Module], sparsity: float) -> None:
    net = build()
    expected = by_the_paper(net, sparsity, (3, 8, 8))
    assert min(counts(expected)) >= 1  # else ours differs on purpose
    assert same(synflow(net, sparsity, (3, 8, 8)), expected)


def test_synflow_takes_100_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    net, left = plain(), []

    def spy(model: nn.Module, shape: tuple[int, ...], kept: dict[str, Tensor]) -> dict[str, Tensor]:
        left.append(kept)
        return synflow_scores(model, shape, kept)

    monkeypatch.setattr(initial_masks, "synflow_scores", spy)
    left.append(synflow(net, 0.9, (3, 8, 8)))
    total = sum(mask.numel() for mask in left[0].values())
    assert len(left) == 101
    for k, kept in enumerate(left):
        assert abs(sum(counts(kept)) - total * 0.1 ** (k / 100)) <= 0.5 + 1e-9
    for before, after in itertools.pairwise(left):
        assert all(not (after[name] & ~before[name]).any() for name in before)


def test_synflow_rounds_halves_as_magnitude_does() -> None:
    # 0.1 · 35 + ½ is 4, but 1 − (1 − 0.1) is a little less than 0.1
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 5, bias=False), nn.Linear(5, 2, bias=False))
    found = synflow(net, 0.1, (5,))
    check_count(found, net, 0.1)
    assert sum(counts(found)) == sum(counts(masks.magnitude(masks.prunable(net), 0.1))) == 31


class Bypassed(nn.Module):
    """x + conv(x), whose convolution carries next to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        nn.init.constant_(self.conv.weight, 1e-12)
        self.fc = nn.Linear(3, 40, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc((x + self.conv(x)).mean((2, 3)))


def test_synflow_empties_no_layer_beside_a_shortcut() -> None:
    torch.manual_seed(0)
    found = synflow(Bypassed(), 0.8, (3, 4, 4))
    assert counts(found) == [1, 39]
    assert counts(by_the_paper(Bypassed(), 0.8, (3, 4, 4)))[0] == 0  # the rule has work to do


# What every generator keeps its hands off


def arguments(name: str) -> dict[str, object]:
    return {"snip": {"batches": [images_of(8)]}, "synflow": {"shape": (3, 8, 8)}}.get(name, {})


@pytest.mark.parametrize("name", INITIAL_MASKS)
def test_model_is_left_as_it_was(name: str, model: nn.Module) -> None:
    model[0].weight.grad = torch.ones_like(model[0].weight)
    parameters = dict(model.named_parameters())
    buffers = dict(model.named_buffers())
    values = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    assert len(set(modes)) == 2
    torch.manual_seed(7)
    state = torch.get_rng_state()
    with torch.no_grad():  # the caller's modes don't matter either
        one = initial_mask(name, model, 0.6, 0, **arguments(name))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(value is parameters[key] for key, value in model.named_parameters())
    assert all(value is buffers[key] for key, value in model.named_buffers())
    assert all(torch.equal(value, values[key]) for key, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert (parameters.pop("0.weight").grad == 1).all()
    assert all(parameter.grad is None for parameter in parameters.values())
    assert all(parameter.requires_grad for parameter in parameters.values())
    torch.manual_seed(8)
    assert same(one, initial_mask(name, model, 0.6, 0, **arguments(name)))
    check_count(one, model, 0.6)


@pytest.mark.parametrize("name", ["snip", "synflow"])
def test_model_is_left_as_it_was_by_a_failure(name: str, model: nn.Module) -> None:
    values = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    bad = {"batches": [images_of(8), (torch.ones(2, 4, 8, 8), torch.zeros(2))]}
    with pytest.raises(InputError, match="must fit the model"):
        initial_mask(name, model, 0.5, 0, **bad, shape=(4, 8, 8))
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, values[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", INITIAL_MASKS)
def test_float64_weights_are_not_touched(name: str, model: nn.Module) -> None:
    model.double()
    values = {key: value.clone() for key, value in model.state_dict().items()}
    initial_mask(name, model, 0.5, 0, **arguments(name))
    assert all(torch.equal(value, values[key]) for key, value in model.state_dict().items())


def check_same_but_for_rounding(name: str, one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    """Other kernels may swap the two scores next to the threshold, and nothing else."""
    differ = sum(int((one[key] != two[key].cpu()).sum()) for key in one)
    assert differ <= (2 if name in ("snip", "synflow") else 0)


@pytest.mark.parametrize("name", INITIAL_MASKS)
def test_memory_format_does_not_matter(name: str, model: nn.Module) -> None:
    contiguous = initial_mask(name, model, 0.7, 0, **arguments(name))
    model.to(memory_format=torch.channels_last)
    last = initial_mask(name, model, 0.7, 0, **arguments(name))
    check_same_but_for_rounding(name, contiguous, last)
    masks.apply(model, last)
    assert all(bool((w == 0)[~last[key]].all()) for key, w in masks.prunable(model).items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", INITIAL_MASKS)
def test_cuda_gives_the_same_masks(
    name: str, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = initial_mask(name, model, 0.7, 0, **arguments(name))
    state = torch.cuda.get_rng_state()
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    device = initial_mask(name, model.cuda(), 0.7, 0, **arguments(name))
    assert torch.equal(state, torch.cuda.get_rng_state())
    assert all(mask.is_cuda for mask in device.values())
    check_same_but_for_rounding(name, host, device)
    check_count(device, model, 0.7)


# Bad input


def test_bad_input(model: nn.Module) -> None:
    batch, shape = [images_of(8)], (3, 8, 8)
    with pytest.raises(
        InputError, match="must be one of random, erk, equal, snip, synflow, but it is 'x'"
    ):
        initial_mask("x", model, 0.5, 0)
    with pytest.raises(InputError, match="batches must be given for snip, but they are None"):
        initial_mask("snip", model, 0.5, 0, shape=shape)
    with pytest.raises(InputError, match="shape must be given for synflow, but it is None"):
        initial_mask("synflow", model, 0.5, 0, batches=batch)
    for name in INITIAL_MASKS:
        for sparsity in (-0.1, 1.0, float("nan"), "half"):
            with pytest.raises(InputError, match="sparsity must be"):
                initial_mask(name, model, sparsity, 0, batches=batch, shape=shape)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="has none"):
            initial_mask(name, nn.Sequential(nn.ReLU()), 0.5, 0, batches=batch, shape=shape)
    for name in ("random", "erk", "equal"):
        with pytest.raises(InputError, match="seed must be at least 0"):
            initial_mask(name, model, 0.5, -1)
    for shapes in ({}, {"a": torch.Size([3, 0])}):
        with pytest.raises(InputError, match="shapes must name layers with weights"):
            erk_densities(shapes, 0.5)


def test_data_that_do_not_fit(model: nn.Module) -> None:
    images, labels = images_of(8)
    with pytest.raises(InputError, match="batches must hold an image"):
        snip(model, 0.5, [])
    for number, bad in enumerate(
        [(images, labels + 5), (images[:, :2], labels), (images, labels[:3]), (images,)]
    ):
        batches = [(images, labels)] * number + [bad]
        with pytest.raises(InputError, match=f"batches must fit .* number {number} does not"):
            snip(model, 0.5, batches)  # type: ignore[arg-type]
    for shape in ((2, 8, 8), (3, 0, 8), (3, -1, 8), 8):
        with pytest.raises(InputError, match="shape must fit the model"):
            synflow(model, 0.5, shape)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the sum of snip's scores is nan"):
        snip(model, 0.5, [(images * math.nan, labels)])
    with pytest.raises(InputError, match=r"fc\.weight"):
        synflow_scores(model, (3, 8, 8), {"fc.weight": torch.ones(1, dtype=torch.bool)})


def test_networks_that_carry_nothing() -> None:
    net = plain()
    nn.init.zeros_(net[3].weight)
    with pytest.raises(InputError, match="sum of snip's scores is 0"):
        snip(net, 0.5, [images_of(8)])
    with pytest.raises(InputError, match="synflow's R is 0"):
        synflow(net, 0.5, (3, 8, 8))
    with pytest.raises(InputError, match=r"a weight in each of 4 layers.* leaves 3"):
        synflow(plain(), 0.9968, (3, 8, 8))

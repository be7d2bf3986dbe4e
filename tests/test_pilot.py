"""The torch core of PILoT: initialisation, m ⊙ w weights, their decay, Algorithm 1."""

from __future__ import annotations

import copy
import importlib
import io
import math
import multiprocessing
import os
import subprocess
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

import mirrorflow
from mirrorflow import Factors
from mirrorflow.checks import InputError
from mirrorflow.pilot import (
    Controller,
    FactorProduct,
    balanced_factors,
    default_selection,
    fold,
    l1_norm,
    named_factors,
    parameter_groups,
    pilot_factors,
    reparametrize,
)

# torch itself warns when it is asked for a scripted module, and while it loads its compiler.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# Models: torchvision's ResNets written again, so that nothing here depends on torchvision.


def conv3(c_in: int, c_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        c_out = width
        self.body = nn.Sequential(
            conv3(c_in, width, stride),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            conv3(width, c_out),
            nn.BatchNorm2d(c_out),
        )
        self.shortcut = shortcut(c_in, c_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class Bottleneck(BasicBlock):
    expansion = 4

    def __init__(self, c_in: int, width: int, stride: int) -> None:
        nn.Module.__init__(self)
        c_out = 4 * width
        self.body = nn.Sequential(
            nn.Conv2d(c_in, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            conv3(width, width, stride),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, c_out, 1, bias=False),
            nn.BatchNorm2d(c_out),
        )
        self.shortcut = shortcut(c_in, c_out, stride)


def shortcut(c_in: int, c_out: int, stride: int) -> nn.Module:
    if stride == 1 and c_in == c_out:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))


def resnet(block: type[BasicBlock], depths: tuple[int, ...], width: int) -> nn.Sequential:
    layers: list[nn.Module] = [conv3(3, width), nn.BatchNorm2d(width), nn.ReLU()]
    c_in = width
    for stage, depth in enumerate(depths):
        for i in range(depth):
            layers.append(block(c_in, width * 2**stage, 2 if stage and not i else 1))
            c_in = width * 2**stage * block.expansion
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, 10))


def tiny_resnet() -> tuple[nn.Module, Tensor]:
    return resnet(BasicBlock, (1,), 4), torch.randn(2, 3, 8, 8)


def block() -> tuple[nn.Module, Tensor]:
    # Pooled: torch 2.13's code for this block, Flatten and Linear(64, 5), without m ⊙ w, reads
    # memory that it never wrote on a CPU without AVX-512.
    pooled = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    return nn.Sequential(BasicBlock(3, 4, 2), *pooled), torch.randn(2, 3, 8, 8)


def short_resnet() -> tuple[nn.Module, Tensor]:
    return resnet(Bottleneck, (1, 1), 8), torch.randn(4, 3, 16, 16)


def resnet18() -> tuple[nn.Module, Tensor]:
    return resnet(BasicBlock, (2, 2, 2, 2), 16), torch.randn(4, 3, 32, 32)


def resnet50() -> tuple[nn.Module, Tensor]:
    return resnet(Bottleneck, (3, 4, 6, 3), 16), torch.randn(4, 3, 32, 32)


def encoder() -> tuple[nn.Module, Tensor]:
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
    return layer, torch.randn(3, 7, 32)


def convolutions() -> tuple[nn.Module, Tensor]:
    model = nn.Sequential(
        nn.Conv1d(2, 3, 3), nn.GroupNorm(1, 3), nn.ConvTranspose1d(3, 2, 3), nn.LayerNorm(9)
    )
    return model, torch.randn(2, 2, 9)


MODELS = [resnet18, resnet50, encoder, convolutions]


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


EPS = torch.finfo(torch.float64).eps
# Outputs of the same network by other kernels, in float64: roundings of fifty layers at most.
SAME = 1e-12


def in_float64(build) -> tuple[nn.Module, Tensor]:
    model, x = build()
    return model.double(), x.double() if x.is_floating_point() else x


def distance(a: Tensor, b: Tensor) -> float:
    """Relative error ‖a − b‖/‖b‖ in float64."""
    a, b = a.detach().double(), b.detach().double()
    return float((a - b).norm() / b.norm())


def factors(model: nn.Module) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
    return {name: (m, w) for name, m, w in named_factors(model)}


# --- initialisation -------------------------------------------------------------------------


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    dtype=st.sampled_from(DTYPES),
    values=st.lists(st.floats(-6e4, 6e4, width=16), min_size=1, max_size=6),
    log_beta=st.floats(-8.0, 8.0),
)
def test_pilot_factors_agree_with_numpy_to_one_rounding(
    dtype: torch.dtype, values: list[float], log_beta: float
) -> None:
    x = torch.tensor(values, dtype=dtype)
    beta = math.exp(log_beta)
    m, w = pilot_factors(x, beta)
    assert m.dtype == w.dtype == dtype
    assert m.shape == w.shape == x.shape
    exact = Factors.pilot(x.double().numpy(), beta)
    eps = torch.finfo(dtype).eps
    # One rounding when m is stored (eps/2), three steps of up to two units in the last place
    # towards an exact product, and a few roundings of the working precision below it.
    work = torch.finfo(torch.promote_types(dtype, torch.float32)).eps
    np.testing.assert_allclose(m.double().numpy(), exact.m, rtol=6.5 * eps + 4 * work)
    # w absorbs m's rounding, so the product errs by w's rounding alone; below the smallest
    # normal number that rounding is absolute, and w carries it to x times m.
    subnormal = float(m.double().max()) * torch.finfo(dtype).tiny * eps
    error = (m.double() * w.double() - x.double()).abs()
    assert (
        error <= (0.5 * eps + 2 * work * (dtype == torch.float64)) * x.double().abs() + subnormal
    ).all()
    imbalance = m.double() ** 2 - w.double() ** 2
    scale = m.double() ** 2 + w.double() ** 2
    assert ((imbalance - beta).abs() <= (14 * eps + 8 * work) * scale).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_of_network_sized_weights_are_nearly_all_exact(dtype: torch.dtype) -> None:
    x = (0.05 * torch.randn(100_000)).to(dtype)
    m, w = pilot_factors(x)
    assert int((m * w != x).sum()) <= 10


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_whole_range_of_a_dtype_is_representable(dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    x = torch.tensor([0.0, info.tiny, -info.tiny, info.max, -info.max], dtype=dtype)
    for m, w in (pilot_factors(x), balanced_factors(x)):
        product = m * w
        assert torch.isfinite(torch.stack([m, w, product])).all()
        torch.testing.assert_close(product, x, rtol=info.eps, atol=0.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_balanced_factors_are_exactly_balanced(dtype: torch.dtype) -> None:
    x = torch.cat([torch.zeros(1), torch.randn(500)]).to(dtype)
    m, w = balanced_factors(x)
    assert torch.equal(m, w.abs())
    assert torch.equal(torch.sign(w), torch.sign(x))
    torch.testing.assert_close(m * w, x, rtol=1.5 * torch.finfo(dtype).eps, atol=0.0)
    exact = Factors.balanced(x.double().numpy())
    np.testing.assert_allclose(m.double().numpy(), exact.m, rtol=torch.finfo(dtype).eps)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4, 5)])
def test_initialisation_takes_any_shape(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, requires_grad=True)
    for m, w in (pilot_factors(x), balanced_factors(x)):
        assert m.shape == w.shape == x.shape
        assert not m.requires_grad
        assert not w.requires_grad


@pytest.mark.parametrize(
    ("x", "beta", "words"),
    [
        (torch.ones(2), 0.0, "beta must be a finite number above 0, but it is 0.0"),
        (torch.ones(2), -1.0, "beta must be a finite number above 0"),
        (torch.ones(2), math.nan, "beta must be"),
        (torch.ones(2), math.inf, "beta must be"),
        (torch.ones(2), 1e-40, "for torch.float32 weights, but it is 1e-40"),
        (torch.ones(2).half(), 1e-9, "for torch.float16 weights"),
        (torch.ones(2).half(), 1e10, "for torch.float16 weights"),
        (torch.tensor([1.0, math.nan]), 1.0, r"x must be finite, but x\[1\] is nan"),
        (torch.tensor([[1.0], [-math.inf]]), 1.0, r"x must be finite, but x\[1, 0\] is -inf"),
        (torch.ones(2, dtype=torch.int64), 1.0, "it is torch.int64"),
        ([1.0, 2.0], 1.0, "it is list"),
        (torch.ones(2, device="meta"), 1.0, "must be a dense tensor with values"),
    ],
)
def test_initialisation_refuses(x: Tensor, beta: float, words: str) -> None:
    with pytest.raises(InputError, match=words):
        pilot_factors(x, beta)


@pytest.mark.parametrize("beta", [4e-9, 2e9])
def test_half_precision_keeps_its_extreme_imbalances(beta: float) -> None:
    x = torch.tensor([0.0, 65504.0], dtype=torch.float16)
    m, w = pilot_factors(x, beta)
    assert torch.isfinite(m).all()
    assert (m > 0).all()
    torch.testing.assert_close(m * w, x, rtol=2e-3, atol=0.0)


# --- reparametrize and fold -----------------------------------------------------------------


@pytest.mark.parametrize("init", ["pilot", "balanced"])
@pytest.mark.parametrize("build", MODELS)
def test_outputs_stay_the_same(build, init: str) -> None:
    model, x = in_float64(build)
    model.eval()
    with torch.no_grad():
        plain = model(x)
        keys = list(model.state_dict())
        weights = dict(model.named_parameters())
        assert reparametrize(model, init=init) is model
        assert distance(model(x), plain) < SAME
        product = model(x)
        assert fold(model) is model
        assert torch.equal(model(x), product)
    assert distance(product, plain) < SAME
    assert list(model.state_dict()) == keys
    for name, parameter in model.named_parameters():
        assert distance(parameter, weights[name]) < 2 * EPS or torch.equal(parameter, weights[name])
    assert not any(parametrize.is_parametrized(part) for part in model.modules())
    assert all("Parametrized" not in type(part).__name__ for part in model.modules())


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_outputs_stay_the_same_on_torchvision(name: str) -> None:
    try:
        models = importlib.import_module("torchvision.models")
    except (ImportError, RuntimeError) as error:  # the latter: built for another torch
        pytest.skip(f"needs torchvision ({error})")
    model = getattr(models, name)().eval().double()
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        plain = model(x)
        count = len(list(model.parameters()))
        layers = sum(isinstance(part, nn.Conv2d | nn.Linear) for part in model.modules())
        reparametrize(model)
        assert len(list(model.parameters())) == count + layers
        assert distance(model(x), plain) < SAME
        assert distance(fold(model)(x), plain) < SAME


@pytest.mark.parametrize(
    ("build", "weights"), [(resnet18, 21), (resnet50, 54), (encoder, 4), (convolutions, 2)]
)
def test_exactly_one_extra_parameter_per_weight(build, weights: int) -> None:
    model, _ = build()
    before = dict(model.named_parameters())
    reparametrize(model, beta=0.5)
    after = dict(model.named_parameters())
    found = factors(model)
    assert len(found) == weights
    assert len(after) == len(before) + weights
    untouched = {name for name in before if name in after}
    assert set(found) == set(before) - untouched
    for name in untouched:
        assert after[name] is before[name]
        assert before[name].ndim == 1  # biases and normalisation
    for name, (m, w) in found.items():
        prefix, _, key = name.rpartition(".")
        assert after[f"{prefix}.parametrizations.{key}.original0".lstrip(".")] is m
        assert after[f"{prefix}.parametrizations.{key}.original1".lstrip(".")] is w
        torch.testing.assert_close(m**2 - w**2, torch.full_like(m, 0.5), rtol=1e-5, atol=1e-5)
        assert (m > 0).all()


def test_balanced_start_has_equal_factors() -> None:
    for m, w in factors(reparametrize(mlp(), init="balanced")).values():
        assert torch.equal(m, w.abs())


def test_gradients_follow_the_product_rule() -> None:
    model = mlp().double()
    x = torch.randn(5, 4, dtype=torch.float64)
    model(x).square().sum().backward()
    dense = {name: p.grad.clone() for name, p in model.named_parameters()}
    reparametrize(model)
    model.zero_grad()
    model(x).square().sum().backward()
    for name, (m, w) in factors(model).items():
        torch.testing.assert_close(m.grad, dense[name] * w)
        torch.testing.assert_close(w.grad, dense[name] * m)


@pytest.mark.parametrize(
    "build", [block, *(pytest.param(b, marks=pytest.mark.slow) for b in MODELS)]
)
def test_compiled_module_computes_the_same(build) -> None:
    torch._dynamo.reset()
    model, x = in_float64(build)
    # An encoder layer in evaluation is one fused operator: nothing would be compiled.
    model.train(build is encoder)
    with torch.no_grad():
        plain = model(x)
        reparametrize(model)
        compiled = torch.compile(model, fullgraph=True)
        assert distance(compiled(x), plain) < SAME
        # The very same compiled module must notice that its weights were folded.
        fold(model)
        assert distance(compiled(x), plain) < SAME
        model.load_state_dict({k: 0 * v for k, v in model.state_dict().items()})
        assert not torch.isfinite(plain / compiled(x)).all()


@pytest.mark.parametrize("build", [short_resnet, encoder])
def test_traced_module_computes_the_same_and_trains(build) -> None:
    """Forward and backward graphs, without the time that code generation takes."""
    torch._dynamo.reset()
    model, x = in_float64(build)
    model.eval()
    plain = model(x)
    eager = copy.deepcopy(reparametrize(model))
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    outputs = compiled(x)
    assert distance(outputs, plain) < SAME
    outputs.square().mean().backward()
    eager(x).square().mean().backward()
    for ours, theirs in zip(model.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-12)


def test_state_dict_round_trip() -> None:
    source, target = reparametrize(mlp()), reparametrize(mlp())
    x = torch.randn(5, 4)
    assert not torch.equal(source(x), target(x))
    file = io.BytesIO()
    torch.save(source.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert "0.parametrizations.weight.original0" in state
    assert "0.weight" not in state
    target.load_state_dict(state)
    assert torch.equal(source.eval()(x), target.eval()(x))


def test_deepcopy_is_independent() -> None:
    model = reparametrize(mlp()).eval()
    x = torch.randn(5, 4)
    before = model(x)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for _, m, _ in named_factors(other):
            m.mul_(2.0)
    assert torch.equal(model(x), before)
    assert not torch.equal(other(x), before)


def test_folding_a_copy_leaves_the_original_reparametrized() -> None:
    """deepcopy shares torch's generated class: removing its property broke the original."""
    model = reparametrize(mlp()).eval()
    x = torch.randn(5, 4)
    before = model(x)
    folded = fold(copy.deepcopy(model))
    assert torch.equal(folded(x), before)
    assert torch.equal(model(x), before)
    assert len(factors(model)) == 2
    assert torch.equal(fold(model)(x), before)


def test_reparametrizing_a_copy_further_leaves_the_original_alone() -> None:
    attention = nn.MultiheadAttention(4, 2, kdim=3, vdim=3)
    reparametrize(attention, select=lambda _, __, key: key == "q_proj_weight")
    other = copy.deepcopy(attention)
    reparametrize(other, select=lambda _, __, key: key == "k_proj_weight")
    assert isinstance(attention.k_proj_weight, nn.Parameter)
    assert set(factors(attention)) == {"q_proj_weight"}
    assert set(factors(other)) == {"q_proj_weight", "k_proj_weight"}


def test_autocast() -> None:
    model = reparametrize(tiny_resnet()[0]).eval()
    x = torch.randn(2, 3, 8, 8)
    plain = fold(copy.deepcopy(model))
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(x)
        assert outputs.dtype == torch.bfloat16
        assert torch.equal(outputs, plain(x))
    outputs.float().sum().backward()
    for _, m, w in named_factors(model):
        assert m.grad.dtype == w.grad.dtype == torch.float32
        assert torch.isfinite(m.grad).all()
        assert (m.grad != 0).any()


def test_distributed_data_parallel(tmp_path: Path) -> None:
    # in a process of its own: gloo's destructor can wait for ever for the interpreter's lock
    process = multiprocessing.get_context("spawn").Process(
        target=_train_distributed, args=(str(tmp_path / "store"),)
    )
    process.start()
    process.join(120)
    alive = process.is_alive()
    process.kill()
    assert not alive
    assert process.exitcode == 0


def _train_distributed(path: str) -> None:
    try:
        _check_distributed(path)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # no destructors


def _check_distributed(path: str) -> None:
    model = reparametrize(mlp())
    alone = copy.deepcopy(model)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    store = torch.distributed.FileStore(path, 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    parallel = nn.parallel.DistributedDataParallel(model)
    parallel(x).square().sum().backward()
    alone(x).square().sum().backward()
    for ours, theirs in zip(model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert len(parameter_groups(parallel, 0.0, 0.0)[0]["params"]) == 4
    # The wrapper goes on reducing the parameters it was made with.
    for change in (reparametrize, fold):
        with pytest.raises(InputError, match="must not hold a DistributedDataParallel"):
            change(parallel)
    assert torch.equal(fold(model)(x), alone(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_memory_format_and_frozen_weights_survive(dtype: torch.dtype) -> None:
    model = nn.Conv2d(3, 4, 3).to(dtype).to(memory_format=torch.channels_last)
    model.weight.requires_grad_(False)
    weight = model.weight.detach().clone()
    reparametrize(model)
    ((m, w),) = factors(model).values()
    assert not m.requires_grad
    assert not w.requires_grad
    assert m.dtype == w.dtype == dtype
    assert m.is_contiguous(memory_format=torch.channels_last)
    fold(model)
    assert isinstance(model.weight, nn.Parameter)
    assert not model.weight.requires_grad
    assert model.weight.is_contiguous(memory_format=torch.channels_last)
    assert list(model.state_dict()) == ["weight", "bias"]
    torch.testing.assert_close(model.weight, weight, rtol=torch.finfo(dtype).eps, atol=0.0)


@pytest.mark.parametrize("frozen", [(), (0,), (1,), (0, 1)])
def test_a_weight_is_trained_where_one_of_its_factors_is(frozen: tuple[int, ...]) -> None:
    layer = reparametrize(nn.Linear(3, 2))
    ((_, *pair),) = named_factors(layer)
    for i in frozen:
        pair[i].requires_grad_(False)
    assert fold(layer).weight.requires_grad == (len(frozen) < 2)


def test_assignment_initialises_the_factors_anew() -> None:
    layer = reparametrize(nn.Linear(3, 2), beta=2.0)
    ((m, w),) = factors(layer).values()
    value = torch.randn(2, 3)
    layer.weight = value
    torch.testing.assert_close(layer.weight, value)
    torch.testing.assert_close(m**2 - w**2, torch.full((2, 3), 2.0))


def test_parameter_order_survives_any_order_of_folding() -> None:
    attention = nn.MultiheadAttention(4, 2, kdim=3, vdim=3)
    names = [name for name, _ in attention.named_parameters()]
    reparametrize(attention, select=lambda _, __, key: key == "v_proj_weight")
    reparametrize(attention, select=lambda _, __, key: key in ("q_proj_weight", "k_proj_weight"))
    fold(attention)
    assert [name for name, _ in attention.named_parameters()] == names


def test_a_parameter_that_came_later_stays_behind_the_others() -> None:
    layer = reparametrize(nn.Linear(3, 2))
    layer.register_parameter("late", nn.Parameter(torch.zeros(1)))
    assert [name for name, _ in fold(layer).named_parameters()] == ["weight", "bias", "late"]


def test_select_chooses_and_is_never_asked_about_biases_and_normalisation() -> None:
    model = nn.Sequential(
        nn.Embedding(5, 4),
        nn.Linear(4, 4),
        nn.LayerNorm(4),
        nn.BatchNorm1d(4),
        nn.Bilinear(4, 4, 2),
    )
    asked = []

    def everything(module_name: str, module: nn.Module, parameter_name: str) -> bool:
        asked.append((module_name, type(module), parameter_name))
        return True

    reparametrize(model, select=everything)
    assert asked == [
        ("0", nn.Embedding, "weight"),
        ("1", nn.Linear, "weight"),
        ("4", nn.Bilinear, "weight"),
    ]
    assert set(factors(model)) == {"0.weight", "1.weight", "4.weight"}
    fold(model)
    reparametrize(model)
    assert set(factors(model)) == {"1.weight"}
    fold(model)
    reparametrize(model, select=lambda name, *_: name == "0")
    assert set(factors(model)) == {"0.weight"}
    asked.clear()
    with pytest.raises(InputError, match="select chose none"):
        reparametrize(model, select=lambda *given: bool(everything(*given) and None))
    assert [name for name, _, _ in asked] == ["0", "1", "4"]  # nothing inside torch's own lists
    # The rest later: what is not selected may well be reparametrized already.
    reparametrize(model, select=lambda name, *rest: name != "0" and default_selection(name, *rest))
    assert set(factors(model)) == {"0.weight", "1.weight"}


def test_select_is_never_asked_about_any_kind_of_bias() -> None:
    asked = []

    def everything(_: str, __: nn.Module, key: str) -> bool:
        asked.append(key)
        return True

    reparametrize(nn.MultiheadAttention(4, 2, add_bias_kv=True), select=everything)
    assert asked == ["in_proj_weight", "weight"]


def test_a_bare_parameter_of_any_shape_can_be_selected() -> None:
    model = nn.Module()
    model.x = nn.Parameter(torch.tensor([0.0, -2.0]))
    reparametrize(model, beta=3.0, select=lambda *_: True)
    ((name, m, w),) = named_factors(model)
    assert name == "x"
    torch.testing.assert_close(m.data, torch.tensor([math.sqrt(3.0), 2.0]))
    torch.testing.assert_close(w.data, torch.tensor([0.0, -1.0]))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.middle = nn.Linear(4, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(self.embedding(x)))


def test_tied_weights_stay_tied() -> None:
    model = Tied().double()
    x = torch.arange(5)
    plain = model(x)
    reparametrize(model, select=lambda *_: True)
    assert len(factors(model)) == 2
    head, embedding = (part.parametrizations["weight"] for part in (model.head, model.embedding))
    assert head.original0 is embedding.original0
    assert head.original1 is embedding.original1
    assert distance(model(x), plain) < SAME
    assert len(parameter_groups(model, 0.0, 0.0)[0]["params"]) == 4
    expected = model.middle.weight.abs().sum() + model.head.weight.abs().sum()
    torch.testing.assert_close(l1_norm(model), expected.detach())
    other = fold(copy.deepcopy(model))
    assert other.head.weight is other.embedding.weight
    fold(model)
    assert model.head.weight is model.embedding.weight
    assert distance(model(x), plain) < SAME


def test_half_selected_and_hidden_ties_are_refused() -> None:
    with pytest.raises(InputError, match=r"head.weight is the same parameter as embedding.weight"):
        reparametrize(Tied())
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight.data = model[0].weight.data
    with pytest.raises(InputError, match=r"0\.weight and 1\.weight share memory"):
        reparametrize(model)
    with pytest.raises(InputError, match=r"^1\.weight and 0\.weight share memory"):
        reparametrize(model, select=lambda name, *_: name == "1")
    assert not parametrize.is_parametrized(model[0])


def test_a_module_registered_twice_is_one() -> None:
    layer = nn.Linear(3, 3)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    model, x = model.double(), torch.randn(2, 3, dtype=torch.float64)
    plain = model(x)
    reparametrize(model)
    assert len(factors(model)) == 1
    assert distance(model(x), plain) < SAME
    fold(model)
    assert model[0] is model[2]
    assert distance(model(x), plain) < SAME


class Mask(nn.Module):
    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask


def test_what_is_stacked_on_the_product_is_folded_with_it() -> None:
    layer = reparametrize(nn.Linear(3, 2))
    mask = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    parametrize.register_parametrization(layer, "weight", Mask(mask))
    weight = layer.weight.detach().clone()
    fold(layer)
    assert torch.equal(layer.weight, weight)
    assert torch.equal(layer.weight == 0, mask == 0)


def snapshot(model: nn.Module) -> list[tuple[str, int, type]]:
    return [(name, id(p), Tensor) for name, p in model.named_parameters()] + [
        (name, id(part), type(part)) for name, part in model.named_modules()
    ]


def with_nan() -> nn.Module:
    model = mlp()
    with torch.no_grad():
        model[3].weight[1, 2] = math.nan
    return model


def with_weight_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 3), nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)))


def with_pruning() -> nn.Module:
    model = mlp()
    prune.random_unstructured(model[3], "weight", 0.5)
    return model


def any_parameter(*_: object) -> bool:
    return True


@pytest.mark.parametrize(
    ("build", "options", "words"),
    [
        (mlp, {"beta": 0.0}, "beta must be a finite number above 0, but it is 0.0"),
        (mlp, {"beta": -1.0}, "beta must be .* above 0"),
        (mlp, {"beta": math.nan}, "beta must be"),
        (mlp, {"beta": "one"}, "beta must be a number"),
        (mlp, {"beta": 1e-40}, "for torch.float32 weights"),
        (mlp, {"init": "zeros"}, "init must be"),
        (mlp, {"select": "weight"}, "select must be callable"),
        (mlp, {"select": lambda *_: False}, "select chose none in Sequential"),
        (lambda: nn.BatchNorm1d(3), {}, "select chose none in BatchNorm1d"),
        (lambda: nn.Embedding(3, 2), {}, "select chose none in Embedding"),
        (with_nan, {}, r"3.weight must be finite, but 3.weight\[1, 2\] is nan"),
        (lambda: reparametrize(mlp()), {}, "0.weight is already reparametrized"),
        (lambda: nn.Sequential(nn.Linear(2, 2), reparametrize(mlp())), {}, "1.0.weight is already"),
        (with_weight_norm, {}, "1.weight must be a plain parameter.*_WeightNorm"),
        (with_pruning, {}, "3.weight must be a plain parameter, but a hook computes it"),
        (lambda: nn.Sequential(nn.Linear(2, 2), nn.LazyLinear(2)), {}, "1.weight .* one forward"),
        (lambda: nn.Linear(2, 2, device="meta"), {}, "must be a dense tensor with values"),
        (lambda: nn.Linear(2, 2, dtype=torch.complex64), {}, "weight .* it is torch.complex64"),
        (lambda: nn.LSTM(2, 2), {"select": any_parameter}, "weight_ih_l0 can't be"),
        (lambda: torch.jit.script(nn.Linear(2, 2)), {}, "must not hold a"),
    ],
)
def test_reparametrize_refuses_and_changes_nothing(build, options: dict, words: str) -> None:
    model = build()
    before = snapshot(model)
    with pytest.raises(InputError, match=words):
        reparametrize(model, **options)
    assert snapshot(model) == before


def test_the_weight_of_a_bare_layer_has_no_dot_before_its_name() -> None:
    layer = reparametrize(nn.Linear(3, 2))
    assert list(factors(layer)) == ["weight"]
    with pytest.raises(InputError, match=r"^weight is already reparametrized; fold the module"):
        reparametrize(layer)


def test_what_is_no_module_is_refused() -> None:
    for change in (reparametrize, fold):
        with pytest.raises(InputError, match=r"module must be a torch\.nn\.Module"):
            change([1.0])


@pytest.mark.parametrize("use", [fold, l1_norm, lambda m: parameter_groups(m, 0.0, 0.0)])
def test_plain_modules_are_refused(use) -> None:
    with pytest.raises(InputError, match="module must be reparametrized"):
        use(mlp())
    twice = fold(reparametrize(mlp()))
    with pytest.raises(InputError, match="module must be reparametrized"):
        use(twice)


def test_a_failure_half_way_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Tied()
    before = snapshot(model)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    register = parametrize.register_parametrization

    def fail_on_the_last(module: nn.Module, name: str, product: nn.Module) -> nn.Module:
        if module is model.head:
            raise MemoryError
        return register(module, name, product)

    monkeypatch.setattr(parametrize, "register_parametrization", fail_on_the_last)
    with pytest.raises(MemoryError):
        reparametrize(model, select=any_parameter)
    assert snapshot(model) == before
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_representation_names_the_initialisation() -> None:
    assert repr(FactorProduct("pilot", 0.5)) == "FactorProduct(init=pilot, beta=0.5)"
    assert repr(FactorProduct("balanced", 0.5)) == "FactorProduct(init=balanced)"


def test_import_of_the_package_leaves_torch_out() -> None:
    code = "import sys, mirrorflow; sys.exit('torch' in sys.modules)"
    root = Path(mirrorflow.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


# --- penalty --------------------------------------------------------------------------------


def test_groups_hold_every_parameter_once() -> None:
    model = reparametrize(mlp())
    one, rest = parameter_groups(model, weight_decay=3e-4, alpha=1e-3)
    assert (one["name"], one["weight_decay"]) == ("factors", 2e-3)
    assert (rest["name"], rest["weight_decay"]) == ("rest", 3e-4)
    assert {id(p) for p in one["params"]} == {id(p) for f in factors(model).values() for p in f}
    everything = [id(p) for group in (one, rest) for p in group["params"]]
    assert sorted(everything) == sorted(id(p) for p in model.parameters())


def test_decay_is_the_gradient_of_the_penalty() -> None:
    """One SGD step with the groups = one step on loss + α(‖m‖² + ‖w‖²) + λ/2 ‖rest‖²."""
    alpha, decay, lr = 0.03, 0.2, 0.1
    model = reparametrize(mlp().double())
    other = copy.deepcopy(model)
    x = torch.randn(5, 4, dtype=torch.float64)

    optimizer = torch.optim.SGD(parameter_groups(model, decay, alpha), lr=lr)
    model(x).square().sum().backward()
    optimizer.step()

    loss = other(x).square().sum()
    squares = [f.square().sum() for pair in factors(other).values() for f in pair]
    inside = {id(f) for pair in factors(other).values() for f in pair}
    rest = [p.square().sum() for p in other.parameters() if id(p) not in inside]
    (loss + alpha * sum(squares) + 0.5 * decay * sum(rest)).backward()
    with torch.no_grad():
        for p in other.parameters():
            p -= lr * p.grad
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "NAdam"])
def test_any_optimizer_takes_the_groups(kind: str) -> None:
    model = reparametrize(mlp())
    optimizer = getattr(torch.optim, kind)(parameter_groups(model, 1e-4, 1e-3), lr=0.01)
    before = [p.detach().clone() for p in model.parameters()]
    model(torch.randn(5, 4)).square().sum().backward()
    optimizer.step()
    changed = [not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    assert sum(changed) >= len(changed) - 1  # batch norm removes the first bias's gradient


@pytest.mark.parametrize(("decay", "alpha"), [(-1.0, 0.0), (0.0, -1.0), (math.nan, 0.0)])
def test_decays_must_not_be_negative(decay: float, alpha: float) -> None:
    with pytest.raises(InputError, match="must be a finite number at least 0"):
        parameter_groups(reparametrize(mlp()), decay, alpha)


@pytest.mark.parametrize("dtype", DTYPES)
def test_l1_norm_counts_all_reparametrized_weights(dtype: torch.dtype) -> None:
    # 300 x 300 weights near 1 sum to more than float16 can hold.
    model = nn.Sequential(nn.Linear(300, 300), nn.Linear(300, 2), nn.LayerNorm(2)).to(dtype)
    with torch.no_grad():
        model[0].weight.fill_(-1.5)
    reparametrize(model)
    norm = l1_norm(model)
    assert norm.ndim == 0
    assert not norm.requires_grad
    expected = sum(model[i].weight.detach().double().abs().sum() for i in (0, 1))
    assert float(norm) == pytest.approx(float(expected), rel=1e-5)
    assert float(norm) > 1.3e5


def test_l1_norm_is_that_of_the_folded_module() -> None:
    """Masks stacked on m ⊙ w count, at tied weights each with its own mask."""
    model = Tied()
    reparametrize(model, select=any_parameter)
    torch.testing.assert_close(l1_norm(model), folded_norm(model))
    for part in (model.middle, model.head):
        mask = (torch.rand_like(part.weight) < 0.5).float()
        parametrize.register_parametrization(part, "weight", Mask(mask))
    dense = sum(float((m * w).abs().sum()) for _, m, w in named_factors(model))
    torch.testing.assert_close(l1_norm(model), folded_norm(model))
    assert float(l1_norm(model)) < dense + float(model.embedding.weight.abs().sum())


def folded_norm(model: nn.Module) -> Tensor:
    folded = fold(copy.deepcopy(model))
    weights = {id(p): p for name, p in folded.named_parameters() if name.endswith("weight")}
    return sum(p.detach().abs().sum() for p in weights.values())


def test_the_decay_in_the_sense_of_adam_and_adamw() -> None:
    """What `parameter_groups` says of them: e^{−4Σηα}; 1/(2α) under a steady gradient; η a step."""

    def train(kind: type, lr: float, alpha: float, gradient: float, steps: int) -> nn.Module:
        layer = reparametrize(nn.Linear(2, 2, bias=False).double())
        with torch.no_grad():
            for _, m, w in named_factors(layer):
                m.fill_(2.0), w.fill_(1.0)
        optimizer = kind(parameter_groups(layer, 0.0, alpha), lr=lr)
        for _ in range(steps):
            for p in layer.parameters():
                p.grad = torch.full_like(p, gradient)
            optimizer.step()
        return layer

    x = train(torch.optim.AdamW, 1e-3, 0.2, 0.0, 1000).weight
    torch.testing.assert_close(x, torch.full_like(x, 2.0 * math.exp(-0.8)), rtol=1e-3, atol=0.0)
    for gradient in (1e-3, -1e3):
        ((_, m, w),) = named_factors(train(torch.optim.AdamW, 0.02, 0.2, gradient, 1500))
        steady = -math.copysign(2.5, gradient)
        torch.testing.assert_close(m, torch.full_like(m, steady), rtol=1e-3, atol=0.0)
    for alpha in (1e-3, 1.0):
        ((_, m, w),) = named_factors(train(torch.optim.Adam, 1e-3, alpha, 0.0, 100))
        torch.testing.assert_close(m, torch.full_like(m, 1.9), rtol=5e-3, atol=0.0)
        torch.testing.assert_close(w, torch.full_like(w, 0.9), rtol=5e-3, atol=0.0)


def test_a_plain_checkpoint_is_refused_with_the_way_out() -> None:
    plain, target = mlp(), mlp()
    reparametrize(target)
    for strict in (True, False):
        with pytest.raises(InputError, match=r"m and w of 0\.weight, .* before reparametrize"):
            target.load_state_dict(plain.state_dict(), strict=strict)
    fold(target).load_state_dict(plain.state_dict())
    reparametrize(target)
    x = torch.randn(5, 4)
    assert distance(target.eval()(x), plain.eval()(x)) < 1e-6
    layer = reparametrize(nn.Linear(3, 2))  # at the root, and with a mask stacked on it
    parametrize.register_parametrization(layer, "weight", Mask(torch.ones(2, 3)))
    layer.load_state_dict(copy.deepcopy(layer).state_dict())
    with pytest.raises(InputError, match=r"m and w of weight, but"):
        layer.load_state_dict(nn.Linear(3, 2).state_dict())


def test_nothing_around_alpha_reads_a_device_value() -> None:
    """Tensors on the meta device have no values: whatever read one would raise."""
    model = reparametrize(mlp()).to("meta")
    assert l1_norm(model).is_meta
    optimizer = torch.optim.SGD(parameter_groups(model, 1e-4, 0.0), lr=0.1)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    controller = Controller(1e-3, 0.0, 4)
    controller.step(0.5, 1.0)
    controller.apply(optimizer)
    optimizer.step()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_alpha_and_the_norm_need_no_synchronisation() -> None:
    model = reparametrize(nn.Linear(4, 3)).cuda()
    controller = Controller(0.5, 0.0, 8, delta=2.0)
    optimizer = torch.optim.SGD(parameter_groups(model, 0.0, 0.0), lr=0.1)
    controller.step(1.0, 1.0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        controller.apply(optimizer)
        norm = l1_norm(model)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(norm, model.weight.detach().abs().sum())


# --- controller -----------------------------------------------------------------------------


def run(controller: Controller, accuracies: list[float], norm: float = 10.0) -> list[int]:
    """Return the exponent of δ = 2 after each epoch."""
    start = controller.alpha
    return [round(math.log2(controller.step(a, norm) / start)) for a in accuracies]


def test_algorithm_1() -> None:
    """Up: no worse than before (a tie counts), norm ≥ K (a tie counts), k ≤ T/2."""
    controller = Controller(1e-3, threshold=10.0, epochs=10, delta=2.0)
    assert controller.alpha == 1e-3
    # first, better, tie, worse, better than the previous one but not the best | past T/2
    assert run(controller, [0.5, 0.6, 0.6, 0.4, 0.5, 0.6, 0.7]) == [1, 2, 3, 2, 3, 2, 1]
    assert controller.epoch == 7
    assert controller.alpha == pytest.approx(2e-3)


def test_norm_below_the_threshold_lowers() -> None:
    controller = Controller(1.0, threshold=10.0, epochs=10, delta=2.0)
    assert controller.step(0.5, 9.999) == 0.5
    assert controller.step(0.6, 10.0) == 1.0


@pytest.mark.parametrize(("epochs", "raised"), [(1, 0), (2, 1), (5, 2), (6, 3)])
def test_half_way_is_included_and_odd_totals_round_down(epochs: int, raised: int) -> None:
    exponents = run(Controller(1.0, 0.0, epochs, 2.0), [1.0] * epochs)
    assert max(0, *exponents, 0) == raised


def test_extreme_options() -> None:
    assert run(Controller(1.0, math.inf, 6, 2.0), [0.1, 0.2, 0.3]) == [-1, -2, -3]
    assert run(Controller(1.0, 0.0, 6, 2.0), [0.1, 0.2, 0.3], norm=0.0) == [1, 2, 3]
    constant = Controller(0.1, 5.0, 6, delta=1.0)
    assert {constant.step(a, 10.0) for a in (0.1, 0.3, 0.2, 0.1, 0.9, 0.1)} == {0.1}
    zero = Controller(0.0, 0.0, 6)
    assert {zero.step(a, 10.0) for a in (0.1, 0.3, 0.2)} == {0.0}
    huge = Controller(1e300, 0.0, 6, delta=1e300)
    assert math.isfinite(huge.step(1.0, 1.0))


def test_measurements_may_be_tensors() -> None:
    controller = Controller(1.0, 10.0, 6, 2.0)
    assert controller.step(torch.tensor(0.5), torch.tensor(10.0)) == 2.0
    assert isinstance(controller.alpha, float)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": -1.0}, "alpha must be a finite number at least 0"),
        ({"alpha": math.inf}, "alpha must be a finite"),
        ({"threshold": -1.0}, "threshold must be"),
        ({"threshold": math.nan}, "threshold must be"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"delta": 0.99}, "delta must be a finite number at least 1"),
        ({"delta": math.inf}, "delta must be a finite"),
    ],
)
def test_controller_refuses_options(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Controller(**{"alpha": 1.0, "threshold": 1.0, "epochs": 2, **options})


@pytest.mark.parametrize(
    ("accuracy", "norm", "words"),
    [
        (math.nan, 1.0, "accuracy must be a finite number, but it is nan"),
        (0.5, math.nan, "l1_norm must be a finite"),
        (0.5, math.inf, "l1_norm must be a finite"),
        (0.5, -1.0, "l1_norm must be a finite number at least 0"),
        (torch.ones(2), 1.0, "accuracy must be one number"),
        ("high", 1.0, "accuracy must be a number"),
    ],
)
def test_bad_measurements_change_nothing(accuracy, norm, words: str) -> None:
    controller = Controller(1.0, 1.0, 4, 2.0)
    controller.step(0.4, 2.0)
    before = controller.state_dict()
    with pytest.raises(InputError, match=words):
        controller.step(accuracy, norm)
    assert controller.state_dict() == before


def test_no_step_after_the_last_epoch() -> None:
    controller = Controller(1.0, 1.0, 2, 2.0)
    run(controller, [0.1, 0.2])
    with pytest.raises(InputError, match="at most epochs = 2 times"):
        controller.step(0.3, 2.0)
    assert controller.epoch == 2


def test_state_dict_continues_exactly() -> None:
    accuracies = [0.5, 0.6, 0.4, 0.5, 0.7, 0.6]
    whole = Controller(1e-3, 1.0, 12, 1.7)
    expected = [whole.step(a, 2.0) for a in accuracies]
    for cut in range(len(accuracies)):
        first = Controller(1e-3, 1.0, 12, 1.7)
        alphas = [first.step(a, 2.0) for a in accuracies[:cut]]
        file = io.BytesIO()
        torch.save(first.state_dict(), file)
        file.seek(0)
        second = Controller(9.0, 1.0, 12, 1.7)
        second.load_state_dict(torch.load(file, weights_only=True))
        assert second.alpha == first.alpha
        assert alphas + [second.step(a, 2.0) for a in accuracies[cut:]] == expected


@pytest.mark.parametrize(
    "state",
    [
        {},
        [1, 2, 3],
        {"epoch": 1, "alpha": 1.0},
        {"epoch": 1, "alpha": 1.0, "accuracy": 0.5, "delta": 2.0},
        {"epoch": -1, "alpha": 1.0, "accuracy": 0.5},
        {"epoch": 5, "alpha": 1.0, "accuracy": 0.5},
        {"epoch": 1.0, "alpha": 1.0, "accuracy": 0.5},
        {"epoch": 1, "alpha": -1.0, "accuracy": 0.5},
        {"epoch": 1, "alpha": math.nan, "accuracy": 0.5},
        {"epoch": 1, "alpha": 1.0, "accuracy": math.nan},
        {"epoch": 1, "alpha": 1.0, "accuracy": None},
        {"epoch": 0, "alpha": 1.0, "accuracy": 0.5},
    ],
)
def test_bad_state_changes_nothing(state) -> None:
    controller = Controller(1.0, 1.0, 4, 2.0)
    controller.step(0.4, 2.0)
    before = controller.state_dict()
    with pytest.raises(InputError, match="state"):
        controller.load_state_dict(state)
    assert controller.state_dict() == before


def test_apply_changes_the_decay_of_the_factors_only() -> None:
    model = reparametrize(mlp())
    controller = Controller(1e-3, 0.0, 4, delta=2.0)
    optimizer = torch.optim.SGD(parameter_groups(model, 5e-4, controller.alpha), lr=0.1)
    controller.step(0.5, 1.0)
    controller.apply(optimizer)
    decays = {group["name"]: group["weight_decay"] for group in optimizer.param_groups}
    assert decays == {"factors": 4e-3, "rest": 5e-4}
    assert all(type(decay) is float for decay in decays.values())
    resumed = torch.optim.SGD(parameter_groups(model, 0.0, 0.0), lr=0.1)
    resumed.load_state_dict(optimizer.state_dict())
    assert resumed.param_groups[0]["weight_decay"] == 4e-3


def test_apply_refuses_an_optimizer_without_factors() -> None:
    with pytest.raises(InputError, match='group named "factors"'):
        Controller(1.0, 1.0, 2).apply(torch.optim.SGD(mlp().parameters(), lr=0.1))


def test_apply_sets_every_group_of_factors() -> None:
    """Two models in one optimizer, a second one by add_param_group."""
    models = [reparametrize(mlp()) for _ in range(3)]
    optimizer = torch.optim.SGD(parameter_groups(models[0], 5e-4, 0.0), lr=0.1)
    for model in models[1:]:
        for group in parameter_groups(model, 5e-4, 0.0):
            optimizer.add_param_group(group)
    Controller(0.25, 1.0, 2).apply(optimizer)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 5e-4] * 3


def test_representation_shows_where_it_stands() -> None:
    assert repr(Controller(0.5, 8000.0, 150)) == (
        "Controller(alpha=0.5, epoch=0/150, threshold=8000, delta=1.01)"
    )

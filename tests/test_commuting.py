"""Lie brackets of a parametrization's gradients: which maps commute, which leave the kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mirrorflow import InputError
from mirrorflow.commuting import (
    brackets_in_kernel,
    commutes,
    regularizer_commutes,
    regularizer_scale,
)

D = 4  # of x; θ = (m, w) or (u, v) has twice as many


def product(theta):
    return theta[:D] * theta[D:]


def powers(exponent):
    return lambda theta: theta[:D] ** exponent - theta[D:] ** exponent


def neuron(theta):
    return theta[0] * theta[1:]


def decay(theta):
    return (theta**2).sum()


@pytest.mark.parametrize(
    "g",
    [product, *(powers(exponent) for exponent in (2, 3, 4, 5))],
    ids=["m ⊙ w", "u² − v²", "u³ − v³", "u⁴ − v⁴", "u⁵ − v⁵"],
)
def test_commuting_maps(g):
    assert commutes(g, 2 * D).holds
    assert brackets_in_kernel(g, 2 * D).holds


def test_a_mixture_of_commuting_maps_commutes_but_for_rounding():
    """Brackets that cancel only in exact arithmetic: x = Q(u³ − v³)."""
    Q = torch.linalg.qr(torch.from_numpy(np.random.default_rng(0).standard_normal((D, D))))[0]
    check = commutes(lambda theta: Q @ powers(3)(theta), 2 * D)
    assert check.holds
    assert 0 < check.value < 1e-14


def test_a_mask_per_neuron_fails_both():
    """Lemma C.1: g(m, w) = m·w with scalar m."""
    for check in (commutes(neuron, 1 + D), brackets_in_kernel(neuron, 1 + D)):
        assert not check.holds
        assert check.value > 0.1


def test_brackets_in_the_kernel_without_commuting():
    """g = (θ₀, θ₁ + θ₀θ₂): [∇g₀, ∇g₁] = e₂, which ∂g sends to (0, θ₀): 0 where θ₀ = 0 only."""

    def g(theta):
        return torch.stack([theta[0], theta[1] + theta[0] * theta[2]])

    assert not commutes(g, 3).holds
    assert not brackets_in_kernel(g, 3).holds
    on_the_plane = [0.0, 0.4, -1.3]
    assert not commutes(g, 3, on_the_plane).holds
    assert brackets_in_kernel(g, 3, on_the_plane).holds


def test_brackets_by_hand():
    """Neuron-wise: [∇g_i, ∇g_j] = w_i e_j − w_j e_i, and ∂g of it m(w_i e_j − w_j e_i)."""
    theta = np.array([0.7, 0.3, -1.1, 0.5, 2.0])
    m, w = theta[0], theta[1:]
    terms = [np.hypot(w[i], m if i == j else 0.0) for i in range(D) for j in range(D)]
    bracket = max(np.hypot(w[i], w[j]) for i in range(D) for j in range(i))
    check = commutes(neuron, 5, theta)
    # ∇²g_j ∇g_i = (m δ_ij, w_i e_j)
    assert check.value == pytest.approx(bracket / max(terms), rel=1e-12)
    slope = max(np.hypot(w[i], m) for i in range(D))
    check = brackets_in_kernel(neuron, 5, theta)
    assert check.value == pytest.approx(abs(m) * bracket / (slope * max(terms)), rel=1e-12)


def test_regularizers():
    """α(‖m‖² + ‖w‖²) commutes with m ⊙ w; ‖m‖² alone, ‖m‖₁ and a wrong balance do not."""
    assert regularizer_commutes(product, decay, 2 * D).holds
    assert regularizer_commutes(powers(2), decay, 2 * D).holds
    for h in (
        lambda theta: (theta[:D] ** 2).sum(),
        lambda theta: theta[:D].abs().sum(),
        lambda theta: (theta[:D] ** 2).sum() + 1.001 * (theta[D:] ** 2).sum(),
        lambda theta: (theta**4).sum(),
    ):
        assert not regularizer_commutes(product, h, 2 * D).holds
    # for u³ − v³ the quadratic penalty does not commute: its brackets are 2(1 − 2)∇g
    assert not regularizer_commutes(powers(3), decay, 2 * D).holds
    # a penalty that is a function of x commutes wherever x's gradients do
    assert regularizer_commutes(product, lambda theta: product(theta).sum(), 2 * D).holds


@pytest.mark.parametrize("exponent", [2, 3, 4, 5])
def test_scale_of_weight_decay(exponent):
    """κ = 2(L − 2) for L-homogeneous g, where the penalty commutes or not."""
    check, kappa = regularizer_scale(powers(exponent), decay, 2 * D)
    assert check.holds
    assert kappa == pytest.approx(2.0 * (exponent - 2), rel=1e-12, abs=0.0)
    assert regularizer_commutes(powers(exponent), decay, 2 * D).holds == (kappa == 0.0)


def test_scale_of_commuting_quadratics():
    """C09 of the reference cases: g_i = ½θᵀA_iθ, h = ½θᵀBθ, all of which commute."""
    given = json.loads((Path(__file__).parent / "data" / "custom_cases.json").read_text())
    A1, A2, B = (
        torch.tensor(given["C09_commuting_quadratics"][key], dtype=torch.float64)
        for key in ("A1", "A2", "B")
    )

    def g(theta):
        return 0.5 * torch.stack([theta @ A1 @ theta, theta @ A2 @ theta])

    assert commutes(g, 4).holds
    check, kappa = regularizer_scale(g, lambda theta: 0.5 * theta @ B @ theta, 4)
    assert check.holds
    assert kappa == 0.0


def test_one_scale_for_all():
    """Coordinates of unlike degrees have a κ each, and none together; nor has a penalty of m."""

    def unlike(theta):
        return torch.stack([theta[0] ** 2, theta[1] ** 3])

    check, kappa = regularizer_scale(unlike, decay, 2)
    assert not check.holds
    assert check.value > 0.1
    assert 0.0 < kappa < 2.0
    for i, own in enumerate((0.0, 2.0)):
        alone, kappa = regularizer_scale(lambda theta, i=i: unlike(theta)[i : i + 1], decay, 2)
        assert alone.holds
        assert kappa == pytest.approx(own, rel=1e-12)
    assert not regularizer_scale(product, lambda theta: (theta[:D] ** 2).sum(), 2 * D)[0].holds
    # h = 3‖θ‖² has three times the κ
    _, kappa = regularizer_scale(powers(3), lambda theta: 3 * (theta**2).sum(), 2 * D)
    assert kappa == pytest.approx(6.0, rel=1e-12)


def test_points():
    """At θ = 0 the terms of neuron-wise masks vanish; several points are all tried."""
    assert commutes(neuron, 5, np.zeros(5)).holds
    assert not commutes(neuron, 5, [np.zeros(5), np.ones(5)]).holds
    assert commutes(neuron, 5) == commutes(neuron, 5)
    linear = commutes(lambda theta: theta[:2] + theta[2:], 4)
    assert linear.value == 0.0
    assert linear.holds
    # smooth, but every derivative up to the second vanishes
    assert commutes(powers(3), 2 * D, np.zeros(2 * D)).holds


BAD_G = {
    "a matrix": (lambda t: product(t).reshape(2, 2), r"shape \(d,\), but its shape is \(2, 2\)"),
    "a scalar": (lambda t: t.sum(), r"shape \(d,\), but its shape is \(\)"),
    "no entry": (lambda t: t[:0], r"shape \(d,\), but its shape is \(0,\)"),
    "float32": (
        lambda t: product(t).float(),
        "g must return a float64 tensor, but it returns torch.float32",
    ),
    "numpy": (lambda t: t.numpy(), "g must return a float64 tensor, but it returns ndarray"),
    "wrong D": (lambda t: t[:5] * t[5:], r"g must take a tensor of shape \(8,\), but it raises"),
    "constant": (lambda t: torch.tensor(t.detach().tolist()).double(), "miss|torch says"),
    "detached": (lambda t: t[:D].detach() * t[D:], "g must be twice differentiable where"),
    "by numpy": (lambda t: torch.from_numpy(t.detach().numpy() ** 2), "torch says"),
    "infinite": (lambda t: (t[:D] - t[:D]).sqrt() * t[D:], "a derivative is not finite"),
}


@pytest.mark.parametrize("name", BAD_G)
def test_bad_g(name):
    g, message = BAD_G[name]
    for check in (commutes, brackets_in_kernel):
        with pytest.raises(InputError, match=message) as raised:
            check(g, 2 * D)
        assert len(str(raised.value).splitlines()) == 1


def test_kinks_where_they_are_tried():
    def kinked(theta):
        return theta[:D].abs() * theta[D:]

    assert commutes(kinked, 2 * D).holds  # smooth at random points
    with pytest.raises(InputError, match="is there a kink or a detach"):
        commutes(kinked, 2 * D, np.concatenate([np.zeros(D), np.ones(D)]))


def test_a_second_derivative_that_jumps_where_it_is_tried():
    """θ|θ| at 0: torch.autograd's gradcheck and gradgradcheck, of central differences, pass it."""

    def bent(theta):
        return theta[:D] * theta[:D].abs() + theta[D:]

    assert commutes(bent, 2 * D).holds
    with pytest.raises(InputError, match="is there a kink or a detach"):
        commutes(bent, 2 * D, np.zeros(2 * D))


@pytest.mark.parametrize(
    ("h", "message"),
    [
        (lambda t: t, r"h must return a scalar, but its shape is \(8,\)"),
        (lambda t: t.sum().reshape(1), r"h must return a scalar, but its shape is \(1,\)"),
        (lambda t: 1.0, "h must return a float64 tensor, but it returns float"),
        (lambda t: (t.detach() ** 2).sum() * t[0], "h must be twice differentiable"),
    ],
)
def test_bad_h(h, message):
    with pytest.raises(InputError, match=message):
        regularizer_commutes(product, h, 2 * D)


@pytest.mark.parametrize(
    ("dim", "at", "message"),
    [
        (0, None, "dim must be at least 1"),
        (2.0, None, "dim must be a whole number"),
        (8, [1.0, 2.0], "at must hold points of dim = 8 entries, but has 2"),
        (8, [[np.nan] * 8], "at must be finite"),
        (8, [[[0.0] * 8]], "at must have 2 axes"),
    ],
)
def test_bad_points(dim, at, message):
    with pytest.raises(InputError, match=message):
        commutes(product, dim, at)


def test_importing_does_not_load_torch():
    code = "import sys, mirrorflow.commuting; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

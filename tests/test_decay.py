"""Free decay of m² − w² under SGD: what torch's optimizer does, and momentum's speed limit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from mirrorflow.checks import InputError
from mirrorflow.pilot import (
    alpha_for_total,
    free_total,
    largest_total,
    steps_for_total,
)

KINDS = [(0.0, False), (0.5, False), (0.9, False), (0.9, True)]
RUNS = {
    "rates": st.lists(st.floats(1e-4, 0.3), min_size=1, max_size=60),
    "kind": st.sampled_from(KINDS),
}


def cosine(steps, peak=0.2):
    return peak * 0.5 * (1.0 + np.cos(np.pi * np.arange(steps) / steps))


def shed(rates, alphas, momentum, nesterov):
    """m² − w² at the end over that at the start, by torch's SGD without gradient."""
    theta = nn.Parameter(torch.tensor([1.5, 0.5], dtype=torch.float64))
    optimizer = torch.optim.SGD([theta], lr=0.1, momentum=momentum, nesterov=nesterov)
    for eta, alpha in zip(rates, alphas, strict=True):
        theta.grad = torch.zeros_like(theta)
        optimizer.param_groups[0] |= {"lr": float(eta), "weight_decay": 2.0 * float(alpha)}
        optimizer.step()
    m, w = theta.tolist()
    return (m * m - w * w) / 2.0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(**RUNS, alpha=st.floats(0.0, 1.5), growth=st.floats(0.5, 2.0))
def test_free_total_is_what_sgd_sheds(rates, kind, alpha, growth):
    """At any step size and strength, through any number of zeros."""
    alphas = alpha * growth ** np.arange(len(rates)).clip(max=5)
    left = shed(rates, alphas, *kind)
    assert math.exp(-4.0 * free_total(rates, alphas, *kind)) == pytest.approx(left, abs=1e-9)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(**RUNS, total=st.floats(1e-3, 4.0))
def test_alpha_for_total_sheds_what_was_asked(rates, kind, total):
    assume(total <= 0.99 * largest_total(rates, *kind))
    alpha = alpha_for_total(total, rates, *kind)
    assert free_total(rates, alpha, *kind) == pytest.approx(total, rel=1e-9)
    assert shed(rates, [alpha] * len(rates), *kind) == pytest.approx(math.exp(-4 * total), rel=1e-7)
    assert alpha_for_total(total, torch.tensor(rates, dtype=torch.float64), *kind) == alpha


@settings(max_examples=40, deadline=None, derandomize=True)
@given(**RUNS)
def test_the_largest_total_lies_where_a_rises_as_alpha_squared(rates, kind):
    """On this side of the first zero: c falls all the way; beyond 2 % more the steps are named."""
    largest = largest_total(rates, *kind)
    alpha = alpha_for_total(0.999 * largest, rates, *kind)
    one, other = (free_total(rates, alpha * f, *kind) for f in (1 - 1e-6, 1 + 1e-6))
    assert math.log(other / one) / 2e-6 == pytest.approx(2.0, abs=0.05)
    falling = [free_total(rates[:k], alpha, *kind) for k in range(1, len(rates) + 1)]
    assert np.all(np.diff(falling) > 0)
    with pytest.raises(InputError, match=f"total must be at most {largest:.3g} over these"):
        alpha_for_total(1.02 * largest, rates, *kind)


@pytest.mark.parametrize(("momentum", "nesterov"), KINDS)
@pytest.mark.parametrize("total", [1.0, 3.0])
def test_the_steps_that_are_named_are_just_enough(momentum, nesterov, total):
    rates = cosine(64)
    steps = steps_for_total(total, rates, momentum, nesterov)
    for count, fits in ((steps, True), (steps - 1, False)):
        stretched = rates[np.arange(count) * len(rates) // count]
        assert (largest_total(stretched, momentum, nesterov) >= total * (1 - 1e-5)) == fits


def test_the_printed_limits():
    """Cosine, warm-up T/30, μ = 0.9, 11 steps an epoch: A ≤ 1.39, 2.09, 3.59 at T = 8, 16, 32."""
    for epochs, printed in ((8, 1.39), (16, 2.09), (32, 3.59)):
        rising = round(epochs / 30 * 11)
        rates = np.concatenate([np.arange(1, rising + 1) / rising, cosine(11 * epochs - rising, 1)])
        assert largest_total(rates, 0.9) == pytest.approx(printed, abs=5e-3)


@pytest.mark.parametrize("factor", [4.0, 16.0])
def test_no_constant_strength_beats_the_momentum(factor):
    """−2 log max|c| of the last steps is at most K log(1/μ); nominally it is 2 to 8 times that."""
    momentum, steps = 0.9, 400
    strength = factor * (1 - math.sqrt(momentum)) ** 2 / 2
    rates = np.ones(steps)
    envelope = min(4 * free_total(rates[: steps - k], strength, momentum) for k in range(41))
    limit = steps * -math.log(momentum)
    assert 0.8 < envelope / limit < 1.05
    assert 4 * strength * steps / (1 - momentum) > 1.9 * limit


def test_small_steps_shed_the_nominal_total():
    rates = cosine(20_000)
    alpha = 1.5 * (1 - 0.9) / rates.sum()
    assert free_total(rates, alpha, 0.9) == pytest.approx(1.5, rel=1e-2)
    assert alpha_for_total(1.5, rates, 0.9) == pytest.approx(alpha, rel=1e-2)


def test_zeros_and_runaways_are_told_apart():
    assert free_total([1.0], 0.5) == math.inf  # δ = 0
    assert free_total([1.0] * 2000, 30.0) == -math.inf
    assert free_total([1.0] * 10, 1.5) < 0.0
    assert alpha_for_total(0.0, [0.1], 0.9) == 0.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((-1.0, [0.1]), "total must be a finite number at least 0"),
        ((101.0, [0.1] * 9), "total must be"),
        ((1.0, []), "rates must not be empty"),
        ((1.0, 0.1), "rates must have 1 ax"),
        ((1.0, [0.0, 0.0]), "rates must be at least 0 and not all 0"),
        ((1.0, [0.1, -0.1]), "rates must be at least 0 and not all 0"),
        ((1.0, [0.1, math.nan]), "rates must be finite"),
        ((1.0, [0.1], 1.0), "momentum below 1"),
        ((1.0, [0.1], -0.1), "momentum must be"),
        ((3.0, [0.1] * 100, 0.9), "must be at most 1.9 over these 100 steps at momentum 0.9"),
        ((3.0, [0.1] * 100, 0.9), "needs 170 steps"),
    ],
)
def test_refusals(arguments, words):
    with pytest.raises(InputError, match=words):
        alpha_for_total(*arguments)


def test_strengths_that_are_refused():
    with pytest.raises(InputError, match="alpha must"):
        free_total([0.1, 0.1], [0.1])
    with pytest.raises(InputError, match="alpha must be at least 0"):
        free_total([0.1, 0.1], [0.1, -0.1])

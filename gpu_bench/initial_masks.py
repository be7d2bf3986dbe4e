"""Masks to train with from the start: random, Erdős–Rényi-kernel, SNIP, SynFlow.

>>> from gpu_bench import masks, models
>>> model = models.build("resnet20", (3, 32, 32), classes=10, seed=0)
>>> masks.density(initial_mask("erk", model, 0.75, seed=0))
0.25
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from gpu_bench.masks.weights import (
    check_masks,
    check_sparsity,
    fitting,
    kept_count,
    magnitude,
    modes,
    prunable,
)
from mirrorflow.checks import InputError, whole
from mirrorflow.problems import random_stream

__all__ = ["INITIAL_MASKS", "equal", "erk", "erk_densities", "initial_mask", "random"]
__all__ += ["random_masks", "snip", "snip_scores", "synflow", "synflow_scores"]

INITIAL_MASKS = ("random", "erk", "equal", "snip", "synflow")
ROUNDS = 100  # of SynFlow

Batches = Iterable[tuple[Tensor, Tensor]]


def initial_mask(
    name: str,
    model: nn.Module,
    sparsity: float,
    seed: int,
    batches: Batches | None = None,
    shape: tuple[int, ...] | None = None,
) -> dict[str, Tensor]:
    """Choose which weights of a freshly initialised network to train.

    Of N prunable weights exactly ⌊sparsity·N + ½⌋ are cut, but one at least stays. The model
    is left as it was: weights, gradients, modes, batch norm's statistics.

    Parameters
    ----------
    name : {"random", "erk", "equal", "snip", "synflow"}
        The function of that name in this module.
    model : nn.Module
        With plain weights, on any device and in any memory format.
    sparsity : float in [0, 1)
    seed : int ≥ 0
        Of "random", "erk" and "equal"; the others draw nothing.
    batches : iterable of (images, labels)
        Training batches, for "snip"; all of them are used.
    shape : (C, H, W)
        Of one image, for "synflow".

    Returns
    -------
    dict of bool Tensor
        True where a weight stays; names, order and shapes of `masks.prunable`, device of the
        weights.

    Raises
    ------
    InputError
        If the name is unknown, an argument it needs is missing or out of range, the data do
        not fit the model, or the scores are of no use (not finite, or all zero).
    """
    if name in RANDOM:
        return RANDOM[name](model, sparsity, seed)
    if name == "snip":
        if batches is None:
            raise InputError("batches must be given for snip, but they are None.")
        return snip(model, sparsity, batches)
    if name == "synflow":
        if shape is None:
            raise InputError("shape must be given for synflow, but it is None.")
        return synflow(model, sparsity, shape)
    raise InputError(f"initial mask must be one of {', '.join(INITIAL_MASKS)}, but it is {name!r}.")


def random(model: nn.Module, sparsity: float, seed: int) -> dict[str, Tensor]:
    """Uniform random masks: every layer has the density 1 − sparsity, the first and last too.

    The weights kept in a layer are a uniformly random subset, drawn from the layer's own stream
    (generator, layer, seed); the numbers kept are 1 − sparsity of each layer, rounded by
    largest remainders so that their total is exact. A layer keeps at least one weight unless
    fewer weights than layers stay.
    """
    weights = prunable(model)
    density = 1.0 - check_sparsity(sparsity)
    return random_masks("random", weights, dict.fromkeys(weights, density), sparsity, seed)


def erk(model: nn.Module, sparsity: float, seed: int) -> dict[str, Tensor]:
    """Random masks with Erdős–Rényi-kernel layer densities; rounded and drawn as in `random`."""
    weights = prunable(model)
    densities = erk_densities({name: w.shape for name, w in weights.items()}, sparsity)
    return random_masks("erk", weights, densities, sparsity, seed)


def equal(model: nn.Module, sparsity: float, seed: int) -> dict[str, Tensor]:
    """Random masks with the same number of weights in every layer, a smaller one whole.

    TurboPrune's "balanced" masks; rounded and drawn as in `random`.
    """
    weights = prunable(model)
    sizes = {name: w.numel() for name, w in weights.items()}
    budget = (1.0 - check_sparsity(sparsity)) * sum(sizes.values())
    densities = _filled(sizes, dict.fromkeys(sizes, 1), budget)
    return random_masks("equal", weights, densities, sparsity, seed)


RANDOM = {"random": random, "erk": erk, "equal": equal}


def erk_densities(shapes: Mapping[str, tuple[int, ...]], sparsity: float) -> dict[str, float]:
    """Return the Erdős–Rényi-kernel density of each layer (Evci et al. 2020, section 3).

    For a layer of shape (c_out, c_in, k_h, k_w), or (c_out, c_in), with n = ∏ shape weights

        density = min(1, ε · (c_out + c_in + k_h + k_w) / n),

    with the one ε for which Σ density·n = (1 − sparsity)·Σ n. Layers that reach density 1 pass
    what they can't take on to the others: ε is solved again without them until none is above 1.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Of each layer's weight, none empty.
    sparsity : float in [0, 1)

    Raises
    ------
    InputError
        If sparsity is outside [0, 1), or there is no layer or an empty one.
    """
    budget = 1.0 - check_sparsity(sparsity)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    if not sizes or not all(sizes.values()):
        raise InputError(f"shapes must name layers with weights, but they are {dict(shapes)!r}.")
    shares = {name: sum(shape) for name, shape in shapes.items()}
    return _filled(sizes, shares, budget * sum(sizes.values()))


def _filled(sizes: Mapping[str, int], shares: Mapping[str, int], budget: float) -> dict[str, float]:
    """Return the density of each layer where `budget` weights are dealt in proportion to shares.

    Layers that are full pass what they can't take on to the others.
    """
    densities = dict.fromkeys(sizes, 1.0)
    free = dict(sizes)
    while free:
        epsilon = budget / sum(shares[name] for name in free)
        full = [name for name, size in free.items() if epsilon * shares[name] >= size]
        if not full:
            break
        budget -= sum(free.pop(name) for name in full)
    for name, size in free.items():
        densities[name] = epsilon * shares[name] / size
    return densities


def snip(model: nn.Module, sparsity: float, batches: Batches) -> dict[str, Tensor]:
    """Keep the globally largest `snip_scores`; at high sparsity whole layers may be empty."""
    sparsity = check_sparsity(sparsity)
    return magnitude(snip_scores(model, batches), sparsity)


def snip_scores(model: nn.Module, batches: Batches) -> dict[str, Tensor]:
    """Return the connection sensitivities |∂L/∂m| of x = m ⊙ w at m = 1 (Lee et al. 2019).

    By the chain rule that is |∂L/∂x ⊙ x|, where L is the cross-entropy averaged over all
    images of all batches. (The paper divides by the sum of all, which leaves their order.)
    Batch norm takes each batch's statistics, as in training; everything else (dropout) is in
    evaluation mode, so nothing is drawn.

    Batches (images, labels) are moved to the weights' device and dtype; the paper takes one, about
    ten images per class are usual since then. Scores are float64, in the weights' shapes and on
    their device. InputError if there is no batch, one does not fit the model, or the scores' sum is
    0 or not finite.
    """
    weights = {name: w.detach().requires_grad_() for name, w in prunable(model).items()}
    some = next(iter(weights.values()))
    state = {name: p.detach() for name, p in model.named_parameters()}
    state |= {name: b.clone() for name, b in model.named_buffers()} | weights
    totals = {name: torch.zeros_like(w, dtype=torch.float64) for name, w in weights.items()}
    seen = 0
    with modes(model, training=(_BatchNorm,)), torch.enable_grad():
        for number, batch in enumerate(batches):
            with fitting("batches", f"number {number}"):
                images, labels = batch
                logits = functional_call(model, state, images.to(some.device, some.dtype))
                loss = cross_entropy(logits, labels.to(some.device), reduction="sum")
            for total, gradient in zip(totals.values(), _gradients(loss, weights), strict=True):
                total += gradient
            seen += len(labels)
    if not seen:
        raise InputError("batches must hold an image for snip, but there is none.")
    scores = {name: (totals[name] / seen * w.detach()).abs_() for name, w in weights.items()}
    _check_scores("the sum of snip's scores", sum(float(score.sum()) for score in scores.values()))
    return scores


def synflow(model: nn.Module, sparsity: float, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Keep the globally largest `synflow_scores` in 100 rounds (Tanaka et al. 2020, Algorithm 1).

    After round k a fraction (1 − sparsity)^{k/100} is left, chosen from what the round before
    left by the scores of the network as it is then. A layer's best weight always stays: where a
    shortcut can carry the flow alone, the scores by themselves may give a layer up.

    Raises
    ------
    InputError
        As `initial_mask`, and if fewer weights than layers would stay.
    """
    sparsity = check_sparsity(sparsity)
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in prunable(model).items()}
    size = sum(mask.numel() for mask in masks.values())
    if kept_count(size, sparsity) < len(masks):
        raise InputError(
            f"sparsity must leave synflow a weight in each of {len(masks)} layers, but "
            f"{sparsity:g} of {size} weights leaves {kept_count(size, sparsity)}."
        )
    remaining = size
    for k in range(1, ROUNDS + 1):
        scores = synflow_scores(model, shape, masks)
        candidates = {name: scores[name][mask] for name, mask in masks.items()}
        for layer in candidates.values():
            layer[layer.argmax()] = math.inf
        level = sparsity if k == ROUNDS else 1.0 - (1.0 - sparsity) ** (k / ROUNDS)
        before, remaining = remaining, kept_count(size, level)
        chosen = magnitude(candidates, 1.0 - remaining / before)
        masks = {name: mask.masked_scatter(mask, chosen[name]) for name, mask in masks.items()}
    return masks


def synflow_scores(
    model: nn.Module, shape: tuple[int, ...], masks: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Return the synaptic saliencies ∂R/∂|x| ⊙ |x| of the masked network (Tanaka et al. 2020).

    R is the sum of the outputs for one image of ones, with |·| of every parameter, in
    evaluation mode and float64 (R of a ResNet-50 is about 1e73). Batch norm's running means
    count as 0: subtracting them could switch off channels, and R would no longer be a sum over
    paths. Without biases and shortcuts every layer's scores sum to R.

    Scores are float64, in the weights' shapes and on their device; `shape` (C, H, W) is that of one
    image, and a weight without a mask counts as dense. InputError if the model can't take such an
    image, a mask does not fit, or R is 0 or not finite.
    """
    state = {name: p.detach().abs().double() for name, p in model.named_parameters()}
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point():
            state[name] = buffer.abs().double().mul_(not name.endswith("running_mean"))
    weights = {name: state[name] for name in prunable(model)}
    some = next(iter(weights.values()))
    if masks is not None:
        check_masks(masks, weights)
        for name, mask in masks.items():
            weights[name].mul_(mask.to(some.device))
    for weight in weights.values():
        weight.requires_grad_()
    with modes(model), torch.enable_grad():
        with fitting("shape", repr(shape)):
            ones = torch.ones((1, *shape), dtype=torch.float64, device=some.device)
            flow = functional_call(model, state, ones).sum()
        _check_scores("synflow's R", flow.item())
        gradients = _gradients(flow, weights)
    return {
        name: weight.detach() * gradient
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
    }


def _gradients(value: Tensor, weights: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value, list(weights.values()), materialize_grads=True)


def _check_scores(what: str, total: float) -> None:
    if not 0.0 < total < math.inf:
        raise InputError(
            f"model must give finite scores that are not all 0, but {what} is {total:g}."
        )


def random_masks(
    generator: str,
    weights: Mapping[str, Tensor],
    densities: Mapping[str, float],
    sparsity: float,
    seed: int,
) -> dict[str, Tensor]:
    """Return masks at random positions with these densities, rounded to the exact total as `random`
    says; `generator` names the random streams."""
    seed = whole("seed", seed, 0)
    sizes = np.array([weight.numel() for weight in weights.values()])
    quotas = sizes * np.array([densities[name] for name in weights])
    counts = _apportion(quotas, sizes, kept_count(int(sizes.sum()), sparsity))
    masks = {}
    for (name, weight), count in zip(weights.items(), counts, strict=True):
        stream = random_stream("initial mask", generator, name, seed)
        indices = stream.choice(weight.numel(), int(count), replace=False, shuffle=False)
        mask = torch.zeros(weight.numel(), dtype=torch.bool)
        mask[torch.from_numpy(indices)] = True
        masks[name] = mask.view(weight.shape).to(weight.device)
    return masks


def _apportion(quotas: np.ndarray, sizes: np.ndarray, total: int) -> np.ndarray:
    """Round quotas to whole numbers ≤ sizes that sum to `total`, by largest remainders.

    None falls below 1 where `total` reaches for that; of equal remainders the first counts.
    """
    least = int(total >= len(sizes))
    counts = np.clip(np.floor(quotas), least, sizes).astype(int)
    while (missing := total - counts.sum()) != 0:
        step = 1 if missing > 0 else -1
        movable = counts < sizes if step > 0 else counts > least
        counts[np.where(movable, step * (quotas - counts), -math.inf).argmax()] += step
    return counts

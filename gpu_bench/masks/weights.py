"""Weights under masks: which may be cut, the smallest of them, what is left, and its cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gpu_bench.memory import is_full
from mirrorflow.checks import InputError
from mirrorflow.checks import number as check_number
from mirrorflow.pilot import default_selection

__all__ = ["SPARSITIES", "apply", "check_masks", "check_sparsity", "density", "fitting", "flops"]
__all__ += ["kept_count", "layer_densities", "magnitude", "modes", "prunable"]

SPARSITIES = tuple(1.0 - 0.8**k for k in range(1, 26))  # the paper's, 0.2 … 0.9962

Masks = Mapping[str, Tensor]


def prunable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights that masks act on: those of convolutions and linear layers, by name.

    The same rule as `mirrorflow.pilot.reparametrize`: no biases, no normalisation layers.
    Weights tied to each other appear once, in the order of `named_parameters`.

    Parameters
    ----------
    model : nn.Module

    Returns
    -------
    dict of nn.Parameter
        The parameters themselves, of any shapes.

    Raises
    ------
    InputError
        If a module is parametrized (its weight is computed, so it can't be cut in place) or
        there is no such weight.

    Examples
    --------
    >>> list(prunable(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))))
    ['0.weight']
    """
    weights, seen = {}, set()
    for prefix, module in model.named_modules():
        if parametrize.is_parametrized(module):
            raise InputError(
                f"model must hold plain weights, but {prefix or 'it'} is parametrized; fold it "
                f"first."
            )
        for key, value in module._parameters.items():
            if value is not None and id(value) not in seen:
                if default_selection(prefix, module, key):
                    weights[f"{prefix}.{key}".lstrip(".")] = value
                seen.add(id(value))
    if not weights:
        raise InputError(
            f"model must have a convolution or linear layer to cut, but {type(model).__name__} "
            f"has none."
        )
    return weights


def magnitude(weights: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """Keep the largest weights of all layers together (global magnitude), an exact number.

    Of N weights, ⌊sparsity·N + ½⌋ are cut, but one at least stays. Of equally large weights the
    earlier ones stay, in the order of the dict and of C within a tensor; so with more zeros
    than are to be cut the count is exact too, and the same everywhere.

    Parameters
    ----------
    weights : dict of Tensor
        Any shapes, on one device.
    sparsity : float in [0, 1)

    Returns
    -------
    dict of bool Tensor
        True where a weight stays; shapes and device of `weights`.

    Raises
    ------
    InputError
        If sparsity is outside [0, 1), there are no weights, or one is not a number.

    Examples
    --------
    >>> magnitude({"a": torch.tensor([3.0, -1.0]), "b": torch.tensor([0.0, 2.0])}, 0.5)
    {'a': tensor([ True, False]), 'b': tensor([False,  True])}
    """
    sparsity = check_sparsity(sparsity)
    if sum(weight.numel() for weight in weights.values()) == 0:
        raise InputError("weights must not be empty, but they hold nothing to cut.")
    # Host copies: numpy's selection is deterministic and the fastest there, and a transfer of
    # 25 M weights is short against what follows it (an evaluation per sparsity).
    kinds = [weight.dtype for weight in weights.values()]
    wide = torch.float64 if torch.float64 in kinds else torch.float32
    sizes = np.concatenate(
        [weight.detach().abs().flatten().to("cpu", wide).numpy() for weight in weights.values()]
    )
    if np.isnan(sizes).any():
        culprit = next(name for name, weight in weights.items() if bool(weight.isnan().any()))
        raise InputError(f"weights must be numbers, but {culprit} holds NaN.")
    total = sizes.size
    count = kept_count(total, sparsity)
    threshold = np.partition(sizes, total - count)[total - count]
    keep = sizes > threshold
    keep[np.flatnonzero(sizes == threshold)[: count - int(keep.sum())]] = True
    masks, start = {}, 0
    for name, weight in weights.items():
        part = torch.from_numpy(keep[start : start + weight.numel()]).view(weight.shape)
        masks[name] = part.clone().to(weight.device)
        start += weight.numel()
    return masks


def apply(model: nn.Module, masks: Masks) -> nn.Module:
    """Set the cut weights to zero, in place; other weights stay.

    Parameters
    ----------
    model : nn.Module
    masks : dict of bool Tensor
        By names of weights, in their shapes; False where a weight becomes 0.

    Returns
    -------
    nn.Module
        `model`.

    Raises
    ------
    InputError
        If a mask belongs to no prunable weight or has another shape; nothing is changed then.

    Examples
    --------
    >>> apply(nn.Linear(2, 1), {"weight": torch.tensor([[False, False]])}).weight.tolist()
    [[0.0, 0.0]]
    """
    weights = prunable(model)
    check_masks(masks, weights)
    with torch.no_grad():
        for name, mask in masks.items():
            weights[name].masked_fill_(~mask.to(weights[name].device), 0.0)
    return model


def density(masks: Masks) -> float:
    """Fraction of weights that stay, over all masks; measured sparsity is 1 minus it.

    Parameters
    ----------
    masks : dict of bool Tensor

    Returns
    -------
    float in [0, 1]

    Raises
    ------
    InputError
        If there is no mask, or one is empty or not boolean.

    Examples
    --------
    >>> density({"a": torch.tensor([True, False]), "b": torch.tensor([False, False])})
    0.25
    """
    check_masks(masks)
    kept = sum(int(mask.count_nonzero()) for mask in masks.values())
    return kept / sum(mask.numel() for mask in masks.values())


def layer_densities(masks: Masks) -> dict[str, float]:
    """Fraction of weights that stay, for each mask.

    Parameters
    ----------
    masks : dict of bool Tensor

    Returns
    -------
    dict of float in [0, 1]

    Raises
    ------
    InputError
        As for `density`.

    Examples
    --------
    >>> layer_densities({"a": torch.tensor([True, False]), "b": torch.tensor([False, False])})
    {'a': 0.5, 'b': 0.0}
    """
    check_masks(masks)
    return {name: int(mask.count_nonzero()) / mask.numel() for name, mask in masks.items()}


def flops(
    model: nn.Module, input_shape: tuple[int, ...], masks: Masks | None = None
) -> dict[str, Any]:
    """Multiply-adds of one image in convolutions and linear layers, each layer's by a hook.

    A weight is used once at each of its layer's positions (output pixels of a convolution,
    input pixels of a transposed one, rows of a linear layer), zeros of the padding included:

        dense = positions · (number of weights),   masked = positions · (number kept).

    Biases, normalisation, activations and attention's own products are not counted. The model
    runs once on zeros in evaluation mode; its modes and statistics stay as they are.

    Parameters
    ----------
    model : nn.Module
        With plain (folded) weights.
    input_shape : (C, H, W)
        Of one image.
    masks : dict of bool Tensor, optional
        A weight without a mask counts as dense.

    Returns
    -------
    dict
        "dense" and "masked", the totals (equal without masks), and "layers", the two numbers
        for each weight's name; ready for JSON.

    Raises
    ------
    InputError
        If a mask belongs to no prunable weight or has another shape, or the model can't take
        such an image.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    >>> flops(model, (1, 2, 2), {"1.weight": torch.ones(3, 4) > 0})["masked"]
    12
    """
    weights = prunable(model)
    if masks is not None:
        check_masks(masks, weights)
    names = {id(weight): name for name, weight in weights.items()}
    positions = dict.fromkeys(weights, 0)

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def count(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(module, nn.Linear):
                positions[name] += output.numel() // module.out_features
            else:
                transposed = bool(getattr(module, "transposed", False))
                grid = inputs[0] if transposed else output
                channels = module.in_channels if transposed else module.out_channels
                positions[name] += grid.numel() // cast(int, channels)

        return count

    first = next(iter(weights.values()))
    handles = [
        module.register_forward_hook(hook(names[id(weight)]))
        for module in model.modules()
        if (weight := module._parameters.get("weight")) is not None and id(weight) in names
    ]
    try:
        with modes(model), fitting("input_shape", str(tuple(input_shape))), torch.no_grad():
            model(torch.zeros((1, *input_shape), dtype=first.dtype, device=first.device))
    finally:
        for handle in handles:
            handle.remove()
    layers = {}
    for name, weight in weights.items():
        mask = None if masks is None else masks.get(name)
        kept = weight.numel() if mask is None else int(mask.count_nonzero())
        layers[name] = {"dense": positions[name] * weight.numel(), "masked": positions[name] * kept}
    totals = {kind: sum(layer[kind] for layer in layers.values()) for kind in ("dense", "masked")}
    return {**totals, "layers": layers}


@contextmanager
def fitting(argument: str, value: str) -> Iterator[None]:
    """Turn the model's complaints about its input into one about `argument`."""
    try:
        yield
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        if is_full(error):
            raise
        raise InputError(
            f"{argument} must fit the model, but {value} does not ({str(error)[:200]})."
        ) from None


@contextmanager
def modes(model: nn.Module, training: tuple[type[nn.Module], ...] = ()) -> Iterator[None]:
    """Put modules of the types `training` into training mode and all others into evaluation."""
    before = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in before:
            module.training = isinstance(module, training)
        yield
    finally:
        for module, mode in before:
            module.training = mode


def kept_count(total: int, sparsity: float) -> int:
    """Return how many of `total` weights a mask keeps: ⌊sparsity·total + ½⌋ are cut, not all."""
    return total - min(math.floor(sparsity * total + 0.5), total - 1)


def check_sparsity(sparsity: float) -> float:
    """Return `sparsity` as a float in [0, 1)."""
    value = check_number("sparsity", sparsity, 0.0)
    if value >= 1.0:
        raise InputError(f"sparsity must be at least 0 and below 1, but it is {sparsity!r}.")
    return value


def check_masks(masks: Masks, weights: Mapping[str, Tensor] | None = None) -> None:
    """Raise unless `masks` are non-empty boolean tensors that fit `weights`, where given."""
    if not isinstance(masks, Mapping):
        kind = type(masks).__name__
        raise InputError(f"masks must be a dict of a mask for each weight, but it is a {kind}.")
    if not masks:
        raise InputError("masks must not be empty, but there are none.")
    for name, mask in masks.items():
        if not isinstance(name, str):
            kind = type(name).__name__
            raise InputError(f"masks must be named by text, but one is named by a {kind}.")
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            given = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise InputError(f"masks must be boolean tensors, but {name!r:.80} is {given}.")
        if mask.numel() == 0:
            shape = str(tuple(mask.shape))
            raise InputError(f"masks must not be empty, but {name!r:.80} has shape {shape:.80}.")
        if weights is None:
            continue
        if name not in weights:
            raise InputError(
                f"masks must be named like the model's weights ({', '.join(list(weights)[:3])}, "
                f"…), but there is none called {name!r:.80}."
            )
        if mask.shape != weights[name].shape:
            raise InputError(
                f"the mask of {name} must have its weight's shape {tuple(weights[name].shape)}, "
                f"but it is {tuple(mask.shape)!s:.80}."
            )

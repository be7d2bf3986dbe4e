"""Binary masks: which weights may be cut, the smallest of them, what is left, and its cost.

>>> weights = {"a": torch.tensor([3.0, -1.0]), "b": torch.tensor([[0.0, 2.0]])}
>>> masks = magnitude(weights, 0.5)
>>> masks["a"], masks["b"], density(masks)
(tensor([ True, False]), tensor([[False,  True]]), 0.5)
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gpu_bench.memory import is_full
from mirrorflow.checks import InputError
from mirrorflow.checks import number as check_number
from mirrorflow.pilot import default_selection
from mirrorflow.runs.store import atomic_write
from mirrorflow.runs.untrusted import MAX_BYTES, file_size

__all__ = ["SPARSITIES", "apply", "density", "flops", "layer_densities", "load", "magnitude"]
__all__ += ["prunable", "save"]

SPARSITIES = tuple(1.0 - 0.8**k for k in range(1, 26))  # the paper's, 0.2 … 0.9962

Masks = Mapping[str, Tensor]


def prunable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights that masks act on: those of convolutions and linear layers, by name.

    The same rule as `mirrorflow.pilot.reparametrize`: no biases, no normalisation layers.
    Weights tied to each other appear once, in the order of `named_parameters`.

    Raises
    ------
    InputError
        If a module is parametrized (its weight is computed, so it can't be cut in place) or
        there is no such weight.
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
    """Set the cut weights to zero, in place, and return `model`; other weights stay.

    Raises
    ------
    InputError
        If a mask belongs to no prunable weight or has another shape; nothing is changed then.
    """
    weights = prunable(model)
    check_masks(masks, weights)
    with torch.no_grad():
        for name, mask in masks.items():
            weights[name].masked_fill_(~mask.to(weights[name].device), 0.0)
    return model


def density(masks: Masks) -> float:
    """Fraction of weights that stay, over all masks; measured sparsity is 1 minus it.

    Raises
    ------
    InputError
        If there is no mask.
    """
    check_masks(masks)
    kept = sum(int(mask.count_nonzero()) for mask in masks.values())
    return kept / sum(mask.numel() for mask in masks.values())


def layer_densities(masks: Masks) -> dict[str, float]:
    """Fraction of weights that stay, for each mask."""
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
                places = inputs[0] if transposed else output
                channels = module.in_channels if transposed else module.out_channels
                positions[name] += places.numel() // cast(int, channels)

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


def save(path: str | PathLike[str], masks: Masks) -> None:
    """Write masks as a plain dict of boolean tensors on the CPU, at once or not at all.

    Raises
    ------
    InputError
        If a mask is not boolean.
    """
    check_masks(masks)
    stream = io.BytesIO()
    torch.save({name: mask.detach().cpu().contiguous() for name, mask in masks.items()}, stream)
    atomic_write(Path(path), stream.getvalue())


def load(path: str | PathLike[str], model: nn.Module | None = None) -> dict[str, Tensor]:
    """Read masks that `save` wrote; no code in the file is run (`weights_only=True`).

    Parameters
    ----------
    path : path
    model : nn.Module, optional
        The masks must be exactly those of its prunable weights, in names and shapes.

    Raises
    ------
    InputError
        If the file is missing, damaged, holds something else, keeps no weight at all, or does not
        fit `model`. A layer without weights is no fault: a shortcut may lead past it.
    """
    path = Path(path)
    try:
        if (size := file_size(path)) > MAX_BYTES:
            raise InputError(f"{path} has {size} bytes, more than {MAX_BYTES}.")
        _check_archive(path)
        # mapped: no tensor reaches beyond the file, whatever it claims
        masks = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except InputError:
        raise
    except Exception as error:  # what a damaged archive raises has no end
        # torch's own words advise to load it unsafely; the kind of error must do
        kind = type(error).__name__
        raise InputError(f"{path} is not a readable file of masks ({kind}).") from None
    if not isinstance(masks, dict):
        raise InputError(f"{path} must hold a dict of masks, but it is a {type(masks).__name__}.")
    for name, mask in masks.items():
        if isinstance(name, str) and isinstance(mask, Tensor) and not _dense(mask):
            said = f"{name!r:.80} in {path}"
            raise InputError(f"{said} must be a dense tensor of zeros and ones, but it is none.")
    weights = None if model is None else prunable(model)
    try:
        check_masks(masks, weights)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    claimed = sum(mask.numel() for mask in masks.values())
    if claimed > MAX_BYTES:  # they may share their bytes
        raise InputError(f"{path} claims masks of {claimed} entries, more than {MAX_BYTES}.")
    if weights is not None and weights.keys() - masks.keys():
        lost = sorted(weights.keys() - masks.keys())
        raise InputError(f"{path} must hold a mask for every weight, but {lost[0]} has none.")
    if not any(bool(mask.any()) for mask in masks.values()):
        raise InputError(f"{path} must keep at least one weight, but its masks keep none.")
    return {name: mask.clone() for name, mask in masks.items()}


def _check_archive(path: Path) -> None:
    """Raise unless the file is a ZIP as `torch.save` writes it; torch reads past wrong checksums.

    Raises
    ------
    zipfile.BadZipFile
        If a member is packed, or its checksum is wrong.
    """
    with zipfile.ZipFile(path) as archive:
        packed = any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist())
        if packed or archive.testzip() is not None:
            raise zipfile.BadZipFile("packed or damaged")


def _dense(mask: Tensor) -> bool:
    """Whether a boolean tensor has a byte of its own, 0 or 1, for each entry.

    Strides may claim more entries than there are bytes. Other dtypes are not looked into.
    """
    if mask.layout != torch.strided or mask.is_nested or mask.device.type != "cpu":
        return False
    if mask.dtype != torch.bool or mask.numel() == 0:
        return True
    held = mask.numel() <= mask.untyped_storage().nbytes()
    return held and int(mask.view(torch.uint8).max()) <= 1


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

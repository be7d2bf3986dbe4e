"""Exports: folded weights, boolean masks, sparsity and FLOPs by layer; masks of torch's pruning."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import prune

from gpu_bench import masks
from gpu_bench.masks.weights import check_masks
from mirrorflow.checks import InputError
from mirrorflow.runs.store import Row, Run, atomic_write

__all__ = ["from_prune", "to_prune"]

Sets = Mapping[float, Mapping[str, Tensor]]


def stem(run: Run) -> str:
    """Return how the names of a run's files begin."""
    spec = run.spec
    task = re.sub(r"[^\w-]+", "-", f"{spec['dataset']}-{spec['model']}")
    return f"{task}-{spec['method']}-seed{spec['seed']}-{run.key[:8]}"


def to_prune(model: nn.Module, kept: Mapping[str, Tensor]) -> nn.Module:
    """Put masks into `model` as `torch.nn.utils.prune` has them; returns it.

    Each weight becomes weight_orig · weight_mask, the values stay; `prune.remove` cuts for good.

    Parameters
    ----------
    model : nn.Module
        With plain weights; changed in place.
    kept : dict of bool Tensor
        By weight names; True where a weight stays.

    Returns
    -------
    nn.Module
        `model` itself.

    Raises
    ------
    InputError
        If `model` is no module or pruned already, or a mask belongs to no prunable weight or has
        another shape; nothing is changed then.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 1))
    >>> _ = to_prune(model, {"0.weight": torch.tensor([[True, False]])})
    >>> bool(model[0].weight[0, 1] == 0)
    True
    """
    _check_module(model)
    if prune.is_pruned(model):
        raise InputError(
            "model must hold plain weights, but it is pruned; prune.remove them first."
        )
    weights = masks.prunable(model)
    check_masks(kept, weights)
    for name, mask in kept.items():
        layer, _, weight = name.rpartition(".")
        prune.custom_from_mask(model.get_submodule(layer), weight, mask.to(weights[name].device))
    return model


def from_prune(model: nn.Module) -> dict[str, Tensor]:
    """Return the boolean masks of a model pruned by `torch.nn.utils.prune`, by weight names.

    Parameters
    ----------
    model : nn.Module

    Returns
    -------
    dict of bool Tensor

    Raises
    ------
    InputError
        If it is no module, or nothing in it is.

    Examples
    --------
    >>> model = prune.l1_unstructured(nn.Linear(2, 1), "weight", amount=1)
    >>> from_prune(nn.Sequential(model))["0.weight"].sum()
    tensor(1)
    """
    _check_module(model)
    tensors = dict(model.named_parameters())
    kept = {
        name.removesuffix("_mask"): buffer.bool()
        for name, buffer in model.named_buffers()
        if f"{name.removesuffix('_mask')}_orig" in tensors
    }
    if not kept:
        raise InputError("model must be pruned by torch.nn.utils.prune, but it has no mask of it.")
    return kept


def _check_module(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, but it is a {type(model).__name__}.")


def export(
    start: Path, spec: Row, row: Row, model: nn.Module, shape: tuple[int, int, int], mask_sets: Sets
) -> None:
    """Write START.pt (plain state_dict), START-mask-S.pt (boolean masks) and START.json.

    `spec` and `row` are the run's; the model is folded; `mask_sets` are masks of all prunable
    weights by sparsity.
    """
    start.parent.mkdir(parents=True, exist_ok=True)
    for module in model.modules():  # training does without the counters, others look for them
        if isinstance(module, _BatchNorm) and module.num_batches_tracked is None:
            module.num_batches_tracked = torch.tensor(0)
    state = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
    stream = io.BytesIO()
    torch.save(state, stream)
    atomic_write(start.with_name(f"{start.name}.pt"), stream.getvalue())
    described: dict[str, Any] = {
        "configuration": spec,
        "status": row["status"],
        "weights": row["prunable_weights"],
        "flops": masks.flops(model, shape),
        "sparsities": {},
    }
    for sparsity, mask in mask_sets.items():
        masks.save(start.with_name(f"{start.name}-mask-{sparsity:.4f}.pt"), mask)
        described["sparsities"][f"{sparsity:.4f}"] = {
            "measured_sparsity": 1.0 - masks.density(mask),
            "flops": masks.flops(model, shape, mask),
            "layers": {key: 1.0 - d for key, d in masks.layer_densities(mask).items()},
        }
    text = json.dumps(described, indent=1)
    atomic_write(start.with_name(f"{start.name}.json"), text.encode())

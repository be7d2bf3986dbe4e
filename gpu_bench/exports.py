"""Exported files: folded weights, boolean masks, sparsity and FLOPs layer by layer."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpu_bench import masks
from mirrorflow.runs.store import Row, Run, atomic_write

__all__ = ["export", "stem"]

Cuts = Mapping[float, Mapping[str, Tensor]]


def stem(run: Run) -> str:
    """Return how the names of a run's files begin."""
    spec = run.spec
    return f"{spec['dataset']}-{spec['model']}-{spec['method']}-seed{spec['seed']}-{run.key[:8]}"


def export(
    start: Path, spec: Row, row: Row, model: nn.Module, shape: tuple[int, int, int], cuts: Cuts
) -> None:
    """Write START.pt (plain state_dict), START-mask-S.pt (boolean masks) and START.json.

    Parameters
    ----------
    start : Path
    spec, row : dict
        Configuration and row of the run.
    model : nn.Module
        Folded.
    shape : (C, H, W)
        Of one image.
    cuts : mapping of sparsity to masks
        Of all prunable weights.
    """
    start.parent.mkdir(parents=True, exist_ok=True)
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
    for sparsity, mask in cuts.items():
        masks.save(start.with_name(f"{start.name}-mask-{sparsity:.4f}.pt"), mask)
        described["sparsities"][f"{sparsity:.4f}"] = {
            "measured_sparsity": 1.0 - masks.density(mask),
            "flops": masks.flops(model, shape, mask),
            "layers": {key: 1.0 - d for key, d in masks.layer_densities(mask).items()},
        }
    text = json.dumps(described, indent=1)
    atomic_write(start.with_name(f"{start.name}.json"), text.encode())

"""Units of the columns that have one; a share, a count of runs or a seed has none."""

from __future__ import annotations

__all__ = ["UNITS"]

UNITS = {
    "epochs": "epochs",
    "epochs_done": "epochs",
    "epochs_spent": "epochs",
    "warmup": "epochs",
    "batch_size": "images",
    "steps": "steps",
    "training_flops": "multiply-adds",
    "images_per_second": "images/s",
    "prunable_weights": "weights",
    "kept": "weights",
    "beta": "units of x",
    "norm_initial": "units of x",
    "norm_final": "units of x",
}

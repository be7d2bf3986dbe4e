"""Units of the columns that have one; a share, a count of runs or a seed has none."""

from __future__ import annotations

__all__ = ["UNITS"]

UNITS = {
    **dict.fromkeys(("epochs", "epochs_done", "epochs_spent", "warmup"), "epochs"),
    **dict.fromkeys(("prunable_weights", "kept"), "weights"),
    **dict.fromkeys(("beta", "norm_initial", "norm_final"), "units of x"),
    "batch_size": "images",
    "steps": "steps",
    "training_flops": "multiply-adds",
    "images_per_second": "images/s",
}

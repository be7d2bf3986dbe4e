"""Rows of a protocol that trains in cycles: one for each cycle."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from gpu_bench import cycles
from gpu_bench.experiment import Experiment
from gpu_bench.protocols.base import Protocol, Reading
from mirrorflow.runs.store import Row

__all__ = ["PerCycle"]

# what a `Cycle` holds as it goes into the row
MEASURED = ["accuracy", "fresh_accuracy", "train_loss", "train_accuracy"]
MEASURED += ["norm_initial", "norm_final", "alpha_first", "alpha_last"]
NAMES = ["cycle", "sparsity", "kept", *MEASURED, "total_spent", "predicted_scale", "epochs_spent"]
NAMES += ["training_flops", "overlap_previous", "overlap_final", "final_found"]


class PerCycle(Protocol):
    """A protocol with a reading for every cycle; `plan` is what tells them apart.

    The lists of the row (the last entry of a diverged run is that of the cycle in which it
    diverged, without readings):

    cycle             1, 2, …
    sparsity, kept    measured fraction of zeros of its mask, and weights left
    accuracy          at its end, of the folded network; fresh_accuracy: with batch norm's
                      statistics taken at its weights
    epochs_spent, training_flops
                      from the start of the run to its end; multiply-adds, masked weights not
                      counted, backward as twice forward
    overlap_previous, overlap_final
                      |M ∩ M'|/|M ∪ M'| of its mask with the one before and with the last
    final_found       share of the last mask that the largest weights at its end, as many as the
                      last mask has, already hold
    """

    columns: ClassVar[dict[str, str]] = {name: name for name in NAMES}

    def read(self, experiment: Experiment, outcome: cycles.Outcome) -> Reading:
        row = _lists(experiment, outcome)
        row["final_accuracy"] = outcome.cycles[-1].accuracy if outcome.cycles else math.nan
        densities = np.array([_layer_densities(experiment, mask) for mask in outcome.masks])
        mask = experiment.layout.views(outcome.masks[-1])
        return Reading(row, densities, {row["sparsity"][-1]: mask})


def _lists(experiment: Experiment, outcome: cycles.Outcome) -> Row:
    method, epochs = outcome.trainer.method, experiment.spec["epochs"]
    size = sum(experiment.layout.sizes)
    last = outcome.masks[-1]
    entries: list[Row] = []
    flops = 0.0
    for i, mask in enumerate(outcome.masks):
        kept = int(mask.count_nonzero())
        entry: Row = dict.fromkeys(NAMES, math.nan)
        entry |= {"cycle": i + 1, "sparsity": 1.0 - kept / size, "kept": kept}
        entry["overlap_previous"] = _overlap(mask, outcome.masks[i - 1]) if i else math.nan
        entry["overlap_final"] = _overlap(mask, last)
        if i < len(outcome.cycles):
            cycle = outcome.cycles[i]
            flops += cycle.flops
            scale = cycles.predicted_scale(method, cycle.total)
            entry |= {name: getattr(cycle, name) for name in MEASURED}
            entry |= {
                "total_spent": math.nan if method.alpha is None else cycle.total,
                "predicted_scale": math.nan if scale is None else scale,
                "epochs_spent": (i + 1) * epochs,
                "training_flops": flops,
                "final_found": _share(last, outcome.candidates[i]),
            }
        entries.append(entry)
    return {name: [entry[name] for entry in entries] for name in NAMES}


def _overlap(one: Tensor, other: Tensor) -> float:
    return int((one & other).count_nonzero()) / int((one | other).count_nonzero())


def _share(last: Tensor, candidate: Tensor) -> float:
    return int((last & candidate).count_nonzero()) / int(last.count_nonzero())


def _layer_densities(experiment: Experiment, mask: Tensor) -> list[float]:
    parts = mask.split(experiment.layout.sizes)
    return [float(part.to(torch.float64).mean()) for part in parts]

"""One-shot sparsification: train, fold, cut the smallest weights, read the accuracy.

For each requested sparsity the globally smallest |x| among the prunable weights are set to zero
(an exact count; with `pattern` N:M all but the N largest of every M neighbours) and the accuracy of
what is left is read, without further training, on the test images (or, with `validation` > 0, on a
part held out of the training images: that is where hyperparameters are to be chosen). Always the
last epoch's weights, never the best epoch's.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from gpu_bench import cycles, masks, patterns
from gpu_bench.experiment import Experiment
from gpu_bench.protocols.base import Protocol, Reading
from gpu_bench.sparsities import free, tabulated
from mirrorflow.checks import Array, InputError
from mirrorflow.pilot import free_total
from mirrorflow.runs.store import Row

__all__ = ["PROTOCOL", "OneShot"]


class OneShot(Protocol):
    """Train, cut at every sparsity, read the accuracy.

    The row has `last_accuracy` (the network as it was trained), `uncut_accuracy` (folded: for
    continuous sparsification another network, its mask is hard), and lists over the sparsities.
    The fresh ones are with batch norm's statistics taken at the weights that are read.
    `free_sparsity` is the largest sparsity up to which every cut costs at most a point.
    """

    columns: ClassVar[dict[str, str]] = {
        "sparsities": "sparsity",
        "measured_sparsity": "measured_sparsity",
        "accuracy": "accuracy",
        "fresh_accuracy": "fresh_accuracy",
    }

    def plan(self, experiment: Experiment) -> cycles.CyclePlan:
        if (pattern := experiment.spec.get("pattern")) is not None:
            weights = masks.prunable(experiment.model).values()
            inputs = sorted({weight.shape[1] for weight in weights})
            _, group = patterns.numbers(pattern)
            if all(size % group for size in inputs):
                listed = ", ".join(map(str, inputs))
                rule = f"--pattern must have an M that divides the inputs of a layer ({listed})"
                raise InputError(f"{rule}, but it is {pattern}.")
        return cycles.CyclePlan(1, lambda *_: None)

    def read(self, experiment: Experiment, outcome: cycles.Outcome) -> Reading:
        sparsities, trainer = experiment.spec["sparsities"], outcome.trainer
        first, last = outcome.epochs[0], outcome.epochs[-1]
        if outcome.status == "completed":
            lists, densities, mask_sets = _read_all(experiment, trainer, sparsities)
            cycle = outcome.cycles[0]
            read = cycle.accuracy, cycle.fresh_accuracy, cycle.flops
        else:
            lists, mask_sets = dict.fromkeys(self.columns, [math.nan] * len(sparsities)), {}
            densities = np.full((len(sparsities), len(experiment.layout.sizes)), math.nan)
            read = (math.nan,) * 3
        penalized = trainer.method.alpha is not None
        row = {
            **lists,
            "sparsities": sparsities,
            **dict(
                zip(("uncut_accuracy", "fresh_uncut_accuracy", "training_flops"), read, strict=True)
            ),
            "last_accuracy": last.test_accuracy,
            "train_accuracy": last.accuracy,
            "train_loss": last.loss,
            "steps": trainer.steps,
            "alpha_first": first.alpha if penalized else None,
            "alpha_last": last.alpha if penalized else None,
            "total_spent": last.total if penalized else None,
            **_scales(outcome),
            "free_sparsity": free(sparsities, lists["accuracy"], read[0]),
            "norm_initial": trainer.initial_norm,
            "norm_final": float(torch.linalg.vector_norm(trainer.x.values, 1)),
        }
        return Reading(row, densities, mask_sets)


def _scales(outcome: cycles.Outcome) -> Row:
    """Return A of free decay, the scale a = ½|m² − w²| that it predicts, and its median."""
    trainer = outcome.trainer
    if not trainer.method.decayed:
        return dict.fromkeys(("total_free", "scale_free", "scale_measured"))
    alphas = np.repeat([e.alpha for e in outcome.epochs], len(trainer.rates) // trainer.epochs)
    free = free_total(trainer.rates[: len(alphas)], alphas, trainer.momentum)
    m, w = trainer.parameters
    return {
        "total_free": free,
        "scale_free": cycles.predicted_scale(trainer.method, free),
        "scale_measured": float((0.5 * (m - w) * (m + w)).abs().median()),
    }


PROTOCOL = OneShot()

Sets = dict[float, dict[str, Tensor]]


def _read_all(
    experiment: Experiment, trainer: cycles.Trainer, sparsities: list[float]
) -> tuple[dict[str, list[float]], Array, Sets]:
    """Return what is read and the layer densities at each sparsity, and the masks of those that
    the table shows; the model is left as it was."""
    model, x = trainer.model, trainer.x.values
    whole, pattern = x.clone(), experiment.spec.get("pattern")
    kept = tabulated(sparsities)
    mask_sets: Sets = {}
    accuracies, fresh, measured, densities = [], [], [], []
    for sparsity in sparsities:
        x.copy_(whole)
        weights = {k: p.detach() for k, p in masks.prunable(model).items()}
        if pattern is None:
            mask = masks.magnitude(weights, sparsity)
        else:
            mask = patterns.pattern(weights, *patterns.numbers(pattern))
        masks.apply(model, mask)
        accuracies.append(experiment.read(trainer))
        fresh.append(experiment.read_fresh(trainer))
        measured.append(1.0 - masks.density(mask))
        densities.append(list(masks.layer_densities(mask).values()))
        if sparsity in kept:
            mask_sets[sparsity] = mask
    x.copy_(whole)
    read, fresh_read = torch.stack([torch.stack(accuracies), torch.stack(fresh)]).tolist()
    lists = {"measured_sparsity": measured, "accuracy": read, "fresh_accuracy": fresh_read}
    return lists, np.array(densities), mask_sets
